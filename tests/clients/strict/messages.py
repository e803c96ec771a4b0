"""Anthropic's Messages API: unknown fields are refused, roles alternate, tool results stand first in the turn
after their calls, and where the model thought before it called, its signed block must come back.

https://docs.anthropic.com/en/api/messages, …/build-with-claude/extended-thinking"""

import base64
import hashlib
import itertools
import json
import re

from . import Call, Refused, View, compact, need, named, only, pieces, sse

KEYS = {"model", "messages", "max_tokens", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences",
        "tools", "tool_choice", "thinking", "metadata", "service_tier", "output_config"}
BLOCK = {
    "text": {"type", "text", "cache_control", "citations"},
    "image": {"type", "source", "cache_control"},
    "document": {"type", "source", "title", "context", "citations", "cache_control"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_reference": {"type", "tool_name"},
}
# These think adaptively only, and are not sampled.
NEWEST = re.compile(r"opus-4-[7-9]|(opus|sonnet|haiku)-5")
TOOL = {"name", "description", "input_schema", "cache_control", "type", "strict", "defer_loading",
        "eager_input_streaming", "input_examples"}


class Messages:
    forgiving = False
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self):
        self.numbers, self.signed, self.thought_before = itertools.count(1), {}, {}

    def other(self, path, headers, body):
        if path.endswith("/v1/messages"):
            return None
        if path.endswith("/v1/messages/count_tokens"):
            value = json.loads(body)
            try:
                need("max_tokens" not in value, "max_tokens: Extra inputs are not permitted")
                need("stream" not in value, "stream: Extra inputs are not permitted")
                self.read(path, headers, value | {"max_tokens": 100_000})
            except Refused as refusal:
                return refusal.status, self.error(refusal)
            return 200, {"input_tokens": len(body) // 4}
        return 404, {"type": "error", "error": {"type": "not_found_error", "message": f"Not found: {path}"}}

    def error(self, refusal):
        kind = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error", 500: "api_error"}
        return {"type": "error", "error": {"type": kind.get(refusal.status, "invalid_request_error"),
                                           "message": str(refusal)}, "request_id": "req_1"}

    def read(self, path, headers, body):
        need(headers.get("x-api-key") or headers.get("authorization"), "x-api-key header is required", 401)
        need(headers.get("anthropic-version"), "anthropic-version: header is required")
        betas = headers.get("anthropic-beta", "")
        only(body, KEYS | ({"context_management"} if "context-management-" in betas else set()), "body")
        need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens: Field required")
        view = View(body["model"], body.get("stream", False), tools=self.tools(body))
        view.thinks = self.thinking(body)
        view.more["adaptive"] = body.get("thinking", {}).get("type") == "adaptive"
        view.more["omitted"] = body.get("thinking", {}).get("display") == "omitted"
        view.system = self.system(body.get("system", []))
        self.marks = json.dumps(body).count('"cache_control"')
        need(self.marks <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {self.marks}.")
        self.messages(body["messages"], view, "mid-conversation-" in betas)
        if "metadata" in body:
            only(body["metadata"], {"user_id"}, "metadata")
        return view

    def thinking(self, body):
        thinking = body.get("thinking", {"type": "disabled"})
        need(thinking.get("type") in ("enabled", "disabled", "adaptive"), f"thinking.type: {thinking}")
        if NEWEST.search(body["model"]):
            need(thinking["type"] != "enabled", "thinking.type.enabled is not supported for this model. Use adaptive.")
            for name in ("temperature", "top_p", "top_k"):
                need(name not in body, f"`{name}` is deprecated for this model.")
        only(thinking, {"type", "budget_tokens", "display"}, "thinking")
        if thinking["type"] == "disabled":
            return False
        if thinking["type"] == "enabled":
            need(1024 <= thinking.get("budget_tokens", 0) < body["max_tokens"], f"thinking.budget_tokens: {thinking}")
        else:
            need("budget_tokens" not in thinking, "thinking.adaptive.budget_tokens: Extra inputs are not permitted")
        need(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
        need("top_k" not in body, "`top_k` must be unset when thinking is enabled")
        choice = body.get("tool_choice", {"type": "auto"})["type"]
        need(choice in ("auto", "none"), "Thinking may not be enabled when tool_choice forces tool use.")
        return True

    def tools(self, body):
        found = {}
        for tool in body.get("tools", []):
            only(tool, TOOL, f"tools.{tool.get('name')}")
            named(r"[a-zA-Z0-9_-]{1,128}", tool.get("name"), "tools.name")
            need(tool["name"] not in found, f"tools: Tool names must be unique: {tool['name']}")
            need(isinstance(tool.get("input_schema"), dict), f"tools.{tool['name']}.input_schema: Field required")
            need(tool["input_schema"].get("type") == "object", f"tools.{tool['name']}.input_schema.type: no object")
            found[tool["name"]] = tool["input_schema"]
        if "tool_choice" in body:
            need(found, "tool_choice may only be specified while providing tools")
            only(body["tool_choice"], {"type", "name", "disable_parallel_tool_use"}, "tool_choice")
        return found

    def system(self, system):
        blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
        for block in blocks:
            only(block, BLOCK["text"], "system")
            need(block["text"].strip(), "system: text content blocks must contain non-whitespace text")
        return "".join(block["text"] for block in blocks)

    def messages(self, messages, view, mid_system):
        need(messages, "messages: at least one message is required")
        waiting, before = {}, None
        for index, message in enumerate(messages):
            where = f"messages.{index}"
            only(message, {"role", "content"}, where)
            if message["role"] == "system" and mid_system:
                view.system += self.system(message["content"])
                continue
            need(message["role"] in ("user", "assistant"), f"{where}.role: Unexpected value {message['role']!r}")
            need(message["role"] != before, f"{where}: roles must alternate")
            need(before or message["role"] == "user", f"{where}: first message must use the user role")
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            need(blocks, f"{where}: content is empty")
            for at, block in enumerate(blocks):
                self.block(block, message["role"], f"{where}.content.{at}", view)
            if message["role"] == "user":
                self.results(blocks, waiting, where, view)
                view.user = "".join(block["text"] for block in blocks if block["type"] == "text") or view.user
                waiting = {}
            else:
                waiting = self.calls(blocks, where, view)
            before = message["role"]
        need(before == "user", "This model does not support assistant message prefill.")

    def block(self, block, role, where, view):
        kind = block.get("type")
        need(kind in BLOCK, f"{where}: Input tag {kind!r} is not known")
        only(block, BLOCK[kind], where)
        need((role == "user") or kind in ("text", "tool_use", "thinking", "redacted_thinking"),
             f"{where}: {kind} is not the assistant's")
        need((role == "assistant") or kind not in ("tool_use", "thinking", "redacted_thinking"),
             f"{where}: {kind} is not the user's")
        if kind == "text":
            need(block["text"].strip(), f"{where}: text content blocks must contain non-whitespace text")
        elif kind == "thinking":
            need(self.signed.get(block["signature"]) is not None, f"{where}: Invalid `signature` in `thinking` block")
            need(block["thinking"] in ("", self.signed[block["signature"]]), f"{where}: a changed thinking block")
        elif kind == "image":
            view.pictures += 1

    def results(self, blocks, waiting, where, view):
        other = False
        for block in blocks:
            if block["type"] != "tool_result":
                other = True
                continue
            need(not other, f"{where}: tool_result blocks must come first")
            need(block["tool_use_id"] in waiting, f"{where}: unexpected `tool_use_id`: {block['tool_use_id']}")
            content = block.get("content", "")
            for part in content if isinstance(content, list) else []:
                need(part.get("type") in ("text", "image", "document", "tool_reference"), f"{where}: {part} in a result")
                only(part, BLOCK[part["type"]], where)
                view.pictures += part["type"] == "image"
            waiting.pop(block["tool_use_id"]).result = content if isinstance(content, str) else "".join(
                part.get("text", "") for part in content)
        need(not waiting, f"{where}: `tool_use` ids were found without `tool_result` blocks: {list(waiting)}")

    def calls(self, blocks, where, view):
        found, thoughts = {}, [b["signature"] for b in blocks if b["type"] == "thinking"]
        for block in blocks:
            if block["type"] != "tool_use":
                need(not found or block["type"] != "thinking", f"{where}: thinking after tool_use")
                continue
            named(r"[a-zA-Z0-9_-]+", block["id"], f"{where}.tool_use.id")
            need(isinstance(block["input"], dict), f"{where}.tool_use.input: Input should be a valid dictionary")
            need(block["id"] not in found, f"{where}: `tool_use` ids must be unique")
            found[block["id"]] = Call(block["id"], block["name"], block["input"])
            wanted = self.thought_before.get(block["id"])
            # Adaptive thinking does not insist on it.
            lost = self.forgiving and not thoughts and (not view.thinks or view.more["adaptive"])
            if wanted and not lost:
                need(view.thinks, f"{where}: thinking was on when the model made this call, and is off now")
                need(thoughts == [wanted] and blocks[0]["type"] == "thinking",
                     f"{where}: Expected `thinking` or `redacted_thinking`, but found `{blocks[0]['type']}`")
        view.rounds += [list(found.values())] if found else []
        return found

    def blocks(self, view, reply):
        signature, found = None, []
        if reply.thought and view.thinks:
            shown = "" if view.more["omitted"] else reply.thought
            digest = hashlib.sha256(f"{next(self.numbers)}{reply.thought}".encode()).digest()
            signature = base64.b64encode(digest * 9).decode()
            self.signed[signature] = reply.thought
            found.append({"type": "thinking", "thinking": shown, "signature": signature})
        if reply.text:
            found.append({"type": "text", "text": reply.text})
        for name, arguments in reply.calls:
            call = f"toolu_01{next(self.numbers):020}"
            self.thought_before[call] = signature
            found.append({"type": "tool_use", "id": call, "name": name, "input": arguments})
        return found

    def message(self, view, reply, content, stop, usage):
        return {"id": f"msg_01{next(self.numbers):020}", "type": "message", "role": "assistant", "model": view.model,
                "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def usage(self, reply):
        return {"input_tokens": reply.prompt_tokens - 20, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 20, "output_tokens": reply.output_tokens, "service_tier": "standard"}

    def whole(self, view, reply):
        stop = "tool_use" if reply.calls else "end_turn"
        return self.message(view, reply, self.blocks(view, reply), stop, self.usage(reply))

    def stream(self, view, reply):
        def event(kind, **more):
            return sse({"type": kind} | more, kind)

        yield event("message_start", message=self.message(view, reply, [], None, self.usage(reply) | {"output_tokens": 1}))
        yield event("ping")
        for index, block in enumerate(self.blocks(view, reply)):
            kind = block["type"]
            empty = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}[kind]
            yield event("content_block_start", index=index, content_block=block | empty)
            if kind == "tool_use":
                deltas = [{"type": "input_json_delta", "partial_json": piece}
                          for piece in ["", *pieces(compact(block["input"]) if block["input"] else "", 5)]]
            else:
                deltas = [{"type": f"{kind}_delta", kind: piece} for piece in pieces(block[kind])]
                deltas += [{"type": "signature_delta", "signature": block["signature"]}] if kind == "thinking" else []
            for delta in deltas:
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
        yield event("message_delta", usage={"output_tokens": reply.output_tokens}, delta={
            "stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None})
        yield event("message_stop")
