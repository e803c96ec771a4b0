"""What the client programs need around them: a scripted upstream that speaks real HTTP, a gateway
process in front of it, and a runner that reports every failed check before it exits.

    python openai_client.py PATH_TO_TIDEGATE
    python gateway.py PATH_TO_TIDEGATE node openai_client.mjs

The second form lends both to a program in another language, which gets the two addresses and the two
client keys as arguments. The upstream's behaviour follows the model's name, as it would at a
provider. It must not know the gateway; the checks must not know how either is started."""

import contextlib
import faulthandler
import hashlib
import json
import pathlib
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM_KEY = "sk-upstream-0123456789abcdefghij"
FULL_KEY = "sk-client-full-0123456789abcdefghij"
NARROW_KEY = "sk-client-narrow-0123456789abcdefghij"
SPEECH = bytes(range(256)) * 1200
# Nothing here takes long; a program that hangs says where and ends.
WATCHDOG_SECONDS = 180

# Public name → model at the scripted upstream.
MODELS = ["chat", "always-401", "always-429", "once-429", "once-500", "always-500", "overflow", "endless",
          "cut", "transcribe", "speak"]

CONFIG = """
model_list:
  - model_name: gpt-4o-mock
    litellm_params:
      model: mock-response
  - model_name: canned
    litellm_params:
      model: openai/unused
      mock_response: "A canned answer."
{upstream_models}
virtual_keys:
  - api_key: {full}
    key_alias: full
    models: ["*"]
    mcp_servers: ["*"]
  - api_key: {narrow}
    key_alias: narrow
    models: ["gpt-4o-mock"]
"""


