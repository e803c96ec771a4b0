"""Every official client against a gateway in front of every server, for every transport on both sides.

    python gateway.py PATH_TO_TIDEGATE [--only NAME] [--checks NAME]

Runs with the environment that has the Python SDK. A server is asked through its own view, where names stand as they are,
and through the view of all, narrowed to it by a header. NAME chooses among the lines that begin with `---`, or among the
checks. It must not know what is checked: that stands in clients.py and clients.mjs."""

import argparse
import asyncio
import contextlib
import logging
import subprocess
import sys
import warnings

import clients
import world

# Longest time for one run of the TypeScript clients, which have a watchdog of their own.
NODE_SECONDS = 330
EVERYTHING = [world.NODE, str(world.PACKAGES / "@modelcontextprotocol/server-everything/dist/index.js"), "stdio"]


class View:
    """A path of the gateway, as seen for one server: URL, prefix of names, headers."""

    def __init__(self, label, url, prefix, headers):
        self.label, self.url, self.prefix, self.headers = label, url, prefix, headers


def views(gateway, name):
    key = {"Authorization": f"Bearer {world.KEY}"}
    narrowed = {**key, "x-mcp-servers": name}
    return {
        "own": View("its own view", gateway.view(name), "", key),
        "all": View("the view of all", f"{gateway.base}/mcp", f"{name}-", narrowed),
        "sse": View("the view of all, over SSE", f"{gateway.base}/sse", f"{name}-", narrowed),
    }


def runs(gateway, pairs):
    """Yields (label, what runs it: the number of failures)."""
    for server, transport in pairs:
        name = f"{server}_{transport}"
        seen = views(gateway, name)
        if server != "everything":
            for mode, kind in (("auto", "own"), ("legacy", "own"), ("auto", "all"), ("sse", "sse")):
                yield f"{name}: {seen[kind].label}, Python {mode}", python(server, mode, seen[kind])
        if server in ("legacy", "modern", "everything"):
            for sdk, kind in (("v1", "own"), ("v2", "all"), ("v2-auto", "own"), ("v1-sse", "sse")):
                yield f"{name}: {seen[kind].label}, TypeScript {sdk}", typescript(server, sdk, seen[kind])


def python(server, mode, view):
    excused = clients.EVENTS_ONLY if mode == "sse" else frozenset()
    at = clients.Endpoint(server, view.url, mode, view.prefix, view.headers)
    return lambda checks: asyncio.run(clients.judge(at, excused, checks))


def typescript(server, sdk, view):
    headers = [part for header in view.headers.items() for part in ("--header", ": ".join(header))]
    arguments = ["--url", view.url, "--sdk", sdk, "--server", server, "--prefix", view.prefix, *headers]
    program = [world.NODE, str(world.FOLDER / "clients.mjs"), *arguments]
    return lambda checks: subprocess.run([*program, "--only", checks], timeout=NODE_SECONDS).returncode


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("gateway")
    asked.add_argument("--only", default="")
    asked.add_argument("--checks", default="")
    asked = asked.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    failed = []
    with contextlib.ExitStack() as stack:
        pairs = [(server, transport) for server, (transports, _) in world.FIXTURES.items() for transport in transports]
        urls = {pair: stack.enter_context(world.start(*pair)).url for pair in pairs if pair[1] != "stdio"}
        servers = {"_".join(pair): world.entry(*pair, urls.get(pair)) for pair in pairs}
        servers["everything_stdio"] = {"transport": "stdio", "command": EVERYTHING[0], "args": EVERYTHING[1:]}
        gateway = stack.enter_context(world.Gateway(asked.gateway, servers))
        for label, run in runs(gateway, [*pairs, ("everything", "stdio")]):
            if asked.only in label:
                print(f"--- {label}", flush=True)
                if run(asked.checks):
                    failed.append(label)
    for label in failed:
        print(f"FAILED {label}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
