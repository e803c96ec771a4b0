"""What the client programs need around them: the program itself from its registry, a gateway in front of a
scripted provider, and a line for each case. Everything but the programs is in a temporary directory."""

import base64
import contextlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from upstreams import Upstream

KEY = "sk-clients-0123456789abcdefghij"
# A key whose requests always have the tools of the gateway's own servers.
KEY_WITH_TOOLS = "sk-clients-tools-0123456789abcdefghij"
ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "tests/.cache/clients"
BINARY = ROOT / "target/debug/tidegate"
# Made by tests/run.
MCP_PYTHON = ROOT / "tests/.cache/mcp-venv/bin/python"
MCP_PACKAGES = ROOT / "tests/.cache/mcp/node_modules"

# A red square, as small as a picture can be.
PICTURE_URL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"
PICTURE = base64.b64decode(PICTURE_URL.partition(",")[2])

# Kinds that share a format. `openai` and `bare` are servers behind OpenAI's prefix that have chat only: told so in
# the configuration, and found out.
ALIASES = {"openai": "chat", "bare": "chat", "messages-newest": "messages", "gemini-2.5": "gemini"}
# How a model of each format is written in `litellm_params`: `{base}` is the scripted provider.
PARAMS = {
    "chat": "{{model: groq/qwen-3-strict, api_base: {base}/openai/v1, api_key: sk-up}}",
    "openai": "{{model: openai/strict, api_base: {base}/v1, api_key: sk-up, use_chat_completions_api: true}}",
    "bare": "{{model: openai/strict, api_base: {base}/v1, api_key: sk-up}}",
    "mistral": "{{model: mistral/magistral-strict, api_base: {base}/v1, api_key: sk-up}}",
    "deepseek": "{{model: deepseek/deepseek-reasoner, api_base: {base}, api_key: sk-up}}",
    "messages": "{{model: anthropic/claude-sonnet-4-5, api_base: {base}, api_key: sk-up}}",
    "messages-newest": "{{model: anthropic/claude-opus-4-8, api_base: {base}, api_key: sk-up}}",
    "gemini-2.5": "{{model: gemini/gemini-2.5-flash, api_base: {base}, api_key: sk-up}}",
    "gemini": "{{model: gemini/gemini-3-pro, api_base: {base}/v1beta, api_key: sk-up}}",
    "bedrock": "{{model: 'bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0', api_base: {base}, api_key: sk-up}}",
    "ollama": "{{model: ollama_chat/qwen3, api_base: {base}}}",
    "responses": "{{model: openai/gpt-5.5, api_base: {base}/v1, api_key: sk-up}}",
}


def npm(package, version, command):
    """The program of an npm package, fetched once."""
    home = CACHE / f"{command}-{version}"
    program = home / "node_modules/.bin" / command
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(home),
                        f"{package}@{version}"], check=True, timeout=900)
    return str(program)


class Case:
    """Counts what was right, and prints a line for each case."""

    def __init__(self):
        self.good = self.bad = 0

    def report(self, what, good, began, *notes):
        self.good, self.bad = self.good + good, self.bad + (not good)
        print(f"{'ok  ' if good else 'FAIL'} {what} ({time.monotonic() - began:.1f} s)", flush=True)
        for note in dict.fromkeys(map(str, notes if not good else ())):
            print("       " + note.replace("\n", "\n       ")[:3000], flush=True)

    def end(self):
        print(f"{self.good} of {self.good + self.bad}")
        sys.exit(1 if self.bad else 0)


def venv(package, version, command):
    """The program of a Python package, in an environment of its own, made once."""
    home = CACHE / f"{command}-{version}"
    if not (home / "bin" / command).exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=300)
        subprocess.run([str(home / "bin/pip"), "install", "--quiet", "--no-cache-dir", f"{package}=={version}"],
                       check=True, timeout=3600)
    return str(home / "bin" / command)


