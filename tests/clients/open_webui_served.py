"""Open WebUI and the tools that the gateway runs, and what the gateway knows of the people behind it: more cases of
open_webui.py, which starts all of it. Connections are set as the admin's page sets them."""

import json
import subprocess
import threading
import time
import urllib.request
import uuid

import scripts
from gateway import KEY, KEY_WITH_TOOLS

# A key that sees one model.
KEY_NARROW = "sk-clients-narrow-0123456789abcdefghij"
SERVERS = {"x-mcp-servers": "gauges,harbour,pilots,everything"}
TASK = {"x-tidegate-task": "{{TASK}}"}
PUBLIC = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]


def connect(web, address, key=KEY, api_type="", headers=None, more=()):
    """Sets the connections of *Admin Panel → Settings → Connections*: (address, key, prefix) for each of `more`."""
    configs = [{"enable": True, "api_type": api_type, "auth_type": "bearer", "headers": headers or {}}]
    configs += [{"enable": True, "auth_type": "bearer", "prefix_id": prefix} for _, _, prefix in more]
    status, told = web.call("/openai/config/update", {
        "ENABLE_OPENAI_API": True, "OPENAI_API_BASE_URLS": [address, *(each for each, _, _ in more)],
        "OPENAI_API_KEYS": [key, *(each for _, each, _ in more)],
        "OPENAI_API_CONFIGS": {str(index): config for index, config in enumerate(configs)}})
    if status != 200:
        raise SystemExit(told)
    return {model["id"]: model for model in json.loads(web.call("/api/models?refresh=true")[1])["data"]}


class Served:
    """Chats in which the gateway runs tools: `chats` are those of a connection type."""

    def __init__(self, chats, stations, address):
        self.chats, self.web, self.case, self.stations, self.address = chats, chats.web, chats.case, stations, address
        self.api_type = "responses" if chats.connection else ""

    def connect(self, key=KEY, headers=None):
        connect(self.web, self.address, key, self.api_type, headers)

    def judge(self, kind, what, script, ran=None, **more):
        """A message of a chat, and what the gateway's servers ran for it."""
        self.stations.fresh()
        wanted = sorted(script.runs() if ran is None else ran)
        return self.chats.judge(kind, what, script, scripts.END, extra=lambda: (
            [] if self.stations.ran() == wanted else [f"ran {self.stations.ran()}, not {wanted}"]), **more)

    def api(self, kind, what, script, stream):
        """A request of a program that uses Open WebUI's own API: none of its tools, and no chat."""
        began, upstream = time.monotonic(), self.chats.upstreams[kind]
        upstream.fresh()
        self.stations.fresh()
        upstream.script = script
        status, told = self.web.call("/api/chat/completions", {
            "model": kind, "stream": stream, "messages": [{"role": "user", "content": "How is the tide?"}]})
        text = "".join(strings(told)).replace("\\u2028", "\u2028")
        good = (status == 200 and scripts.END in text and not upstream.violations
                and self.stations.ran() == script.runs())
        self.case.report(f"open webui{self.chats.connection}, {kind}: {what}", good, began, status, *upstream.violations[:3],
                         self.stations.ran(), told[-600:])

    def all(self, kind):
        self.chats.upstreams[kind].format.forgiving = bool(self.chats.connection) or kind == "deepseek"
        task = scripts.open_webui_served()
        self.connect(headers=SERVERS)
        chat, parent = self.judge(kind, "gateway's tools", task, requests=5)
        self.judge(kind, "gateway's tools, in a second turn", task, ran=(), requests=1, chat=chat, parent=parent)
        self.judge(kind, "gateway's tools, without Open WebUI's", scripts.asks(), requests=3, params={"function_calling": "default"})
        self.api(kind, "gateway's tools by its API", scripts.asks(), False)
        self.api(kind, "gateway's tools by its API, streamed", scripts.asks(), True)
        self.judge(kind, "gateway's tools: the official server", scripts.asks(
            [("everything-echo", {"message": "ebb"}, "Echo: ebb"), ("everything-get-sum", {"a": 3, "b": 4}, "7")]), ran=())
        self.connect(key=KEY_WITH_TOOLS)
        self.judge(kind, "gateway's tools by the key", task, requests=5)
        self.connect(key=KEY_WITH_TOOLS, headers=TASK)
        # Open WebUI limits a title by `max_tokens`, unless it knows the model's name as one that reasons. At OpenAI's own address the
        # gateway says it as the model wants; at another it is the client's word that counts.
        if kind != "responses" or self.api_type:
            self.background(kind, task)
        self.connect()

    def background(self, kind, task):
        """Title, tags and follow-ups of a chat with tools: they have none, and run none."""
        began = time.monotonic()
        tasks = {"title_generation": True, "tags_generation": True, "follow_up_generation": True}
        chat, _ = self.judge(kind, "gateway's tools, with tasks in the background", scripts.in_background(task),
                             ran=task.runs(), background_tasks=tasks)
        title = ""
        while title != "Tides" and time.monotonic() - began < 20:
            title = json.loads(self.web.call(f"/api/v1/chats/{chat}")[1]).get("title")
            time.sleep(0.1)
        upstream = self.chats.upstreams[kind]
        self.case.report(f"open webui{self.chats.connection}, {kind}: tasks in the background", title == "Tides"
                         and not upstream.violations, began, title, *upstream.violations[:3])


