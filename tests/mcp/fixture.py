"""A server of both eras made with FastMCP, whose tools do what servers do on good and on bad days.

    python fixture.py http | sse | stdio

Over HTTP it listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input is
closed. Its lists come in pages. It must not know what stands in front of it."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import warnings

# It would tell of every call and every failure, which are wanted here.
os.environ.setdefault("FASTMCP_LOG_LEVEL", "CRITICAL")
warnings.simplefilter("ignore")

import mcp_types as types
import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_http_headers
from fastmcp.tools import ToolResult

server = FastMCP("tidegate-python-fixture", version="1.0.0", instructions="A server for tests.", list_page_size=7)

# A number that no double holds.
BIG_INTEGER = 123456789012345678901234567890
MODERN = "2026-07-28"


def modern(context):
    return context.request_context.protocol_version == MODERN


async def ask(context, **requests):
    """The client's answers to requests, or what must be returned to get them."""
    if modern(context):
        return context.input_responses or types.InputRequiredResult(input_requests=requests, result_type="input_required")
    return {key: await send(context, request) for key, request in requests.items()}


async def send(context, request):
    """Asks the client itself, as the session era has it."""
    session, asked = context.session, request.params
    match request.method:
        case "elicitation/create":
            return await session.elicit_form(asked.message, asked.requested_schema, context.request_id)
        case "sampling/createMessage":
            return await session.create_message(
                asked.messages, max_tokens=asked.max_tokens, related_request_id=context.request_id)
        case _:
            return await session.list_roots()


@server.tool
async def echo(text: str = "") -> str:
    """Says it again."""
    return text


@server.tool
async def measure(text: str) -> int:
    """How long a text is."""
    return len(text)


@server.tool
async def slow(seconds: float, context: Context) -> str:
    """Takes its time, and reports how much of it has passed."""
    steps = max(1, round(seconds * 10))
    for step in range(steps):
        await context.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(seconds / steps)
    return "slept"


cancelled = 0


@server.tool
async def hang() -> str:
    """Never answers; counts when it is cancelled."""
    global cancelled
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return "never"


@server.tool
async def cancellations() -> int:
    """How often a hanging call was cancelled."""
    return cancelled


@server.tool
async def big(size: int = 5 * 1024 * 1024) -> str:
    """A text of so many bytes."""
    return ("0123456789abcdef" * (size // 16 + 1))[:size]


@server.tool
async def fail() -> str:
    """Fails, as tools do."""
    raise ToolError("this tool always fails")


@server.tool
async def structured(city: str = "Kiel") -> dict[str, float | str | list[str]]:
    """Has a result with a structure."""
    return {"city": city, "degrees": 1.0, "tags": ["é", "✓"]}


@server.tool
async def integers() -> dict[str, int]:
    """Numbers of all sizes."""
    return {"small": 1, "unsafe": 9007199254740993, "big": BIG_INTEGER}


@server.tool
async def unknown_fields() -> ToolResult:
    """Says more than anybody asked for."""
    return ToolResult(content=[types.TextContent(type="text", text="more", _meta={"x.test/content": [1, {"a": None}]})],
                      meta={"x.test/result": {"n": BIG_INTEGER, "b": False}})


@server.tool
async def log(context: Context, count: int = 3) -> str:
    """Logs so many messages."""
    for number in range(count):
        await context.info(f"message {number}")
    return "logged"


@server.tool
async def elicit(context: Context, token: str = "") -> str | types.InputRequiredResult:
    """Asks the user for a name."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    request = types.ElicitRequest(params=types.ElicitRequestFormParams(message=f"name? {token}", requested_schema=schema))
    answers = await ask(context, name=request)
    if isinstance(answers, types.InputRequiredResult):
        return answers
    return f"{answers['name'].action}: {(answers['name'].content or {}).get('name')}"


@server.tool
async def sample(context: Context, prompt: str = "hello") -> str | types.InputRequiredResult:
    """Asks the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    request = types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=50))
    answers = await ask(context, said=request)
    if isinstance(answers, types.InputRequiredResult):
        return answers
    return answers["said"].content.text


@server.tool
async def roots(context: Context) -> str | types.InputRequiredResult:
    """Asks for the client's roots."""
    answers = await ask(context, roots=types.ListRootsRequest())
    if isinstance(answers, types.InputRequiredResult):
        return answers
    return " ".join(str(root.uri) for root in answers["roots"].roots)


@server.tool
async def grow(context: Context, name: str = "grown") -> str:
    """Adds a tool, and says so."""
    async def added() -> str:
        return name

    server.tool(added, name=name)
    await context.send_notification(types.ToolListChangedNotification())
    return name


@server.tool
async def storm(context: Context, count: int = 1000) -> str:
    """Says that its list has changed, again and again."""
    for _ in range(count):
        await context.send_notification(types.ToolListChangedNotification())
    return "calm"


@server.tool
async def canary(token: str, context: Context, wait: float = 0) -> dict[str, str | dict[str, str]]:
    """What reaches this server: the headers, the environment, the process, the session; it tells its token on the way."""
    await context.report_progress(1, 2, token)
    await context.info(token)
    await asyncio.sleep(wait)
    headers = get_http_headers(include_all=True)
    return {"token": token, "pid": str(os.getpid()), "session": str(getattr(context, "session_id", "")),
            "headers": dict(headers), "environment": dict(os.environ)}


@server.tool
async def spawn() -> int:
    """Starts a child that outlives its parent's good will; says which."""
    return subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid


@server.tool
async def chatter(lines: int = 10000) -> str:
    """Writes much to its standard error."""
    for number in range(lines):
        print(f"line {number}: {'x' * 100}", file=sys.stderr)
    return "written"


@server.tool
async def rubbish() -> str:
    """Writes to its standard output what is no message."""
    os.write(1, b"this is not JSON\n")
    return "written"


@server.tool
async def crash() -> str:
    """Ends its process."""
    os._exit(3)


@server.resource("note://today", mime_type="text/plain")
def today() -> str:
    """A note."""
    return "Nothing happened."


@server.resource("note://{day}/text", mime_type="text/plain")
def note(day: str) -> str:
    """A note of a day."""
    return f"Nothing happened on {day}."


@server.prompt
def greet(name: str) -> str:
    """A greeting."""
    return f"Say hello to {name}."


def listen(transport):
    bound = socket.create_server(("127.0.0.1", 0))
    path = "/sse" if transport == "sse" else "/mcp"
    program = uvicorn.Server(uvicorn.Config(
        server.http_app(transport=transport, path=path), log_level="warning", timeout_graceful_shutdown=0))
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}{path}", flush=True)
    program.run(sockets=[bound])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run(transport="stdio", show_banner=False)
        case ["http" | "sse" as transport]:
            listen(transport)
        case _:
            raise SystemExit(__doc__)
