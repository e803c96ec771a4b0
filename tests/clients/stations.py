"""An MCP server made with FastMCP that the gateway runs for its clients. Each run of a tool is a line of a file, so that
a test can count them. It must not know what stands in front of it.

    python stations.py NAME FILE http | sse | stdio

Over HTTP it listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input is
closed."""

import os
import socket
import sys
import threading

# It would tell of every call and every failure, which are wanted here.
os.environ.setdefault("FASTMCP_LOG_LEVEL", "CRITICAL")

import uvicorn
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError

name, file, transport = sys.argv[1:]
server = FastMCP(name)


def ran(what):
    with open(file, "a") as runs:
        runs.write(f"{name} {what}\n")


@server.tool
async def read_gauge(station: str) -> str:
    """Reads the water level at a gauge of the coast."""
    ran(f"read_gauge {station}")
    return f"{name}: {station} stands at 4.02 m 🌊"


@server.tool
async def exec_command(cmd: str) -> str:
    """Sends a command to the lock."""
    ran(f"exec_command {cmd}")
    return f"{name}: the lock did {cmd}"


@server.tool
async def jammed() -> str:
    """Opens the gate that is jammed."""
    ran("jammed")
    raise ToolError("the gate is jammed")


if transport == "stdio":
    server.run(transport="stdio", show_banner=False)
else:
    bound = socket.create_server(("127.0.0.1", 0))
    path = "/sse" if transport == "sse" else "/mcp"
    program = uvicorn.Server(uvicorn.Config(
        server.http_app(transport=transport, path=path), log_level="critical", timeout_graceful_shutdown=0))
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}{path}", flush=True)
    program.run(sockets=[bound])
