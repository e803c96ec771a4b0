"""A server of the session era that fails, crashes and misbehaves on demand; the standard library alone, so that many
start at once.

    python rogue.py stdio | http | sse [NAME=VALUE ...]

Over HTTP it listens on 127.0.0.1 (`port=N`, else a free one), prints its URL as the first line, and ends when its
standard input is closed. What else it can be told stands in OPTIONS. It must not know what stands in front of it."""

import http.server
import itertools
import json
import os
import queue
import sys
import threading
import time
import urllib.parse
import uuid

# label: what it calls itself. gate: is not initialised until this file exists. never: leaves these methods unanswered.
# counter, every: `flaky` and `flaky_write` end the process at every n-th call, counted in the file over all lives.
# tools: how many more it has. odd: a list with hostile entries. pages: a list without end. early: speaks before it is
# asked. leave: ends when it is initialised. deaf: reads nothing after that. deny: no endpoint event, over SSE.
# chatty: says a lot of the gateway's business when it is initialised.
OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[2:])
NEVER = OPTIONS.get("never", "").split(",")
PIECE = b"x" * 65536
state = {"count": 0, "cancelled": [], "answers": 0, "initialized": 0, "extra": 0}
running, most, lock = 0, 0, threading.Lock()


def tool(name, **hints):
    return {"name": name, "description": name, "inputSchema": {"type": "object"}, "annotations": hints}


TOOLS = [tool("about", readOnlyHint=True), tool("count"), tool("crash"), tool("flaky", idempotentHint=True),
         tool("flaky_write"), tool("hold"), tool("hang"), tool("steps"), tool("told"), tool("storm"), tool("endless"),
         tool("frame"), tool("rubbish"), tool("twice"), tool("ask"), tool("grow")]


def tools():
    more = [tool(f"more-{number}") for number in range(int(OPTIONS.get("tools", 0)) + state["extra"])]
    if "odd" in OPTIONS:
        more += [tool("naïve ✓ \u202eevil\u202c"), tool("long" * 2500), tool("about"), tool("about"), tool(""), 7, None, "text",
                 [], {}, {"name": 5}, {"name": None}, {"name": "bare"}, {"name": "schema", "inputSchema": "none"},
                 {"name": "a/../b\n\u0000"}]
    return TOOLS + more


