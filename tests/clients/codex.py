"""Codex CLI as a client of the gateway, in front of a provider of every format: turns of several requests with
commands and a patch, tools of an MCP server, code mode, compaction, and how Codex takes refusals. Not part of
tests/run: it downloads Codex (some 400 MB, once).

    cargo build && python3 tests/clients/codex.py [--gateway PATH] [FORMAT…] [--only WORD]

Everything it writes, Codex's home too, is in a temporary directory that goes away with it; nothing but loopback
is called. What came of it stands in docs/guide/clients-tested.md."""

import argparse
import json
import shutil
import subprocess
import time

import scripts
from gateway import BINARY, KEY, KEY_WITH_TOOLS, PARAMS, PICTURE, Case, Stations, Tap, gauges, npm, serving

VERSION = "0.169.0"
# `gpt-5.5` has a patch tool of free text, a search for tools and reasoning; `gpt-6-sol` has code mode; Codex
# knows nothing of `plain`.
MODELS = ["gpt-5.5", "gpt-6-sol", "plain"]
SETTINGS = """\
model = "{model}"
model_provider = "tidegate"
{top}
[model_providers.tidegate]
name = "Tidegate"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
env_key = "TIDEGATE_KEY"
request_max_retries = 1
stream_max_retries = 1
{provider}
{tables}
"""


class Turns:
    """Runs `codex exec` against one gateway and judges what came of it."""

    def __init__(self, codex, case, kind, upstream, port, directory, stations):
        self.codex, self.case, self.kind, self.upstream, self.stations = codex, case, kind, upstream, stations
        self.port, self.directory, self.tap = port, directory, Tap(port)

    def settings(self, model, top="", provider="", tables=""):
        home = self.directory / "home/.codex"
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(
            SETTINGS.format(model=model, port=self.tap.port, top=top, provider=provider, tables=tables))

    def run(self, key, *arguments):
        done = subprocess.run(
            [self.codex, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", *arguments],
            cwd=self.directory / "work", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.directory / "home"), "TIDEGATE_KEY": key})
        return done.returncode, done.stdout + done.stderr

    def taken(self):
        """What Codex took for its own of what is the gateway's, by its record of the session."""
        for file in (self.directory / "home/.codex/sessions").rglob("*.jsonl"):
            for line in file.open():
                item = json.loads(line).get("payload") or {}
                if str(item.get("type")).endswith("_call") and any(f"{name}-" in str(item.get("name")) for name in Stations.NAMES):
                    yield f"Codex took a call for its own: {line[:300]}"
                if "unsupported" in line and "_output" in str(item.get("type")):
                    yield f"Codex could not run a call: {line[:300]}"

    def turn(self, what, script, said=scripts.END, wanted=0, file=scripts.BEFORE, model="gpt-5.5", unsaid="\0",
             requests=None, first=None, arguments=("Complete the tide table.",), fresh=True, ran=(), key=KEY, **settings):
        """One turn: what Codex said, its exit code, the file it worked on, no violation at the provider; and what the
        gateway's own servers ran."""
        began = time.monotonic()
        work = self.directory / "work"
        work.mkdir(exist_ok=True)
        if fresh or file == scripts.BEFORE:
            (work / scripts.FILE).write_text(scripts.BEFORE)
        (work / "gauge.png").write_bytes(PICTURE)
        if fresh:
            shutil.rmtree(self.directory / "home", ignore_errors=True)
        self.settings(model, **settings)
        self.upstream.fresh()
        self.upstream.script = script
        self.tap.lines.clear()
        self.stations.fresh()
        code, words = self.run(key, *arguments)
        found = (work / scripts.FILE).read_text()
        seen = [path for path, _, _ in self.upstream.requests if not (self.upstream.probed and "/responses" in path)]
        wrong, runs = [*self.upstream.violations, *self.taken()], self.stations.ran()
        good = (code == wanted and said in words and unsaid not in words and not wrong and runs == list(ran)
                and first in (None, self.tap.lines[:2])
                and (file is None or found == file) and (requests is None or len(seen) == requests))
        notes = [f"exit {code}, {len(seen)} requests, file {found!r}" if file and found != file else
                 f"exit {code}, {len(seen)} requests", *self.tap.lines, *wrong[:3], f"ran {runs}",
                 words[-1500:]]
        self.case.report(f"codex, {self.kind}: {what}", good, began, *notes)


