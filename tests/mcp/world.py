"""What the judges of the MCP multiplexer need around them: fixture servers, the shim, a gateway process, each on a free
port of 127.0.0.1 and ended with its user.

Only the standard library, so that any Python can run it. It knows where tests/run puts Node and the packages, and how
each program is started; it must not know what is checked."""

import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import tempfile
import threading

FOLDER = pathlib.Path(__file__).resolve().parent
CACHE = FOLDER.parent / ".cache"
NODE = os.environ.get("TIDEGATE_NODE", str(CACHE / "venv/bin/node"))
PYTHON = os.environ.get("TIDEGATE_MCP_PYTHON", str(CACHE / "mcp-venv/bin/python"))
PYTHON_1 = str(CACHE / "mcp-venv-1/bin/python")
PACKAGES = CACHE / "mcp/node_modules"
KEY = "sk-mcp-all-0123456789abcdefghijklmnop"

# Fixture → the transports it speaks and the command that starts it; the transport comes last.
FIXTURES = {
    "legacy": (("http", "sse", "stdio"), [NODE, str(FOLDER / "legacy.mjs")]),
    "modern": (("http", "stdio"), [NODE, str(FOLDER / "modern.mjs")]),
    "python": (("http", "sse", "stdio"), [PYTHON, "-B", str(FOLDER / "fixture.py")]),
    "python1": (("http", "sse", "stdio"), [PYTHON_1, "-B", str(FOLDER / "fixture_1.py")]),
}


# Official servers → their command lines for stdio, and whether they want a folder.
OFFICIAL = {
    "everything": ([NODE, str(PACKAGES / "@modelcontextprotocol/server-everything/dist/index.js"), "stdio"], False),
    "filesystem": ([NODE, str(PACKAGES / "@modelcontextprotocol/server-filesystem/dist/index.js")], True),
    "memory": ([NODE, str(PACKAGES / "@modelcontextprotocol/server-memory/dist/index.js")], False),
    "git": ([PYTHON, "-m", "mcp_server_git", "--repository"], True),
    "time": ([PYTHON, "-m", "mcp_server_time"], False),
}


class Program:
    """A program that prints its URL as its first line and ends when its standard input is closed."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://"):
            self.process.kill()
            raise SystemExit(f"{command} did not start: {self.url}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def command(fixture, transport):
    """The command line of a fixture, for a transport."""
    return [*FIXTURES[fixture][1], transport]


def start(fixture, transport):
    """A fixture that listens: a `Program`."""
    return Program(command(fixture, transport))


@contextlib.contextmanager
def everything(transport):
    """The official server of that name, listening: its URL. It takes a port and no zero: one that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    kind, path = {"http": ("streamableHttp", "/mcp"), "sse": ("sse", "/sse")}[transport]
    process = subprocess.Popen(
        [*OFFICIAL["everything"][0][:-1], kind], env={**os.environ, "PORT": str(port)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while str(port) not in (line := process.stderr.readline()):
            if not line:
                raise SystemExit("server-everything did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        process.kill()
        process.wait()


def shim(target, key=KEY):
    """A proxy that adds the key to everything and sends it to `target`."""
    return Program([NODE, FOLDER / "shim.mjs", target, key])


def entry(fixture, transport, url=None, **more):
    """The entry of `mcp_servers` for a fixture: by its URL, or by its command for stdio."""
    if transport != "stdio":
        return {"transport": transport, "url": url, **more}
    program, *args = command(fixture, transport)
    return {"transport": "stdio", "command": program, "args": args, **more}


class Gateway:
    """A gateway process with `servers` as its `mcp_servers`, and one key that may use them all."""

    def __init__(self, binary, servers, **more):
        self.folder = tempfile.TemporaryDirectory(prefix="tidegate-mcp-")
        self.config = pathlib.Path(self.folder.name, "config.yaml")
        keys = [{"api_key": KEY, "key_alias": "all", "models": ["*"], "mcp_servers": ["*"]}]
        # Whatever is JSON is YAML.
        self.config.write_text(json.dumps({"mcp_servers": servers, "virtual_keys": keys, **more}, indent=1))
        self.log = pathlib.Path(self.folder.name, "log")
        self.process = subprocess.Popen(
            [pathlib.Path(binary).resolve(), "--config", str(self.config), "--listen", "127.0.0.1:0"], cwd=self.folder.name, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = queue.Queue()

        def read():
            with self.log.open("w") as log:
                for line in self.process.stdout:
                    log.write(line)
                    log.flush()
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        self.base = None
        while self.base is None:
            line = lines.get(timeout=30)
            if line is None:
                raise SystemExit("the gateway ended at start:\n" + self.log.read_text())
            if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
                self.base = found.group(1)

    def view(self, server):
        """The URL at which one server has its own names."""
        return f"{self.base}/{server}/mcp"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(self.log.read_text()[-8000:])
        self.folder.cleanup()
