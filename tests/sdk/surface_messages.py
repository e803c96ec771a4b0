"""Anthropic's messages through the official Python SDK: whole, event by event, through the SDK's own accumulator, and a tool
loop whose thinking goes back as it came. Each is judged strictly and by what it says. It must not know who answers."""

import anthropic
from anthropic.types import Message, RawMessageStreamEvent

import meaning
from strict import judge, sent
from surface_chat import Place

FORMAT = "anthropic"
ERRORS = anthropic
DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}


def tool(name):
    return {
        "name": name,
        "description": "A tool.",
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": True},
    }


def ask(model, text, names=(), **more):
    tools = {"tools": [tool(name) for name in names]} if names else {}
    return {
        "model": model,
        "max_tokens": 4096,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": text}],
        **tools,
        **more,
    }


def said(message):
    return meaning.of_anthropic(sent(message))


def check_message(value):
    found = judge(Message, value)
    assert found.id and found.role == "assistant" and found.stop_reason, found
    ids = [block.id for block in found.content if block.type == "tool_use"]
    assert len(set(ids)) == len(ids), ids
    return found


def whole(client, question):
    return said(check_message(sent(client.messages.create(**question))))


def streamed(client, question):
    events = [judge(RawMessageStreamEvent, sent(event)) for event in client.messages.create(**question, stream=True)]
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    assert events[0].message.content == [] and events[0].message.stop_reason is None, events[0]
    blocks, block = 0, None
    for event in events[1:-2]:
        if event.type == "content_block_start":
            assert block is None and event.index == blocks, event
            block, blocks = event.content_block, blocks + 1
            assert block.type != "tool_use" or block.input == {}, block
        elif event.type == "content_block_delta":
            assert block is not None and event.index == blocks - 1, event
            assert event.delta.type in DELTAS.get(block.type, {event.delta.type}), (block, event)
        else:
            assert event.type == "content_block_stop" and block is not None and event.index == blocks - 1, event
            block = None
    assert block is None
    return None  # What it says is the accumulator's to tell.


def helped(client, question):
    with client.messages.stream(**question) as stream:
        events = list(stream)
        final = stream.get_final_message()
    text = "".join(event.text for event in events if event.type == "text")
    value = sent(final)
    for block in value["content"]:
        block.pop("parsed_output", None)
    assert text == "".join(block.get("text") or "" for block in value["content"]), (text, value)
    check_message(value)
    return meaning.of_anthropic(value)


def read_broken(client, question):
    """The reason to stop of a stream that has none."""
    events = list(client.messages.create(**question, stream=True))
    return next((event.type for event in events if event.type == "message_stop"), None)


def loop(client, question, next_text, stream=False):
    if stream:
        with client.messages.stream(**question) as helper:
            first = helper.get_final_message()
    else:
        first = client.messages.create(**question)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"{block.id}: {next_text}"}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages = [
        *question["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    return said(first), said(check_message(sent(client.messages.create(**{**question, "messages": messages}))))


def parsed(client, question):
    """Structured answers by `output_config`, as the SDK writes them."""
    question = {key: value for key, value in question.items() if key != "thinking"}
    message = client.messages.parse(**question, output_format=Place)
    return message.stop_reason, message.parsed_output
