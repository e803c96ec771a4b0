"""Codex CLI as a client of the gateway: a turn with a tool call on /v1/responses, and how Codex takes
refusals. Not part of tests/run: it downloads Codex (some 400 MB).

    npm install --prefix /tmp/codex @openai/codex@0.169.0
    cargo build && python3 tests/clients/codex.py /tmp/codex/node_modules/.bin/codex [GATEWAY]

Everything it writes, Codex's home too, is in a temporary directory that goes away with it; nothing but
loopback is called. What came of it stands in docs/guide/clients-tested.md."""

import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import time

KEY = "sk-codex-0123456789abcdefghij"
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = """\
model_list:
  - model_name: gpt-4o-mock
    litellm_params: {{model: mock-response}}
  - model_name: overflow
    litellm_params: {{model: openai/x, mock_response: litellm.ContextWindowExceededError}}
  - model_name: busy
    litellm_params: {{model: openai/x, mock_response: litellm.RateLimitError}}
virtual_keys:
  - {{api_key: {key}, key_alias: codex, models: ["*"]}}
"""
PROVIDER = """\
model = "{model}"
model_provider = "tidegate"
[model_providers.tidegate]
name = "Tidegate"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
env_key = "TIDEGATE_KEY"
{more}
"""
FEW_RETRIES = "request_max_retries = 1\nstream_max_retries = 1"


def main(codex, binary):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-codex-"))
    (directory / "config.yaml").write_text(MODELS.format(key=KEY))
    gateway = subprocess.Popen([binary, "--config", "config.yaml", "--listen", "127.0.0.1:0"], cwd=directory,
                               stdout=subprocess.PIPE, text=True)
    port = next(found[1] for found in (re.search(r"listening on http://.*:(\d+)", line) for line in gateway.stdout)
                if found)
    print(subprocess.run([codex, "--version"], capture_output=True, text=True).stdout.strip())

    def turn(what, prompt, wanted, said, model="gpt-4o-mock", key=KEY, more=FEW_RETRIES):
        """One `codex exec`; `said` must be in what it says."""
        home = directory / "home"
        (home / ".codex").mkdir(parents=True, exist_ok=True)
        (directory / "work").mkdir(exist_ok=True)
        (home / ".codex/config.toml").write_text(PROVIDER.format(model=model, port=port, more=more))
        began = time.monotonic()
        done = subprocess.run([codex, "exec", "--skip-git-repo-check", prompt], cwd=directory / "work",
                              env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "TIDEGATE_KEY": key},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        words = done.stdout + done.stderr
        good = done.returncode == wanted and said in words
        told = [line for line in words.splitlines() if said in line or "ERROR" in line or "econnect" in line]
        print(f"{'ok  ' if good else 'FAIL'} {what}: exit {done.returncode} in {time.monotonic() - began:.1f} s",
              *dict.fromkeys(told[:4]), sep="\n       ")
        return good

    try:
        outcomes = [
            turn("a turn with a shell call", "true", 0, "The tool exec_command answered"),
            turn("a wrong key", "true", 1, "Incorrect API key provided", key="sk-wrong-0123456789abcdefghij"),
            turn("an unknown model", "true", 1, "does not exist here", model="no-such-model"),
            turn("context overflow", "true", 1, "context window", model="overflow"),
            turn("429 with retry-after", "true", 1, "429", model="busy"),
            turn("the WebSocket tried first", "true", 0, "The tool exec_command answered",
                 more=FEW_RETRIES + "\nsupports_websockets = true"),
        ]
        time.sleep(0.5)  # the last rows are on their way to the file
        rows = sqlite3.connect(directory / "data/tidegate.db").execute(
            "SELECT status, http_status, count(*) FROM request_logs GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        print("rows:", rows)
    finally:
        gateway.terminate()
        gateway.wait(20)
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "target/debug/tidegate"))
