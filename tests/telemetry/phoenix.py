"""Arize Phoenix, the real one, as the collector of a gateway: by hand, as it brings two hundred packages.

    python3 -m venv VENV && VENV/bin/pip install arize-phoenix
    VENV/bin/python tests/telemetry/phoenix.py target/debug/tidegate           by HTTP
    VENV/bin/python tests/telemetry/phoenix.py target/debug/tidegate --grpc    by gRPC, with a build that has it

Starts Phoenix and the gateway on loopback, asks the mock model three ways, and reads the spans back through Phoenix's own API.
Ends with the number of what was checked, or with what is not as it should be.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from running import check, end, fetch, free_port, until

KEY = "sk-phoenix-0123456789abcdefghij"


def main(binary, by_grpc):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="phoenix-"))
    port, grpc, gate = free_port(), free_port(), free_port()
    exporter = {"endpoint": f"http://127.0.0.1:{grpc if by_grpc else port}"}
    if by_grpc:
        exporter["protocol"] = "grpc"
    (folder / "config.yaml").write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "mock",
                        "litellm_params": {
                            "model": "mock",
                            "input_cost_per_token": 0.001,
                            "output_cost_per_token": 0.002,
                        },
                    }
                ],
                "virtual_keys": [{"api_key": KEY, "key_alias": "phoenix", "models": ["*"]}],
                "telemetry": {
                    "exporters": [exporter],
                    "attributes": ["gen_ai", "openinference"],
                    "resource_attributes": {"openinference.project.name": "tidegate"},
                    "sampling_ratio": 1,
                    "capture": "span",
                },
            }
        )
    )
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    phoenix_program = pathlib.Path(sys.executable).parent / "phoenix"
    log = open(folder / "phoenix.log", "w")
    phoenix = subprocess.Popen([phoenix_program, "serve"], env=environment, stdout=log, stderr=log)
    gateway = None
    try:
        until("Phoenix", lambda: fetch(f"http://127.0.0.1:{port}/healthz") is not None)
        gateway = subprocess.Popen(
            [binary, "--config", "config.yaml", "--listen", f"127.0.0.1:{gate}"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until("the gateway", lambda: fetch(f"http://127.0.0.1:{gate}/healthz"))
        bearer = {"authorization": f"Bearer {KEY}"}
        session = {"session-id": "chat-7", **bearer}
        hello = [{"role": "user", "content": "Say hello to the harbour"}]
        url = f"http://127.0.0.1:{gate}/v1"
        for stream in (False, True):
            body = {"model": "mock", "messages": hello, "stream": stream, "temperature": 0.5}
            if stream:
                body["stream_options"] = {"include_usage": True}
            fetch(f"{url}/chat/completions", body, session)
        fetch(f"{url}/embeddings", {"model": "mock", "input": "hello"}, bearer)

        api = f"http://127.0.0.1:{port}/v1"

        def read():
            spans = json.loads(fetch(f"{api}/projects/tidegate/spans?limit=100"))["data"]
            return spans if len(spans) >= 6 else None

        spans = until("six spans in Phoenix", read)
        checks = []
        kinds = sorted(span["span_kind"] for span in spans)
        check(checks, f"kinds of spans: {kinds}", kinds == ["CHAIN"] * 3 + ["EMBEDDING"] + ["LLM"] * 2)
        by_id = {span["context"]["span_id"]: span for span in spans}
        for span in spans:
            parent = span.get("parent_id")
            if span["span_kind"] != "CHAIN":
                check(checks, f"{span['name']} has its parent", by_id[parent]["span_kind"] == "CHAIN")
            check(checks, f"{span['name']} ended well", span["status_code"] in ("UNSET", "OK"))
        for span in (span for span in spans if span["span_kind"] == "LLM"):
            said = span["attributes"]
            flat = json.dumps(said)
            check(checks, "the model's name", said["llm.model_name"].startswith("mock"))
            counts = [said[f"llm.token_count.{name}"] for name in ("prompt", "completion", "total")]
            check(checks, f"tokens: {counts}", counts[0] + counts[1] == counts[2] > 0)
            check(checks, "the cost", said["llm.cost.total"] > 0)
            check(checks, "the input", "Say hello to the harbour" in said["input.value"])
            check(checks, "the output", json.loads(said["output.value"])[0]["role"] == "assistant")
            check(checks, "the session", said["session.id"] == "chat-7")
            check(checks, "no key", KEY not in flat)
        version = subprocess.run(
            [sys.executable, "-c", "import importlib.metadata as m; print(m.version('arize-phoenix'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        way = "gRPC" if by_grpc else "HTTP"
        print(f"Arize Phoenix {version} by {way}: {len(spans)} spans, {len(checks)} checks, none failed")
    finally:
        end(gateway)
        end(phoenix)


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1]).resolve()), "--grpc" in sys.argv)
