"""OpenAI's chat completions as those serve it who have nothing else: no /responses, no `developer`, functions
only, no field beyond the documented ones. The temperaments: `groq` (refuses reasoning in a history), `mistral`
(ids of nine characters, no stream_options, 422), `deepseek` (wants its reasoning_content back in a tool loop);
and `openai`, which knows more, shows no reasoning, and has /responses beside it.

https://console.groq.com/docs/openai, https://docs.mistral.ai/api, https://api-docs.deepseek.com/guides/thinking_mode"""

import itertools
import json

from . import Call, Refused, View, compact, need, named, only, pieces, sse

KEYS = {"model", "messages", "stream", "tools", "tool_choice", "temperature", "top_p", "max_tokens", "stop", "n",
        "presence_penalty", "frequency_penalty", "response_format", "parallel_tool_calls"}
MORE = {"groq": {"stream_options", "seed", "reasoning_effort", "max_completion_tokens", "user"},
        "mistral": {"random_seed", "safe_prompt", "reasoning_effort"},
        "openai": {"stream_options", "seed", "reasoning_effort", "max_completion_tokens", "user", "store", "metadata",
                   "verbosity", "prompt_cache_key", "service_tier", "safety_identifier"},
        "deepseek": {"stream_options", "thinking", "reasoning_effort", "logprobs", "top_logprobs"}}
MESSAGE = {"system": {"role", "content"}, "user": {"role", "content"}, "assistant": {"role", "content", "tool_calls"},
           "tool": {"role", "content", "tool_call_id"}}


