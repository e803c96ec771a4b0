"""OpenAI's responses through the official Python SDK: whole, event by event, through the SDK's own accumulator, over the
SDK's WebSocket; tool loops by items and by `previous_response_id`; what is stored. Judged strictly and by what it says. It
must not know who answers."""

import openai
from openai.types.responses import Response, ResponseStreamEvent

import meaning
from strict import RESPONSE_EXTRAS, judge, sent
from surface_chat import Place

FORMAT = "openai_responses"
ERRORS = openai
# Codes of failures that OpenAI sends and Codex reads, and the SDK does not know.
CODES = {"slow_down", "context_length_exceeded", "insufficient_quota"}
# Each event that opens something, what may fill it, and what has to close it.
PIECES = {
    "response.output_text": ("delta", "text"),
    "response.refusal": ("delta", "refusal"),
    "response.function_call_arguments": ("delta", "arguments"),
    "response.mcp_call_arguments": ("delta", "arguments"),
    "response.custom_tool_call_input": ("delta", "input"),
    "response.reasoning_summary_text": ("delta", "text"),
    "response.reasoning_text": ("delta", "text"),
}


def tool(name):
    return {
        "type": "function",
        "name": name,
        "description": "A tool.",
        "strict": False,
        "parameters": {"type": "object", "properties": {}, "additionalProperties": True},
    }


def ask(model, text, names=(), **more):
    tools = {"tools": [tool(name) for name in names]} if names else {}
    return {
        "model": model,
        "input": [{"type": "message", "role": "user", "content": text}],
        "include": ["reasoning.encrypted_content"],
        **tools,
        **more,
    }


def said(response):
    value = sent(response)
    if value.get("usage") is None:
        value["usage"] = None
    result = meaning.of_openai_responses(value)
    return result


def check_response(value):
    found = judge(Response, value, RESPONSE_EXTRAS)
    assert found.id.startswith("resp") and found.object == "response" and found.created_at > 0, found.id
    usage = found.usage
    assert usage is None or usage.total_tokens == usage.input_tokens + usage.output_tokens, usage
    ids = [item.id for item in found.output if item.id]
    assert len(set(ids)) == len(ids), ids
    calls = [item.call_id for item in found.output if item.type in ("function_call", "custom_tool_call")]
    assert all(calls) and len(set(calls)) == len(calls) and all(len(name) <= 64 for name in calls), calls
    return found


def whole(client, question):
    return said(answered(client, question, False))


def check_events(values):
    """The ladder of events, by what section 3.2 of the vendor's guide promises; returns the final response."""
    events = [judge(ResponseStreamEvent, value, RESPONSE_EXTRAS) for value in values]
    assert [event.sequence_number for event in events] == list(range(len(events))), [
        event.sequence_number for event in events
    ]
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    final = events[-1]
    assert kinds[-1] in ("response.completed", "response.incomplete", "response.failed"), kinds
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1, "one id"
    items, opened, sums, done = {}, set(), {}, set()
    for event in events[2:-1]:
        stem, _, last = event.type.rpartition(".")
        if event.type == "response.output_item.added":
            assert event.output_index == len(items), (event, items)
            items[event.output_index] = event.item
            opened.add(event.output_index)
        elif event.type == "response.output_item.done":
            before = items[event.output_index]
            assert (event.item.id, event.item.type) == (before.id, before.type), (event, before)
            items[event.output_index] = event.item
            opened.remove(event.output_index)
        elif stem in PIECES:
            place = (
                stem,
                event.item_id,
                event.output_index,
                getattr(event, "content_index", getattr(event, "summary_index", 0)),
            )
            assert event.item_id == items[event.output_index].id and event.output_index in opened, event
            delta, whole_name = PIECES[stem]
            if last == "delta":
                sums[place] = sums.get(place, "") + getattr(event, delta)
            else:
                assert getattr(event, whole_name) == sums.get(place, "") and place not in done, (event, sums)
                done.add(place)
    assert sums.keys() <= done and not opened, "something began and was not done"
    found = check_response(sent(final.response))
    if found.status != "failed":
        assert [sent(item) for item in items.values()] == [sent(item) for item in found.output], (
            "the last event repeats the items"
        )
    return found