def text(value):
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def crash_now():
    """Counts calls over all lives of the process; every n-th ends it."""
    descriptor = os.open(OPTIONS["counter"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    if os.fstat(descriptor).st_size % int(OPTIONS["every"]) == 0:
        os._exit(3)


def call(name, arguments, request, send, context):
    """The result of a call; None: there is none."""
    params = request["params"]
    match name:
        case "about":
            return text({"pid": os.getpid(), "label": OPTIONS.get("label"), **context})
        case "count":
            state["count"] += 1
            return text(str(state["count"]))
        case "crash":
            os._exit(3)
        case "flaky" | "flaky_write":
            crash_now()
            return text(OPTIONS.get("label", "well"))
        case "hold":
            global running, most
            with lock:
                running += 1
                most = max(most, running)
            if "begun" in arguments:
                open(arguments["begun"], "a").close()
            wait_for(arguments["until"])
            with lock:
                running -= 1
            return text({"pid": os.getpid(), "most": most})
        case "hang":
            if "begun" in arguments:
                open(arguments["begun"], "a").close()
            if "last" in arguments:
                wait_for(arguments["last"])
                os._exit(4)
            return None
        case "steps":
            token = params.get("_meta", {}).get("progressToken")
            for step in range(arguments["count"]):
                time.sleep(arguments["pause"])
                send({"method": "notifications/progress",
                      "params": {"progressToken": token, "progress": step, "message": arguments.get("word", "")}})
                send({"method": "notifications/message", "params": {"level": "info", "data": arguments.get("word", "")}})
            return text("done")
        case "told":
            return text(state)
        case "storm":
            end = time.monotonic() + arguments["seconds"]
            burst = [{"method": "notifications/tools/list_changed"}] * 100
            while time.monotonic() < end:
                send(*burst)
                time.sleep(0.01)
            return text("calm")
        case "endless":
            send(raw=itertools.chain([b"data: "], itertools.repeat(PIECE)))
        case "frame":
            head = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": text("@")}).encode().split(b"@")
            pieces = arguments["megabytes"] * 16
            begin, end = (b"data: ", b"\n\n") if context else (b"", b"\n")
            send(raw=itertools.chain([begin + head[0]], itertools.repeat(PIECE, pieces), [head[1] + end]))
            return None
        case "rubbish":
            other = request["id"] + 1000000
            for line in [b"not JSON", b"{", b"[]", b"[1]", b"{}", b"null", b'"x"', b"\xff\xfe", b'{"jsonrpc":"1.0","id":1}',
                         b'{"jsonrpc":"2.0","id":{},"result":{}}', b'{"jsonrpc":"2.0","id":null,"result":{}}',
                         b'{"jsonrpc":"2.0","method":7}', b'{"jsonrpc":"2.0","id":[],"method":"ping"}',
                         b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":99999,"progress":1}}',
                         b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
                         b'{"jsonrpc":"2.0","id":"x","method":"no/such"}', b"[" * 10000]:
                send(raw=[line + b"\n"])
            send({"id": other, "result": text("of another")}, {"id": str(request["id"]), "result": text("as text")},
                 {"id": -request["id"], "error": {"code": 1, "message": "no"}})
            return text("well")
        case "twice":
            send({"id": request["id"], "result": text("first")}, {"id": request["id"], "result": text("second")})
            return None
        case "ask":
            for number in range(arguments["count"]):
                send({"id": f"ask-{number}", "method": arguments["method"], "params": {
                    "message": arguments.get("word", ""), "requestedSchema": {"type": "object", "properties": {}},
                    "messages": [], "maxTokens": 1}})
            if arguments.get("wait"):
                while state["answers"] < arguments["count"]:
                    time.sleep(0.002)
            return text(str(state["answers"]))
        case "grow":
            state["extra"] += 1
            send({"method": "notifications/tools/list_changed"})
            return text("grown")
    return text(name)


def answer(message, send, context):
    """Sends what answers a message, and what else comes to mind."""
    method, params = message.get("method"), message.get("params") or {}
    if method is None:
        state["answers"] += 1
        return
    if method == "notifications/cancelled":
        state["cancelled"].append(params.get("requestId"))
    if method == "notifications/initialized":
        state["initialized"] += 1
    if "id" not in message or method in NEVER:
        return
    if method == "initialize" and "gate" in OPTIONS:
        wait_for(OPTIONS["gate"])
    result, error = {}, None
    match method:
        case "initialize":
            result = {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "rogue", "version": "1"},
                      "capabilities": {"tools": {"listChanged": True}, "logging": {}, "prompts": {}, "resources": {}}}
            if "chatty" in OPTIONS:
                result["instructions"] = "y" * int(OPTIONS["chatty"])
        case "tools/list" if "pages" in OPTIONS:
            page = int(params.get("cursor", 0))
            result = {"tools": [tool(f"page-{page}-{n}" + "z" * int(OPTIONS["pages"])) for n in range(10)],
                      "nextCursor": str(page + 1)}
        case "tools/list":
            result = {"tools": tools()}
        case "prompts/list" | "resources/list" | "resources/templates/list":
            result = {"prompts": [], "resources": [], "resourceTemplates": []}
        case "tools/call":
            result = call(params["name"], params.get("arguments") or {}, message, send, context)
        case "ping" | "logging/setLevel":
            pass
        case _:
            error = {"code": -32601, "message": "no such method"}
    if error:
        send({"id": message["id"], "error": error})
    elif result is not None:
        send({"id": message["id"], "result": result})


class Pipe:
    """Messages to one client, as bytes; `frame` makes one of a message."""

    def __init__(self, write, frame):
        self.write, self.frame, self.lock = write, frame, threading.Lock()

    def send(self, *messages, raw=None):
        if raw is None:
            raw = [b"".join(self.frame(json.dumps({"jsonrpc": "2.0", **message}).encode()) for message in messages)]
        with self.lock:
            for piece in raw:
                while piece:
                    piece = piece[self.write(piece):]


def stdio():
    pipe = Pipe(lambda data: os.write(1, data), lambda data: data + b"\n")
    if "early" in OPTIONS:
        pipe.send({"method": "notifications/tools/list_changed"}, {"method": "notifications/message", "params": {}},
                  {"id": 1, "method": "sampling/createMessage", "params": {}}, {"id": 999, "result": {}},
                  {"id": "p", "method": "ping"}, {"id": 3, "method": "roots/list"})
    for line in sys.stdin.buffer:
        message = json.loads(line)
        threading.Thread(target=answer, args=(message, pipe.send, {}), daemon=True).start()
        if message.get("method") == "notifications/initialized":
            if "leave" in OPTIONS:
                os._exit(0)
            if "deaf" in OPTIONS:
                threading.Event().wait()
    os._exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sessions = {}

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, **headers):
        """Begins a stream of events that ends with the connection."""
        self.close_connection = True
        self.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        return Pipe(self.wfile.write, lambda data: b"event: message\ndata: " + data + b"\n\n")

    def do_GET(self):
        if self.path == "/sse":
            pipe, name = self.events(), uuid.uuid4().hex
            self.sessions[name] = pipe
            if "deny" not in OPTIONS:
                pipe.send(raw=[f"event: endpoint\ndata: /messages?session={name}\n\n".encode()])
        else:
            name = self.headers.get("Mcp-Session-Id")
            if name not in self.sessions:
                return self.reply(404)
            pipe = self.sessions[name] = self.events()
        try:
            while True:
                time.sleep(0.5)
                pipe.send(raw=[b":\n\n"])
        except OSError:
            pass

    def do_DELETE(self):
        self.sessions.pop(self.headers.get("Mcp-Session-Id"), None)
        self.reply(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = urllib.parse.urlsplit(self.path)
        if path.path == "/messages":
            name = urllib.parse.parse_qs(path.query)["session"][0]
            pipe = self.sessions.get(name)
            if pipe is None:
                return self.reply(404)
            self.reply(202)
            threading.Thread(target=answer, args=(message, pipe.send, {"headers": headers}), daemon=True).start()
            return
        name = self.headers.get("Mcp-Session-Id")
        if message.get("method") == "server/discover":
            error = {"code": -32601, "message": "no such method"}
            return self.reply(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode(),
                              Content_Type="application/json")
        if message.get("method") == "initialize":
            name = uuid.uuid4().hex
            self.sessions[name] = None
        elif name not in self.sessions:
            error = {"code": -32001, "message": "Session not found"}
            return self.reply(404, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(),
                              Content_Type="application/json")
        if "id" not in message or "method" not in message:
            answer(message, lambda *_, raw=None: None, {})
            return self.reply(202)
        pipe = self.events(Mcp_Session_Id=name)
        ended = queue.Queue()

        def work():
            try:
                answer(message, pipe.send, {"headers": headers, "session": name})
            except OSError:
                pass
            ended.put(None)

        threading.Thread(target=work, daemon=True).start()
        ended.get()
        called = (message.get("params") or {}).get("name")
        while message["method"] in NEVER or (message["method"] == "tools/call" and called == "hang"):
            # Its end is noticed by writing.
            try:
                pipe.send(raw=[b":\n\n"])
                time.sleep(0.02)
            except OSError:
                state["cancelled"].append("stream")
                return


def listen(transport):
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 128

    server = Server(("127.0.0.1", int(OPTIONS.get("port", 0))), Handler)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/{'sse' if transport == 'sse' else 'mcp'}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    stdio() if sys.argv[1] == "stdio" else listen(sys.argv[1])
