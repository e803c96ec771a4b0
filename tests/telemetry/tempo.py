"""Grafana Tempo, the real one, with what `compose/` ships for it: by hand, as neither Debian nor a registry of packages has it.

    python3 tests/telemetry/tempo.py TEMPO target/debug/tidegate

TEMPO is its program, best of the version that compose/compose.lan.yaml names. Starts it with compose/tempo/tempo.yaml, but
for addresses and folders, and the gateway; asks for answers, a fallback, an error and tools; goes from the gateway's
lines to their traces, and asks Tempo every question of docs/guide/tracing.md.
Ends with the number of what was checked, or with what is not as it should be.
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse

from running import check, end, fetch, free_port, until

ROOT = pathlib.Path(__file__).parents[2]
KEY = "sk-tempo-0123456789abcdefghijk"
CALLER = "0af7651916cd43dd8448eb211c80319c"


def plain(attributes):
    """OTLP's attributes as a dictionary."""

    def value(it):
        [(kind, inner)] = it.items()
        if kind == "arrayValue":
            return [value(one) for one in inner.get("values", [])]
        return int(inner) if kind == "intValue" else inner

    return {it["key"]: value(it["value"]) for it in attributes}


def spans_of(trace):
    spans = []
    for batch in trace.get("batches") or trace.get("resourceSpans"):
        resource = plain(batch["resource"]["attributes"])
        for scope in batch["scopeSpans"]:
            for span in scope["spans"]:
                spans.append({**span, "resource": resource, "said": plain(span.get("attributes", []))})
    return spans


def questions():
    """The TraceQL of the guide, one a line; those that end in a function give series."""
    text = (ROOT / "docs/guide/tracing.md").read_text()
    blocks = [block for block in re.findall(r"^```text\n(.*?)^```", text, re.M | re.S) if block.startswith("{ ")]
    return [query for block in blocks for query in block.splitlines()]


