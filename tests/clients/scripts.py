"""What the scripted model does: it looks at the conversation, finds its tools among those offered, and goes on
where it stands. One script for each program, as their tools differ. Results that do not show what the tool must
have done are noted."""

import re

from strict import Cut, Refused, Reply

FILE = "tides.txt"
BEFORE = "Low tide: 05:12\nHigh tide: 11:40\n"
LINE = "Höchststand: 14,2 m 🌊 – „Flut“\u2028(gauge \\n \"Husum\")"
AFTER = BEFORE + LINE + "\n"
END = "The tide table is complete. 🌊"
SUMMARY = "A summary: two commands ran, the tide table is unchanged."
THOUGHT = "First I look at what is there – 潮汐 – then I add the line."


def chatter(view):
    return Reply(END, THOUGHT)


def overflow(view):
    raise Refused("prompt is too long: 300001 tokens > 200000 maximum. This model's maximum context length is 200000 "
                  "tokens.", code="context_length_exceeded", violation=False)


def busy(times):
    """Says 429 with retry-after so many times, then answers."""
    left = [times]

    def script(view):
        if left[0]:
            left[0] -= 1
            raise Refused("Rate limit reached", 429, [("retry-after", "1")], "rate_limit_exceeded", violation=False)
        return Reply(END)

    return script


def broken(times):
    """Breaks off in the middle of its stream so many times, then answers."""
    left = [times]

    def script(view):
        left[0] -= 1
        return Reply("Half of what there is to say. " * 8, breaks=True) if left[0] >= 0 else Reply(END)

    return script


def gone(view):
    raise Cut


def shown(view, at, *texts):
    """Whether the results of round `at` show these texts, one each, whatever way they are escaped."""
    for call, text in zip(view.rounds[at], texts):
        result = (call.result or "").replace("\\u2028", "\u2028").replace("\\\\", "\\").replace('\\"', '"')
        view.expect(text in result, f"round {at}: {call.name} answered {call.result!r} without {text!r}")
    view.expect(len(view.rounds[at]) == len(texts), f"round {at} came back with {len(view.rounds[at])} calls")


def freeform(view, name, text):
    """The arguments that hold one text: itself for a tool of free text, else its only required field."""
    schema = view.tools[name]
    if schema.get("type") == "custom":
        return text
    return {(schema.get("required") or list(schema["properties"]))[0]: text}


def codex(view):
    """Two commands at once, a patch (or a command that writes), a look at it beside a call without arguments."""
    shell, patch, goal = view.tool("exec_command"), view.tool("apply_patch"), view.tool("get_goal")
    if shell is None:
        return Reply("A summary: the tide table is being completed.")
    at = len(view.rounds)
    if at == 0:
        return Reply("I look first.", THOUGHT, [(shell, {"cmd": "ls -1"}), (shell, {"cmd": f"cat {FILE}"})])
    shown(view, 0, FILE, "High tide: 11:40") if at == 1 else None
    if at == 1:
        if patch is None:
            return Reply("", THOUGHT, [(shell, {"cmd": f"cat >> {FILE} <<'END'\n{LINE}\nEND"})])
        return Reply("", THOUGHT, [(patch, freeform(view, patch, PATCH))])
    if at == 2:
        shown(view, 1, "Success" if patch else "")
        calls = [(shell, {"cmd": f"cat {FILE}"})]
        return Reply("", THOUGHT, calls + ([(goal, {})] if goal else []))
    shown(view, 2, LINE, *([""] if goal else []))
    return Reply(END, THOUGHT)


def search(view):
    """Finds a tool of an MCP server, searching for it where it is not offered at once, and calls it."""
    look, tool = view.tool("tool_search") or view.tool("ToolSearch"), view.tool("read_gauge")
    done = [call for calls in view.rounds for call in calls if call.name.endswith("read_gauge")]
    if done:
        view.expect("7.31" in (done[0].result or ""), f"the MCP tool answered {done[0].result!r}")
        return Reply(END, THOUGHT)
    if tool:
        return Reply("", THOUGHT, [(tool, {"station": "Husum"})])
    if look and not view.rounds:
        return Reply("", THOUGHT, [(look, {"query": "read gauge water level"})])
    view.expect(False, f"no read_gauge among {sorted(view.tools)}")
    return Reply("No such tool.")


# What the tools of the gateway's own servers answer.
STANDS = "{}: {} stands at 4.02 m 🌊"
JAMMED = "the gate is jammed"


