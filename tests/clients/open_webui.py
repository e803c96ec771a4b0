"""Open WebUI as a client of the gateway: the connection test, the model list, chat with and without a
stream, tools, background tasks, embeddings for retrieval, responses; and, in front of a provider of every
format, chats in which Open WebUI's own tools are called, and the gateway's (open_webui_served.py). Not part of
tests/run: the package and what it needs take some 7 GB (once), and want Python 3.11 or 3.12.

    cargo build && python3.11 tests/clients/open_webui.py [--gateway PATH] [FORMAT…]

It runs offline, with its data in a temporary directory that goes away with it, and is driven through its
own HTTP API, as its pages do. What came of it stands in docs/guide/clients-tested.md."""

import argparse
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import open_webui_served
import scripts
from gateway import BINARY, KEY, MCP_PACKAGES, PARAMS, PICTURE_URL, Case, Stations, serving, venv

VERSION = "0.12.4"
MODEL = "gpt-4o-mock"
MOCK = f"  - {{model_name: {MODEL}, litellm_params: {{model: mock-response}}}}\n"
HELLO = [{"role": "user", "content": "How is the weather in Husum?"}]
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                   "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class WebUi:
    def __init__(self, base):
        self.base, self.token = base, None

    def call(self, path, body=None):
        """The status and the text of an answer."""
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = urllib.request.urlopen(urllib.request.Request(self.base + path, data, headers), timeout=60)
            return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait(self, process):
        while process.poll() is None:
            try:
                return urllib.request.urlopen(self.base + "/health", timeout=2)
            except OSError:
                time.sleep(0.5)
        raise SystemExit("Open WebUI ended")


def checks(web, gateway):
    """Each check: what, path, body, expected status, text that must be in the answer."""
    chat = {"model": MODEL, "messages": HELLO}
    task = chat | {"chat_id": "c1", "prompt": "tide"}
    yield "connection test", "/openai/verify", {"url": gateway, "key": KEY}, 200, MODEL
    yield "connection test, wrong key", "/openai/verify", {"url": gateway, "key": "sk-wrong"}, 401, "invalid_api_key"
    yield "models", "/api/models", None, 200, MODEL
    yield "chat", "/api/chat/completions", chat | {"stream": False}, 200, "mock response from Tidegate"
    yield "chat, streamed", "/api/chat/completions", chat | {"stream": True}, 200, "data: [DONE]"
    yield "tools", "/api/chat/completions", chat | {"stream": False, "tools": [TOOL]}, 200, "get_weather"
    for name in ("title", "tags", "follow_up", "emoji"):
        yield f"task: {name}", f"/api/v1/tasks/{name}/completions", task, 200, "chat.completion"
    yield "embeddings", "/api/embeddings", {"model": MODEL, "input": ["high tide", "low tide"]}, 200, '"embedding"'
    yield ("retrieval: a document is embedded", "/api/v1/retrieval/process/text",
           {"name": "tide", "content": "The tide comes at noon. " * 50, "collection_name": "tide-tables"}, 200, "true")
    yield "responses", "/openai/responses", {"model": MODEL, "input": "Hello"}, 200, '"completed"'


class Chats:
    """Chats as the page has them: saved, streamed, with the tools that Open WebUI brings itself."""

    def __init__(self, web, case, upstreams, connection=""):
        self.web, self.case, self.upstreams, self.connection = web, case, upstreams, connection

    def begin(self, kind, text, chat=None, parent=None, params=None, picture=None, **more):
        """Sends one message: (chat, id of the message that answers it, what went wrong)."""
        user, answer = str(uuid.uuid4()), str(uuid.uuid4())
        files = [{"type": "image", "url": picture}] if picture else []
        status, told = self.web.call("/api/chat/completions", {
            "model": kind, "stream": True, "messages": [{"role": "user", "content": text}], "session_id": "page",
            "parent_id": parent, "params": {"function_calling": "native"} | (params or {}),
            "message_ids": [{"model_id": kind, "message_id": answer}],
            "user_message": {"id": user, "parentId": parent, "role": "user", "content": text, "timestamp": 1,
                             "childrenIds": [answer], "models": [kind], "files": files},
        } | ({"chat_id": chat} if chat else {}) | more)
        if status != 200:
            return None, None, {"error": told}
        return json.loads(told).get("chat_id", chat), answer, None

    def say(self, kind, text, **more):
        """One message and what was answered to it: (chat, message id, message)."""
        chat, answer, wrong = self.begin(kind, text, **more)
        if wrong:
            return chat, answer, wrong
        until = time.monotonic() + 60
        while time.monotonic() < until:
            saved = json.loads(self.web.call(f"/api/v1/chats/{chat}")[1])
            message = saved["chat"]["history"]["messages"].get(answer, {})
            if message.get("done") or message.get("error"):
                return chat, answer, message
            time.sleep(0.1)  # the page would be told by its socket
        return chat, answer, {"error": "no end within a minute"}

    def judge(self, kind, what, script, said, wrong=False, requests=None, extra=lambda: [], **more):
        began, upstream = time.monotonic(), self.upstreams[kind]
        upstream.fresh()
        upstream.script = script
        chat, parent, message = self.say(kind, "Note the tide, please.", **more)
        good = said in json.dumps(message, ensure_ascii=False) and bool(message.get("error")) == wrong
        count = sum(not (upstream.probed and "/responses" in path) for path, _, _ in upstream.requests)
        found = [*upstream.violations[:3], *extra()]
        good = good and not found and requests in (None, count)
        self.case.report(f"open webui{self.connection}, {kind}: {what}", good, began, f"{count} requests", *found, message)
        return chat, parent

    def all(self, kind):
        # A connection of type responses sends calls without the reasoning before them, and DeepSeek's
        # reasoning_content never goes back.
        self.upstreams[kind].format.forgiving = bool(self.connection) or kind == "deepseek"
        chat, parent = self.judge(kind, "chat with tools", scripts.open_webui, scripts.END, requests=3)
        self.judge(kind, "goes on in a second turn", scripts.open_webui, scripts.END, requests=1, chat=chat,
                   parent=parent)
        self.judge(kind, "chat with tools and reasoning", scripts.open_webui, scripts.END, requests=3,
                   params={"custom_params": {"reasoning": {"effort": "high"}}} if self.connection else
                   {"reasoning_effort": "high"})
        self.judge(kind, "a picture", scripts.sees, scripts.END, picture=PICTURE_URL)
        self.judge(kind, "context overflow", scripts.overflow, "prompt is too long", True)
        self.judge(kind, "429", scripts.busy(99), "Rate limit reached", True)
        self.judge(kind, "broken stream", scripts.broken(99), "", True)


