"""The official SDKs as judges of answers in which the gateway runs tools: a scripted model, and a real MCP server over stdio.

    python tools.py PATH_TO_TIDEGATE PATH_TO_MCP_PYTHON PATH_TO_NODE

Every event has to be what the SDK's types say, and streams have to come to what the same answer is whole. The last word of
the user says what the model does. Checks must not know how the gateway does it."""

import json
import pathlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent

import gateway
import surface_chat
import surface_responses
from strict import judge, sent

FIXTURE = pathlib.Path(__file__).parent.parent / "mcp/fixture.py"
SERVERS = """mcp_servers:
  py:
    command: {python}
    args: [{fixture}, stdio]
"""
OWN = {"type": "object", "properties": {"n": {"type": "integer"}}}
# What the model says, by the user's last word and the number of results behind it: a text, and calls.
SCRIPT = {
    "mixed": [
        ("Let me look. ", [("py-echo", {"text": "é \u2028"}), ("py-fail", {}), ("own", {"n": 1})]),
        ("", [("py-measure", {"text": "four"})]),
        ("All is known.", []),
    ],
    "rounds": [
        ("First. ", [("py-echo", {"text": "a"}), ("py-echo", {})]),
        ("Second. ", [("py-structured", {})]),
        ("Done.", []),
    ],
    "approve": [("May I? ", [("py-echo", {"text": "asked"}), ("py-measure", {"text": "four"})]), ("Thank you.", [])],
}