def strings(told):
    """The texts of an answer, whole or streamed, in whatever shape the connection type has it."""
    for line in told.splitlines() if told.startswith(("data:", "event:", ":")) else [told]:
        try:
            value = json.loads(line.removeprefix("data:"))
        except ValueError:
            continue
        if value.get("type") == "response.output_text.delta":
            yield value["delta"]
        for choice in value.get("choices") or []:
            yield (choice.get("message") or choice.get("delta") or {}).get("content") or ""
        for item in value.get("output") or []:
            yield "".join(part.get("text", "") for part in item.get("content") or [])


def servers(chats, stations, gateway):
    """*External Tools*: the gateway as a tool server of Open WebUI, which runs the calls itself."""
    web, case = chats.web, chats.case
    common = {"auth_type": "bearer", "key": KEY, "config": {"enable": True, "access_grants": PUBLIC}}
    entries = {
        "mcp": common | {"type": "mcp", "url": f"{gateway}/mcp", "path": "", "info": {"id": "tide", "name": "Tidegate"}},
        "openapi": common | {"type": "openapi", "url": f"{gateway}/mcp-openapi/gauges", "path": "openapi.json",
                             "info": {"id": "gauges", "name": "Gauges"}},
    }
    for name, entry in entries.items():
        began = time.monotonic()
        status, told = web.call("/api/v1/configs/tool_servers/verify", entry)
        case.report(f"open webui: tool server {name}, verified", status == 200 and "read_gauge" in told, began, status, told[:600])
        status, told = web.call("/api/v1/configs/tool_servers/verify", entry | {"key": "sk-wrong"})
        case.report(f"open webui: tool server {name}, wrong key", status == 400, began, status, told[:600])
    status, told = web.call("/api/v1/configs/tool_servers", {"TOOL_SERVER_CONNECTIONS": list(entries.values())})
    case.report("open webui: tool servers saved", status == 200, time.monotonic(), status, told[:600])
    listed = [tool["id"] for tool in json.loads(web.call("/api/v1/tools/")[1])]
    case.report("open webui: tool servers offered", {"server:mcp:tide", "server:gauges"} <= set(listed), time.monotonic(), listed)


def asks_servers(served, kind):
    """The same servers by both ways of External Tools, then beside the gateway's own in one turn."""
    husum, level = {"station": "Husum"}, "Husum stands at 4.02 m"
    for way, tool, tool_id in (("MCP", "tide_gauges-read_gauge", "server:mcp:tide"),
                               ("OpenAPI", "tool_read_gauge_post", "server:gauges")):
        script = scripts.Served([(tool, husum, level), ("get_current_timestamp", {}, "202")])
        served.judge(kind, f"tool server {way}", script, ran=["gauges read_gauge Husum"], requests=2, tool_ids=[tool_id])
    served.judge(kind, "tool server MCP, a tool that fails", scripts.Served([("tide_pilots-jammed", {}, scripts.JAMMED)]),
                 ran=["pilots jammed"], requests=2, tool_ids=["server:mcp:tide"])
    served.connect(headers=SERVERS)
    script = scripts.Served([("tide_gauges-read_gauge", husum, level), scripts.gauge("gauges", "Kiel"),
                             ("tool_read_gauge_post", {"station": "List"}, "List stands at 4.02 m")], [scripts.gauge("pilots", "Amrum")])
    served.judge(kind, "tool servers beside the gateway's own", script, requests=3, tool_ids=["server:mcp:tide", "server:gauges"],
                 ran=["gauges read_gauge Husum", "gauges read_gauge Kiel", "gauges read_gauge List", "pilots read_gauge Amrum"])
    served.connect()