class Served:
    """A task that needs the client's own tools and those that the gateway runs: `rounds` are calls of the model, each as
    (tool, arguments, what its result shows); a tool with the name of a server before it is the gateway's, under that very
    name. All that was said before has to be there in every request."""

    def __init__(self, *rounds):
        self.rounds = rounds

    def runs(self):
        """What the gateway's servers must have run once each."""
        calls = [call for calls in self.rounds for call in calls if "-" in call[0]]
        return sorted(" ".join([*name.split("-", 1), *arguments.values()]) for name, arguments, _ in calls)

    def __call__(self, view):
        for at, (met, wanted) in enumerate(zip(view.rounds, self.rounds)):
            names = [call.name for call in met]
            fits = [name.endswith(call[0]) for name, call in zip(names, wanted)]
            view.expect(len(met) == len(wanted) and all(fits), f"round {at} came back as {names}")
            shown(view, at, *(call[2] for call in wanted))
        view.expect(len(view.rounds) <= len(self.rounds), f"{len(view.rounds)} rounds came back")
        if len(view.rounds) >= len(self.rounds):
            return Reply(END, THOUGHT)
        calls = []
        for name, arguments, _ in self.rounds[len(view.rounds)]:
            tool = own(view, name) if "-" not in name else name if name in view.tools else None
            if tool is None:
                view.expect(False, f"no {name} among {sorted(view.tools)}")
                return Reply("No such tool.")
            calls.append((tool, freeform(view, tool, arguments) if isinstance(arguments, str) else arguments))
        return Reply(f"Step {len(view.rounds)}. ", THOUGHT, calls)


class Troubled(Served):
    """The same, but after so many rounds the provider once does what `trouble` does: what has been run before stays."""

    def __init__(self, at, trouble, *rounds):
        super().__init__(*rounds)
        self.at, self.trouble = at, trouble

    def __call__(self, view):
        if len(view.rounds) == self.at and self.trouble:
            trouble, self.trouble = self.trouble, None
            return trouble(view)
        return super().__call__(view)


def own(view, name):
    """The client's own tool of a name, which may be lengthened; a gateway's has a name of its server before it."""
    return name if name in view.tools else next(
        (full for full in view.tools if full.endswith(name) and "-" not in full), None)


def gauge(server, station):
    return f"{server}-read_gauge", {"station": station}, STANDS.format(server, station)


PATCH = f"*** Begin Patch\n*** Update File: {FILE}\n@@\n High tide: 11:40\n+{LINE}\n*** End Patch\n"


def codex_served():
    """Two rounds of the gateway's before Codex' shell, one with a tool that fails; both kinds at once, in either order."""
    return Served(
        [gauge("gauges", "Husum")],
        [gauge("harbour", "Kiel"), ("pilots-jammed", {}, JAMMED)],
        [("exec_command", {"cmd": f"cat {FILE}"}, "High tide: 11:40"), gauge("gauges", "Tönning")],
        [("apply_patch", PATCH, "Success")],
        [gauge("pilots", "List")],
        [gauge("pilots", "Amrum"), ("exec_command", {"cmd": f"cat {FILE}"}, LINE),
         ("harbour-exec_command", {"cmd": "open"}, "harbour: the lock did open")])


def troubled(trouble):
    return Troubled(2, trouble, [gauge("gauges", "Husum")], [gauge("harbour", "Kiel"), gauge("pilots", "List")],
                    [("exec_command", {"cmd": f"cat {FILE}"}, "High tide: 11:40")])


def claude_code_served(directory):
    """The gateway's tools before Claude Code's and at once with them, one that fails, and one last."""
    return Served(
        [gauge("gauges", "Husum")],
        [gauge("harbour", "Kiel"), ("pilots-jammed", {}, JAMMED)],
        [gauge("pilots", "List"), ("Bash", {"command": f"cat {FILE}", "description": "Show"}, "High tide: 11:40")],
        [("Read", {"file_path": f"{directory}/{FILE}"}, "High tide: 11:40"),
         ("harbour-exec_command", {"cmd": "open"}, "harbour: the lock did open")])


def open_webui_served():
    """The gateway's tools, one of them failing, before Open WebUI's own; then both kinds at once, in either order."""
    return Served(
        [gauge("gauges", "Husum")],
        [gauge("harbour", "Kiel"), ("pilots-jammed", {}, JAMMED)],
        [("write_note", {"title": "Tides", "content": LINE}, "success"), gauge("gauges", "Tönning")],
        [gauge("pilots", "List"), ("get_current_timestamp", {}, "202")])


def asks(*rounds):
    """The gateway's tools alone, and an end."""
    return Served(*(rounds or ([gauge("gauges", "Husum")], [gauge("harbour", "Kiel"), ("pilots-jammed", {}, JAMMED)])))


def in_background(script):
    """The script for a chat, and answers for what Open WebUI asks in the background: there are no tools in such a request."""

    def either(view):
        if own(view, "write_note"):
            return script(view)
        view.expect(not view.tools, f"a task came with the tools {sorted(view.tools)}")
        return Reply('{"title": "Tides", "tags": ["Tides"], "follow_ups": ["When?"]}')

    return either


def waiting(event):
    """Stops in the middle of what it says."""
    return lambda view: Reply("The tide comes in, slowly. " * 20, waits=event)