class Upstream:
    """An OpenAI-like server. `requests` holds (method, path, headers, body) in order of arrival."""

    def __init__(self):
        self.requests = []
        self.calls = {}
        self.client_gone = threading.Event()
        self.lock = threading.Lock()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                """What programs in other languages ask about: the last request, the hang-up."""
                if self.path == "/seen/client-gone":
                    return send_json(self, 200, upstream.client_gone.wait(timeout=20))
                _, path, headers, body = upstream.last(self.path.removeprefix("/seen"))
                seen = {"path": path, "headers": headers, "length": len(body), "text": body[:4096].decode(errors="replace")}
                return send_json(self, 200, seen)

            def do_POST(self):
                body = read_body(self)
                headers = {name.lower(): value for name, value in self.headers.items()}
                with upstream.lock:
                    upstream.requests.append(("POST", self.path, headers, body))
                # The script is over when the gateway hangs up, which several scripts expect.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    upstream.answer(self, headers, body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def last(self, path_end):
        with self.lock:
            return [request for request in self.requests if request[1].endswith(path_end)][-1]

    def answer(self, handler, headers, body):
        if headers["authorization"] != f"Bearer {UPSTREAM_KEY}":
            return send_error(handler, 401, "invalid_api_key", "not the upstream's key")
        if "multipart/form-data" in headers.get("content-type", ""):
            return send_json(handler, 200, {"text": f"{len(body)} bytes"})
        request = json.loads(body)
        model = request["model"].removeprefix("upstream-")
        with self.lock:
            self.calls[model] = self.calls.get(model, 0) + 1
            first = self.calls[model] == 1
        if model == "always-401":
            return send_error(handler, 401, "invalid_api_key", "the upstream refuses its key")
        if model == "always-429" or (model == "once-429" and first):
            retry = "7" if model == "always-429" else "1"
            return send_error(handler, 429, "rate_limit_exceeded", "slow down, says the upstream", {"retry-after": retry})
        if model == "always-500" or (model == "once-500" and first):
            return send_error(handler, 500, "server_error", "the upstream broke")
        if model == "overflow":
            return send_error(handler, 400, "context_length_exceeded", "maximum context length is 10 tokens")
        if model == "speak":
            return send_bytes(handler, 200, "audio/mpeg", SPEECH)
        if model == "endless":
            return self.stream_until_gone(handler)
        if request.get("stream"):
            return stream(handler, request, model)
        message = {"role": "assistant", "content": f"{len(body)} bytes", "reasoning_content": "hm", "refusal": None}
        return send_json(handler, 200, {
            "id": "chatcmpl-upstream", "object": "chat.completion", "created": 1763683200, "model": request["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})

    def stream_until_gone(self, handler):
        start_stream(handler)
        try:
            while True:
                send_chunk(handler, event({"role": "assistant", "content": "tick "}))
                time.sleep(0.01)
        except OSError:
            self.client_gone.set()


def read_body(handler):
    if handler.headers.get("transfer-encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return b"".join(parts)


def send_bytes(handler, status, content_type, body, headers=None):
    handler.send_response(status)
    for name, value in {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def send_json(handler, status, value, headers=None):
    send_bytes(handler, status, "application/json", json.dumps(value).encode(), headers)


def send_error(handler, status, code, message, headers=None):
    error = {"message": message, "type": "upstream_error", "param": None, "code": code}
    send_json(handler, status, {"error": error}, headers)


def start_stream(handler):
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()


def send_chunk(handler, data):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    handler.wfile.flush()


def event(delta, finish=None, **more):
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    chunk = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1763683200,
             "model": "upstream-chat", "choices": choices, **more}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def stream(handler, request, model):
    """Three words cut inside a character; the usage chunk only when asked for; `cut` stops dead."""
    start_stream(handler)
    data = event({"role": "assistant", "content": ""})
    for word in ("élan ", "✓ ", "done"):
        data += event({"content": word})
    middle = data.index("✓".encode()) + 1
    send_chunk(handler, data[:middle])
    send_chunk(handler, data[middle:])
    if model == "cut":
        handler.close_connection = True
        return
    send_chunk(handler, event({}, "stop"))
    if (request.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        send_chunk(handler, event({}, choices=[], usage=usage))
    send_chunk(handler, b"data: [DONE]\n\n")
    handler.wfile.write(b"0\r\n\r\n")
    handler.wfile.flush()


def model_list(upstream):
    return "".join(
        f"  - model_name: {name}\n    litellm_params:\n      model: openai/upstream-{name}\n"
        f"      api_base: {upstream.base}\n      api_key: {UPSTREAM_KEY}\n" for name in MODELS)


class Gateway:
    """A gateway process on a free port, its configuration and data in a temporary directory. `models` are the entries of its
    `model_list` beside the mock's, as YAML."""

    def __init__(self, binary, models):
        self.folder = tempfile.TemporaryDirectory(prefix="tidegate-sdk-")
        config = pathlib.Path(self.folder.name, "config.yaml")
        config.write_text(CONFIG.format(upstream_models=models, full=FULL_KEY, narrow=NARROW_KEY))
        self.output = []
        lines = queue.Queue()
        self.process = subprocess.Popen(
            [binary, "--config", str(config), "--listen", "127.0.0.1:0"], cwd=self.folder.name, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        def read():
            for line in self.process.stdout:
                self.output.append(line)
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        self.base = None
        while self.base is None:
            line = lines.get(timeout=30)
            if line is None:
                raise SystemExit("the gateway ended at start:\n" + "".join(self.output))
            if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
                self.base = found.group(1)

    def stop(self):
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.folder.cleanup()
        return code


def run(checks):
    """Runs every `check_*(world)` in `checks`; exits 1 if one of them fails."""
    upstream = Upstream()

    def all_checks(gateway):
        return checked(checks, type("World", (), {"upstream": upstream, "base": gateway.base}))

    between(sys.argv[1], model_list(upstream), all_checks)


def checked(checks, world):
    """Runs every `check_*(world)`; returns how many failed."""
    failures = 0
    for name, check in checks.items():
        if not name.startswith("check_"):
            continue
        try:
            check(world)
            print(f"ok   {name}", flush=True)
        except Exception:
            failures += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    return failures


def between(binary, models, clients):
    """Runs `clients(gateway)`, which returns the number of its failures, then stops the
    gateway; exits 0 if nothing failed, else 1 with the gateway's output."""
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)
    gateway = Gateway(binary, models)
    try:
        failures = clients(gateway)
    finally:
        code = gateway.stop()
    output = "".join(gateway.output)
    if code != 0:
        failures += 1
        print(f"FAIL the gateway ended with {code} after SIGTERM")
    if UPSTREAM_KEY in output:
        failures += 1
        print("FAIL the upstream's key stands in the gateway's output")
    if failures:
        print(f"--- the gateway's output\n{output[-8000:]}")
    sys.exit(1 if failures else 0)


def lend(binary, command):
    """Runs another program between upstream and gateway."""
    upstream = Upstream()

    def program(gateway):
        arguments = [gateway.base, upstream.base.removesuffix("/v1"), FULL_KEY, NARROW_KEY]
        return subprocess.run([*command, *arguments], timeout=WATCHDOG_SECONDS).returncode

    between(binary, model_list(upstream), program)


def digest(data):
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    lend(sys.argv[1], sys.argv[2:])
