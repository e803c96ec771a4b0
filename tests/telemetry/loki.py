"""Grafana Loki, the real one, with what `compose/` ships for it: by hand, as neither Debian nor a registry of packages has it.

    python3 tests/telemetry/loki.py LOKI target/debug/tidegate

LOKI is its program, best of the version that compose/compose.lan.yaml names. Starts it with compose/loki/loki.yaml, but for
addresses and folders, and the gateway; asks for answers, errors and tools; sends the gateway's lines as
compose/alloy/config.alloy would; and asks Loki every question that the dashboards and the guide ask, and some more.
Ends with the number of what was checked, or with what is not as it should be.
"""

import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from running import check, end, fetch, free_port, until

ROOT = pathlib.Path(__file__).parents[2]
KEY = "sk-loki-0123456789abcdefghijkl"
# What the guide's example has in place of a request's own.
EXAMPLE_REQUEST = "019c2e0b-1c2d-7a3e-8f00-112233445566"
EXAMPLE_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Escapes, a line of its own, C1, a line separator, a mark of direction, a NUL, and what is beyond the first plane.
EVIL = 'a"}\n{"level":"error"} \x1b[31m \x9b31m \u2028 \u202e \x00 \U0001f980 \\'


def nanoseconds(text):
    """An RFC 3339 time as Loki counts."""
    whole, fraction = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", text).groups()
    seconds = datetime.datetime.fromisoformat(whole + "+00:00").timestamp()
    return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


class Alloy:
    """What config.alloy does to a line of the gateway: it is read, not repeated here."""

    def __init__(self):
        text = (ROOT / "compose/alloy/config.alloy").read_text()

        def stage(name):
            inner = re.search(r"stage\.%s \{((?:[^{}]|\{[^{}]*\})*)\}" % name, text).group(1)
            return dict(re.findall(r'(\w+)\s*= "([^"]*)"', inner))

        self.extracted = stage("json")
        self.labels = stage("labels")
        self.metadata = stage("structured_metadata")
        self.timestamp = stage("timestamp")
        self.kept = re.findall(r'target_label\s*= "(\w+)"', text)

    def entry(self, line, project="tidegate", service="tidegate"):
        """Labels, and what stands behind them: a time, the line, its metadata."""
        labels = {"project": project, "service": service}
        assert sorted(labels) == sorted(self.kept)
        now = time.time_ns()
        try:
            found = json.loads(line)
        except ValueError:
            return labels, [str(now), line, {}]
        facts = {name: found[path] for name, path in self.extracted.items() if path in found}
        labels.update({name: facts[source] for name, source in self.labels.items() if source in facts})
        metadata = {name: facts[source] for name, source in self.metadata.items() if source in facts}
        assert self.timestamp["format"] == "RFC3339Nano"
        return labels, [str(nanoseconds(facts[self.timestamp["source"]])), line, metadata]


