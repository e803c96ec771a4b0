"""Claude Code as a client of the gateway, in front of a provider of every format: turns of several requests with
commands, reading and editing, thinking, an MCP server, a picture, refusals, counting tokens, the list of models.
Not part of tests/run: it downloads Claude Code (some 360 MB, once).

    cargo build && python3 tests/clients/claude_code.py [--gateway PATH] [FORMAT…] [--only WORD]

Everything it writes, Claude Code's home too, is in a temporary directory that goes away with it; nothing but
loopback is called. What came of it stands in docs/guide/clients-tested.md."""

import argparse
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import scripts
from gateway import BINARY, KEY, PARAMS, PICTURE, Case, Stations, gauges, npm, serving

VERSION = "2.1.329"
# What the program knows of a model decides what it sends; it knows nothing of `plain`.
MODEL, NEWEST, PLAIN = "claude-sonnet-4-5", "claude-opus-4-8", "plain"
TOOLS = "Bash Edit Read Write mcp__gauges__read_gauge"


class Turns:
    """Runs `claude -p` against one gateway and judges what came of it."""

    def __init__(self, claude, case, kind, upstream, port, directory, stations):
        self.claude, self.case, self.kind, self.upstream, self.stations = claude, case, kind, upstream, stations
        self.port, self.directory = port, directory
        self.model = NEWEST if kind == "messages-newest" else MODEL

    def run(self, arguments, prompt, variables):
        done = subprocess.run(
            [self.claude, "-p", "--permission-mode", "acceptEdits", "--allowedTools", TOOLS, *arguments, "--", prompt],
            cwd=self.directory / "work", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.directory / "home"),
                 "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.port}", "ANTHROPIC_AUTH_TOKEN": KEY,
                 "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "1"} | variables)
        return done.returncode, done.stdout + done.stderr

    def turn(self, what, script, said=scripts.END, wanted=0, file=scripts.BEFORE, model=None,
             prompt="Complete the tide table.", arguments=(), fresh=True, ran=(), **variables):
        """One turn: what was said, the exit code, the file worked on, no violation at the provider; and what the gateway's
        own servers ran."""
        began = time.monotonic()
        work = self.directory / "work"
        work.mkdir(exist_ok=True)
        if fresh:
            (work / scripts.FILE).write_text(scripts.BEFORE)
            shutil.rmtree(self.directory / "home", ignore_errors=True)
            (self.directory / "home").mkdir()
        (work / "gauge.png").write_bytes(PICTURE)
        self.upstream.fresh()
        self.upstream.script = script
        self.stations.fresh()
        code, words = self.run(["--model", model or self.model, *arguments], prompt, variables)
        found = (work / scripts.FILE).read_text()
        runs = self.stations.ran()
        good = (code == wanted and said in words and not self.upstream.violations and (file is None or found == file)
                and runs == list(ran))
        seen = [path for path, _, _ in self.upstream.requests]
        self.case.report(f"claude code, {self.kind}: {what}", good, began, f"exit {code}, {seen}, file {found!r}", f"ran {runs}",
                         *self.upstream.violations[:3], words[-1500:])

    def ask(self, what, path, body, judge):
        """A request of its own, as the program makes it when it is used by hand."""
        began = time.monotonic()
        self.upstream.fresh()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {
            "x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"})
        try:
            answer = json.load(urllib.request.urlopen(request, timeout=20))
        except urllib.error.HTTPError as error:
            answer = {"status": error.code, "body": error.read().decode()}
        good = "body" not in answer and judge(answer) and not self.upstream.violations
        self.case.report(f"claude code, {self.kind}: {what}", good, began, answer, *self.upstream.violations)


def cases(turns, mcp):
    """What each format must do, in the order it is tried: (what, the turn)."""
    server = json.dumps({"mcpServers": {"gauges": {"type": "http", "url": f"http://127.0.0.1:{mcp}/mcp"}}})
    task = scripts.claude_code(turns.directory / "work")
    counted = {"model": turns.model, "messages": [{"role": "user", "content": "How high is the water?"}],
               "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object"}}]}
    yield "task", lambda what: turns.turn(what, task, file=scripts.AFTER)
    yield "task goes on in a second turn", lambda what: turns.turn(
        what, task, file=scripts.AFTER, prompt="And now?", arguments=["--continue"], fresh=False)
    yield "task, unknown model", lambda what: turns.turn(what, task, file=scripts.AFTER, model=PLAIN)
    yield "task with a thinking budget", lambda what: turns.turn(
        what, task, file=scripts.AFTER, MAX_THINKING_TOKENS="4000", CLAUDE_CODE_DISABLE_ADAPTIVE_THINKING="1")
    yield "task without thinking", lambda what: turns.turn(what, task, file=scripts.AFTER, MAX_THINKING_TOKENS="0")
    yield "MCP tool", lambda what: turns.turn(what, scripts.search, arguments=["--mcp-config", server])
    served, header = scripts.claude_code_served(turns.directory / "work"), "x-mcp-servers: gauges,harbour,pilots"
    yield "gateway's tools", lambda what: turns.turn(
        what, served, ran=served.runs(), ANTHROPIC_CUSTOM_HEADERS=header)
    yield "gateway's tools, in a second turn", lambda what: turns.turn(
        what, served, prompt="And now?", arguments=["--continue"], fresh=False, ANTHROPIC_CUSTOM_HEADERS=header)
    beside = scripts.beside_own([("ToolSearch", {"query": "read gauge water level"}, "")])
    yield "gateway's tools beside its own of the same names", lambda what: turns.turn(
        what, beside, ran=beside.runs(), arguments=["--mcp-config", server],
        ANTHROPIC_CUSTOM_HEADERS=header)
    yield "a picture in a tool's result", lambda what: turns.turn(
        what, scripts.picture("Read", {"file_path": str(turns.directory / "work/gauge.png")}))
    yield "context overflow", lambda what: turns.turn(what, scripts.overflow, "rompt is too long", 1)
    yield "429 with retry-after, once", lambda what: turns.turn(what, scripts.busy(1))
    yield "429 with retry-after, for good", lambda what: turns.turn(what, scripts.busy(99), "429", 1)
    yield "broken stream, once", lambda what: turns.turn(what, scripts.broken(1))
    yield "broken stream, for good", lambda what: turns.turn(what, scripts.broken(99), "", 1)
    yield "counting tokens", lambda what: turns.ask(
        what, "/v1/messages/count_tokens?beta=true", counted, lambda answer: answer["input_tokens"] > 0)
    yield "list of models", lambda what: turns.ask(
        what, "/v1/models?limit=1000", None,
        lambda answer: {MODEL, PLAIN} <= {m["id"] for m in answer["data"] if m["display_name"]})


def main(kinds, binary, only):
    claude, case = npm("@anthropic-ai/claude-code", VERSION, "claude"), Case()
    server, stations = gauges(), Stations()
    for kind in kinds:
        with serving(dict.fromkeys([MODEL, NEWEST, PLAIN], kind), binary, stations=stations) as (upstreams, port, directory):
            turns = Turns(claude, case, kind, upstreams[kind], port, directory, stations)
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