class Model:
    """A provider of chat completions whose model does what `SCRIPT` says."""

    def __init__(self):
        model = self
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_POST(self):
                request = json.loads(gateway.read_body(self))
                model.requests.append(request)
                model.answer(self, request)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, request):
        messages = request["messages"]
        rounds = SCRIPT[[said for said in map(text_of, messages) if said in SCRIPT][-1]]
        # A round is over when there are calls of it in the history.
        text, calls = rounds[sum(bool(message.get("tool_calls")) for message in messages)]
        calls = [
            {"index": at, "id": f"call_{len(messages)}_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
            for at, (name, given) in enumerate(calls)
        ]
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        head = {"id": "chatcmpl-up", "created": 1763683200, "model": "up"}
        if not request.get("stream"):
            message = {"role": "assistant", "content": text, "tool_calls": calls} if calls else {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return gateway.send_json(handler, 200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        gateway.start_stream(handler)
        for piece in [{"role": "assistant", "content": ""}, *({"content": word} for word in text.split(" ") if word), *pieces(calls)]:
            if piece.get("content"):
                piece["content"] += " "
            gateway.send_chunk(handler, gateway.event(piece))
        gateway.send_chunk(handler, gateway.event({}, finish))
        gateway.send_chunk(handler, gateway.event({}, choices=[], usage=usage) + b"data: [DONE]\n\n")
        handler.wfile.write(b"0\r\n\r\n")
        handler.wfile.flush()


def text_of(message):
    content = message.get("content")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def pieces(calls):
    """Calls as OpenAI streams them: the name first, then the arguments in pieces."""
    for call in calls:
        arguments = call["function"]["arguments"]
        yield {"tool_calls": [{**call, "function": {**call["function"], "arguments": ""}}]}
        for at in range(0, len(arguments), 5):
            yield {"tool_calls": [{"index": call["index"], "function": {"arguments": arguments[at : at + 5]}}]}


def block(approval="never"):
    return {"type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/py", "require_approval": approval}


def outline(response):
    """What a response says, without what differs from run to run."""
    told = []
    for item in response.output:
        match item.type:
            case "message":
                told.append(("says", item.content[0].text.strip()))
            case "mcp_list_tools":
                told.append(("lists", item.server_label, len(item.tools), item.error))
            case "mcp_call":
                error = item.error and (item.error.type, text_of({"content": item.error.content}))
                told.append((item.name, json.loads(item.arguments), item.status, item.output, error))
            case "function_call":
                told.append(("calls", item.name, item.arguments))
            case kind:
                told.append((kind, item.name, item.arguments))
    return told


def responses(world):
    """Each way to ask gives the same answer; returns it."""

    def ask(question):
        whole = surface_responses.answered(world.openai, question, False)
        streamed = surface_responses.answered(world.openai, question, True)
        assert outline(whole) == outline(streamed), (outline(whole), outline(streamed))
        with world.openai.responses.stream(**question) as stream:
            list(stream)
            helped = stream.get_final_response()
        assert outline(helped) == outline(whole), (outline(helped), outline(whole))
        assert whole.usage.total_tokens == streamed.usage.total_tokens == helped.usage.total_tokens, whole.usage
        return streamed

    return ask


def check_responses_run_tools_in_rounds(world):
    answer = responses(world)({"model": "m", "input": "rounds", "tools": [block()]})
    told = outline(answer)
    assert told[0][0] == "lists" and told[0][2] > 10 and told[0][3] is None, told[0]
    assert [line[0] for line in told[1:]] == ["says", "echo", "echo", "says", "structured", "says"], told
    assert told[2][1:] == ({"text": "a"}, "completed", "a", None), told[2]
    assert answer.usage.total_tokens == 45, answer.usage


def check_responses_of_both_kinds_go_on_either_way(world):
    own = surface_responses.tool("own")
    question = {"model": "m", "input": [{"type": "message", "role": "user", "content": "mixed"}], "tools": [block(), own]}
    first = responses(world)(question)
    told = outline(first)
    assert told[2][:4] == ("echo", {"text": "é \u2028"}, "completed", "é \u2028"), told
    name, _, status, output, error = told[3]
    assert (name, status, output) == ("fail", "failed", None) and error[0] == "mcp_tool_execution_error", told[3]
    assert "this tool always fails" in error[1], error
    assert told[4] == ("calls", "own", '{"n": 1}'), told
    results = surface_responses.outputs(first, "mine")
    echoed = [*question["input"], *(sent(item) for item in first.output), *results]
    by_id = {**question, "input": results, "previous_response_id": first.id}
    for again in (by_id, {**question, "input": echoed}, {**question, "input": [*echoed[:1], *echoed[-2:]]}):
        second = outline(responses(world)(again))
        assert [line[0] for line in second if line[0] != "lists"] == ["measure", "says"], second
        heard = [message for message in world.model.requests[-1]["messages"] if message["role"] == "tool"]
        assert sorted(text_of(message) for message in heard if "fails" not in text_of(message)) == sorted(
            ["4", f"{results[0]['call_id']}: mine", "é \u2028"]
        ), heard


def check_responses_ask_for_approval(world):
    question = {"model": "m", "input": "approve", "tools": [block({"always": {"tool_names": ["echo"]}})]}
    for approve in (True, False):
        first = responses(world)(question)
        kinds = [line[0] for line in outline(first)[1:]]
        assert kinds == ["says", "measure", "mcp_approval_request"], kinds
        asked = first.output[-1]
        word = {"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": approve, "reason": "because"}
        again = {**question, "input": [word], "previous_response_id": first.id}
        second = outline(responses(world)(again))
        calls = [line for line in second if line[0] == "echo"]
        assert bool(calls) == approve and second[-1] == ("says", "Thank you."), second
        heard = [text_of(message) for message in world.model.requests[-1]["messages"] if message["role"] == "tool"]
        assert any("asked" == text if approve else "because" in text for text in heard), heard


def check_chat_is_told_beside_its_text(world):
    own = surface_chat.tool("own")
    question = {"model": "m", "messages": [{"role": "user", "content": "mixed"}], "tools": [block(), own]}
    whole = surface_chat.check_completion(sent(world.openai.chat.completions.create(**question)))
    surface_chat.streamed(world.openai, question)
    # The SDK's own accumulator wants every tool to be a function.
    told = {"model": "m", "messages": question["messages"], "tools": [{**own, "function": {**own["function"], "strict": True}}]}
    told["tools"][0]["function"]["parameters"] = {"type": "object", "properties": {}, "additionalProperties": False}
    with world.openai.chat.completions.stream(**told, extra_headers={"x-mcp-servers": "py"}) as stream:
        list(stream)
        helped = stream.get_final_completion()
    for message in (whole.choices[0].message, helped.choices[0].message):
        assert [call.function.name for call in message.tool_calls] == ["own"], message
        fields = message.model_extra["provider_specific_fields"]
        assert [call["function"]["name"] for call in fields["mcp_tool_calls"]] == ["echo", "fail"], fields
        assert [result["is_error"] for result in fields["mcp_call_results"]] == [False, True], fields
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "mine"}
        for kept in (sent(message), {"role": "assistant", "tool_calls": [sent(call) for call in message.tool_calls]}):
            kept = {name: value for name, value in kept.items() if name != "parsed" and value is not None}
            for call in kept["tool_calls"]:
                call["function"].pop("parsed_arguments", None)
            again = {**question, "messages": [*question["messages"], kept, result]}
            second = surface_chat.check_completion(sent(world.openai.chat.completions.create(**again))).choices[0]
            assert (second.message.content.strip(), second.finish_reason) == ("All is known.", "stop"), second
            heard = [text_of(message) for message in world.model.requests[-1]["messages"] if message["role"] == "tool"]
            assert heard.count("mine") == heard.count("é \u2028") == 1 and len(heard) == 4, heard


def check_messages_have_blocks_of_mcp(world):
    own = {"name": "own", "input_schema": OWN}
    server = {"type": "url", "name": "house", "url": f"{world.base}/py/mcp"}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "house"}
    for beta, tools in (("mcp-client-2025-04-04", [own]), ("mcp-client-2025-11-20", [own, toolset])):
        question = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "mixed"}], "tools": tools}
        question |= {"mcp_servers": [server], "betas": [beta]}
        whole = judge(BetaMessage, sent(world.anthropic.beta.messages.create(**question)))
        events = [
            judge(BetaRawMessageStreamEvent, sent(event))
            for event in world.anthropic.beta.messages.create(**question, stream=True)
        ]
        starts = [event.content_block.type for event in events if event.type == "content_block_start"]
        kinds = ["text", "mcp_tool_use", "mcp_tool_result", "mcp_tool_use", "mcp_tool_result", "tool_use"]
        assert starts == kinds == [entry.type for entry in whole.content], (starts, whole)
        with world.anthropic.beta.messages.stream(**question) as stream:
            list(stream)
            final = sent(stream.get_final_message())
        for entry in final["content"]:
            entry.pop("parsed_output", None)
        final = judge(BetaMessage, final)
        assert blocks(final) == blocks(whole), (blocks(final), blocks(whole))
        assert final.stop_reason == whole.stop_reason == "tool_use"
        results = [entry for entry in final.content if entry.type == "mcp_tool_result"]
        assert [entry.is_error for entry in results] == [False, True], results
        assert results[0].content[0].text == "é \u2028", results
        result = {"type": "tool_result", "tool_use_id": final.content[-1].id, "content": "mine"}
        # As it came, with results as texts, as the SDK's parameters also have them, and with what every client knows.
        texts = [sent(entry) for entry in final.content]
        for entry in texts:
            entry.pop("parsed_output", None)
            if entry["type"] == "mcp_tool_result":
                entry["content"] = text_of(entry)
        for kept in (final.content, texts, final.content[-1:]):
            history = [{"role": "assistant", "content": kept}, {"role": "user", "content": [result]}]
            again = {**question, "messages": [*question["messages"], *history]}
            second = judge(BetaMessage, sent(world.anthropic.beta.messages.create(**again)))
            assert [entry.type for entry in second.content] == ["mcp_tool_use", "mcp_tool_result", "text"], second
            heard = [text_of(message) for message in world.model.requests[-1]["messages"] if message["role"] == "tool"]
            assert heard.count("mine") == heard.count("é \u2028") == 1 and len(heard) == 4, heard


