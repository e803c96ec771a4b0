"""The tools of a PostgreSQL database, made with FastMCP, over the old SSE transport: what an operator has on the LAN.

    DATABASE_URL=postgresql://… python postgres.py

It listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input is closed."""

import os
import socket
import sys
import threading

os.environ.setdefault("FASTMCP_LOG_LEVEL", "CRITICAL")

import psycopg
import uvicorn
from fastmcp import FastMCP
from starlette.responses import JSONResponse

server = FastMCP("postgres", version="1.0.0")


async def rows(sql, *parameters):
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.set_read_only(True)
        cursor = await connection.execute(sql, parameters)
        return [dict(zip([column.name for column in cursor.description], row)) for row in await cursor.fetchall()]


@server.tool(annotations={"readOnlyHint": True})
async def list_schemas() -> list[str]:
    """Lists the schemas of the database."""
    found = await rows("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1")
    return [row["nspname"] for row in found]


@server.tool(annotations={"readOnlyHint": True})
async def list_tables(schema: str) -> list[str]:
    """Lists the tables in a schema."""
    found = await rows("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", schema)
    return [row["tablename"] for row in found]


@server.tool(annotations={"readOnlyHint": True})
async def query(sql: str) -> list[dict]:
    """Runs a statement that only reads, and returns its rows."""
    return await rows(sql)


@server.custom_route("/health", methods=["GET"])
async def health(_request):
    await rows("SELECT 1 AS one")
    return JSONResponse({"status": "ok"})


bound = socket.create_server(("127.0.0.1", 0))
program = uvicorn.Server(uvicorn.Config(
    server.http_app(transport="sse", path="/sse"), log_level="warning", timeout_graceful_shutdown=0))
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
program.run(sockets=[bound])
