"""OpenAI's Responses API without a store: items and parts of the documented kinds, outputs that answer calls, and
reasoning that comes back as it was given out.

https://platform.openai.com/docs/api-reference/responses"""

import base64
import itertools
import json

from . import Call, View, compact, need, named, only, pieces, sse

KEYS = {"model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "reasoning", "include", "store", "text", "temperature", "top_p", "max_output_tokens", "max_tool_calls", "metadata",
        "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier", "truncation",
        "top_logprobs", "client_metadata", "background", "previous_response_id", "context_management"}
ITEM = {
    "message": {"type", "role", "content", "id", "status", "phase"},
    "function_call": {"type", "call_id", "name", "arguments", "id", "status", "namespace"},
    "function_call_output": {"type", "call_id", "output", "id", "status"},
    "custom_tool_call": {"type", "call_id", "name", "input", "id", "status", "namespace"},
    "custom_tool_call_output": {"type", "call_id", "output", "id", "status"},
    "tool_search_call": {"type", "call_id", "arguments", "execution", "id", "status"},
    "tool_search_output": {"type", "call_id", "tools", "execution", "id", "status"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
    "additional_tools": {"type", "id", "tools", "role"},
}
PARTS = {"assistant": {"output_text", "refusal"}, "user": {"input_text", "input_image", "input_file"},
         "system": {"input_text"}, "developer": {"input_text"}}
TOOL = {
    "function": {"type", "name", "description", "parameters", "strict", "defer_loading"},
    "custom": {"type", "name", "description", "format", "defer_loading"},
    "namespace": {"type", "name", "description", "tools"},
    "tool_search": {"type", "execution", "description", "parameters"},
    "web_search": {"type", "external_web_access", "search_content_types", "search_context_size", "filters", "user_location"},
}
SHOWN = {"function_call": "arguments", "custom_tool_call": "input", "tool_search_call": "arguments"}
DELTA = {"function_call": "response.function_call_arguments", "custom_tool_call": "response.custom_tool_call_input"}


class Responses:
    forgiving = False
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self):
        self.numbers, self.sealed, self.reasoned = itertools.count(1), {}, {}

    def other(self, path, headers, body):
        if path.endswith("/responses"):
            return None
        return 404, {"error": {"message": f"Invalid URL (POST {path})", "type": "invalid_request_error", "code": None}}

    def error(self, refusal):
        return {"error": {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": refusal.code}}

    def read(self, path, headers, body):
        need(headers.get("authorization", "").startswith("Bearer "), "no bearer key", 401)
        only(body, KEYS, "body")
        need(not body.get("previous_response_id"), "Previous response not found.")
        view = View(body["model"], body.get("stream", False), system=body.get("instructions") or "")
        view.more = {"kinds": {}, "seals": "reasoning.encrypted_content" in body.get("include", [])}
        view.more["body"] = body
        self.tools(body.get("tools", []), view)
        items = body["input"]
        items = [{"type": "message", "role": "user", "content": items}] if isinstance(items, str) else items
        need(items, "input: must not be empty")
        waiting, seen, round_open, sealed = {}, set(), False, []
        for index, item in enumerate(items):
            where = f"input[{index}]"
            kind = item.get("type", "message")
            need(kind in ITEM, f"{where}.type: {kind!r} is not supported")
            only(item, ITEM[kind], where)
            if kind.endswith("_output"):
                need(item["call_id"] in waiting, f"No tool call found for function call output with call_id {item['call_id']}.")
                waiting.pop(item["call_id"]).result = self.output(item, where, view)
                round_open = False
            elif kind in SHOWN:
                named(r".{1,64}", item["call_id"], f"{where}.call_id")
                need(item["call_id"] not in seen, f"{where}: a second call with the id {item['call_id']}")
                seen.add(item["call_id"])
                call = waiting[item["call_id"]] = Call(item["call_id"], item.get("name", "tool_search"), self.arguments(item))
                if not round_open:
                    view.rounds.append([])
                view.rounds[-1].append(call)
                round_open = True
                if wanted := self.reasoned.get(item["call_id"]):
                    need(wanted in sealed or self.forgiving, f"{where}: its reasoning item did not come back")
            elif kind == "reasoning":
                seal = item.get("encrypted_content")
                need(not item.get("content"), f"{where}.content: array too long. Expected maximum length 0")
                need(isinstance(item.get("summary"), list), f"{where}.summary: missing")
                need(seal is None or seal in self.sealed, f"{where}: the encrypted content could not be verified")
                sealed.append(seal)
                round_open = False
            elif kind == "additional_tools":
                self.tools(item["tools"], view)
            else:
                round_open = False
                self.message(item, where, view)
        need(not waiting, f"No tool output found for function call {next(iter(waiting), '')}.")
        return view

    def tools(self, tools, view, namespace=None):
        for tool in tools:
            kind = tool.get("type")
            need(kind in TOOL, f"tools[].type: {kind!r} is not supported")
            only(tool, TOOL[kind], f"tools[{tool.get('name')}]")
            if kind == "namespace":
                self.tools(tool["tools"], view, tool["name"])
            elif kind != "web_search":
                name = tool.get("name", kind)
                named(r"[a-zA-Z0-9_-]{1,128}", name, "tools[].name")
                full = f"{namespace}/{name}" if namespace else name
                view.more["kinds"][full] = (kind, namespace, name)
                view.tools[full] = {"type": "custom"} if kind == "custom" else tool.get("parameters") or {}

    def message(self, item, where, view):
        need(item["role"] in PARTS, f"{where}.role: {item['role']!r}")
        content = item["content"]
        need(content, f"{where}.content is empty")
        for part in content if isinstance(content, list) else []:
            need(part.get("type") in PARTS[item["role"]], f"{where}: part {part.get('type')!r} of the {item['role']}")
            view.pictures += part["type"] == "input_image"
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        if item["role"] == "user":
            view.user = text
        elif item["role"] != "assistant":
            view.system += text

    def output(self, item, where, view):
        if item["type"] == "tool_search_output":
            self.tools(item["tools"], view)
            return compact(item["tools"])
        output = item["output"]
        if isinstance(output, str):
            return output
        for part in output:
            need(part.get("type") in PARTS["user"], f"{where}.output: part {part.get('type')!r}")
            view.pictures += part["type"] == "input_image"
        return "".join(part.get("text", "") for part in output)

    def arguments(self, item):
        value = item[SHOWN[item["type"]]]
        if item["type"] == "function_call":
            value = json.loads(value)
        need(isinstance(value, str if item["type"] == "custom_tool_call" else dict), f"{item['type']}: arguments {value!r}")
        return value

    def items(self, view, reply):
        found = []
        if reply.thought:
            seal = base64.b64encode(f"sealed {next(self.numbers)} {reply.thought}".encode()).decode()
            self.sealed[seal] = reply.thought
            found.append({"type": "reasoning", "id": f"rs_{next(self.numbers):024}", "status": "completed",
                          "summary": [{"type": "summary_text", "text": reply.thought}],
                          "encrypted_content": seal if view.more["seals"] else None})
        if reply.text:
            found.append({"type": "message", "id": f"msg_{next(self.numbers):024}", "role": "assistant", "status": "completed",
                          "content": [{"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}]})
        for full, arguments in reply.calls:
            kind, namespace, name = view.more["kinds"][full]
            number = next(self.numbers)
            call = {"call_id": f"call_{number:024}", "status": "completed"}
            if kind == "tool_search":
                call |= {"type": "tool_search_call", "id": f"tsc_{number:024}", "execution": "client", "arguments": arguments}
            elif kind == "custom":
                call |= {"type": "custom_tool_call", "id": f"ctc_{number:024}", "name": name, "input": arguments}
            else:
                call |= {"type": "function_call", "id": f"fc_{number:024}", "name": name, "arguments": compact(arguments)}
            found.append(call | ({"namespace": namespace} if namespace else {}))
            if reply.thought and view.more["seals"]:
                self.reasoned[call["call_id"]] = found[0]["encrypted_content"]
        return found

    def response(self, view, reply, items, status):
        usage = {"input_tokens": reply.prompt_tokens, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
                 "output_tokens": reply.output_tokens, "output_tokens_details": {"reasoning_tokens": 5},
                 "total_tokens": reply.prompt_tokens + reply.output_tokens}
        body = view.more["body"]
        return {"id": f"resp_{'0' * 24}", "object": "response", "created_at": 1, "status": status, "error": None,
                "incomplete_details": None, "instructions": None, "model": view.model, "output": items,
                "parallel_tool_calls": True, "tool_choice": "auto", "tools": body.get("tools", []), "metadata": {},
                "temperature": 1.0, "top_p": 1.0, "store": False, "usage": usage if status == "completed" else None}

    def whole(self, view, reply):
        return self.response(view, reply, self.items(view, reply), "completed")

    def stream(self, view, reply):
        numbers = itertools.count()

        def event(kind, **more):
            return sse({"type": kind, "sequence_number": next(numbers)} | more, kind)

        items = self.items(view, reply)
        for kind in ("created", "in_progress"):
            yield event(f"response.{kind}", response=self.response(view, reply, [], "in_progress"))
        for index, item in enumerate(items):
            place = {"item_id": item["id"], "output_index": index}
            empty = {"reasoning": {"summary": []}, "message": {"content": []}}.get(item["type"])
            if empty is None:
                field = SHOWN[item["type"]]
                empty = {field: "" if isinstance(item[field], str) else {}}
            yield event("response.output_item.added", output_index=index, item=item | empty | {"status": "in_progress"})
            if item["type"] == "reasoning":
                place["summary_index"] = 0
                part, text, head = {"type": "summary_text"}, item["summary"][0]["text"], "response.reasoning_summary"
            elif item["type"] == "message":
                place["content_index"] = 0
                part, text = {"type": "output_text", "annotations": [], "logprobs": []}, item["content"][0]["text"]
            if item["type"] in ("reasoning", "message"):
                reasons = item["type"] == "reasoning"
                one, two = (f"{head}_part", f"{head}_text") if reasons else ("response.content_part", "response.output_text")
                more = {} if reasons else {"logprobs": []}
                yield event(f"{one}.added", part=part | {"text": ""}, **place)
                for piece in pieces(text):
                    yield event(f"{two}.delta", delta=piece, **place, **more)
                yield event(f"{two}.done", text=text, **place, **more)
                yield event(f"{one}.done", part=part | {"text": text}, **place)
            elif item["type"] in DELTA:
                for piece in pieces(item[field], 5):
                    yield event(f"{DELTA[item['type']]}.delta", delta=piece, **place)
                yield event(f"{DELTA[item['type']]}.done", **{field: item[field]}, **place)
            yield event("response.output_item.done", output_index=index, item=item)
        yield event("response.completed", response=self.response(view, reply, items, "completed"))
