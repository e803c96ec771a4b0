"""Scripted providers, one server for each format, that give the vendors' documented answers of `tests/golden/answers`.

    python upstreams.py PATH_TO_TIDEGATE COMMAND…

runs a command once for each format and for the mock, in front of a gateway: the words `{base}`, `{key}`, `{model}` and
`{said}` (what the answers say; none of the mock) are replaced.

Which answer is chosen by the last `[answer CASE]` in what arrives: in the user's text, or in a tool's result, so that a
conversation decides itself how it goes on; without one it is a call where there are tools, else a few words.
`[answer error.KIND]` is refused as the vendor refuses; `[answer json]` and `[answer first_tool]` are made for the request.
Streams are cut at odd places: inside lines, characters and frames. It must not know what clients speak."""

import contextlib
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gateway
import meaning
from upstream_errors import ERRORS, openai

ANSWERS = pathlib.Path(__file__).parent.parent / "golden/answers"
KEY = gateway.UPSTREAM_KEY
MARK = re.compile(rb"\[answer ([a-z_.]+)\]")
# How a format's streams are stored, and what they are called on the wire.
STREAMS = {
    "openai_chat": ("sse", "text/event-stream"),
    "openai_responses": ("sse", "text/event-stream"),
    "anthropic": ("sse", "text/event-stream; charset=utf-8"),
    "gemini": ("sse", "text/event-stream"),
    "bedrock": ("bin", "application/vnd.amazon.eventstream"),
    "ollama": ("jsonl", "application/x-ndjson"),
    "cohere": ("sse", "text/event-stream"),
}
FORMATS = list(STREAMS)
# The answer that says a few words and is done.
PLAIN = {
    "openai_chat": "openai_plain",
    "openai_responses": "text",
    "anthropic": "text",
    "gemini": "plain",
    "bedrock": "plain",
    "ollama": "plain",
    "cohere": "plain_streamed",
}
# One that calls a tool.
CALLING = {
    "openai_chat": "openai_parallel_tools",
    "openai_responses": "tool",
    "anthropic": "parallel_tools",
    "gemini": "tool",
    "bedrock": "tools",
    "ollama": "tools",
    "cohere": "parallel",
}
# What a tool is called with, where the answer is made for the request.
TEXT = '*** Begin Patch\n*** Add File: é "1".txt\n+\U0001f30a\u2028\n*** End Patch\n'
# The name of every response in the stored answers, and what OpenAI's have had since these were written down.
RESPONSE_ID = b"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654"
HEAD = b'"object":"response",'
SINCE = (
    HEAD + b'"completed_at":null,"presence_penalty":0.0,"frequency_penalty":0.0,"top_logprobs":0,"max_tool_calls":null,'
    b'"safety_identifier":null,"prompt_cache_key":null,'
)
# Answers that are none.
FAILURES = {"error", "failed", "openrouter_error"}


def answer(form, case):
    """The whole answer of a case, as the vendor's JSON."""
    return json.loads((ANSWERS / form / f"{case}.json").read_text())


def cases(form):
    """The cases that have a whole answer and a streamed one."""
    kind, _ = STREAMS[form]
    both = [path.stem for path in (ANSWERS / form).glob("*.json") if path.with_suffix(f".{kind}").exists()]
    return sorted(case for case in both if case not in FAILURES)


def structured(form, request):
    """The plain answer with JSON for its text; the call of the tool that stands in for it, where the request has one."""
    place = {"city": "Kyiv", "days": 3}
    if form == "anthropic" and any(tool["name"].startswith("json_") for tool in request.get("tools", [])):
        value = answer(form, "json_tool")
        value["content"][0].update(name=request["tools"][-1]["name"], input=place)
        return value
    if form == "bedrock" and "toolConfig" in request:
        value = answer(form, "structured")
        tool = request["toolConfig"]["tools"][-1]["toolSpec"]["name"]
        value["output"]["message"]["content"][0]["toolUse"].update(name=tool, input=place)
        return value
    value = answer(form, PLAIN[form])
    text = meaning.of_provider(form, value).text
    return json.loads(json.dumps(value).replace(json.dumps(text), json.dumps(json.dumps(place))))