class Log:
    """The gateway's log, asked by its own commands."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory

    def ask(self, *words):
        done = subprocess.run([self.binary, *words, "--config", "config.yaml", "--json"], cwd=self.directory, text=True,
                              capture_output=True, timeout=30)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rows(self, **wanted):
        """The rows with these values, waited for."""
        until = time.monotonic() + 10
        while True:
            rows = [row for row in self.ask("logs", "query", "--limit", "5000")
                    if all(row.get(name) == value for name, value in wanted.items())]
            if rows or time.monotonic() > until:
                return rows
            time.sleep(0.2)


def people(web, chats, log, kind, other, address):
    """Two people: what the second may see, and whose request is whose in the gateway's log."""
    case, began = chats.case, time.monotonic()
    ann = json.loads(web.call("/api/v1/auths/")[1])["id"]
    person = {"name": "Bo Höfer", "email": "bo@example.com", "password": "Tide-tables-1872", "role": "user"}
    bo = json.loads(web.call("/api/v1/auths/add", person)[1])
    other.token = bo["token"]
    listed = json.loads(other.call("/api/models")[1])["data"]
    case.report("open webui: a second user sees no model until it is shared", listed == [], began, listed)
    web.call("/api/v1/models/create", {"id": kind, "name": kind, "base_model_id": None, "meta": {}, "params": {},
                                       "access_grants": PUBLIC})
    listed = [model["id"] for model in json.loads(other.call("/api/models")[1])["data"]]
    case.report("open webui: a second user sees the model that is shared", listed == [kind], began, listed)
    both = {}
    for name, user, one in (("first", ann, web), ("second", bo["id"], other)):
        chats.web = one
        both[user], _ = chats.judge(kind, f"a chat of the {name} user", scripts.chatter, scripts.END)
    chats.web = web
    for user, chat in both.items():
        rows = log.rows(end_user=user, session_id=chat)
        case.report("open webui: rows of a user and a chat", [row["model_requested"] for row in rows] == [kind], began, user, chat,
                    [(row.get("end_user"), row.get("session_id")) for row in log.rows()][-4:])
    usage = {line.get("end_user"): line["requests"] for line in log.ask("usage", "--by", "end-user")}
    case.report("open webui: usage by user", usage.get(bo["id"]) == 1 and usage.get(ann, 0) > 1, began, usage)
    connect(web, address, headers={"x-litellm-end-user-id": "{{USER_EMAIL}}"})
    chats.web = other
    chat, _ = chats.judge(kind, "a chat of the second user, named by a header", scripts.chatter, scripts.END)
    chats.web = web
    rows = log.rows(end_user=person["email"], session_id=chat)
    case.report("open webui: rows of a user by name", len(rows) == 1, began, [row.get("end_user") for row in log.rows()][-4:])
    connect(web, address)


def stopped(web, chats, log, kind):
    """*Stop* in the middle of an answer."""
    case, began, event = chats.case, time.monotonic(), threading.Event()
    upstream = chats.upstreams[kind]
    upstream.fresh()
    upstream.script = scripts.waiting(event)
    chat = chats.begin(kind, "Tell me of the tide.")[0]
    while not upstream.requests:
        time.sleep(0.05)
    time.sleep(0.5)  # some of the answer is there
    tasks = json.loads(web.call(f"/api/tasks/chat/{chat}")[1])["task_ids"]
    for task in tasks:
        web.call(f"/api/tasks/stop/{task}", {})
    rows = log.rows(session_id=chat)
    event.set()
    case.report(f"open webui{chats.connection}, {kind}: stopped", bool(tasks) and [row["status"] for row in rows] == ["cancelled"],
                began, tasks, [(row["status"], row.get("http_status")) for row in rows])


def keys(web, case, address, kind):
    """Two connections, with a key that sees everything and one that sees one model."""
    began = time.monotonic()
    listed = connect(web, address, more=[(address, KEY_NARROW, "narrow")])
    narrow = [name for name in listed if name.startswith("narrow.")]
    case.report("open webui: models of two keys", kind in listed and narrow == [f"narrow.{kind}"], began, list(listed))
    status, told = web.call("/api/chat/completions", {"model": f"narrow.{kind}", "messages": [{"role": "user", "content": "Hi"}]})
    case.report("open webui: a chat by the second key", status == 200 and scripts.END in "".join(strings(told)), began, status, told[:300])
    connect(web, address)


def knowledge(web, chats, kind):
    """A file is uploaded, embedded, gathered, and asked."""
    case, began, fact = chats.case, time.monotonic(), "The gauge of Pellworm stands on the old mole."
    bound = uuid.uuid4().hex
    body = (f"--{bound}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"pellworm.txt\"\r\n"
            f"Content-Type: text/plain\r\n\r\n{fact}\n\r\n--{bound}--\r\n").encode()
    request = urllib.request.Request(f"{web.base}/api/v1/files/?process_in_background=false", body, {
        "authorization": f"Bearer {web.token}", "content-type": f"multipart/form-data; boundary={bound}"})
    file = json.loads(urllib.request.urlopen(request, timeout=60).read())["id"]
    base = json.loads(web.call("/api/v1/knowledge/create", {"name": "Gauges", "description": "Where they stand"})[1])["id"]
    status, told = web.call(f"/api/v1/knowledge/{base}/file/add", {"file_id": file})
    case.report("open webui: a file is embedded into a knowledge base", status == 200, began, status, told[:300])
    status, told = web.call("/api/v1/retrieval/query/collection", {"collection_names": [base], "query": "Pellworm", "k": 1})
    case.report("open webui: the knowledge base is asked", status == 200 and "old mole" in told, began, status, told[:300])
    chats.judge(kind, "a chat with a file", scripts.knows("old mole"), scripts.END,
                files=[{"type": "collection", "id": base, "name": "Gauges"}], params={"function_calling": "default"})