class Loki:
    def __init__(self, url):
        self.url = url

    def push(self, entries):
        streams = {}
        for labels, entry in entries:
            streams.setdefault(json.dumps(labels, sort_keys=True), []).append(entry)
        body = [{"stream": json.loads(labels), "values": values} for labels, values in streams.items()]
        try:
            fetch(f"{self.url}/loki/api/v1/push", {"streams": body})
        except urllib.error.HTTPError as error:
            sys.exit(f"not so: Loki takes the lines: {error.read().decode()}")

    def read(self, path, **parameters):
        return json.loads(fetch(f"{self.url}/loki/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))

    def lines(self, query, **parameters):
        """Each line with its labels, metadata among them, the oldest first."""
        now = time.time_ns()
        given = {"query": query, "start": now - 3600 * 10**9, "end": now + 10**9, "limit": 5000, **parameters}
        found = self.read("query_range", **given)["data"]
        assert found["resultType"] == "streams", found["resultType"]
        lines = [(int(at), line, it["stream"]) for it in found["result"] for at, line in it["values"]]
        return sorted(lines, key=lambda line: line[0])

    def numbers(self, query):
        """The values of an instant query, by their labels."""
        found = self.read("query", query=query)["data"]
        assert found["resultType"] == "vector", found["resultType"]
        return {tuple(sorted(it["metric"].items())): float(it["value"][1]) for it in found["result"]}

    def either(self, query):
        """How many lines or series come of a query of whichever kind."""
        now = time.time_ns()
        found = self.read("query_range", query=query, start=now - 3600 * 10**9, end=now + 10**9, step=60)
        return sum(len(it["values"]) for it in found["data"]["result"])


def panels(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def questions():
    """Every LogQL query that is written down: of dashboards, of Grafana's data sources, of the guide."""
    found = []
    for file in sorted((ROOT / "dashboards").glob("*.json")):
        for panel in panels(json.loads(file.read_text())):
            for target in panel.get("targets", []):
                if target.get("datasource", {}).get("type") == "loki":
                    found.append((file.name, target["expr"]))
    sources = (ROOT / "dashboards/provisioning/datasources/tidegate.yaml").read_text()
    for query in re.findall(r"query: '(\{service=.*)'", sources):
        found.append(("data sources", query.replace("$${__trace.traceId}", EXAMPLE_TRACE)))
    for file in sorted((ROOT / "docs/guide").glob("*.md")):
        for block in re.findall(r"^```text\n(.*?)^```", file.read_text(), re.M | re.S):
            if '{service="tidegate"' in block:
                found.extend((file.name, query) for query in block.splitlines() if query)
    return found


def ask(gate):
    """Answers, an error, a refusal, a tool: the ids of the requests by what they were for."""
    ids = {}
    asked = [
        ("plain", {"model": "mock"}, {}),
        ("stream", {"model": "mock", "stream": True}, {}),
        ("error", {"model": "broken"}, {}),
        ("limited", {"model": "limited"}, {}),
        ("unknown", {"model": "nosuch"}, {}),
        ("tool", {"model": "mock"}, {"x-mcp-servers": "tools,evil"}),
    ]
    for name, body, headers in asked:
        body = {"messages": [{"role": "user", "content": "echo the harbour"}], **body}
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
        request = urllib.request.Request(f"{gate}/v1/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
                ids[name] = answer.headers["x-request-id"]
        except urllib.error.HTTPError as error:
            ids[name] = error.headers["x-request-id"]
    return ids


def configure(folder):
    evil = f"import sys; sys.stderr.buffer.write({EVIL.encode()!r} + b'\\n'); sys.exit(1)"
    mock = {"model": "mock-response", "input_cost_per_token": 0.001, "output_cost_per_token": 0.002}
    models = {
        "mock": mock,
        "broken": {"model": "mock-response", "mock_response": "litellm.InternalServerError"},
        "limited": {"model": "mock-response", "mock_response": "litellm.RateLimitError"},
    }
    config = {
        "model_list": [{"model_name": name, "litellm_params": it} for name, it in models.items()],
        "virtual_keys": [{"api_key": KEY, "key_alias": "loki", "models": ["*"], "mcp_servers": ["*"]}],
        "general_settings": {"log_file": "tidegate.log"},
        "litellm_settings": {"json_logs": True},
        "mcp_servers": {
            "tools": {"command": sys.executable, "args": [str(ROOT / "tests/mcp/scripted.py")]},
            "evil": {"command": sys.executable, "args": ["-c", evil]},
        },
        # Nobody is there: what matters are the ids in the lines.
        "telemetry": {"exporters": [{"endpoint": "http://127.0.0.1:1"}]},
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def configure_loki(folder, text, port, grpc):
    """Its own file, with this machine's folders and addresses in place of a container's."""
    for before, after in (
        ("http_listen_port: 3100", f"http_listen_address: 127.0.0.1\n  http_listen_port: {port}\n"
         f"  grpc_listen_address: 127.0.0.1\n  grpc_listen_port: {grpc}"),
        ("common:\n", "common:\n  instance_addr: 127.0.0.1\n"),
        (": /loki", f": {folder / 'loki'}"),
    ):
        assert before in text, before
        text = text.replace(before, after)
    (folder / "loki.yaml").write_text(text)


def judge(loki, alloy, lines, ids, checks):
    parsed = [json.loads(line) for line in lines]
    entries = [alloy.entry(line) for line in lines]
    loki.push(entries)
    came = until("the lines", lambda: [it for it in [loki.lines('{service="tidegate"}')] if len(it) >= len(lines)])
    came = came[0]

    check(checks, f"each of {len(lines)} lines came once, as it was", sorted(l for _, l, _ in came) == sorted(lines))
    own = {line: nanoseconds(json.loads(line)["ts"]) for line in lines}
    check(checks, "at the time that it says", all(at == own[line] for at, line, _ in came))
    for _, line, labels in came:
        said = json.loads(line)
        check(checks, "the level is a label", labels["level"] == said["level"])
        check(checks, "and is detected as such", labels["detected_level"] == said["level"])
        for name in ("request_id", "trace_id"):
            check(checks, f"{name} beside the line, where it has one", labels.get(name) == said.get(name))
    names = set(loki.read("labels")["data"])
    expected = {"project", "service", "level", "service_name"}
    check(checks, f"the labels are few: {sorted(names)}", names == expected)
    check(checks, "Loki's own name of the service", loki.read("label/service_name/values")["data"] == ["tidegate"])

    requests = [said for said in parsed if said["event"] == "request"]
    check(checks, "a line for each request", {it["request_id"] for it in requests} == set(ids.values()))
    by_id = {it["request_id"]: it for it in requests}
    plain, failed = by_id[ids["plain"]], by_id[ids["error"]]
    for name in ("request_id", "trace_id"):
        found = loki.lines(f'{{service="tidegate"}} | {name}="{plain[name]}"')
        check(checks, f"a line by its {name}", [json.loads(line) for _, line, _ in found] == [plain])
    evil = loki.lines('{service="tidegate"} |= "standard error" | json | server="evil"')
    check(checks, "what a server said with signs that terminals obey", evil)
    check(checks, "in one line each", all("\n" not in line and "\x1b" not in line for _, line, _ in evil))

    errors = loki.lines('{service="tidegate"} | json | event="request" | status="error"')
    check(checks, "the two that failed", {it["request_id"] for _, _, it in errors} == {ids["error"], ids["limited"]})
    check(checks, "are warnings", all(labels["level"] == "warn" for _, _, labels in errors))
    check(checks, "with their status", {it["http_status"] for _, _, it in errors} == {"500", "429"})
    check(checks, "and error", failed["error_type"] in {it["error_type"] for _, _, it in errors})
    counted = loki.numbers('sum by (status) (count_over_time({service="tidegate"} | json | event="request" [1h]))')
    expected = {(("status", "ok"),): 3, (("status", "error"),): 2, (("status", "denied"),): 1}
    check(checks, f"requests by status: {counted}", counted == expected)
    unwrapped = '{service="tidegate"} | json | event="request" | unwrap %s [1h]'
    for name in ("cost_usd", "input_tokens", "output_tokens", "duration_ms"):
        [sum_] = loki.numbers(f"sum(sum_over_time({unwrapped % name}))").values()
        true = sum(it.get(name, 0) for it in requests)
        check(checks, f"the sum of {name}: {sum_}", abs(sum_ - true) < 1e-6 and true > 0)
    bad = loki.lines('{service="tidegate"} | json | __error__!=""')
    check(checks, "no line is broken JSON", not bad)

    for place, query in questions():
        query = query.replace(EXAMPLE_REQUEST, plain["request_id"]).replace(EXAMPLE_TRACE, plain["trace_id"])
        check(checks, f"{place} asks: {query}", loki.either(query) > 0)
    warnings = [it for it in parsed if it["level"] in ("warn", "error")]
    [board] = [query for place, query in questions() if place == "operations.json"]
    check(checks, "the dashboard has all warnings", loki.either(board) == len(warnings))

    # A collector that has lost its place sends again.
    loki.push(entries)
    time.sleep(1)
    check(checks, "sent twice, there once", len(loki.lines('{service="tidegate"}')) == len(lines))
    # As long as a line may be, and what a panic or another program says.
    stem = lines[-1].rstrip("}") + ',"long":"'
    long = stem + "x" * (16 * 1024 - len(stem) - 3) + '"}'
    loki.push([alloy.entry(long), alloy.entry("thread 'main' panicked"), alloy.entry("LOG: ready", service="postgres")])
    until("a long line", lambda: any(line == long for _, line, _ in loki.lines('{service="tidegate"} |= "xxx"')))
    check(checks, "a line of 16 KiB is whole", True)
    found = loki.lines('{service="tidegate"} |= "panicked"')
    check(checks, "a line that is no JSON", len(found) == 1 and "level" not in found[0][2])
    check(checks, "another container's", len(loki.lines('{service="postgres"}')) == 1)


def main(loki_program, gateway_program):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="loki-"))
    port, grpc, gate_port = free_port(), free_port(), free_port()
    own = ROOT / "compose/loki/loki.yaml"
    checks, gateway = [], None
    verified = subprocess.run([loki_program, f"-config.file={own}", "-verify-config"], capture_output=True, text=True)
    check(checks, f"Loki finds the file valid: {verified.stderr}", (verified.returncode, verified.stderr) == (0, ""))
    configure_loki(folder, own.read_text(), port, grpc)
    log = open(folder / "loki.log", "w")
    arguments = [loki_program, f"-config.file={folder / 'loki.yaml'}"]
    loki_process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
    try:
        configure(folder)
        gateway = subprocess.Popen(
            [gateway_program, "--config", "config.yaml", "--listen", f"127.0.0.1:{gate_port}"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gate, loki = f"http://127.0.0.1:{gate_port}", Loki(f"http://127.0.0.1:{port}")
        until("the gateway", lambda: fetch(f"{gate}/healthz"))
        ids = ask(gate)

        def written():
            lines = (folder / "tidegate.log").read_text().splitlines()
            parsed = [json.loads(line) for line in lines]
            is_whole = {it.get("request_id") for it in parsed} >= set(ids.values())
            return lines if is_whole and any(it.get("server") == "evil" for it in parsed) else None

        until("the gateway's lines", written)
        end(gateway)
        lines = written()
        until("Loki", lambda: fetch(f"{loki.url}/ready") is not None)
        version = json.loads(fetch(f"{loki.url}/loki/api/v1/status/buildinfo"))["version"]
        judge(loki, Alloy(), lines, ids, checks)

        config = fetch(f"{loki.url}/config").decode()
        for said in ("retention_enabled: true", "retention_period: 31d", "max_line_size: 64KB", "reporting_enabled: false"):
            check(checks, f"in force: {said}", f" {said}\n" in config)
        # Old lines go only where a compactor runs; it also keeps what was asked to be deleted.
        check(checks, "the compactor is there", "ACTIVE" in fetch(f"{loki.url}/compactor/ring").decode())
        check(checks, "and takes requests to delete", fetch(f"{loki.url}/loki/api/v1/delete") is not None)
        end(loki_process)
        loki_process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
        until("Loki once more", lambda: fetch(f"{loki.url}/ready") is not None)
        found = until("the lines once more", lambda: loki.lines('{service="tidegate", level=~".+"}'))
        check(checks, "a restart loses nothing", len(found) == len(lines) + 1)
        mine = {"config.yaml", "data", "loki.yaml", "loki.log", "tidegate.log", "loki"}
        check(checks, "it writes into its own folder only", {path.name for path in folder.iterdir()} <= mine)
        asked = len(questions())
        print(f"Loki {version}: {len(lines)} lines, {asked} written queries, {len(checks)} checks, none failed")
    finally:
        end(gateway if gateway and gateway.poll() is None else None)
        end(loki_process)


if __name__ == "__main__":
    main(*(str(pathlib.Path(path).resolve()) for path in sys.argv[1:3]))
