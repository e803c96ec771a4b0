"""The official Python SDK (2.x) as a client of any MCP endpoint that has one of the fixture servers behind it.

    python clients.py --direct                the fixtures themselves, in every mode that they have: what can be expected
    python clients.py --url URL [--key KEY] [--prefix PREFIX] [--mode auto|legacy|sse] [--server python|legacy|modern]

Every check runs; the exit code is 1 if one of them fails that is expected to pass. PREFIX stands before the names of
tools and prompts. A check must not know what is behind the URL, but by the names that the fixture has."""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import sys
import time
import traceback
import warnings

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

import world

WATCHDOG_SECONDS = 600
PATIENCE = 10
BIG_INTEGER = 123456789012345678901234567890
NAME = {"name": "Ada"}


class Endpoint:
    """Where the clients go, and what they say of themselves."""

    def __init__(self, server, url, mode, prefix="", headers=None, shares=False, folder=None):
        self.server, self.url, self.mode, self.prefix, self.headers = server, url, mode, prefix, headers or {}
        # Clients share one pipe to a server of the session era: whose a question is, nobody can say.
        self.shares = shares
        # What a server works on, where that is a folder.
        self.folder = folder

    @contextlib.asynccontextmanager
    async def _transport(self):
        if self.mode == "sse":
            try:
                async with sse_client(self.url, headers=self.headers) as streams:
                    yield streams
            except* anyio.BrokenResourceError:
                pass  # What comes while this client closes breaks its own reader.
        else:
            async with (create_mcp_http_client(headers=self.headers) as http,
                        streamable_http_client(self.url, http_client=http) as streams):
                yield streams

    @contextlib.asynccontextmanager
    async def client(self, **callbacks):
        """A connected client; it asks for logs where it has to."""
        mode = "legacy" if self.mode == "sse" else self.mode
        level = "info" if "logging_callback" in callbacks else None
        async with Client(self._transport(), mode=mode, log_level=level, cache=None, **callbacks) as client:
            yield client

    async def call(self, client, name, arguments=None, **more):
        return await client.call_tool(self.prefix + name, arguments or {}, **more)


def listens(client):
    """Whether its era has `subscriptions/listen`."""
    return client.protocol_version >= "2026-07-28"


def said(result):
    assert not result.is_error, result
    return result.content[0].text


async def pages(fetch, field):
    """All pages of a list."""
    found, cursor = [], None
    for _ in range(100):
        page = await fetch(cursor=cursor)
        found += getattr(page, field)
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


async def eventually(condition, what):
    """Waits until a condition, plain or awaited, holds."""
    with anyio.move_on_after(PATIENCE):
        while True:
            found = condition()
            if found := await found if asyncio.iscoroutine(found) else found:
                return found
            await anyio.sleep(0.02)
    raise AssertionError(f"{what} did not happen in {PATIENCE} s")


class Answering:
    """What a client with a user, a model and roots answers, and what it was asked."""

    def __init__(self, name="Ada"):
        self.name, self.asked = name, []

    async def elicitation(self, _, params):
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": self.name})

    async def sampling(self, _, params):
        self.asked.append(params.messages[0].content.text)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text=f"said {self.name}"), model="test-model")

    async def roots(self, _):
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///{self.name}", name=self.name)])

    def callbacks(self):
        return {"elicitation_callback": self.elicitation, "sampling_callback": self.sampling,
                "list_roots_callback": self.roots}


# --- fixture.py ------------------------------------------------------------------------------------------------------


async def python_tools_come_in_pages(at):
    async with at.client() as client:
        names = [tool.name for tool in await pages(client.list_tools, "tools")]
        assert len(names) == len(set(names)) and len(names) >= 20, names
        assert all(name.startswith(at.prefix) for name in names), names
        assert {at.prefix + name for name in ("echo", "crash", "canary")} <= set(names), names
        tool = next(tool for tool in await pages(client.list_tools, "tools") if tool.name == at.prefix + "structured")
        assert tool.description and tool.input_schema["properties"]["city"] and tool.output_schema, tool


async def python_results_have_their_structure(at):
    async with at.client() as client:
        await pages(client.list_tools, "tools")
        result = await at.call(client, "structured", {"city": "Köln"})
        assert result.structured_content == {"city": "Köln", "degrees": 1.0, "tags": ["é", "✓"]}, result


