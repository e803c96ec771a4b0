"""What the scripts beside it share: programs that are started and awaited on loopback, and what is asked of them."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

WAIT = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url, body=None, headers=None, or_error=False):
    """The body of an answer; of an error too, where that may be one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if or_error:
            return error.read()
        raise


def until(what, attempt):
    end = time.monotonic() + WAIT
    while True:
        try:
            found = attempt()
            if found:
                return found
        except (OSError, ValueError) as error:
            found = error
        if time.monotonic() > end:
            sys.exit(f"never came: {what} ({found})")
        time.sleep(0.2)


def check(checks, what, is_so):
    if not is_so:
        sys.exit(f"not so: {what}")
    checks.append(what)


def end(child):
    if child:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
