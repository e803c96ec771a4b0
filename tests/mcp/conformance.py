"""The official conformance suites, against the fixture servers themselves or against a gateway in front of them.

    python conformance.py --direct                 the fixtures alone: what can be expected at best
    python conformance.py PATH_TO_TIDEGATE         the gateway, for every transport towards the fixtures
    … --only NAME                                  only the runs whose name contains NAME
    … --output FOLDER                              keeps the suites' own reports, table.json and table.md there

Prints a table of the checks that passed, and ends with 1 if a check failed that is expected to pass. What is expected
is the list of scenarios that a revision requires, as the suite itself states it, and those of its other scenarios that
have something to run against here. Only this file knows the suites; they know nothing of the gateway."""

import argparse
import collections
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import world

# Longest time for one suite: it takes seconds.
SUITE_SECONDS = 240

# Scenarios that are never expected: extensions without a fixture.
TASKS = ("tasks-",)
# The fixture's SDK does not compare `Mcp-Param-*` with the arguments; a gateway has to.
CUSTOM_HEADERS = ("http-custom-header-server-validation",)
# Checks that a server of the session era cannot pass behind a bridge to the stateless one: three want the keys under which
# a server names its questions, and there these have none; two want it to refuse a client before it asks it anything.
BRIDGED_MODERN = TASKS + (
    "sep-2322-elicitation-incomplete", "sep-2322-multiple-inputs-incomplete", "sep-2322-non-tool-incomplete",
    "sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400")

# Suite → package, arguments, and how many scenarios it runs: one that leaves some out proves nothing.
SUITES = {
    "0.1 all": ("conformance-0.1", ["--suite", "all"], 32),
    "2025-11-25": ("conformance-0.2", ["--requirements", "2025-11-25"], 33),
    "2026-07-28": ("conformance-0.2", ["--requirements", "2026-07-28"], 50),
}

# `excused`: beginnings of scenarios that are not expected, and ids of checks.
Run = collections.namedtuple("Run", "name suite fixture transport excused")
LEGACY, MODERN = ("0.1 all", "2025-11-25"), ("2026-07-28",)

DIRECT = [Run(f"legacy http, {suite}", suite, "legacy", "http", ()) for suite in LEGACY]
DIRECT += [Run(f"modern http, {suite}", suite, "modern", "http", TASKS + CUSTOM_HEADERS) for suite in MODERN]

GATEWAY = [Run(f"legacy {transport}, {suite}", suite, "legacy", transport, ())
           for transport in ("http", "sse", "stdio") for suite in LEGACY]
GATEWAY += [Run(f"modern {transport}, {suite}", suite, "modern", transport, TASKS)
            for transport in ("http", "stdio") for suite in MODERN]
# The bridges: a client of one era, a server of the other.
GATEWAY += [Run(f"modern {transport}, {suite}", suite, "modern", transport, ())
            for transport in ("http", "stdio") for suite in ("2025-11-25",)]
GATEWAY += [Run(f"legacy {transport}, {suite}", suite, "legacy", transport, BRIDGED_MODERN)
            for transport in ("http", "stdio") for suite in MODERN]


def run_suite(suite, url, output):
    """Runs a suite; returns scenario → its checks."""
    package, arguments, size = SUITES[suite]
    program = world.PACKAGES / package / "dist/index.js"
    ran = subprocess.run(
        [world.NODE, program, "server", "--url", url, *arguments, "--output-dir", output],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SUITE_SECONDS)
    pathlib.Path(output, "said.txt").write_text(ran.stdout)
    scenarios = {}
    for report in sorted(pathlib.Path(output).glob("*/checks.json")):
        name = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", report.parent.name).group(1)
        scenarios[name] = json.loads(report.read_text())
    if len(scenarios) != size:
        raise SystemExit(f"the suite {suite} ran {len(scenarios)} of {size} scenarios:\n{ran.stdout[-4000:]}")
    return scenarios