def first_tool(form, request):
    """An answer that calls the first tool of the request with `TEXT` for the one argument that its schema asks for. It is
    answered whole, also to who wants a stream, as some servers do."""
    if form == "gemini":
        tool = request["tools"][0]["functionDeclarations"][0]
        schema = tool.get("parametersJsonSchema") or tool.get("parameters")
    elif form == "bedrock":
        tool = request["toolConfig"]["tools"][0]["toolSpec"]
        schema = tool["inputSchema"]["json"]
    elif form in ("anthropic", "openai_responses"):
        tool = request["tools"][0]
        schema = tool.get("input_schema") or tool.get("parameters")
    else:
        tool = request["tools"][0].get("function") or request["tools"][0]["custom"]
        schema = tool.get("parameters")
    name, values = tool["name"], {key: TEXT for key in (schema or {}).get("properties", {})}
    value = answer(form, {"gemini": "tool", "bedrock": "structured", "anthropic": "json_tool"}.get(form, CALLING[form]))
    if form == "gemini":
        value["candidates"][0]["content"]["parts"][0]["functionCall"].update(name=name, args=values)
    elif form == "bedrock":
        value["output"]["message"]["content"][0]["toolUse"].update(name=name, input=values)
    elif form == "anthropic":
        value["content"][0].update(name=name, input=values)
    elif form == "openai_responses":
        value["output"] = value["output"][-1:]
        value["output"][0].update(name=name, arguments=json.dumps(values))
    else:
        message = value["message"] if form != "openai_chat" else value["choices"][0]["message"]
        call = message["tool_calls"][0]
        message["tool_calls"] = [call]
        if "custom" in request["tools"][0]:
            call.pop("function")
            call.update(type="custom", custom={"name": name, "input": TEXT})
        else:
            call["function"].update(name=name, arguments=values if form == "ollama" else json.dumps(values))
    return value


def compacted():
    said = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "Moin"}],
    }
    usage = answer("openai_responses", "text")["usage"]
    return {
        "id": "resp_001",
        "object": "response.compaction",
        "created_at": 1764967971,
        "usage": usage,
        "output": [said, {"id": "cmp_001", "type": "compaction", "encrypted_content": "gAAAAABpM0Yj"}],
    }