async def python_numbers_keep_all_digits(at):
    async with at.client() as client:
        result = await at.call(client, "integers")
        assert result.structured_content == {"small": 1, "unsafe": 9007199254740993, "big": BIG_INTEGER}, result
        assert str(BIG_INTEGER) in result.content[0].text


async def python_unknown_fields_pass(at):
    async with at.client() as client:
        result = await at.call(client, "unknown_fields")
        assert result.meta["x.test/result"] == {"n": BIG_INTEGER, "b": False}, result
        assert result.content[0].meta == {"x.test/content": [1, {"a": None}]}, result


async def python_a_tool_that_fails(at):
    async with at.client() as client:
        result = await at.call(client, "fail")
        assert result.is_error and result.content[0].text == "this tool always fails", result


async def python_a_tool_that_is_not_there(at):
    async with at.client() as client:
        try:
            result = await at.call(client, "no_such_tool")
        except MCPError as error:
            assert error.error.code == -32602, error.error
        else:
            assert result.is_error, result


async def python_progress_comes_while_the_tool_works(at):
    seen = []

    async def progress(done, total, message):
        seen.append((time.monotonic(), done, total, message))

    async with at.client() as client:
        assert said(await at.call(client, "slow", {"seconds": 1}, progress_callback=progress)) == "slept"
        ended = time.monotonic()
        assert [done for _, done, _, _ in seen] == list(range(10)), seen
        assert seen[0][2:] == (10, "step 0") and ended - seen[0][0] > 0.5, seen


async def python_logs_come(at):
    logs = []

    async def logged(params):
        logs.append(params.data if isinstance(params.data, str) else params.data["msg"])

    async with at.client(logging_callback=logged) as client:
        await at.call(client, "log", {"count": 3})
        await eventually(lambda: len(logs) >= 3, "three messages")
        assert logs == ["message 0", "message 1", "message 2"], logs


async def python_the_user_is_asked(at):
    answering = Answering()
    async with at.client(**answering.callbacks()) as client:
        assert said(await at.call(client, "elicit", {"token": "t1"})) == "accept: Ada"
        assert answering.asked == ["name? t1"], answering.asked


async def python_the_model_is_asked(at):
    async with at.client(**Answering().callbacks()) as client:
        assert said(await at.call(client, "sample", {"prompt": "p"})) == "said Ada"


async def python_the_roots_are_asked(at):
    async with at.client(**Answering().callbacks()) as client:
        assert said(await at.call(client, "roots")) == "file:///Ada"


async def python_a_client_that_cannot_be_asked(at):
    async with at.client() as client:
        with anyio.fail_after(PATIENCE):
            try:
                assert (await at.call(client, "elicit")).is_error
            except Exception as error:
                assert not isinstance(error, (TimeoutError, AssertionError)), error


async def python_big_results(at):
    async with at.client() as client:
        assert len(said(await at.call(client, "big"))) == 5 * 1024 * 1024


async def python_big_arguments(at):
    text = "0123456789abcdef" * 65536 * 3
    async with at.client() as client:
        assert said(await at.call(client, "measure", {"text": text})) == str(len(text))


async def python_calls_are_cancelled(at):
    async with at.client() as client:
        async def cancelled():
            return int(said(await at.call(client, "cancellations")))

        before = await cancelled()
        with anyio.move_on_after(1):
            await at.call(client, "hang")

        async def more():
            return await cancelled() > before

        await eventually(more, "the cancellation")


async def python_calls_run_side_by_side(at):
    async with at.client() as client:
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(lambda: at.call(client, "slow", {"seconds": 1}))
        assert time.monotonic() - began < 10


async def python_resources_and_prompts(at):
    async with at.client() as client:
        uris = [str(it.uri) for it in await pages(client.list_resources, "resources")]
        assert any(uri.endswith("note://today") for uri in uris), uris
        note = await client.read_resource(next(uri for uri in uris if uri.endswith("note://today")))
        assert note.contents[0].text == "Nothing happened." and note.contents[0].mime_type == "text/plain", note
        templates = await pages(client.list_resource_templates, "resource_templates")
        template = next(it.uri_template for it in templates if it.uri_template.endswith("note://{day}/text"))
        note = await client.read_resource(template.replace("{day}", "monday"))
        assert note.contents[0].text == "Nothing happened on monday.", note
        prompts = await pages(client.list_prompts, "prompts")
        assert at.prefix + "greet" in [prompt.name for prompt in prompts], prompts
        got = await client.get_prompt(at.prefix + "greet", {"name": "Ada"})
        assert got.messages[0].content.text == "Say hello to Ada.", got
        try:
            await client.read_resource("note://no/such/thing")
        except MCPError as error:
            assert error.error.code in (-32602, -32002), error.error
        else:
            raise AssertionError("a resource that is not there was read")


