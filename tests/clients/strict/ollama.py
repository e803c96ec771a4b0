"""Ollama's own /api/chat: lines of JSON, contents that are strings, arguments that are objects, results that name
their tool, no tool_choice; no /v1. Ids of calls are taken, as newer versions do, and none are given out.

https://docs.ollama.com/api/chat"""

import json

from . import Call, View, compact, need, named, only, pieces

KEYS = {"model", "messages", "tools", "stream", "format", "options", "keep_alive", "think", "logprobs", "top_logprobs"}
OPTIONS = {"num_predict", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty",
           "frequency_penalty", "repeat_penalty", "num_ctx", "num_keep"}
MESSAGE = {"system": {"role", "content"}, "user": {"role", "content", "images"},
           "assistant": {"role", "content", "thinking", "tool_calls"},
           "tool": {"role", "content", "tool_name", "tool_call_id"}}


class Ollama:
    forgiving = False
    stream_type = "application/x-ndjson"

    def other(self, path, headers, body):
        return None if path == "/api/chat" else (404, {"error": f"not found: {path}"})

    def error(self, refusal):
        return {"error": str(refusal)}

    def read(self, path, headers, body):
        only(body, KEYS, "body")
        only(body.get("options", {}), OPTIONS, "options")
        need(isinstance(body.get("options", {}).get("stop", []), list), "options.stop: must be a list")
        need(body.get("think", False) in (True, False, "low", "medium", "high"), f"think: {body.get('think')!r}")
        view = View(body["model"], body.get("stream", True), thinks=bool(body.get("think")))
        for tool in body.get("tools", []):
            only(tool, {"type", "function"}, "tools[]")
            need(tool["type"] == "function", f"tools[].type: {tool['type']!r}")
            only(tool["function"], {"name", "description", "parameters"}, "tools[].function")
            named(r"[a-zA-Z0-9_.-]{1,128}", tool["function"]["name"], "tools[].function.name")
            need(tool["function"].get("parameters", {}).get("type") == "object", "tools[].function.parameters.type")
            view.tools[tool["function"]["name"]] = tool["function"]["parameters"]
        waiting = []
        for index, message in enumerate(body["messages"]):
            where = f"messages[{index}]"
            need(message.get("role") in MESSAGE, f"{where}.role: {message.get('role')!r}")
            only(message, MESSAGE[message["role"]], where)
            need(isinstance(message.get("content", ""), str), f"{where}.content: cannot unmarshal into a string")
            for picture in message.get("images") or []:
                need(isinstance(picture, str) and not picture.startswith("data:"), f"{where}.images: illegal base64")
                view.pictures += 1
            if message["role"] == "tool":
                need(waiting, f"{where}: a result without a call")
                call = waiting.pop(0)
                need(message.get("tool_call_id", call.id) == call.id, f"{where}: a result of another call")
                need(message["tool_name"] == call.name, f"{where}: a result of {message['tool_name']} to {call.name}")
                call.result = message["content"]
                continue
            need(not waiting, f"{where}: calls without results: {[call.name for call in waiting]}")
            if message["role"] == "assistant":
                waiting = self.calls(message, where)
                view.rounds += [list(waiting)] if waiting else []
            elif message["role"] == "user":
                view.user = message["content"]
            else:
                view.system += message["content"]
        need(not waiting, "calls without results at the end")
        return view

    def calls(self, message, where):
        found = []
        for call in message.get("tool_calls") or []:
            only(call, {"function", "id", "type"}, f"{where}.tool_calls")
            only(call["function"], {"name", "arguments", "index"}, f"{where}.tool_calls.function")
            need(isinstance(call["function"]["arguments"], dict), f"{where}: arguments must be an object")
            found.append(Call(call.get("id", ""), call["function"]["name"], call["function"]["arguments"]))
        return found

    def line(self, view, message, **more):
        return {"model": view.model, "created_at": "2026-11-21T10:00:00.123456789Z",
                "message": {"role": "assistant", "content": ""} | message, "done": False} | more

    def end(self, reply):
        return {"done": True, "done_reason": "stop", "total_duration": 5, "load_duration": 1, "eval_duration": 1,
                "prompt_eval_duration": 1, "prompt_eval_count": reply.prompt_tokens, "eval_count": reply.output_tokens}

    def spoken(self, reply):
        return [{"function": {"index": index, "name": name, "arguments": arguments}}
                for index, (name, arguments) in enumerate(reply.calls)]

    def whole(self, view, reply):
        message = {"content": reply.text} | ({"tool_calls": self.spoken(reply)} if reply.calls else {})
        message |= {"thinking": reply.thought} if reply.thought and view.thinks else {}
        return self.line(view, message, **self.end(reply))

    def stream(self, view, reply):
        lines = [self.line(view, {"thinking": piece}) for piece in pieces(reply.thought)] if view.thinks else []
        lines += [self.line(view, {"content": piece}) for piece in pieces(reply.text)]
        lines += [self.line(view, {"tool_calls": [call]}) for call in self.spoken(reply)]
        lines.append(self.line(view, {}, **self.end(reply)))
        yield from ((compact(line) + "\n").encode() for line in lines)
