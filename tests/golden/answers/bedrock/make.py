#!/usr/bin/env python3
"""Makes NAME.bin from NAME.jsonl: the events of a ConverseStream answer as Amazon frames them.

Each line of a .jsonl file is one message: {"event": name, "data": payload}, {"exception": name, "data": payload},
or {"error": code, "message": text}; {"cut": n} ends the stream n bytes before the end of the message before it.
The framing is https://smithy.io/2.0/aws/amazon-eventstream.html. Run it in this folder after changing a .jsonl.
"""

import json
import pathlib
import struct
import zlib


def message(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    out = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + payload
    return out + struct.pack("!I", zlib.crc32(out))


def framed(line: dict) -> bytes:
    if "error" in line:
        headers = {":error-code": line["error"], ":error-message": line["message"], ":message-type": "error"}
        return message(headers, b"")
    kind = "event" if "event" in line else "exception"
    headers = {f":{kind}-type": line[kind], ":content-type": "application/json", ":message-type": kind}
    payload = json.dumps(line["data"], ensure_ascii=False, separators=(",", ":")).encode()
    return message(headers, payload)


for source in sorted(pathlib.Path(__file__).parent.glob("*.jsonl")):
    out = b""
    # Not splitlines(): it would cut at the U+2028 inside a text.
    for line in map(json.loads, filter(None, source.read_text().split("\n"))):
        out = out[: -line["cut"]] if "cut" in line else out + framed(line)
    source.with_suffix(".bin").write_bytes(out)