def configure(folder, otlp):
    priced = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002}
    # Nobody listens there.
    absent = {"model": "openai/gpt-5", "api_key": "none", "api_base": "http://127.0.0.1:1/v1"}
    models = {"mock": {"model": "mock-response", **priced}, "gpt-5": absent, "alone": absent}
    config = {
        "model_list": [{"model_name": name, "litellm_params": it} for name, it in models.items()],
        "virtual_keys": [{"api_key": KEY, "key_alias": "laptop", "models": ["*"], "mcp_servers": ["*"]}],
        "router_settings": {"fallbacks": [{"gpt-5": ["mock"]}], "num_retries": 0},
        "general_settings": {"log_file": "tidegate.log"},
        "litellm_settings": {"json_logs": True},
        "mcp_servers": {"tools": {"command": sys.executable, "args": [str(ROOT / "tests/mcp/scripted.py")]}},
        "telemetry": {
            "exporters": [{"endpoint": f"http://127.0.0.1:{otlp}"}],
            "resource_attributes": {"deployment.environment.name": "lab"},
            "sampling_ratio": 1,
        },
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def configure_tempo(folder, port, grpc, otlp):
    """Its own file, with this machine's folders and addresses in place of a container's."""
    text = (ROOT / "compose/tempo/tempo.yaml").read_text()
    for before, after in (
        ("http_listen_port: 3200", f"http_listen_address: 127.0.0.1\n  http_listen_port: {port}\n"
         f"  grpc_listen_address: 127.0.0.1\n  grpc_listen_port: {grpc}"),
        ("0.0.0.0:4318", f"127.0.0.1:{otlp}"),
        ("/var/tempo", str(folder / "tempo")),
    ):
        assert before in text, before
        text = text.replace(before, after)
    # What the file leaves at folders of the container's volume.
    work = folder / "tempo"
    text += (
        f"live_store:\n  wal:\n    path: {work}/live-store\n  shutdown_marker_dir: {work}/marker\n"
        f"block_builder:\n  wal:\n    path: {work}/block-builder\n"
        f"backend_scheduler:\n  local_work_path: {work}\n"
    )
    (folder / "tempo.yaml").write_text(text)


def ask(gate):
    said = [{"role": "user", "content": "echo the harbour"}]
    bearer = {"authorization": f"Bearer {KEY}"}
    url = f"{gate}/v1/chat/completions"
    fetch(url, {"model": "mock", "messages": said, "temperature": 0.5}, {"session-id": "chat-7", **bearer})
    usage = {"include_usage": True}
    fetch(url, {"model": "mock", "messages": said, "stream": True, "stream_options": usage}, bearer)
    fetch(url, {"model": "gpt-5", "messages": said}, bearer, or_error=True)
    fetch(url, {"model": "alone", "messages": said}, bearer, or_error=True)
    fetch(url, {"model": "mock", "messages": said}, {"x-mcp-servers": "tools", **bearer})
    fetch(f"{gate}/v1/embeddings", {"model": "mock", "input": "a"}, {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01", **bearer})
    return 6


def judge(tempo, requests, checks):
    def trace(trace_id):
        """As Grafana asks for it, once it is whole: the request's own span is the last to end."""
        found = spans_of(json.loads(fetch(f"{tempo}/api/traces/{trace_id}")))
        return found if any(it["kind"] == "SPAN_KIND_SERVER" for it in found) else None

    shapes = {}
    for said in requests:
        spans = until(f"the trace of {said}", lambda: trace(said["trace_id"]))
        by_id = {span["spanId"]: span for span in spans}
        [root] = [span for span in spans if span["kind"] == "SPAN_KIND_SERVER"]
        name = said["surface"]
        check(checks, "the span that the line names", base64.b64decode(root["spanId"]).hex() == said["span_id"])
        check(checks, f"the request's span: {root['name']}", root["name"] == f"POST {name}")
        outside = "b7ad6b7169203331" if said["trace_id"] == CALLER else ""
        check(checks, "has the caller's as its parent", base64.b64decode(root.get("parentSpanId", "")).hex() == outside)
        check(checks, "the status", root["said"]["http.response.status_code"] == said["http_status"])
        failed = said["status"] == "error"
        check(checks, "failed where it did", (root.get("status", {}).get("code") == "STATUS_CODE_ERROR") == failed)
        for span in spans:
            check(checks, "the service", span["resource"]["service.name"] == "tidegate")
            check(checks, "the environment", span["resource"]["deployment.environment.name"] == "lab")
            check(checks, "no key", KEY not in json.dumps(span))
            check(checks, "ends after it began", int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]))
            if span is not root:
                check(checks, f"{span['name']} is below it", by_id[span["parentSpanId"]] is root)
        inner = sorted((it for it in spans if it is not root), key=lambda it: int(it["startTimeUnixNano"]))
        shapes[said["request_id"]] = [(it["kind"][10:], it["name"], it.get("status", {}).get("code", "")[12:]) for it in inner]
    chat, lost = ("CLIENT", "chat mock-response", ""), ("CLIENT", "chat gpt-5", "ERROR")
    expected = [
        [chat],
        [chat],
        [lost, chat],
        [lost],
        [chat, ("INTERNAL", "execute_tool echo", ""), chat],
        [("CLIENT", "embeddings mock-response", "")],
    ]
    for said, shape in zip(requests, expected):
        found = shapes[said["request_id"]]
        check(checks, f"{said['surface']}: {found}", found == shape)

    def within():
        return {"start": int(time.time()) - 1800, "end": int(time.time()) + 1}

    def search(query):
        found = fetch(f"{tempo}/api/search?{urllib.parse.urlencode({'q': query, 'limit': 50, **within()})}")
        return {it["traceID"].rjust(32, "0") for it in json.loads(found).get("traces", [])}

    def series(query):
        # The last half minute is not in it yet.
        found = fetch(f"{tempo}/api/metrics/query_range?{urllib.parse.urlencode({'q': query, 'step': '5s', **within()})}")
        return json.loads(found).get("series", [])

    ids = [said["trace_id"] for said in requests]
    for query, which in (
        ('{ span.gen_ai.request.model = "gpt-5" }', [2, 3]),
        ('{ span.gen_ai.request.model = "mock-response" }', [0, 1, 2, 4, 5]),
        ("{ kind = server && status = error }", [3]),
        ('{ span.gen_ai.request.temperature = 0.5 }', [0]),
        ('{ span.session.id = "chat-7" }', [0]),
        ('{ span.tidegate.key_alias = "laptop" && kind = server }', range(6)),
        ('{ kind = server && status != error } > { kind = client && status = error }', [2]),
        ('{ name = "execute_tool echo" }', [4]),
        ('{ resource.deployment.environment.name = "lab" && span.gen_ai.usage.output_tokens > 0 && kind = client }', [0, 1, 2, 4]),
        ('{ event:name = "tidegate.routed" }', range(6)),
    ):
        # A trace is found a little later than it is shown.
        until(f"{list(which)} by {query}", lambda: search(query) & set(ids) == {ids[at] for at in which})
        check(checks, f"{query} finds what it should, and no more", True)
    for query in questions():
        found = until(f"an answer to {query}", lambda: series(query) if "|" in query else search(query))
        check(checks, f"the guide asks: {query}", found)
    values = json.loads(fetch(f"{tempo}/api/v2/search/tag/span.gen_ai.request.model/values"))["tagValues"]
    check(checks, "the models to choose from", {it["value"] for it in values} == {"gpt-5", "mock-response"})


def main(tempo_program, gateway_program):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tempo-"))
    port, grpc, otlp, gate_port = (free_port() for _ in range(4))
    configure(folder, otlp)
    configure_tempo(folder, port, grpc, otlp)
    tempo = f"http://127.0.0.1:{port}"
    arguments = [tempo_program, f"-config.file={folder / 'tempo.yaml'}"]
    checks, gateway = [], None
    verified = subprocess.run([*arguments, "-config.verify=true"], capture_output=True, text=True, timeout=60)
    check(checks, f"Tempo finds the file valid: {verified.stderr[-2000:]}", verified.returncode == 0)
    log = open(folder / "tempo.log", "w")
    tempo_process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
    try:
        until("Tempo", lambda: fetch(f"{tempo}/ready") is not None)
        gateway = subprocess.Popen(
            [gateway_program, "--config", "config.yaml", "--listen", f"127.0.0.1:{gate_port}"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gate = f"http://127.0.0.1:{gate_port}"
        until("the gateway", lambda: fetch(f"{gate}/healthz"))
        asked = ask(gate)

        def written():
            lines = (folder / "tidegate.log").read_text().splitlines()
            requests = [said for said in map(json.loads, lines) if said["event"] == "request"]
            return requests if len(requests) == asked else None

        requests = until("the gateway's lines", written)
        judge(tempo, requests, checks)
        lines = (folder / "tidegate.log").read_text()
        check(checks, "the gateway has nothing to say of its collector", "exported" not in lines)
        version = json.loads(fetch(f"{tempo}/api/status/buildinfo"))["version"]
        # It may take a minute to end; Docker waits ten seconds.
        tempo_process.kill()
        tempo_process.wait()
        tempo_process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
        until("Tempo once more", lambda: fetch(f"{tempo}/ready") is not None)
        for said in requests:
            until("a trace once more", lambda: fetch(f"{tempo}/api/traces/{said['trace_id']}"))
        check(checks, "nothing is lost when it is killed", True)
        mine = {"config.yaml", "data", "tempo.yaml", "tempo.log", "tidegate.log", "tempo"}
        check(checks, "it writes into its own folder only", {path.name for path in folder.iterdir()} <= mine)
        print(f"Tempo {version}: {asked} traces, {len(questions())} written queries, {len(checks)} checks, none failed")
    finally:
        end(gateway)
        end(tempo_process)


if __name__ == "__main__":
    main(*(str(pathlib.Path(path).resolve()) for path in sys.argv[1:3]))
