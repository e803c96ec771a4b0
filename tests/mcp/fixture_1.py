"""A server made with the Python SDK's first line (1.30), as many are: it knows no revision after 2025-11-25, and answers
what it does not know with "invalid request parameters" instead of "method not found".

    python fixture_1.py http | sse | stdio

Over HTTP it listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input is
closed."""

import os
import socket
import sys
import threading

import uvicorn
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("tidegate-python-1-fixture", log_level="ERROR")


@server.tool()
async def echo(text: str = "") -> str:
    """Says it again."""
    return text


@server.tool()
async def log(context: Context, count: int = 3) -> str:
    """Logs so many messages."""
    for number in range(count):
        await context.info(f"message {number}")
    return "logged"


@server.resource("note://today", mime_type="text/plain")
def today() -> str:
    """A note."""
    return "Nothing happened."


def listen(transport):
    bound = socket.create_server(("127.0.0.1", 0))
    app, path = (server.sse_app(), "/sse") if transport == "sse" else (server.streamable_http_app(), "/mcp")
    program = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=0))
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}{path}", flush=True)
    program.run(sockets=[bound])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run(transport="stdio")
        case ["http" | "sse" as transport]:
            listen(transport)
        case _:
            raise SystemExit(__doc__)