def cases(turns, mcp):
    """What each format must do, in the order it is tried: (what, the turn)."""
    server = f'[mcp_servers.gauges]\nurl = "http://127.0.0.1:{mcp}/mcp"\nrequired = true\n'
    catalogue = f'model_catalog_url = "http://127.0.0.1:{turns.port}/v1/models"'
    yield "task", lambda what: turns.turn(what, scripts.codex, file=scripts.AFTER, requests=4)
    yield "task with reasoning high", lambda what: turns.turn(
        what, scripts.codex, file=scripts.AFTER, top='model_reasoning_effort = "high"\nmodel_reasoning_summary = "detailed"')
    yield "task, unknown model", lambda what: turns.turn(what, scripts.codex, file=scripts.AFTER, model="plain")
    yield "task goes on in a second turn", lambda what: turns.turn(
        what, scripts.codex, arguments=("resume", "--last", "And now?"), fresh=False, model="plain", requests=1)
    yield "MCP tool through tool_search", lambda what: turns.turn(what, scripts.search, tables=server)
    yield "MCP tool in a namespace", lambda what: turns.turn(what, scripts.search, tables=server, model="plain")
    yield "a picture in a tool's output", lambda what: turns.turn(
        what, scripts.picture("view_image", {"path": str(turns.directory / "work/gauge.png")}))
    yield "code mode", lambda what: turns.turn(
        what, scripts.code_mode, file=scripts.BEFORE + scripts.LINE[:5] + "\n", model="gpt-6-sol")
    yield "compaction", lambda what: turns.turn(
        what, scripts.long_talk(9000), top="model_auto_compact_token_limit = 8000\nmodel_context_window = 20000")
    yield "context overflow", lambda what: turns.turn(what, scripts.overflow, "context window", 1, requests=1)
    yield "429 with retry-after, once", lambda what: turns.turn(what, scripts.busy(1), requests=2)
    yield "429 with retry-after, for good", lambda what: turns.turn(what, scripts.busy(99), "429", 1)
    yield "broken stream, once", lambda what: turns.turn(what, scripts.broken(1), requests=2)
    yield "broken stream, for good", lambda what: turns.turn(what, scripts.broken(99), "", 1)
    yield "connection cut before an answer", lambda what: turns.turn(what, scripts.gone, "", 1)
    yield "catalogue", lambda what: turns.turn(
        what, scripts.codex, file=scripts.AFTER, model="plain", unsaid="metadata for", provider=catalogue)
    yield "WebSocket", lambda what: turns.turn(
        what, scripts.codex, file=scripts.AFTER, unsaid="alling back", provider="supports_websockets = true",
        first=["GET /v1/responses HTTP/1.1", "HTTP/1.1 101 Switching Protocols"])
    yield "compaction by WebSocket", lambda what: turns.turn(
        what, scripts.long_talk(9000), provider="supports_websockets = true",
        top="model_auto_compact_token_limit = 8000\nmodel_context_window = 20000")
    yield "broken stream by WebSocket, once", lambda what: turns.turn(
        what, scripts.broken(1), provider="supports_websockets = true")
    yield "context overflow by WebSocket", lambda what: turns.turn(
        what, scripts.overflow, "context window", 1, provider="supports_websockets = true")
    yield from served(turns, server)


def served(turns, server):
    """Tools that the gateway runs, of which Codex knows nothing."""
    headers = 'http_headers = { "x-mcp-servers" = "gauges,harbour,pilots" }'
    sockets = headers + "\nsupports_websockets = true"
    upgraded = ["GET /v1/responses HTTP/1.1", "HTTP/1.1 101 Switching Protocols"]
    task, code = scripts.codex_served(), scripts.code_mode_served()
    beside, twice = scripts.beside_own(), scripts.ends_with_served()

    def turn(what, script, ran=True, **more):
        return turns.turn(what, script, ran=script.runs() if ran else (), unsaid="unsupported call", **more)

    def resumed(what, script, **more):
        return turn(what, script, ran=False, arguments=("resume", "--last", "And now?"), fresh=False, requests=1, **more)

    yield "gateway's tools", lambda what: turn(what, task, provider=headers, file=scripts.AFTER, requests=7)
    yield "gateway's tools, resumed", lambda what: resumed(what, task, provider=headers, file=scripts.AFTER)
    yield "gateway's tools, by the key", lambda what: turn(what, task, key=KEY_WITH_TOOLS, file=scripts.AFTER)
    yield "gateway's tools, reasoning high", lambda what: turn(
        what, task, provider=headers, file=scripts.AFTER,
        top='model_reasoning_effort = "high"\nmodel_reasoning_summary = "detailed"')
    yield "gateway's tools by WebSocket", lambda what: turn(
        what, task, provider=sockets, file=scripts.AFTER, first=upgraded, requests=7)
    yield "gateway's tools by WebSocket, resumed", lambda what: resumed(
        what, task, provider=sockets, file=scripts.AFTER, first=upgraded)
    yield "gateway's tools in code mode", lambda what: turn(
        what, code, provider=headers, file=scripts.BEFORE + scripts.LINE[:5] + "\n", model="gpt-6-sol")
    yield "gateway's tools in code mode, resumed", lambda what: resumed(
        what, code, provider=headers, file=None, model="gpt-6-sol")
    yield "gateway's tools in code mode by WebSocket", lambda what: turn(
        what, code, provider=sockets, file=scripts.BEFORE + scripts.LINE[:5] + "\n", model="gpt-6-sol")
    yield "gateway's tools last", lambda what: turn(what, twice, provider=headers)
    yield "gateway's tools last, resumed", lambda what: resumed(what, twice, provider=headers)
    for name, trouble in (("broken stream", scripts.broken), ("429", scripts.busy)):
        for way, provider in (("", headers), (" by WebSocket", sockets)):
            yield f"gateway's tools, then a {name}{way}", lambda what, trouble=trouble, provider=provider: turn(
                what, scripts.troubled(trouble(1)), provider=provider)
    yield "gateway's tools and compaction", lambda what: turns.turn(
        what, scripts.long_talk(9000), provider=headers, top="model_auto_compact_token_limit = 8000\nmodel_context_window = 20000")
    yield "gateway's tools beside Codex' own of the same names", lambda what: turn(
        what, beside, provider=headers, tables=server, model="plain")
    yield "gateway's tools beside Codex' own, resumed", lambda what: resumed(
        what, beside, provider=headers, tables=server, model="plain")


def main(kinds, binary, only):
    codex, case = npm("@openai/codex", VERSION, "codex"), Case()
    server, stations = gauges(), Stations()
    for kind in kinds:
        with serving(dict.fromkeys(MODELS, kind), binary, stations=stations) as (upstreams, port, directory):
            turns = Turns(codex, case, kind, upstreams[kind], port, directory, stations)
            for what, turn in cases(turns, server):
                if only in what:
                    turn(what)
    stations.close()
    case.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=list(PARAMS))
    parser.add_argument("--gateway", default=BINARY)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    main(given.formats, given.gateway, given.only)
