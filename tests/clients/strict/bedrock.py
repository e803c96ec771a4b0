"""Amazon Bedrock's Converse: roles alternate, results answer the calls of the turn before, tools are configured
wherever a history has them, blank text is refused, signed reasoning comes back; streams are binary events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://smithy.io/2.0/aws/amazon-eventstream.html"""

import base64
import itertools
import json
import re
import struct
import zlib
from urllib.parse import unquote

from . import Call, View, compact, need, named, only, pieces

KEYS = {"messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields", "requestMetadata",
        "additionalModelResponseFieldPaths", "performanceConfig", "serviceTier", "outputConfig", "guardrailConfig"}
BLOCKS = {"user": {"text", "image", "document", "toolResult", "cachePoint"},
          "assistant": {"text", "toolUse", "reasoningContent", "cachePoint"}}
PATH = re.compile(r"/model/(.+)/converse(-stream)?")


class Bedrock:
    stream_type = "application/vnd.amazon.eventstream"
    forgiving = False

    def __init__(self):
        self.numbers, self.signed, self.thought_before = itertools.count(1), {}, {}

    def other(self, path, headers, body):
        return None if PATH.fullmatch(path) else (404, {"message": f"no such operation: {path}"})

    def error(self, refusal):
        return {"message": str(refusal)}

    def read(self, path, headers, body):
        found = PATH.fullmatch(path)
        need(headers.get("authorization", "").startswith(("Bearer ", "AWS4-HMAC-SHA256 ")), "no credentials", 403)
        need(":" not in found[1], f"{path}: not encoded")
        only(body, KEYS, "body")
        only(body.get("inferenceConfig", {}), {"maxTokens", "temperature", "topP", "stopSequences"}, "inferenceConfig")
        view = View(unquote(found[1]), bool(found[2]))
        thinking = body.get("additionalModelRequestFields", {}).get("thinking", {"type": "disabled"})
        view.thinks = thinking["type"] != "disabled"
        if thinking["type"] == "enabled":
            most = body.get("inferenceConfig", {}).get("maxTokens", 0)
            need(1024 <= thinking["budget_tokens"] < most, f"budget_tokens {thinking} of {most}")
        for tool in body.get("toolConfig", {"tools": []})["tools"]:
            only(tool, {"toolSpec", "cachePoint"}, "toolConfig.tools")
            if spec := tool.get("toolSpec"):
                only(spec, {"name", "description", "inputSchema", "strict"}, "toolSpec")
                named(r"[a-zA-Z0-9_-]{1,64}", spec["name"], "toolSpec.name")
                need(spec.get("description", "x"), f"{spec['name']}: description is empty")
                need(spec["inputSchema"]["json"].get("type") == "object", f"{spec['name']}: inputSchema is no object")
                view.tools[spec["name"]] = spec["inputSchema"]["json"]
        for block in body.get("system", []):
            only(block, {"text", "cachePoint"}, "system")
            need(block.get("text", "x").strip(), "system: blank text")
            view.system += block.get("text", "")
        self.messages(body["messages"], view)
        need(not view.rounds or view.tools, "toolConfig must be defined when using toolUse and toolResult content blocks")
        return view

    def messages(self, messages, view):
        waiting, before = {}, None
        for index, message in enumerate(messages):
            where, role = f"messages.{index}", message["role"]
            only(message, {"role", "content"}, where)
            need(role in BLOCKS and role != before and (before or role == "user"), f"{where}: roles must alternate")
            need(message["content"], f"{where}: content is empty")
            for block in message["content"]:
                need(len(block) == 1, f"{where}: a block of {list(block)}")
                only(block, BLOCKS[role], where)
                need(block.get("text", "x").strip(), f"{where}: blank text")
                view.pictures += "image" in block
            if role == "user":
                self.results(message["content"], waiting, where, view)
                waiting = {}
                view.user = "".join(block.get("text", "") for block in message["content"]) or view.user
            else:
                waiting = self.calls(message["content"], where, view)
            before = role
        need(before == "user", "the last message is the assistant's")

    def results(self, blocks, waiting, where, view):
        for block in blocks:
            if result := block.get("toolResult"):
                only(result, {"toolUseId", "content", "status"}, f"{where}.toolResult")
                need(result["toolUseId"] in waiting, f"{where}: a result without a call")
                for part in result["content"]:
                    only(part, {"text", "json", "image", "document"}, f"{where}.toolResult.content")
                    need(part.get("text", "x"), f"{where}.toolResult: blank text")
                    view.pictures += "image" in part
                waiting.pop(result["toolUseId"]).result = "".join(
                    part.get("text", "") or json.dumps(part.get("json", ""), ensure_ascii=False) for part in result["content"])
        need(not waiting, f"{where}: toolUse without toolResult: {list(waiting)}")

    def calls(self, blocks, where, view):
        found, thoughts = {}, []
        for block in blocks:
            if reasoning := block.get("reasoningContent", {}).get("reasoningText"):
                need(self.signed.get(reasoning.get("signature")) == reasoning["text"], f"{where}: Invalid signature")
                thoughts.append(reasoning["signature"])
            if call := block.get("toolUse"):
                only(call, {"toolUseId", "name", "input", "type"}, f"{where}.toolUse")
                named(r"[a-zA-Z0-9_-]{1,64}", call["toolUseId"], f"{where}.toolUseId")
                need(isinstance(call["input"], dict), f"{where}: input is no object")
                found[call["toolUseId"]] = Call(call["toolUseId"], call["name"], call["input"])
                wanted = self.thought_before.get(call["toolUseId"])
                if wanted and not (self.forgiving and not view.thinks):
                    need(view.thinks and thoughts == [wanted], f"{where}: Expected `thinking`, but found `tool_use`")
        view.rounds += [list(found.values())] if found else []
        return found

    def blocks(self, view, reply):
        signature, found = None, []
        if reply.thought and view.thinks:
            signature = base64.b64encode(f"signature {next(self.numbers)} ".encode() * 12).decode()
            self.signed[signature] = reply.thought
            found.append({"reasoningContent": {"reasoningText": {"text": reply.thought, "signature": signature}}})
        found += [{"text": reply.text}] if reply.text else []
        for name, arguments in reply.calls:
            call = f"tooluse_{next(self.numbers):022}"
            self.thought_before[call] = signature
            found.append({"toolUse": {"toolUseId": call, "name": name, "input": arguments}})
        return found

    def end(self, reply):
        return {"usage": {"inputTokens": reply.prompt_tokens, "outputTokens": reply.output_tokens,
                          "totalTokens": reply.prompt_tokens + reply.output_tokens}, "metrics": {"latencyMs": 5}}

    def whole(self, view, reply):
        return {"output": {"message": {"role": "assistant", "content": self.blocks(view, reply)}},
                "stopReason": "tool_use" if reply.calls else "end_turn"} | self.end(reply)

    def stream(self, view, reply):
        yield event("messageStart", {"role": "assistant"})
        for index, block in enumerate(self.blocks(view, reply)):
            place = {"contentBlockIndex": index}
            if call := block.get("toolUse"):
                yield event("contentBlockStart", place | {"start": {"toolUse": {
                    "toolUseId": call["toolUseId"], "name": call["name"]}}})
                deltas = [{"toolUse": {"input": piece}} for piece in pieces(compact(call["input"]) if call["input"] else "", 5)]
            elif reasoning := block.get("reasoningContent"):
                deltas = [{"reasoningContent": {"text": piece}} for piece in pieces(reasoning["reasoningText"]["text"])]
                deltas.append({"reasoningContent": {"signature": reasoning["reasoningText"]["signature"]}})
            else:
                deltas = [{"text": piece} for piece in pieces(block["text"])]
            for delta in deltas:
                yield event("contentBlockDelta", place | {"delta": delta})
            yield event("contentBlockStop", place)
        yield event("messageStop", {"stopReason": "tool_use" if reply.calls else "end_turn"})
        yield event("metadata", self.end(reply))


def event(kind, value):
    """One frame: lengths and their checksum, headers of type string, the payload, a checksum of it all."""
    fields = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(struct.pack(">B", len(name)) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
                       for name, text in fields.items())
    payload = json.dumps(value, ensure_ascii=False).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))
