"""An MCP server of the session era over stdio that needs nothing but Python, for what servers do to a gateway.

    python3 scripted.py [TOOLS [NOTES]]

TOOLS is a file with a JSON list of more tools; when it changes, the server says that its list did. NOTES is a file that
gets a line for each call that is cancelled. It must not know what stands in front of it."""

import json
import os
import sys
import threading
import time

lock = threading.Lock()
more = sys.argv[1] if len(sys.argv) > 1 else None
notes = sys.argv[2] if len(sys.argv) > 2 else None
asked = {}  # our own id → the call that it was asked for


def tool(name, description, properties=(), **members):
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in properties}}
    return {"name": name, "description": description, "inputSchema": schema, **members}


TOOLS = [
    tool("echo", "Says it again.", ["text"]),
    tool("json", "Says an object as text."),
    tool("parts", "Says two things."),
    tool("shape", "Has a structure.", outputSchema={"type": "object", "properties": {"n": {"type": "number"}}},
         annotations={"title": "A shape"}),
    tool("fail", "Fails, as tools do."),
    tool("refuse", "Answers with an error of JSON-RPC."),
    tool("wait", "Never answers."),
    tool("ask", "Asks the client's model."),
    tool("where", "Asks for the client's roots."),
]


def say(message):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def note(line):
    if notes:
        with open(notes, "a") as file:
            file.write(line + "\n")


def text(*texts, **members):
    return {"content": [{"type": "text", "text": text} for text in texts], **members}


def tools():
    if more is None:
        return TOOLS
    with open(more) as file:
        return TOOLS + json.load(file)


def call(id, name, arguments):
    match name:
        case "echo":
            result = text(str(arguments.get("text")))
        case "json":
            result = text('{"a": 1}')
        case "parts":
            result = text("one", "2")
        case "shape":
            result = text("a shape", structuredContent={"n": 1.5})
        case "fail":
            result = text("it failed", isError=True)
        case "refuse":
            return say({"id": id, "error": {"code": -32050, "message": "not today", "data": {"why": "rain"}}})
        case "wait":
            return note("called")
        case "ask" | "where":
            asked[f"q{id}"] = id
            if name == "where":
                return say({"id": f"q{id}", "method": "roots/list"})
            content = {"type": "text", "text": "ping?"}
            params = {"messages": [{"role": "user", "content": content}], "maxTokens": 50}
            return say({"id": f"q{id}", "method": "sampling/createMessage", "params": params})
        case _:
            result = text(f"called {name}")
    say({"id": id, "result": result})


def answered(message):
    call = asked.pop(message["id"], None)
    if call is not None:
        say({"id": call, "result": text(json.dumps(message.get("result", {"error": message.get("error")})))})


def watch():
    before = os.stat(more).st_mtime_ns
    while True:
        time.sleep(0.02)
        now = os.stat(more).st_mtime_ns
        if now != before:
            before = now
            say({"method": "notifications/tools/list_changed"})


def handle(message):
    method, params, id = message.get("method"), message.get("params") or {}, message.get("id")
    if method is None:
        answered(message)
    elif method == "initialize":
        say({"id": id, "result": {
            "protocolVersion": params["protocolVersion"] if params["protocolVersion"] < "2026" else "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "scripted", "version": "1"}}})
    elif method == "notifications/cancelled":
        note("cancelled")
    elif id is None:
        pass
    elif method == "ping":
        say({"id": id, "result": {}})
    elif method == "tools/list":
        say({"id": id, "result": {"tools": tools()}})
    elif method == "tools/call":
        call(id, params["name"], params.get("arguments") or {})
    else:
        say({"id": id, "error": {"code": -32601, "message": f"no {method} here"}})


if more:
    threading.Thread(target=watch, daemon=True).start()
for line in sys.stdin:
    handle(json.loads(line))
