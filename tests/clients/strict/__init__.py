"""What the formats share: a conversation as a script sees it, an answer as a script gives it, and the ways to
say no. A format reads a request strictly (`read`), and says a reply whole (`whole`) or as the bytes of its
stream (`stream`). What the model thought before a call must come back as it was; `forgiving`: it may be missing, in
the way that the real provider takes, as some clients keep nothing of it."""

import json
import re
from dataclasses import dataclass, field


class Refused(Exception):
    """A refusal: one of the format's rules is broken (a violation), or the script wants an error."""

    def __init__(self, text, status=400, headers=(), code=None, violation=True):
        super().__init__(text)
        self.status, self.headers, self.code, self.violation = status, headers, code, violation


class Cut(Exception):
    """The connection ends here."""


@dataclass
class Call:
    """A tool call of the history, and what came of it."""

    id: str
    name: str
    arguments: object
    result: str | None = None


@dataclass
class View:
    """A request. `rounds` are the assistant turns with tool calls, in order; `user` the last words of the user."""

    model: str
    stream: bool
    tools: dict = field(default_factory=dict)
    system: str = ""
    user: str = ""
    rounds: list = field(default_factory=list)
    thinks: bool = True
    pictures: int = 0
    wrong: list = field(default_factory=list)
    more: dict = field(default_factory=dict)

    def tool(self, name):
        """The offered tool that ends with this name, as gateways lengthen names; else `None`."""
        return name if name in self.tools else next((full for full in self.tools if full.endswith(name)), None)

    def expect(self, good, text):
        if not good:
            self.wrong.append(text)


@dataclass
class Reply:
    """What the model says: a thought, a text, calls as (name, arguments as a value). `waits`: an event that it waits for
    in the middle of its stream."""

    text: str = ""
    thought: str = ""
    calls: list = field(default_factory=list)
    breaks: bool = False
    waits: object = None
    prompt_tokens: int = 120
    output_tokens: int = 34


def need(good, text, status=400):
    if not good:
        raise Refused(text, status)


def only(value, allowed, where):
    """Refuses keys that the format does not have."""
    need(isinstance(value, dict), f"{where}: must be an object, is {json.dumps(value)[:80]}")
    for key in value:
        need(key in allowed, f"{where}.{key}: Extra inputs are not permitted")


def named(pattern, name, where):
    need(isinstance(name, str) and re.fullmatch(pattern, name), f"{where}: {name!r} does not match {pattern}")


def pieces(text, count=3):
    """A text in a few parts, none empty."""
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)]


def sse(data, event=None):
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False) if not isinstance(data, str) else data}\n\n".encode()


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