class Provider:
    """The server of one format. `requests` holds (path, headers, body as JSON) in order of arrival."""

    def __init__(self, form):
        self.form = form
        self.requests = []
        self.kept = {}
        self.lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                provider.stored(self)

            def do_DELETE(self):
                provider.stored(self)

            def do_POST(self):
                body = gateway.read_body(self)
                headers = {name.lower(): value for name, value in self.headers.items()}
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    provider.answer(self, headers, body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def last(self):
        with self.lock:
            return self.requests[-1][2]

    def answer(self, handler, headers, body):
        request = json.loads(body)
        with self.lock:
            self.requests.append((handler.path, headers, request))
        if (
            KEY not in str([headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")])
            and self.form != "ollama"
        ):
            return send_error(handler, ERRORS[self.form]["key"])
        marks = MARK.findall(body)
        has_tools = request.get("tools") or request.get("toolConfig")
        case = marks[-1].decode() if marks else (CALLING if has_tools else PLAIN)[self.form]
        if case.startswith("error."):
            return send_error(handler, ERRORS[self.form][case.removeprefix("error.")])
        previous = request.get("previous_response_id")
        if previous and previous not in self.kept:
            return send_error(
                handler,
                (
                    400,
                    {},
                    openai(
                        f"Previous response with id '{previous}' not found.",
                        "invalid_request_error",
                        "previous_response_not_found",
                        "previous_response_id",
                    ),
                ),
            )
        if self.form == "openai_responses" and previous is None and (orphan := meaning.missing_call(request)):
            return send_error(
                handler,
                (
                    400,
                    {},
                    openai(
                        f"No tool call found for function call output with call_id {orphan}.",
                        "invalid_request_error",
                        None,
                        "input",
                    ),
                ),
            )
        if handler.path.endswith("/count_tokens"):
            return gateway.send_json(handler, 200, {"input_tokens": 2095})
        if handler.path.endswith("/compact"):
            return gateway.send_json(handler, 200, compacted())
        fresh = f"resp_{uuid.uuid4().hex}{uuid.uuid4().hex[:18]}".encode()
        if case == "first_tool" or not (request.get("stream") or "tream" in handler.path):
            made = {"json": structured, "first_tool": first_tool}.get(case)
            value = made(self.form, request) if made else answer(self.form, case)
            data = json.dumps(value, separators=(",", ":")).encode().replace(RESPONSE_ID, fresh).replace(HEAD, SINCE)
            self.keep(request, fresh, data)
            return gateway.send_bytes(handler, 200, "application/json", data)
        kind, content_type = STREAMS[self.form]
        self.keep(request, fresh, b"{}")
        data = (ANSWERS / self.form / f"{case}.{kind}").read_bytes()
        return send_cut(handler, content_type, data.replace(RESPONSE_ID, fresh).replace(HEAD, SINCE))

    def keep(self, request, name, data):
        if self.form == "openai_responses" and request.get("store") is not False:
            self.kept[name.decode()] = json.loads(data)

    def stored(self, handler):
        """OpenAI keeps responses: asked for, asked for their input, forgotten."""
        path = handler.path.partition("?")[0].removeprefix("/v1/responses/")
        name, _, rest = path.partition("/")
        if name not in self.kept:
            return gateway.send_json(
                handler, 404, openai(f"Response with id '{name}' not found.", "invalid_request_error", None)
            )
        if rest == "input_items":
            item = {
                "id": "msg_1",
                "type": "message",
                "role": "user",
                "status": "completed",
                "content": [{"type": "input_text", "text": "Moin"}],
            }
            return gateway.send_json(
                handler, 200, {"object": "list", "data": [item], "first_id": "msg_1", "last_id": "msg_1", "has_more": False}
            )
        if handler.command == "DELETE":
            del self.kept[name]
            return gateway.send_json(handler, 200, {"id": name, "object": "response", "deleted": True})
        return gateway.send_json(handler, 200, self.kept[name])


def send_error(handler, error):
    status, headers, body = error
    gateway.send_json(handler, status, body, headers)


def send_cut(handler, content_type, data):
    """A stream in about forty pieces whose sizes are odd, each a packet of its own."""
    handler.send_response(200)
    handler.send_header("content-type", content_type)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    step = len(data) // 40 | 1
    for at in range(0, len(data), step):
        gateway.send_chunk(handler, data[at : at + step])
    handler.wfile.write(b"0\r\n\r\n")
    handler.wfile.flush()


# Name of the model → how it is reached. The provider's own model names are such as decide what a model may be sent.
MODELS = {
    "openai_chat": "model: openai/gpt-5.1\n      api_base: {address}/v1\n      use_chat_completions_api: true",
    "openai_responses": "model: openai/responses/gpt-5.1\n      api_base: {address}/v1",
    "anthropic": "model: anthropic/claude-sonnet-4-5\n      api_base: {address}",
    "gemini": "model: gemini/gemini-3-pro-preview\n      api_base: {address}/v1beta",
    "bedrock": "model: bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0\n      aws_region_name: eu-central-1\n"
    "      api_base: {address}",
    "ollama": "model: ollama_chat/qwen3\n      api_base: {address}",
    "cohere": "model: cohere_chat/command-a-03-2025\n      api_base: {address}",
}


def model_list(providers):
    """The entries of a configuration that lead to these providers, each model named as its format."""
    entry = "  - model_name: {form}\n    litellm_params:\n      {how}\n      api_key: {key}\n"
    return "".join(
        entry.format(form=form, how=MODELS[form].format(address=provider.address), key=KEY)
        for form, provider in providers.items()
    )


def told(form):
    """What the two answers say that come without being asked for by name, as JSON."""
    cases = {"plain": PLAIN[form], "calling": CALLING[form]}
    said = {
        name: {"case": case, **dataclasses.asdict(meaning.of_provider(form, answer(form, case)).plain())}
        for name, case in cases.items()
    }
    return json.dumps(said)


def main():
    """Runs a command in front of each format, and of the mock."""
    providers = {form: Provider(form) for form in FORMATS}

    def run(running):
        failed = 0
        for model in FORMATS if "{said}" in sys.argv else [*FORMATS, "gpt-4o-mock"]:
            words = {"{base}": f"{running.base}/v1", "{key}": gateway.FULL_KEY, "{model}": model}
            if model in FORMATS:
                words["{said}"] = told(model)
            print(f"== {model}", flush=True)
            command = [words.get(word, word) for word in sys.argv[2:]]
            failed += subprocess.run(command, timeout=gateway.WATCHDOG_SECONDS).returncode != 0
        return failed

    gateway.between(sys.argv[1], model_list(providers), run)


if __name__ == "__main__":
    main()
