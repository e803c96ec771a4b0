"""Open WebUI as a client of the gateway: the connection test, the model list, chat with and without a
stream, tools, background tasks, embeddings for retrieval, responses. Not part of tests/run: the package
and what it needs take some 7 GB.

    python3.11 -m venv /tmp/open-webui && /tmp/open-webui/bin/pip install open-webui==0.12.4
    cargo build && python3 tests/clients/open_webui.py /tmp/open-webui/bin/open-webui [GATEWAY]

It runs offline, with its data in a temporary directory that goes away with it, and is driven through its
own HTTP API, as its pages do. What came of it stands in docs/guide/clients-tested.md."""

import json
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KEY = "sk-open-webui-0123456789abcdefghij"
MODEL = "gpt-4o-mock"
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = f"""\
model_list:
  - model_name: {MODEL}
    litellm_params: {{model: mock-response}}
virtual_keys:
  - {{api_key: {KEY}, key_alias: open-webui, models: ["*"]}}
"""
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


def main(open_webui, binary):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-open-webui-"))
    (directory / "config.yaml").write_text(CONFIG)
    (directory / "data").mkdir()
    gateway = subprocess.Popen([binary, "--config", "config.yaml", "--listen", "127.0.0.1:0"], cwd=directory,
                               stdout=subprocess.PIPE, text=True)
    listening = (re.search(r"listening on (http://\S+)", line) for line in gateway.stdout)
    address = next(found[1] for found in listening if found) + "/v1"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "DATA_DIR": str(directory / "webui"), "HOME": str(directory), "WEBUI_SECRET_KEY": "of-no-use-elsewhere",
        "OPENAI_API_BASE_URL": address, "OPENAI_API_KEY": KEY, "ENABLE_OLLAMA_API": "false",
        "RAG_EMBEDDING_ENGINE": "openai", "RAG_EMBEDDING_MODEL": MODEL,
        "RAG_OPENAI_API_BASE_URL": address, "RAG_OPENAI_API_KEY": KEY,
        "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "true",
        "ANONYMIZED_TELEMETRY": "false", "ENABLE_VERSION_UPDATE_CHECK": "false",
    }
    (directory / "webui").mkdir()
    with open(directory / "log", "w") as log:
        server = subprocess.Popen([open_webui, "serve", "--host", "127.0.0.1", "--port", str(port)], cwd=directory,
                                  env={"PATH": os.environ["PATH"], **settings}, stdout=log, stderr=log)
    failed = 0
    try:
        web = WebUi(f"http://127.0.0.1:{port}")
        web.wait(server)
        print("Open WebUI", json.loads(web.call("/api/version")[1])["version"])
        person = {"name": "Ann", "email": "ann@example.com", "password": "Tide-tables-1871"}
        web.token = json.loads(web.call("/api/v1/auths/signup", person)[1])["token"]
        for what, path, body, wanted, text in checks(web, address):
            status, answer = web.call(path, body)
            good = status == wanted and text in answer
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {what}: {status}", "" if good else answer[:300])
        time.sleep(0.5)  # the last rows are on their way to the file
        rows = sqlite3.connect(directory / "data/tidegate.db").execute(
            "SELECT surface, stream, status, count(*) FROM request_logs GROUP BY 1, 2, 3 ORDER BY 1, 2").fetchall()
        print("rows:", *rows, sep="\n     ")
    finally:
        server.terminate()
        gateway.terminate()
        server.wait(30)
        gateway.wait(20)
    if failed:
        sys.exit(f"{failed} failed; see {directory}/log")
    subprocess.run(["rm", "-rf", str(directory)], check=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "target/debug/tidegate"))
