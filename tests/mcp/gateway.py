"""Every official client against a gateway in front of every server, for every transport on both sides.

    python gateway.py PATH_TO_TIDEGATE [--only NAME] [--checks NAME]

Runs with the environment that has the Python SDK. A server is asked through its own view, where names stand as they are,
and through the views of all and of two, narrowed to it by a header. NAME chooses among the lines that begin with `---`,
or among the checks. Servers are judged side by side, the lines of one server one after the other. What is checked stands
in clients.py, official.py and clients.mjs; this file must not know it."""

import argparse
import asyncio
import contextlib
import logging
import sys
import time
import warnings

import clients
import official
import world

# Longest time for one run of the TypeScript clients, which have a watchdog of their own.
NODE_SECONDS = 330
# Servers that are judged at once.
AT_ONCE = 4
# Pipes to servers of the session era that ask their client while several clients call: each session has its own.
OWN = {"python_sse"}

# Python mode, or TypeScript client → the view it looks through.
PYTHON = (("auto", "own"), ("legacy", "own"), ("auto", "all"), ("sse", "sse"))
TYPESCRIPT = (("v1", "own"), ("v2", "all"), ("v2-auto", "two"), ("v1-sse", "sse"))
OFFICIAL = (("auto", "own"), ("legacy", "two"))


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
        "two": View("a view of two", f"{gateway.base}/mcp/time_stdio,{name}", f"{name}-", narrowed),
        "sse": View("the view of all, over SSE", f"{gateway.base}/sse", f"{name}-", narrowed),
    }


def runs(gateway, server, transport, folder):
    """Yields (label, what runs it: from the name of checks and a way to say things to the number of failures)."""
    name = f"{server}_{transport}"
    seen = views(gateway, name)
    is_official = server in world.OFFICIAL
    for mode, kind in OFFICIAL if is_official else PYTHON:
        yield f"{name}: {seen[kind].label}, Python {mode}", python(server, name, mode, seen[kind], folder)
    if server in ("legacy", "modern", "everything"):
        for sdk, kind in TYPESCRIPT:
            yield f"{name}: {seen[kind].label}, TypeScript {sdk}", typescript(server, sdk, seen[kind])


def python(server, name, mode, view, folder):
    excused = clients.EVENTS_ONLY if mode == "sse" else frozenset()
    # A client without a session shares what it has its own of otherwise.
    shares = name in OWN and mode == "auto"
    at = clients.Endpoint(server, view.url, mode, view.prefix, view.headers, shares, folder)
    checks = vars(official) if server in world.OFFICIAL else None
    return lambda only, say: clients.judge(at, excused, only, checks, say)


def typescript(server, sdk, view):
    headers = [part for header in view.headers.items() for part in ("--header", ": ".join(header))]
    arguments = ["--url", view.url, "--sdk", sdk, "--server", server, "--prefix", view.prefix, *headers]

    async def run(only, say):
        program = await asyncio.create_subprocess_exec(
            world.NODE, world.FOLDER / "clients.mjs", *arguments, "--only", only,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        said, _ = await asyncio.wait_for(program.communicate(), NODE_SECONDS)
        say(said.decode().rstrip())
        return program.returncode

    return run


async def judge(lines, asked, room, failed):
    """The lines of one server."""
    async with room:
        for label, run in lines:
            if asked.only in label:
                said, began = [], time.monotonic()
                if await run(asked.checks, said.append):
                    failed.append(label)
                said.insert(0, f"--- {label} ({time.monotonic() - began:.1f} s)")
                print("\n".join(said), flush=True)


async def judge_all(servers, asked):
    room, failed = asyncio.Semaphore(AT_ONCE), []
    await asyncio.gather(*(judge(lines, asked, room, failed) for lines in servers))
    return failed


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("gateway")
    asked.add_argument("--only", default="")
    asked.add_argument("--checks", default="")
    asked = asked.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        pairs = [(server, transport) for server, (transports, _) in world.FIXTURES.items() for transport in transports]
        servers = {}
        for server, transport in pairs:
            name = f"{server}_{transport}"
            url = stack.enter_context(world.start(server, transport)).url if transport != "stdio" else None
            sharing = {"sharing": "per_session"} if name in OWN else {}
            servers[name] = world.entry(server, transport, url, **sharing)
        for transport in ("http", "sse"):
            url = stack.enter_context(world.everything(transport))
            servers[f"everything_{transport}"] = {"transport": transport, "url": url}
            pairs.append(("everything", transport))
        folder = stack.enter_context(official.folder())
        for server, (command, wants_folder) in world.OFFICIAL.items():
            program, *args = [*command, folder] if wants_folder else command
            servers[f"{server}_stdio"] = {"transport": "stdio", "command": program, "args": args}
            pairs.append((server, "stdio"))
        gateway = stack.enter_context(world.Gateway(asked.gateway, servers))
        lines = [list(runs(gateway, *pair, folder)) for pair in pairs]
        failed = asyncio.run(judge_all(lines, asked))
    for label in failed:
        print(f"FAILED {label}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