def knows(text):
    """Wants a text in what it is asked; what to search for is asked first."""

    def script(view):
        if "<chat_history>" in view.user:
            return Reply('{"queries": ["tide"]}')
        view.expect(text in view.system + view.user, f"no {text!r} in {(view.system + view.user)[-300:]!r}")
        return Reply(END, THOUGHT)

    return script


def code_mode_served():
    program = f"text((await tools.exec_command({{cmd: 'cat {FILE}; echo \"{LINE[:5]}\" >> {FILE}'}})).output);"
    return Served([gauge("harbour", "Kiel")], [("exec", program, "High tide: 11:40"), gauge("pilots", "List")])


def ends_with_served():
    """The last that was called before the end is the gateway's."""
    return Served([("exec_command", {"cmd": f"cat {FILE}"}, "High tide: 11:40")], [gauge("gauges", "Husum")])


def beside_own(*before):
    """The client has a server of the same name, with a tool of the same name."""
    return Served(*before, [("read_gauge", {"station": "Husum"}, "7.31"), gauge("gauges", "Husum")], [gauge("gauges", "Kiel")],
                  [("read_gauge", {"station": "Kiel"}, "7.31")])


def code_mode(view):
    """The newest models have one tool, `exec`, that takes a program."""
    tool = view.tool("exec")
    if tool is None:
        return Reply("A summary.")
    if not view.rounds:
        program = f"const found = await tools.exec_command({{cmd: 'cat {FILE}; echo \"{LINE[:5]}\" >> {FILE}'}});\ntext(found.output);"
        return Reply("", THOUGHT, [(tool, freeform(view, tool, program))])
    shown(view, 0, "High tide: 11:40")
    return Reply(END, THOUGHT)


def long_talk(limit):
    """Calls one command after another, telling of ever more tokens, until the client has made a summary."""

    def script(view):
        shell = own(view, "exec_command")
        if SUMMARY in view.user:
            return Reply(END, prompt_tokens=300)
        if shell is None or "CHECKPOINT" in view.user:
            view.expect(len(view.rounds) == 2, f"a summary was asked for after {len(view.rounds)} rounds")
            return Reply(SUMMARY, prompt_tokens=200)
        return Reply("", THOUGHT, [(shell, {"cmd": f"cat {FILE}"})], prompt_tokens=limit * len(view.rounds) + 100)

    return script


def picture(tool, arguments):
    """Looks at a picture by a tool of the client: it must reach the model."""

    def script(view):
        name = view.tool(tool)
        if name is None:
            return Reply("A title")
        if not view.rounds:
            return Reply("", THOUGHT, [(name, arguments)])
        view.expect(view.pictures == 1, f"{view.pictures} pictures came with {view.rounds[0][0].result!r}")
        return Reply(END, THOUGHT)

    return script


def sees(view):
    """Wants one picture of the user."""
    view.expect(view.pictures == 1, f"{view.pictures} pictures came")
    return Reply(END, THOUGHT)


def claude_code(directory):
    """Two commands at once, reading, editing, looking at it."""

    def script(view):
        bash, read, edit = view.tool("Bash"), view.tool("Read"), view.tool("Edit")
        if not (bash and read and edit):
            return Reply("A title")
        path = f"{directory}/{FILE}"
        at = len(view.rounds)
        if at == 0:
            return Reply("I look first.", THOUGHT, [
                (bash, {"command": "ls -1", "description": "List"}), (bash, {"command": f"cat {FILE}", "description": "Show"})])
        if at == 1:
            shown(view, 0, FILE, "High tide: 11:40")
            return Reply("", THOUGHT, [(read, {"file_path": path})])
        if at == 2:
            shown(view, 1, "High tide: 11:40")
            old = "High tide: 11:40\n"
            return Reply("", THOUGHT, [(edit, {"file_path": path, "old_string": old, "new_string": old + LINE + "\n"})])
        if at == 3:
            shown(view, 2, "updated")
            return Reply("", THOUGHT, [(bash, {"command": f"cat {FILE}", "description": "Show"})])
        shown(view, 3, LINE)
        return Reply(END, THOUGHT)

    return script


def open_webui(view):
    """Writes a note beside a call without arguments, looks at the note, and ends."""
    write, look, clock = view.tool("write_note"), view.tool("view_note"), view.tool("get_current_timestamp")
    if not (write and look and clock):
        return Reply('{"title": "Tides", "tags": ["tides"], "follow_ups": ["When?"]}')
    at = len(view.rounds)
    if at == 0:
        return Reply("I write it down.", THOUGHT, [(clock, {}), (write, {"title": "Tides", "content": LINE})])
    shown(view, 0, "202", "success")
    if at == 1:
        note = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", view.rounds[0][-1].result)
        return Reply("", THOUGHT, [(look, {"note_id": note[0] if note else "none"})])
    shown(view, 1, LINE[:20])
    return Reply(END, THOUGHT)