@contextlib.contextmanager
def serving(models, binary=BINARY, more="", stations=None, keys=""):
    """A gateway with these models (name → kind) and a scripted provider of every kind among them: (upstreams by
    kind, port, directory); with the MCP servers of `stations`, and more entries of models and keys. The directory stays
    where a case ended in an exception."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-clients-"))
    upstreams = {kind: Upstream(ALIASES.get(kind, kind), probed=kind == "bare") for kind in dict.fromkeys(models.values())}
    entries = "".join(f"  - model_name: {name}\n    litellm_params: {PARAMS[kind].format(base=upstreams[kind].address)}\n"
                      for name, kind in models.items())
    rights = 'models: ["*"], mcp_servers: ["*"]'
    (directory / "config.yaml").write_text(
        f"model_list:\n{entries}{more}virtual_keys:\n  - {{api_key: {KEY}, key_alias: client, {rights}}}\n"
        f"  - {{api_key: {KEY_WITH_TOOLS}, key_alias: tools, {rights}, default_tools: true}}\n{keys}"
        + (f"mcp_servers: {json.dumps(stations.entries)}\n" if stations else ""))
    with open(directory / "log", "w") as log:
        gateway = subprocess.Popen([str(binary), "--config", "config.yaml", "--listen", "127.0.0.1:0"], cwd=directory,
                                   stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        found = (re.search(r"listening on http://.*:(\d+)", line) for line in gateway.stdout)
        port = next((match[1] for match in found if match), None)
        if port is None:
            raise SystemExit((directory / "log").read_text())
        yield upstreams, int(port), directory
    finally:
        gateway.terminate()
        gateway.wait(20)
        for upstream in upstreams.values():
            upstream.close()
    shutil.rmtree(directory)


class Gauges(BaseHTTPRequestHandler):
    """An MCP server with one tool, as small as the protocol allows."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        schema = {"type": "object", "properties": {"station": {"type": "string"}}, "required": ["station"]}
        tool = {"name": "read_gauge", "description": "Reads the water level at a gauge", "inputSchema": schema}
        result = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                           "serverInfo": {"name": "gauges", "version": "1"}},
            "tools/list": {"tools": [tool]},
            "tools/call": {"content": [{"type": "text", "text": "The gauge stands at 7.31 m"}]},
        }.get(asked["method"], {})
        body = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result}).encode() if "id" in asked else b""
        self.send_response(200 if body else 202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(405)
        self.send_header("content-length", "0")
        self.end_headers()

    do_DELETE = do_GET


def gauges():
    """The port of an MCP server that lives as long as this program."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gauges)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


class Stations:
    """MCP servers for the gateway, one over every transport, with the same tools: `ran` tells what they ran."""

    NAMES = {"gauges": "http", "harbour": "stdio", "pilots": "sse"}

    def __init__(self):
        if not MCP_PYTHON.exists():
            raise SystemExit("run tests/run once: it installs FastMCP")
        self.directory = tempfile.TemporaryDirectory(prefix="tidegate-stations-")
        self.file = pathlib.Path(self.directory.name) / "runs"
        self.entries, self.servers = {}, []
        for name, transport in self.NAMES.items():
            line = [str(ROOT / "tests/clients/stations.py"), name, str(self.file), transport]
            if transport == "stdio":
                self.entries[name] = {"command": str(MCP_PYTHON), "args": line}
                continue
            server = subprocess.Popen([MCP_PYTHON, *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.servers.append(server)
            self.entries[name] = {"url": server.stdout.readline().strip(), "transport": transport}

    def fresh(self):
        self.file.write_text("")

    def ran(self):
        """Every run since `fresh`, in an order of its own: those of one turn may end in any."""
        return sorted(self.file.read_text().splitlines())

    def close(self):
        for server in self.servers:
            server.stdin.close()
            server.wait(20)
        self.directory.cleanup()


class Tap:
    """A port in front of a port that keeps the first line of every request and answer on a connection's way."""

    def __init__(self, port):
        self.lines, self.server = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, args=(port,), daemon=True).start()

    def accept(self, port):
        while True:
            client, gateway = self.server.accept()[0], socket.create_connection(("127.0.0.1", port))
            for here, there in ((client, gateway), (gateway, client)):
                threading.Thread(target=self.pass_on, args=(here, there), daemon=True).start()

    def pass_on(self, here, there):
        first = True
        with contextlib.suppress(OSError):
            while piece := here.recv(65536):
                if first:
                    self.lines.append(piece.partition(b"\r\n")[0].decode(errors="replace"))
                first = False
                there.sendall(piece)
            there.shutdown(socket.SHUT_WR)
