"""A soak: mixed load on one gateway for a while, with a reload every second, to see whether memory,
file descriptors or threads grow. It measures and reports; it is not part of tests/run.

    python3 tests/soak/soak.py [BINARY] [--seconds 60] [--workers 24]

The load is plain and streamed chat, the mock, embeddings, uploads, refusals of every kind, clients
that leave in the middle of a stream, and an upstream that answers with errors, garbage, cut and
endless streams. Python's standard library only. At the end the gateway must have no request in
flight, one row for each request, and no upstream connection that still streams; the resident memory
is given as a slope over the second half. On a machine of two cores the load generator takes most of
the time, so the rate is no measure of the gateway."""

import argparse
import asyncio
import collections
import contextlib
import json
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

KEY = "sk-soak-0123456789abcdefghijkl"
MODELS = ["plain", "stream", "flaky", "broken", "garbage", "cut", "endless", "reset"]


def configuration(upstream, round_number):
    """Every round differs, so that every reload is a real one."""
    models = "".join(
        f"  - model_name: {name}\n    litellm_params: {{model: openai/{name}, api_base: '{upstream}', api_key: sk-up}}\n"
        for name in MODELS)
    extra = f"  - model_name: round-{round_number}\n    litellm_params: {{model: mock-response}}\n"
    keys = f"virtual_keys:\n  - {{api_key: {KEY}, key_alias: soak, models: ['*']}}\n"
    return ("model_list:\n  - model_name: mock\n    litellm_params: {model: mock-response}\n"
            + models + extra + keys)


# --- the upstream ------------------------------------------------------------------------------------------

COMPLETION = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "up",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "tide " * 200}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209}}).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def whole(status, body, kind="application/json"):
    return f"HTTP/1.1 {status} S\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def event(delta, finish=None):
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up",
             "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    text = f"data: {json.dumps(chunk)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(text), text)


class Upstream:
    def __init__(self):
        self.busy = 0

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: (\d+)", head)
                if length:
                    body = await reader.readexactly(int(length[1]))
                else:
                    body = b""
                    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                        body += (await reader.readexactly(size + 2))[:-2]
                    await reader.readexactly(2)
                self.busy += 1
                try:
                    if not await self.answer(head, body, writer):
                        break
                finally:
                    self.busy -= 1
        writer.close()

    async def answer(self, head, body, writer):
        name = next((name for name in MODELS if b'"model": "%s"' % name.encode() in body), "plain")
        if b"multipart" in head or b"embeddings" in head:
            writer.write(whole(200, b'{"data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'))
        elif name == "plain":
            writer.write(whole(200, COMPLETION))
        elif name == "flaky":
            writer.write(random.choice([whole(200, COMPLETION), whole(429, b'{"error":{"message":"slow down"}}')]))
        elif name == "broken":
            writer.write(whole(500, b'{"error":{"message":"broken"}}'))
        elif name == "garbage":
            writer.write(random.choice([whole(200, b"{"), whole(200, b"<html>", "text/html"), b"SSH-2.0-x\r\n"]))
            await writer.drain()
            return False
        elif name == "reset":
            writer.transport.abort()
            return False
        else:
            writer.write(HEAD + event({"role": "assistant", "content": ""}))
            for _ in range(10**9 if name == "endless" else 40):
                writer.write(event({"content": "tide "}))
                await writer.drain()
                if name == "endless":
                    await asyncio.sleep(0.01)
            if name == "cut":
                return False
            writer.write(event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        return True


# --- the load ----------------------------------------------------------------------------------------------

def chat(model, stream=False, size=200):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x" * size}]}
    return "/v1/chat/completions", json.dumps(body).encode(), {}


FORM = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nplain\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"\0" * 300_000 + b"\r\n--b--\r\n")
# (weight, what) — each gives path, body, options.
MIX = [
    (30, lambda: chat("plain")), (20, lambda: chat("stream", True)), (5, lambda: chat("plain", size=200_000)),
    (8, lambda: chat("mock")), (8, lambda: chat("mock", True)), (4, lambda: chat("flaky")),
    (3, lambda: chat("broken")), (3, lambda: chat("garbage")), (3, lambda: chat("reset")),
    (3, lambda: chat("cut", True)), (3, lambda: (*chat("endless", True)[:2], {"leave": True})),
    (2, lambda: ("/v1/embeddings", b'{"model":"plain","input":"tide"}', {})),
    (2, lambda: ("/v1/audio/transcriptions", FORM, {"kind": "multipart/form-data; boundary=b"})),
    (2, lambda: chat("no-such-model")), (2, lambda: ("/v1/chat/completions", b"{", {})),
    (2, lambda: (*chat("plain")[:2], {"key": "sk-wrong"})), (2, lambda: (*chat("plain")[:2], {"abort": True})),
]