def blocks(message):
    """Blocks without ids; where a text breaks off is the network's."""
    told = []
    for entry in message.content:
        value = {name: part for name, part in sent(entry).items() if name not in ("id", "tool_use_id", "citations")}
        told.append({**value, "text": value["text"].strip()} if entry.type == "text" else value)
    return told


def check_a_toolset_narrows_a_server(world):
    server = {"type": "url", "name": "house", "url": f"{world.base}/py/mcp"}

    def offered(toolset, **more):
        toolset = {"type": "mcp_toolset", "mcp_server_name": "house", **toolset}
        question = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "rounds"}], "tools": [toolset]}
        world.anthropic.beta.messages.create(**question, mcp_servers=[server | more], betas=["mcp-client-2025-11-20"])
        return {tool["function"]["name"] for tool in world.model.requests[-1]["tools"]}

    everything = offered({})
    assert {"py-echo", "py-fail", "py-structured"} <= everything, everything
    assert offered({"configs": {"fail": {"enabled": False}}}) == everything - {"py-fail"}
    chosen = {"default_config": {"enabled": False}, "configs": {"echo": {"enabled": True}}}
    assert offered(chosen) == {"py-echo"}


def check_node_folds_to_the_same(world):
    program = pathlib.Path(__file__).with_name("tools.mjs")
    ran = subprocess.run([world.node, program, world.base, gateway.FULL_KEY], timeout=60, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def main():
    binary, python, node = sys.argv[1:]
    model = Model()
    entry = f"  - model_name: m\n    litellm_params:\n      model: hosted_vllm/up\n      api_base: {model.address}\n"

    def clients(running):
        world = type("World", (), {"model": model, "base": running.base, "node": node})
        world.openai = openai.OpenAI(base_url=f"{running.base}/v1", api_key=gateway.FULL_KEY, max_retries=0, timeout=30)
        world.anthropic = anthropic.Anthropic(base_url=running.base, api_key=gateway.FULL_KEY, max_retries=0, timeout=30)
        return gateway.checked(globals(), world)

    servers = SERVERS.format(python=python, fixture=FIXTURE)
    gateway.between(binary, entry + servers, clients)


if __name__ == "__main__":
    main()
