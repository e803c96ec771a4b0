"""Scripted providers on loopback, as strict as the real ones: what a provider of that format would refuse is
refused here, and noted. What they say is decided by a script (scripts.py) from the conversation alone, as a
model would; how it is said, and what a request may hold, by the format (strict/). They must know neither the
gateway nor the client.

    python3 tests/clients/upstreams.py FORMAT      serves one until interrupted, for trying things by hand"""

import itertools
import json
import socket
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from strict import Cut, Refused
from strict.bedrock import Bedrock
from strict.chat import Chat
from strict.gemini import Gemini
from strict.messages import Messages
from strict.ollama import Ollama
from strict.responses import Responses

# Odd sizes: characters, lines and events are all cut somewhere, and some pieces hold several events.
SIZES = (1, 2, 3, 5, 7, 1, 211, 13, 1, 1, 89, 17, 1024, 3)


class OpenAi:
    """OpenAI has both its formats at one address."""

    forgiving = False
    stream_type = Responses.stream_type

    def __init__(self):
        self.halves = {"/responses": Responses(), "/chat/completions": Chat("openai")}

    def half(self, path):
        return next((half for end, half in self.halves.items() if path.endswith(end)), self.halves["/responses"])

    def other(self, path, headers, body):
        return self.half(path).other(path, headers, body)

    def read(self, path, headers, body):
        view = self.half(path).read(path, headers, body)
        view.more["half"] = self.half(path)
        return view

    def whole(self, view, reply):
        return view.more["half"].whole(view, reply)

    def stream(self, view, reply):
        return view.more["half"].stream(view, reply)

    def error(self, refusal):
        return self.halves["/responses"].error(refusal)


FORMATS = {
    "chat": Chat, "mistral": lambda: Chat("mistral"), "deepseek": lambda: Chat("deepseek"), "messages": Messages,
    "gemini": Gemini,
    "bedrock": Bedrock, "ollama": Ollama, "responses": OpenAi,
}


class Upstream:
    """`requests` holds (path, headers, body) in order; `violations` what a request must not have held;
    `script` is asked for every answer, and may be changed between cases; `probed`: a path that is not there may be
    asked for."""

    def __init__(self, name, script=None, probed=False):
        self.format, self.script, self.probed = FORMATS[name](), script, probed
        self.lock = threading.Lock()
        self.fresh()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                upstream.answer(self, b"")

            def do_POST(self):
                upstream.answer(self, read_body(self))

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that leaves is no matter

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fresh(self):
        self.requests, self.violations = [], []

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler, body):
        """One request: read strictly, ask the script, answer in the format."""
        path = handler.path.partition("?")[0]
        with self.lock:
            self.requests.append((handler.path, dict(handler.headers), body))
        try:
            if other := self.format.other(path, handler.headers, body):
                if other[0] == 404 and not self.probed:
                    self.violations.append(f"{handler.command} {path}: not a path of this provider")
                return send(handler, *other)
            view = self.format.read(handler.path, handler.headers, json.loads(body or b"null"))
            reply = self.script(view)
            self.violations += view.wrong
            if view.stream:
                stream(handler, self.format, view, reply)
            elif reply.breaks:
                raise Cut
            else:
                send(handler, 200, self.format.whole(view, reply))
        except Refused as refusal:
            if refusal.violation:
                self.violations.append(f"{path}: {refusal}")
            send(handler, refusal.status, self.format.error(refusal), refusal.headers)
        except Cut:
            handler.connection.shutdown(socket.SHUT_RDWR)
        except (ConnectionError, BrokenPipeError):
            pass
        except Exception:
            self.violations.append(traceback.format_exc())
            send(handler, 500, {"error": {"message": "the upstream's own mistake"}})


def read_body(handler):
    if "chunked" not in handler.headers.get("transfer-encoding", ""):
        return handler.rfile.read(int(handler.headers.get("content-length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def send(handler, status, value, headers=()):
    body = json.dumps(value, ensure_ascii=False).encode()
    handler.send_response(status)
    for name, field in [("content-type", "application/json"), ("content-length", str(len(body))), *headers]:
        handler.send_header(name, field)
    handler.end_headers()
    handler.wfile.write(body)


def stream(handler, form, view, reply):
    """The events of a reply in pieces of odd sizes; a reply that breaks ends without its last third."""
    text = b"".join(form.stream(view, reply))
    handler.send_response(200)
    handler.send_header("content-type", form.stream_type)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    end, at = len(text) * 2 // 3 if reply.breaks else len(text), 0
    for size in itertools.cycle(SIZES):
        if at >= end:
            break
        if reply.waits and at > end // 2:
            reply.waits.wait(30)
        piece = text[at : min(at + size, end)]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        at += size
    if reply.breaks:
        raise Cut
    handler.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    from scripts import chatter

    if len(sys.argv) != 2 or sys.argv[1] not in FORMATS:
        sys.exit(f"{__doc__}\n\nformats: {', '.join(FORMATS)}")
    served = Upstream(sys.argv[1], chatter)
    print(served.address, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(*served.violations, sep="\n")
