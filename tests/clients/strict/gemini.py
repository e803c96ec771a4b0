"""Gemini's generateContent: unknown names are refused, `parameters` takes its subset of JSON Schema only, a turn
of calls is answered at once by as many responses, and the first call of a turn brings its thoughtSignature back.

https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thought-signatures"""

import base64
import itertools
import json
import re

from . import Call, Refused, View, need, named, only, pieces, sse

KEYS = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent"}
CONFIG = {"temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "candidateCount", "seed", "presencePenalty",
          "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig",
          "responseModalities", "responseLogprobs", "logprobs"}
PART = {"text", "inlineData", "fileData", "functionCall", "functionResponse", "thought", "thoughtSignature"}
SCHEMA = {"type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties",
          "required", "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf", "propertyOrdering", "default",
          "example", "minProperties", "maxProperties"}
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
# What says that a signature is lost.
SKIP = "skip_thought_signature_validator"
PATH = re.compile(r".*/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)$")


class Gemini:
    forgiving = False
    stream_type = "text/event-stream"

    def __init__(self):
        self.numbers, self.signatures = itertools.count(1), {}

    def other(self, path, headers, body):
        found = PATH.fullmatch(path)
        if found and found[2] == "countTokens":
            return 200, {"totalTokens": len(body) // 4}
        return None if found else (404, {"error": {"code": 404, "message": f"not found: {path}", "status": "NOT_FOUND"}})

    def error(self, refusal):
        status = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{value}s"}
                   for name, value in refusal.headers if name == "retry-after"]
        return {"error": {"code": refusal.status, "message": str(refusal),
                          "status": status.get(refusal.status, "INTERNAL"), "details": details}}

    def read(self, path, headers, body):
        found = PATH.fullmatch(path.partition("?")[0])
        need(headers.get("x-goog-api-key") or "key=" in path, "API key not valid", 401)
        only(body, KEYS, "body")
        config = body.get("generationConfig", {})
        only(config, CONFIG, "generation_config")
        only(config.get("thinkingConfig", {}), {"includeThoughts", "thinkingBudget", "thinkingLevel"}, "thinking_config")
        newest, steered = found[1].startswith("gemini-3"), set(config.get("thinkingConfig", {})) - {"includeThoughts"}
        need(steered <= ({"thinkingLevel"} if newest else {"thinkingBudget"}), f"thinking_config of {found[1]}: {steered}")
        view = View(found[1], found[2] == "streamGenerateContent", tools=self.tools(body))
        need(not view.stream or "alt=sse" in path, "a stream without alt=sse")
        view.thinks = bool(config.get("thinkingConfig", {}).get("includeThoughts"))
        if "systemInstruction" in body:
            only(body["systemInstruction"], {"parts", "role"}, "system_instruction")
            view.system = "".join(part["text"] for part in body["systemInstruction"]["parts"])
        self.contents(body["contents"], view)
        return view

    def tools(self, body):
        found = {}
        for tool in body.get("tools", []):
            only(tool, {"functionDeclarations", "googleSearch", "urlContext", "codeExecution"}, "tools")
            for declared in tool.get("functionDeclarations", []):
                only(declared, {"name", "description", "parameters", "parametersJsonSchema", "response"}, "declarations")
                named(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", declared["name"], "function_declarations.name")
                need(declared["name"] not in found, f"Duplicate function declaration found: {declared['name']}")
                need(not ("parameters" in declared and "parametersJsonSchema" in declared), "both kinds of parameters")
                if "parameters" in declared:
                    schema(declared["parameters"], declared["name"])
                found[declared["name"]] = declared.get("parameters") or declared.get("parametersJsonSchema") or {}
        if "toolConfig" in body:
            only(body["toolConfig"], {"functionCallingConfig"}, "tool_config")
            only(body["toolConfig"]["functionCallingConfig"], {"mode", "allowedFunctionNames"}, "function_calling_config")
            need(found, "Function calling config is set without function_declarations")
        return found

    def contents(self, contents, view):
        need(contents, "contents is not specified")
        self.required = view.model.startswith("gemini-3") or not self.forgiving
        waiting, before = [], None
        for index, content in enumerate(contents):
            where = f"contents[{index}]"
            only(content, {"role", "parts"}, where)
            need(content.get("role") in ("user", "model"), f"{where}: Please use a valid role: user, model.")
            need(content["role"] != before, f"{where}: roles must alternate")
            need(before or content["role"] == "user", f"{where}: a function call turn comes after a user turn")
            need(content.get("parts"), f"{where}.parts: must not be empty")
            answers = []
            for part in content["parts"]:
                only(part, PART, f"{where}.parts")
                shown = [key for key in part if key not in ("thought", "thoughtSignature")]
                need(len(shown) == 1, f"{where}.parts: exactly one of the data fields, not {shown}")
                view.pictures += "inlineData" in part
                if "functionResponse" in part:
                    only(part["functionResponse"], {"id", "name", "response", "parts"}, f"{where}.function_response")
                    need(isinstance(part["functionResponse"]["response"], dict), f"{where}: response is no object")
                    for inner in part["functionResponse"].get("parts", []):
                        only(inner, {"inlineData", "fileData"}, f"{where}.function_response.parts")
                        need(view.model.startswith("gemini-3"), f"{where}: pictures in a response, before Gemini 3")
                        view.pictures += "inlineData" in inner
                    answers.append(part["functionResponse"])
            if content["role"] == "user":
                need(len(answers) == len(waiting), f"{where}: the number of function response parts ({len(answers)}) must "
                                                   f"equal the number of function call parts ({len(waiting)})")
                for call, answer in zip(waiting, answers):
                    need(call.name == answer["name"], f"{where}: a response of {answer['name']} to {call.name}")
                    call.result = json.dumps(answer["response"], ensure_ascii=False)
                waiting = []
                view.user = "".join(part.get("text", "") for part in content["parts"]) or view.user
            else:
                need(not answers, f"{where}: function responses of the model")
                waiting = self.calls(content["parts"], where)
                view.rounds += [waiting] if waiting else []
            before = content["role"]
        need(not waiting and before == "user", "the last turn is the model's")

    def calls(self, parts, where):
        found = []
        for part in parts:
            if "functionCall" not in part:
                continue
            only(part["functionCall"], {"id", "name", "args"}, f"{where}.function_call")
            need(isinstance(part["functionCall"].get("args", {}), dict), f"{where}: args is no object")
            found.append(Call(part["functionCall"].get("id", ""), part["functionCall"]["name"],
                              part["functionCall"].get("args", {})))
            if len(found) == 1:
                signature = part.get("thoughtSignature")
                if not signature and not self.required:
                    continue
                need(signature, f"Function call is missing a thought_signature in functionCall parts: {where}")
                need(self.signatures.get(signature) == found[0].name or self.forgiving and signature == SKIP,
                     f"{where}: thought signature is not valid")
        return found

    def parts(self, view, reply):
        found = [{"text": piece, "thought": True} for piece in pieces(reply.thought)] if view.thinks else []
        found += [{"text": piece} for piece in pieces(reply.text)]
        for index, (name, arguments) in enumerate(reply.calls):
            part = {"functionCall": {"name": name, "args": arguments}}
            if index == 0:
                part["thoughtSignature"] = base64.b64encode(f"thought {next(self.numbers)} ".encode() * 30).decode()
                self.signatures[part["thoughtSignature"]] = name
            found.append(part)
        return found

    def chunk(self, view, reply, parts, **more):
        usage = {"promptTokenCount": reply.prompt_tokens, "candidatesTokenCount": reply.output_tokens,
                 "totalTokenCount": reply.prompt_tokens + reply.output_tokens}
        return {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0} | more],
                "usageMetadata": usage, "modelVersion": view.model, "responseId": "answer-1"}

    def whole(self, view, reply):
        return self.chunk(view, reply, self.parts(view, reply), finishReason="STOP")

    def stream(self, view, reply):
        *first, last = self.parts(view, reply) or [{"text": ""}]
        for part in first:
            yield sse(self.chunk(view, reply, [part])).replace(b"\n", b"\r\n")
        yield sse(self.chunk(view, reply, [last])).replace(b"\n", b"\r\n")
        yield sse(self.chunk(view, reply, [{"text": ""}], finishReason="STOP")).replace(b"\n", b"\r\n")


def schema(value, where):
    """The subset that `parameters` takes."""
    only(value, SCHEMA, where)
    need(str(value.get("type", "")).upper() in TYPES or "anyOf" in value, f"{where}.type: {value.get('type')!r}")
    if "type" in value:
        need(isinstance(value["type"], str), f"{where}.type: Proto field is not repeating")
    kind = str(value.get("type", "")).upper()
    need(kind != "ARRAY" or "items" in value, f"{where}.items: missing field")
    if "enum" in value:
        need(kind == "STRING" and all(isinstance(v, str) and v for v in value["enum"]), f"{where}.enum: {value['enum']}")
    if "format" in value and kind == "STRING":
        need(value["format"] in ("enum", "date-time"), f"{where}.format: only 'enum' and 'date-time' are supported")
    for name in value.get("required", []):
        need(name in value.get("properties", {}), f"{where}.required: property {name} is not defined")
    for name, inner in value.get("properties", {}).items():
        schema(inner, f"{where}.{name}")
    for inner in [*value.get("anyOf", []), *([value["items"]] if "items" in value else [])]:
        schema(inner, where)