async def one(port, connection, tally, request):
    """One request; gives the connection back if it can be used again."""
    path, body, options = request
    reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
    head = (f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {options.get('key', KEY)}\r\n"
            f"content-type: {options.get('kind', 'application/json')}\r\ncontent-length: {len(body)}\r\n\r\n")
    writer.write(head.encode() + (body[:-5] if options.get("abort") else body))
    await writer.drain()
    tally["sent"] += 1
    if options.get("abort"):
        writer.close()
        tally["left"] += 1
        return None
    answer = await reader.readuntil(b"\r\n\r\n")
    tally[answer[9:12].decode()] += 1
    if options.get("leave"):
        await reader.readuntil(b"tide")
        writer.transport.abort()
        tally["left"] += 1
        return None
    length = re.search(rb"content-length: (\d+)", answer)
    if length:
        await reader.readexactly(int(length[1]))
    else:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return reader, writer


async def work(port, until, tally):
    connection = None
    while time.monotonic() < until:
        request = random.choices([what for _, what in MIX], [weight for weight, _ in MIX])[0]()
        try:
            connection = await one(port, connection, tally, request)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            # Expected where the gateway refused an upload before its end, and closes the connection.
            tally[type(error).__name__] += 1
            connection = None
    if connection:
        connection[1].close()


# --- the gateway -------------------------------------------------------------------------------------------

class Gateway:
    def __init__(self, binary, directory, upstream):
        self.directory, self.upstream = directory, upstream
        self.configure(0)
        self.log = open(directory / "log", "w")
        self.process = subprocess.Popen([binary, "--config", "config.yaml", "--listen", "127.0.0.1:0"], cwd=directory,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = next(int(found[1]) for found in (re.search(r"listening on http://.*:(\d+)", line)
                                                      for line in self.process.stdout) if found)

    def configure(self, round_number):
        temporary = self.directory / "config.yaml.new"
        temporary.write_text(configuration(self.upstream, round_number))
        temporary.rename(self.directory / "config.yaml")

    def health(self):
        return json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30))

    def sample(self):
        process = pathlib.Path(f"/proc/{self.process.pid}")
        resident = int(re.search(r"RssAnon:\s+(\d+)", (process / "status").read_text())[1]) / 1024
        return resident, len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def slope(points):
    """MiB a minute, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


async def main(options):
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=2**24)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-soak-"))
    gateway = await asyncio.to_thread(Gateway, options.binary, directory, base)
    tally, samples, began = collections.Counter(), [], time.monotonic()
    global MIX
    if options.only:
        MIX = [(weight, what) for weight, what in MIX if any(b'"%s"' % name.encode() in what()[1] for name in options.only)]
    print(f"idle: {gateway.sample()[0]:.1f} MiB; {options.workers} workers for {options.seconds} s")
    workers = [asyncio.create_task(work(gateway.port, began + options.seconds, tally)) for _ in range(options.workers)]
    second = reloads = 0
    while time.monotonic() - began < options.seconds:
        second += 1
        for _ in range(max(1, round(1 / options.reload_every)) if options.reload_every else 0):
            reloads += 1
            gateway.configure(reloads)
            await asyncio.sleep(min(1, options.reload_every))
        if not options.reload_every:
            await asyncio.sleep(1)
        resident, descriptors, threads = gateway.sample()
        samples.append((time.monotonic() - began, resident))
        if second % 10 == 0:
            print(f"{second:4} s  {resident:6.1f} MiB  {descriptors:4} descriptors  {threads:3} threads  {tally['sent']:7} requests")
    await asyncio.gather(*workers)
    for _ in range(200):
        health = await asyncio.to_thread(gateway.health)
        database = sqlite3.connect(f"file:{directory}/data/tidegate.db?mode=ro", uri=True, timeout=10)
        rows = dict(database.execute("SELECT status, count(*) FROM request_logs GROUP BY status"))
        database.close()
        if health["in_flight"] == 0 and upstream.busy == 0 and sum(rows.values()) == tally["sent"]:
            break
        await asyncio.sleep(0.05)
    print("answers:", dict(sorted(tally.items())))
    print("rows:   ", rows, "of", tally["sent"], "requests; dropped", health["request_log"]["dropped_total"])
    print(f"reloads: {health['config']['reloads']}, refused {health['config']['failed_reloads']}")
    print(f"after:   in flight {health['in_flight']}, upstream still busy {upstream.busy}, "
          "{:.1f} MiB, {} descriptors, {} threads".format(*gateway.sample()))
    half = [point for point in samples if point[0] > options.seconds / 2]
    print(f"resident memory, second half: {slope(half):+.2f} MiB a minute, highest {max(y for _, y in samples):.1f} MiB")
    gateway.process.terminate()
    print("exit:   ", await asyncio.to_thread(gateway.process.wait, 30), "log:", directory / "log")
    sound = health["in_flight"] == 0 and upstream.busy == 0 and sum(rows.values()) == tally["sent"]
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("binary", nargs="?", default="target/release/tidegate")
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--workers", type=int, default=24)
    arguments.add_argument("--reload-every", type=float, default=1, metavar="SECONDS", help="0: never")
    arguments.add_argument("--only", nargs="*", metavar="MODEL", help="only this part of the load")
    chosen = arguments.parse_args()
    chosen.binary = str(pathlib.Path(chosen.binary).resolve())
    asyncio.run(main(chosen))