def count(checks):
    found = collections.Counter(check["status"] for check in checks)
    return {status: found[status] for status in ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")}


def judge(run, url, output):
    """One row for every scenario of a run."""
    rows = []
    for scenario, checks in run_suite(run.suite, url, output).items():
        checks = [check for check in checks if check["id"] not in run.excused or check["status"] != "FAILURE"]
        failures = [f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] == "FAILURE"]
        warnings = [f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] == "WARNING"]
        rows.append({"run": run.name, "scenario": scenario, "expected": not scenario.startswith(run.excused or ("\0",)),
                     **count(checks), "failures": failures, "warnings": warnings})
    return rows


def markdown(rows):
    """A table with a line for each scenario and a column for each run: passed / counted."""
    runs = list(dict.fromkeys(row["run"] for row in rows))
    cells = {(row["scenario"], row["run"]): row for row in rows}

    def cell(row):
        if row is None:
            return ""
        total = row["SUCCESS"] + row["FAILURE"]
        mark = "" if not row["FAILURE"] else " ✗" if row["expected"] else " (not expected)"
        note = f", {row['WARNING']} warned" if row["WARNING"] else ""
        return f"{row['SUCCESS']}/{total}{note}{mark}"

    lines = ["| Scenario | " + " | ".join(runs) + " |", "|---|" + "---|" * len(runs)]
    for scenario in sorted({row["scenario"] for row in rows}):
        lines.append(f"| {scenario} | " + " | ".join(cell(cells.get((scenario, run))) for run in runs) + " |")
    sums = []
    for run in runs:
        counted = [row for row in rows if row["run"] == run and row["expected"]]
        passed, failed = (sum(row[status] for row in counted) for status in ("SUCCESS", "FAILURE"))
        sums.append(f"**{passed}/{passed + failed}**")
    lines.append("| **expected checks** | " + " | ".join(sums) + " |")
    return "\n".join(lines) + "\n"


def targets(runs, binary):
    """Starts what the runs need; returns what ends it, and run → URL."""
    stack = contextlib.ExitStack()
    pairs = sorted({(run.fixture, run.transport) for run in runs})
    urls = {pair: stack.enter_context(world.start(*pair)).url for pair in pairs if pair[1] != "stdio"}
    if binary is None:
        return stack, {run.name: urls[run.fixture, run.transport] for run in runs}
    servers = {f"{fixture}_{transport}": world.entry(fixture, transport, urls.get((fixture, transport)))
               for fixture, transport in pairs}
    gateway = stack.enter_context(world.Gateway(binary, servers))
    shims = {pair: stack.enter_context(world.shim(gateway.view("_".join(pair)))).url for pair in pairs}
    return stack, {run.name: shims[run.fixture, run.transport] for run in runs}


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("gateway", nargs="?")
    asked.add_argument("--direct", action="store_true")
    asked.add_argument("--only", default="")
    asked.add_argument("--output")
    asked = asked.parse_args()
    if asked.direct == bool(asked.gateway):
        raise SystemExit(__doc__)
    runs = [run for run in (DIRECT if asked.direct else GATEWAY) if asked.only in run.name]
    folder = asked.output or tempfile.mkdtemp(prefix="mcp-conformance-")
    stack, urls = targets(runs, asked.gateway)
    rows = []
    with stack:
        for run in runs:
            output = pathlib.Path(folder, re.sub(r"[^\w.-]+", "-", run.name))
            output.mkdir(parents=True, exist_ok=True)
            rows += judge(run, urls[run.name], output)
    pathlib.Path(folder, "table.json").write_text(json.dumps(rows, indent=1))
    pathlib.Path(folder, "table.md").write_text(markdown(rows))
    print(markdown(rows))
    wrong = [row for row in rows if row["expected"] and row["FAILURE"]]
    for row in rows:
        for said in row["failures"] if row["expected"] else []:
            print(f"FAIL {row['run']}: {row['scenario']}: {said[:1000]}")
        for said in row["warnings"]:
            print(f"WARN {row['run']}: {row['scenario']}: {said[:300]}")
    print(f"reports: {folder}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
