"""What official servers from the registries do, asked by the Python SDK: whatever stands in front of them, they must answer
as they do alone. The names of the checks begin with the server's. Nothing here knows where the servers are."""

import json
import pathlib
import subprocess
import tempfile

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError

from clients import Answering, pages, said


def folder():
    """A folder for the servers that want one: a repository with one commit."""
    kept = tempfile.TemporaryDirectory(prefix="tidegate-official-")
    pathlib.Path(kept.name, "note.txt").write_text("eins\n")
    git = ["git", "-C", kept.name, "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "the first"]):
        subprocess.run([*git, *arguments], check=True, stdin=subprocess.DEVNULL)
    return kept


async def names(at, client):
    return [tool.name.removeprefix(at.prefix) for tool in await pages(client.list_tools, "tools")]


async def everything_tools_resources_and_prompts(at):
    async with at.client(**Answering().callbacks()) as client:
        listed = await names(at, client)
        assert {"echo", "get-sum", "get-structured-content"} <= set(listed), listed
        assert said(await at.call(client, "echo", {"message": "hei"})) == "Echo: hei"
        assert "5" in said(await at.call(client, "get-sum", {"a": 2, "b": 3}))
        weather = await at.call(client, "get-structured-content", {"location": "Chicago"})
        assert isinstance(weather.structured_content["temperature"], (int, float)), weather
        for link in (await at.call(client, "get-resource-links", {"count": 3})).content:
            if link.type == "resource_link":
                assert (await client.read_resource(str(link.uri))).contents, link
        document = "demo://resource/static/document/features.md"
        uris = [str(it.uri) for it in await pages(client.list_resources, "resources")]
        assert any(uri.endswith(document) for uri in uris), uris
        got = await client.get_prompt(at.prefix + "args-prompt", {"city": "Kiel"})
        assert "Kiel" in got.messages[0].content.text, got
        reference = types.PromptReference(type="ref/prompt", name=at.prefix + "completable-prompt")
        done = await client.complete(reference, {"name": "department", "value": "E"})
        assert done.completion.values == ["Engineering"], done


async def everything_a_long_operation_reports_progress(at):
    seen = []

    async def progress(done, total, message):
        seen.append(done)

    async with at.client() as client:
        arguments = {"duration": 1, "steps": 4}
        await at.call(client, "trigger-long-running-operation", arguments, progress_callback=progress)
        assert seen == [1, 2, 3, 4], seen


async def filesystem_files_are_written_and_read(at):
    async with at.client() as client:
        assert len(await names(at, client)) == 14
        allowed = said(await at.call(client, "list_allowed_directories"))
        root = pathlib.Path(allowed.splitlines()[-1])
        path = str(root / f"{at.mode}-{len(at.prefix)}.txt")
        said(await at.call(client, "write_file", {"path": path, "content": "ä\n" * 3}))
        result = await at.call(client, "read_text_file", {"path": path})
        assert said(result) == "ä\n" * 3 == result.structured_content["content"], result
        assert (await at.call(client, "read_text_file", {"path": "/etc/passwd"})).is_error


async def memory_entities_are_kept(at):
    name = f"{at.mode}-{len(at.prefix)}"
    async with at.client() as client:
        assert len(await names(at, client)) == 9
        entity = {"name": name, "entityType": "test", "observations": ["one"]}
        said(await at.call(client, "create_entities", {"entities": [entity]}))
        graph = json.loads(said(await at.call(client, "open_nodes", {"names": [name]})))
        assert graph["entities"] == [entity], graph
        said(await at.call(client, "delete_entities", {"entityNames": [name]}))


async def git_the_log_is_read(at):
    async with at.client() as client:
        assert len(await names(at, client)) == 12
        with tempfile.TemporaryDirectory() as nowhere:
            assert (await at.call(client, "git_status", {"repo_path": nowhere})).is_error
        assert "the first" in said(await at.call(client, "git_log", {"repo_path": at.folder}))


async def time_the_hour_is_converted(at):
    async with at.client() as client:
        assert await names(at, client) == ["get_current_time", "convert_time"]
        arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        result = json.loads(said(await at.call(client, "convert_time", arguments)))
        assert result["target"]["datetime"].endswith("21:00:00+09:00"), result
        try:
            with anyio.fail_after(10):
                assert (await at.call(client, "convert_time", {**arguments, "time": "noon"})).is_error
        except MCPError as error:
            assert error.error.code == -32602, error.error