def main(kinds, binary):
    open_webui, case, stations = venv("open-webui", VERSION, "open-webui"), Case(), Stations()
    everything = MCP_PACKAGES / "@modelcontextprotocol/server-everything/dist/index.js"
    stations.entries["everything"] = {"command": "node", "args": [str(everything)]}
    narrow = f"  - {{api_key: {open_webui_served.KEY_NARROW}, key_alias: narrow, models: [{kinds[0]}]}}\n"
    with serving({kind: kind for kind in kinds}, binary, MOCK, stations, narrow) as (upstreams, gateway, directory):
        address = f"http://127.0.0.1:{gateway}/v1"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "DATA_DIR": str(directory / "webui"), "HOME": str(directory), "WEBUI_SECRET_KEY": "of-no-use-elsewhere",
            "OPENAI_API_BASE_URL": address, "OPENAI_API_KEY": KEY, "ENABLE_OLLAMA_API": "false",
            "RAG_EMBEDDING_ENGINE": "openai", "RAG_EMBEDDING_MODEL": MODEL,
            "RAG_OPENAI_API_BASE_URL": address, "RAG_OPENAI_API_KEY": KEY, "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
            "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "true",
            "ANONYMIZED_TELEMETRY": "false", "ENABLE_VERSION_UPDATE_CHECK": "false",
        }
        (directory / "webui").mkdir()
        with open(directory / "webui.log", "w") as log:
            server = subprocess.Popen([open_webui, "serve", "--host", "127.0.0.1", "--port", str(port)], cwd=directory,
                                      env={"PATH": os.environ["PATH"], **settings}, stdout=log, stderr=log)
        try:
            web = WebUi(f"http://127.0.0.1:{port}")
            web.wait(server)
            print("Open WebUI", json.loads(web.call("/api/version")[1])["version"])
            person = {"name": "Ann", "email": "ann@example.com", "password": "Tide-tables-1871"}
            web.token = json.loads(web.call("/api/v1/auths/signup", person)[1])["token"]
            for what, path, body, wanted, text in checks(web, address):
                began = time.monotonic()
                status, answer = web.call(path, body)
                case.report(f"open webui: {what}", status == wanted and text in answer, began, status, answer[:300])
            everybody(web, kinds, case, upstreams, stations, gateway, open_webui_served.Log(binary, directory))
        finally:
            server.terminate()
            server.wait(30)
            stations.close()
    case.end()


def everybody(web, kinds, case, upstreams, stations, gateway, log):
    """Chats on every provider, by each type of connection; what is the same on all of them, on the first."""
    address, first = f"http://127.0.0.1:{gateway}/v1", kinds[0]
    chats = Chats(web, case, upstreams)
    open_webui_served.people(web, chats, log, first, WebUi(web.base), address)
    open_webui_served.knowledge(web, chats, first)
    open_webui_served.keys(web, case, address, first)
    open_webui_served.servers(chats, stations, f"http://127.0.0.1:{gateway}")
    for connection in ("", " (responses)"):
        chats = Chats(web, case, upstreams, connection)
        served = open_webui_served.Served(chats, stations, address)
        served.connect()
        for kind in kinds:
            chats.all(kind)
            served.all(kind)
            open_webui_served.asks_servers(served, kind)
        open_webui_served.stopped(web, chats, log, first)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=list(PARAMS))
    parser.add_argument("--gateway", default=BINARY)
    given = parser.parse_args()
    main(given.formats, given.gateway)