async def python_a_grown_list_is_told(at):
    grown = f"grown_{time.monotonic_ns()}"
    async with contextlib.AsyncExitStack() as stack:
        told = []

        async def message(it):
            if isinstance(it, types.ToolListChangedNotification):
                told.append(it)

        client = await stack.enter_async_context(at.client(message_handler=message))
        events = await stack.enter_async_context(client.listen(tools_list_changed=True)) if listens(client) else None
        await at.call(client, "grow", {"name": grown})
        if events is None:
            await eventually(lambda: told, "the notification")
        else:
            with anyio.fail_after(PATIENCE):
                await anext(aiter(events))
        assert at.prefix + grown in [tool.name for tool in await pages(client.list_tools, "tools")]
        assert said(await at.call(client, grown)) == grown


async def python_clients_hear_their_own(at):
    async def one(number):
        heard, answering = [], Answering(f"client{number}")

        async def logged(params):
            heard.append(params.data if isinstance(params.data, str) else params.data["msg"])

        async with at.client(logging_callback=logged, **answering.callbacks()) as client:
            async def canary(token):
                async def progress(done, total, message):
                    heard.append(message)

                result = await at.call(client, "canary", {"token": token, "wait": 0.05}, progress_callback=progress)
                assert result.structured_content["token"] == token, result

            async with anyio.create_task_group() as group:
                for turn in range(10):
                    group.start_soon(canary, f"client{number}-{turn}")
                    group.start_soon(ask, client, f"client{number}-ask{turn}")
            wanted = {f"client{number}-{turn}" for turn in range(10)}
            await eventually(lambda: wanted <= set(heard), "all tokens")
            assert all(it.startswith(f"client{number}-") for it in heard), heard
            assert all(it.startswith(f"name? client{number}-") for it in answering.asked), answering.asked

    async def ask(client, token):
        result = await at.call(client, "elicit", {"token": token})
        if at.shares and result.is_error and "cannot tell which client" in result.content[0].text:
            return  # Refused, it was answered by nobody.
        assert said(result) == f"accept: {token.split('-')[0]}", (token, result)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, number)


# --- fixture_1.py ----------------------------------------------------------------------------------------------------


async def first_line_tools_resources_and_logs(at):
    logs = []

    async def logged(params):
        logs.append(params.data)

    async with at.client(logging_callback=logged) as client:
        names = [tool.name for tool in await pages(client.list_tools, "tools")]
        assert names == [at.prefix + "echo", at.prefix + "log"], names
        assert said(await at.call(client, "echo", {"text": "ü"})) == "ü"
        resources = await pages(client.list_resources, "resources")
        assert (await client.read_resource(str(resources[0].uri))).contents[0].text == "Nothing happened."
        await at.call(client, "log")
        await eventually(lambda: len(logs) >= 3, "three messages")


# --- legacy.mjs and modern.mjs ----------------------------------------------------------------------------------------


async def surface_every_kind_of_content(at):
    async with at.client() as client:
        image, = (await at.call(client, "test_image_content")).content
        assert image.type == "image" and image.mime_type == "image/png" and image.data.startswith("iVBOR"), image
        audio, = (await at.call(client, "test_audio_content")).content
        assert audio.type == "audio" and audio.mime_type == "audio/wav", audio
        mixed = (await at.call(client, "test_multiple_content_types")).content
        assert [it.type for it in mixed] == ["text", "image", "resource"], mixed


async def surface_schemas_pass_whole(at):
    async with at.client() as client:
        tools = {tool.name: tool for tool in await pages(client.list_tools, "tools")}
        schema = tools[at.prefix + "json_schema_2020_12_tool"].input_schema
        assert schema["$defs"]["address"]["$anchor"] == "addressDef" and schema["else"] == {"required": ["email"]}, schema


async def surface_completions(at):
    async with at.client() as client:
        reference = types.PromptReference(type="ref/prompt", name=at.prefix + "test_prompt_with_arguments")
        done = await client.complete(reference, {"name": "arg1", "value": "par"})
        assert done.completion.values == ["paris", "park", "party"] and done.completion.total == 3, done