class Chat:
    forgiving = False
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self, kind="groq"):
        self.kind, self.numbers, self.reasons = kind, itertools.count(1), {}

    def other(self, path, headers, body):
        if path.endswith("/chat/completions"):
            return None
        return 404, {"error": {"message": f"Unknown request URL: {path}", "type": "invalid_request_error",
                               "code": "unknown_url"}}

    def error(self, refusal):
        return {"error": {"message": str(refusal), "type": "invalid_request_error", "code": refusal.code}}

    def read(self, path, headers, body):
        need(headers.get("authorization", "").startswith("Bearer "), "no bearer key", 401)
        try:
            return self.body(body)
        except Refused as refusal:
            refusal.status = 422 if self.kind == "mistral" and refusal.status == 400 else refusal.status
            raise

    def body(self, body):
        only(body, KEYS | MORE[self.kind], "body")
        need(self.kind != "openai" or "max_tokens" not in body, "Unsupported parameter: 'max_tokens' is not supported with "
                                                                "this model. Use 'max_completion_tokens' instead.")
        view = View(body["model"], body.get("stream", False), tools=self.tools(body))
        if "stream_options" in body:
            need(view.stream, "stream_options is only allowed with stream")
            only(body["stream_options"], {"include_usage"}, "stream_options")
        need(not ("max_tokens" in body and "max_completion_tokens" in body), "both limits are given")
        view.more["usage"] = body.get("stream_options", {}).get("include_usage") or self.kind == "mistral"
        waiting = {}
        for index, message in enumerate(body["messages"]):
            where = f"messages[{index}]"
            if self.kind == "openai" and message.get("role") == "developer":
                message["role"] = "system"
            need(message.get("role") in MESSAGE, f"{where}.role: {message.get('role')!r} is not known")
            allowed = MESSAGE[message["role"]] | ({"reasoning_content"} if self.kind == "deepseek" else set())
            only(message, allowed, where)
            if message["role"] == "tool":
                need(message["tool_call_id"] in waiting, f"{where}: no call {message['tool_call_id']!r} before it")
                call = waiting.pop(message["tool_call_id"])
                need(isinstance(message["content"], str), f"{where}.content: a tool's result is a string")
                call.result = message["content"]
                continue
            need(not waiting, f"{where}: tool calls without results: {list(waiting)}")
            if message["role"] == "assistant":
                need(message.get("content") or message.get("tool_calls"), f"{where}: neither content nor tool_calls")
                waiting = self.calls(message, where)
                view.rounds += [list(waiting.values())] if waiting else []
            else:
                text = self.content(message, where, view)
                view.system, view.user = ((view.system + text, view.user) if message["role"] == "system"
                                          else (view.system, text))
        need(not waiting, f"tool calls without results at the end: {list(waiting)}")
        need(body["messages"][-1]["role"] != "assistant", "the last message is the assistant's")
        return view

    def content(self, message, where, view):
        content = message["content"]
        if isinstance(content, str):
            need(content, f"{where}.content is empty")
            return content
        need(isinstance(content, list) and content, f"{where}.content is neither text nor parts")
        for part in content:
            only(part, {"type", part.get("type")}, where)
            need(part["type"] in ("text", "image_url"), f"{where}: part {part['type']!r} is not known")
            need(part["type"] == "text" or message["role"] == "user", f"{where}: a picture of the {message['role']}")
            view.pictures += part["type"] == "image_url"
        return "".join(part.get("text", "") for part in content)

    def calls(self, message, where):
        found = {}
        for call in message.get("tool_calls") or []:
            only(call, {"id", "type", "function"}, f"{where}.tool_calls")
            only(call["function"], {"name", "arguments"}, f"{where}.tool_calls.function")
            need(call.get("type") == "function", f"{where}: a call of type {call.get('type')!r}")
            named(r"[a-zA-Z0-9]{9}" if self.kind == "mistral" else r"[a-zA-Z0-9_-]{1,40}", call["id"], f"{where}.id")
            named(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"], f"{where}.name")
            need(call["id"] not in found, f"{where}: two calls with the id {call['id']}")
            need(isinstance(call["function"]["arguments"], str), f"{where}: arguments must be a string")
            arguments = json.loads(call["function"]["arguments"])
            need(isinstance(arguments, dict), f"{where}: arguments are no object")
            found[call["id"]] = Call(call["id"], call["function"]["name"], arguments)
            if self.kind == "deepseek" and call["id"] in self.reasons:
                back = message.get("reasoning_content")
                need(back == self.reasons[call["id"]] or self.forgiving and isinstance(back, str),
                     "The `reasoning_content` in the thinking mode must be passed back to the API")
        return found

    def tools(self, body):
        if "tools" not in body:
            need("tool_choice" not in body and "parallel_tool_calls" not in body, "tool_choice without tools")
            return {}
        need(body["tools"], "tools is an empty list")
        found = {}
        for tool in body["tools"]:
            only(tool, {"type", "function"}, "tools[]")
            need(tool["type"] == "function", f"tools[].type: {tool['type']!r} is not supported")
            only(tool["function"], {"name", "description", "parameters", "strict"}, "tools[].function")
            named(r"[a-zA-Z0-9_-]{1,64}", tool["function"]["name"], "tools[].function.name")
            need(tool["function"]["name"] not in found, f"two tools named {tool['function']['name']}")
            parameters = tool["function"].get("parameters", {"type": "object", "properties": {}})
            need(parameters.get("type") == "object", f"{tool['function']['name']}: parameters are no object")
            found[tool["function"]["name"]] = parameters
        return found

    def spoken(self, reply):
        """The calls with ids, as this reply will have them."""
        numbers = [next(self.numbers) for _ in reply.calls]
        calls = [{"id": f"call{number:05}" if self.kind == "mistral" else f"call_{number:05}", "type": "function",
                  "function": {"name": name, "arguments": compact(arguments) if arguments else ""}}
                 for number, (name, arguments) in zip(numbers, reply.calls)]
        if reply.thought:
            self.reasons |= {call["id"]: reply.thought for call in calls}
        return calls

    def reason(self, text):
        if self.kind == "openai":
            return {}
        if self.kind == "mistral":
            return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}
        return {"reasoning_content" if self.kind == "deepseek" else "reasoning": text}

    def usage(self, reply):
        return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.output_tokens,
                "total_tokens": reply.prompt_tokens + reply.output_tokens}

    def whole(self, view, reply):
        message = {"role": "assistant", "content": reply.text or None}
        message |= {"tool_calls": self.spoken(reply)} if reply.calls else {}
        if reply.thought and self.kind != "mistral":
            message |= self.reason(reply.thought)
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": view.model,
                "choices": [{"index": 0, "message": message, "logprobs": None,
                             "finish_reason": "tool_calls" if reply.calls else "stop"}], "usage": self.usage(reply)}

    def stream(self, view, reply):
        def chunk(delta, finish=None, **more):
            return sse({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": view.model,
                        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]} | more)

        yield b": a comment\n\n"
        yield chunk({"role": "assistant", "content": ""})
        for piece in pieces(reply.thought):
            yield chunk(self.reason(piece))
        for piece in pieces(reply.text):
            yield chunk({"content": piece})
        for index, call in enumerate(self.spoken(reply)):
            arguments = call["function"].pop("arguments")
            yield chunk({"tool_calls": [{"index": index} | call | {"function": call["function"] | {"arguments": ""}}]})
            for piece in pieces(arguments, 5):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        last = {"usage": self.usage(reply)} if self.kind == "mistral" else {}
        yield chunk({}, "tool_calls" if reply.calls else "stop", **last)
        if view.more["usage"] and self.kind != "mistral":
            yield sse({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": view.model,
                       "choices": [], "usage": self.usage(reply)})
        yield sse("[DONE]")