def answered(client, question, stream):
    if stream:
        return check_events([sent(event) for event in client.responses.create(**question, stream=True)])
    return check_response(sent(client.responses.create(**question)))


def streamed(client, question):
    return said(answered(client, question, True))


def helped(client, question):
    with client.responses.stream(**question) as stream:
        events = list(stream)
        # The SDK's own final response knows only complete ones.
        final = events[-1].response
        assert events[-1].type != "response.completed" or stream.get_final_response() == final
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text, (text, final)
    return said(final)


def over_websocket(client, question):
    """The same over the SDK's WebSocket, twice: the second goes on from the first, which nobody stored."""
    with client.beta.responses.connect() as connection:
        answers = []
        for more in ({}, None):
            if more is None:
                more = {"previous_response_id": answers[0].id, "input": "And then?"}
            connection.response.create(**{**question, "store": False, **more})
            values = []
            for event in connection:
                values.append(sent(event))
                assert values[-1]["type"] != "error", values[-1]
                if values[-1]["type"] in ("response.completed", "response.incomplete", "response.failed"):
                    break
            answers.append(check_events(values))
            assert answers[-1].previous_response_id == more.get("previous_response_id"), answers[-1]
    return [said(answer) for answer in answers]


def read_broken(client, question):
    """How a stream ended that does not come to its end."""
    values = [sent(event) for event in client.responses.create(**question, stream=True)]
    for value in values:
        error = value.get("response", {}).get("error")
        if error and error["code"] in CODES:
            value = {**value, "response": {**value["response"], "error": {**error, "code": "server_error"}}}
        judge(ResponseStreamEvent, value, RESPONSE_EXTRAS)
    kinds = [value["type"] for value in values]
    if kinds[-1:] == ["response.failed"]:
        assert values[-1]["response"]["error"]["message"], values[-1]
        return "failed"
    if kinds[-1:] == ["error"]:  # OpenAI's own, passed on as it is
        return "failed"
    return next((kind for kind in kinds if kind in ("response.completed", "response.incomplete")), None)


def outputs(response, next_text):
    return [
        {"type": f"{item.type}_output", "call_id": item.call_id, "output": f"{item.call_id}: {next_text}"}
        for item in response.output
        if item.type in ("function_call", "custom_tool_call")
    ]


def loop(client, question, next_text, stream=False):
    if stream:
        with client.responses.stream(**question) as helper:
            first = helper.get_final_response()
    else:
        first = client.responses.create(**question)
    items = [*question["input"], *(sent(item) for item in first.output), *outputs(first, next_text)]
    if stream:
        items = [{key: value for key, value in item.items() if not key.startswith("parsed")} for item in items]
    return said(first), said(check_response(sent(client.responses.create(**{**question, "input": items}))))


def loop_by_id(client, question, next_text):
    first = client.responses.create(**question)
    results = {**question, "input": outputs(first, next_text), "previous_response_id": first.id}
    second = check_response(sent(client.responses.create(**results)))
    # Who keeps responses says it itself.
    assert second.previous_response_id == first.id or question["model"] == FORMAT, second.previous_response_id
    return said(first), said(second)


def stored(client, question):
    """What is kept can be asked for, and forgotten."""
    made = client.responses.create(**question)
    again = check_response(sent(client.responses.retrieve(made.id)))
    assert sent(again) == sent(made), (again, made)
    items = client.responses.input_items.list(made.id, order="asc")
    assert items.data and items.data[0].type == "message" and items.data[0].id, items
    assert items.data[0].content[0].type == "input_text", items.data[0]
    client.responses.delete(made.id)
    try:
        client.responses.retrieve(made.id)
    except openai.NotFoundError as error:
        return error
    raise AssertionError("a deleted response is still there")


def parsed(client, question):
    question = {key: value for key, value in question.items() if key != "include"}
    response = client.responses.parse(**question, text_format=Place)
    return response.status, response.output_parsed