async def surface_prompts_with_arguments(at):
    async with at.client() as client:
        got = await client.get_prompt(at.prefix + "test_prompt_with_arguments", {"arg1": "a b", "arg2": "ü"})
        assert got.messages[0].content.text == "The first is 'a b', the second 'ü'.", got


async def surface_changes_are_told(at):
    kinds = {"tool_change": types.ToolListChangedNotification, "prompt_change": types.PromptListChangedNotification,
             "resource_update": types.ResourceUpdatedNotification}
    async with contextlib.AsyncExitStack() as stack:
        told = []

        async def message(it):
            told.append(it)

        client = await stack.enter_async_context(at.client(message_handler=message))
        resources = await pages(client.list_resources, "resources")
        uri = next(str(it.uri) for it in resources if str(it.uri).endswith("test://watched-resource"))
        if listens(client):
            await stack.enter_async_context(client.listen(
                tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=[uri]))
        else:
            await client.subscribe_resource(uri)
        for kind, wanted in kinds.items():
            await at.call(client, f"test_trigger_{kind}")
            found = await eventually(lambda: [it for it in told if isinstance(it, wanted)], kind)
            assert kind != "resource_update" or str(found[0].params.uri) == uri, found


async def surface_what_was_interrupted_goes_on(at):
    async with at.client() as client:
        with anyio.fail_after(PATIENCE):
            assert said(await at.call(client, "test_reconnection")) == "Here again."


async def surface_many_rounds(at):
    async def elicitation(_, params):
        content = {"name": "Ada"} if "name" in params.requested_schema["properties"] else {"color": "blue"}
        return types.ElicitResult(action="accept", content=content)

    async with at.client(elicitation_callback=elicitation) as client:
        assert said(await at.call(client, "test_input_required_result_multi_round")) == "Ada likes blue."


# Server → what the names of its checks begin with.
CHECKS = {"python": "python_", "python1": "first_line_", "legacy": "surface_", "modern": "surface_"}

# The client takes no event above 1 MiB, and over SSE everything is one.
EVENTS_ONLY = {"python_big_results"}
# (server, mode, transport) → checks that the fixture itself does not pass.
DIRECT = {
    ("python", "auto", "http"): {"python_a_grown_list_is_told"},  # FastMCP does not listen
    ("python", "legacy", "http"): EVENTS_ONLY,
    ("python", "sse", "sse"): EVENTS_ONLY,
    ("python1", "auto", "http"): set(),
    ("python1", "sse", "sse"): set(),
    ("legacy", "auto", "http"): set(),
    ("legacy", "legacy", "http"): set(),
    ("legacy", "sse", "sse"): set(),
    ("modern", "auto", "http"): set(),
}
# What only a server of the session era has.
LEGACY_ONLY = {"surface_what_was_interrupted_goes_on"}


async def judge(at, excused=frozenset(), only="", checks=None, say=print):
    """Runs the checks for an endpoint's server, by their names; returns the number of failures that are not excused."""
    failures = 0
    for name, check in list((checks or globals()).items()):
        begins = CHECKS.get(at.server, f"{at.server}_")
        if not name.startswith(begins) or only not in name or at.server == "modern" and name in LEGACY_ONLY:
            continue
        try:
            with anyio.fail_after(60):
                await check(at)
            say(f"ok   {name}")
        except Exception:
            failures += name not in excused
            say(f"known {name}" if name in excused else f"FAIL {name}\n{traceback.format_exc()}")
    return failures


async def direct(only):
    failures = 0
    for (server, mode, transport), excused in DIRECT.items():
        print(f"--- {server} over {transport}, client {mode}")
        with world.start(server, transport) as program:
            failures += await judge(Endpoint(server, program.url, mode), excused, only)
    return failures


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("--direct", action="store_true")
    asked.add_argument("--url")
    asked.add_argument("--key")
    asked.add_argument("--prefix", default="")
    asked.add_argument("--mode", choices=["auto", "legacy", "sse"], default="auto")
    asked.add_argument("--server", choices=list(CHECKS), default="python")
    asked.add_argument("--only", default="")
    asked = asked.parse_args()
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if asked.direct:
        failures = asyncio.run(direct(asked.only))
    else:
        headers = {"Authorization": f"Bearer {asked.key}"} if asked.key else {}
        at = Endpoint(asked.server, asked.url, asked.mode, asked.prefix, headers)
        failures = asyncio.run(judge(at, EVENTS_ONLY if asked.mode == "sse" else frozenset(), asked.only))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
