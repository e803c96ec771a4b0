"""OpenAI's chat completions through the official Python SDK: one answer whole, as chunks and through the SDK's own
accumulator, and a tool loop that sends back exactly what came. Each is judged strictly and by what it says. It must not know
who answers."""

import json

import openai
import pydantic
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import meaning
from meaning import Meaning
from strict import CHAT_EXTRAS, judge, sent

FORMAT = "openai_chat"
ERRORS = openai
FINISHES = {"stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filter"}


def tool(name):
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": "A tool.",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": True},
        },
    }


def ask(model, text, names=(), **more):
    tools = {"tools": [tool(name) for name in names]} if names else {}
    return {"model": model, "messages": [{"role": "user", "content": text}], **tools, **more}


def said(completion):
    choice = completion.choices[0]
    message = choice.message
    calls = [
        (call.function.name, meaning.arguments(call.function.arguments))
        if call.type == "function"
        else (call.custom.name, call.custom.input)
        for call in message.tool_calls or []
    ]
    usage = completion.usage
    details = usage and usage.prompt_tokens_details
    tokens = usage and (usage.prompt_tokens, details and details.cached_tokens or 0, usage.completion_tokens)
    thoughts = getattr(message, "reasoning_content", None) or ""
    return Meaning(message.content or "", message.refusal or "", thoughts, calls, FINISHES[choice.finish_reason], tokens)


def check_completion(value):
    found = judge(ChatCompletion, value, CHAT_EXTRAS)
    assert found.id and found.created > 0
    usage = found.usage
    assert usage is None or usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    for choice in found.choices:
        ids = [call.id for call in choice.message.tool_calls or []]
        assert all(ids) and len(set(ids)) == len(ids) and all(len(name) <= 64 for name in ids), ids
        # A client that runs tools parses this.
        for call in choice.message.tool_calls or []:
            if call.type == "function":
                assert isinstance(json.loads(call.function.arguments), dict), call
    return found


def whole(client, question):
    return said(check_completion(sent(client.chat.completions.create(**question))))


def streamed(client, question):
    stream = client.chat.completions.create(**question, stream=True, stream_options={"include_usage": True})
    chunks = [judge(ChatCompletionChunk, sent(chunk), CHAT_EXTRAS) for chunk in stream]
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1, (
        "id, model and time are those of the first chunk"
    )
    assert chunks[0].id and chunks[0].choices[0].delta.role == "assistant", chunks[0]
    last = chunks.pop() if not chunks[-1].choices else None
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), "usage comes once, last, without choices"
    result = Meaning(tokens=None, finish=None)
    if last:
        details = last.usage.prompt_tokens_details
        result.tokens = (last.usage.prompt_tokens, details and details.cached_tokens or 0, last.usage.completion_tokens)
    calls = {}
    for chunk in chunks:
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            assert result.finish is None or not (delta.content or delta.tool_calls), "something came after the finish"
            result.text += delta.content or ""
            result.refusal += delta.refusal or ""
            result.thoughts += getattr(delta, "reasoning_content", None) or ""
            for piece in delta.tool_calls or []:
                add_piece(calls, piece)
            if choice.finish_reason:
                assert result.finish is None, "two finishes"
                result.finish = FINISHES[choice.finish_reason]
    assert list(calls) == list(range(len(calls))), f"indexes of calls: {list(calls)}"
    result.calls = [
        call[1:] if isinstance(call[2], dict) else (call[1], meaning.arguments(call[2])) for call in calls.values()
    ]
    return result


def add_piece(calls, piece):
    if piece.index not in calls:
        custom = (piece.model_extra or {}).get("custom")
        name = custom["name"] if custom else piece.function.name
        assert piece.id and name and (custom or piece.type == "function"), piece
        calls[piece.index] = [piece.id, name, ""]
    elif piece.id is not None:
        assert piece.id == calls[piece.index][0], piece
    if piece.function:
        calls[piece.index][2] += piece.function.arguments or ""


def helped(client, question):
    """The SDK's accumulator, with the events that it makes of chunks."""
    with client.chat.completions.stream(**question, stream_options={"include_usage": True}) as stream:
        events = list(stream)
        try:
            final = stream.get_final_completion()
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            final = stream.current_completion_snapshot
    text = "".join(event.delta for event in events if event.type == "content.delta")
    assert len(final.choices) > 1 or text == (final.choices[0].message.content or ""), (text, final)
    return said(final)


def loop(client, question, next_text, stream=False):
    """The answer's calls get results whose text is `next_text`; the message goes back as it came. Returns both answers."""
    if stream:
        with client.chat.completions.stream(**question, stream_options={"include_usage": True}) as helper:
            first = helper.get_final_completion()
    else:
        first = client.chat.completions.create(**question)
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"{call.id}: {next_text}"} for call in message.tool_calls
    ]
    messages = [*question["messages"], message.model_dump(exclude_none=True, warnings=False), *results]
    return said(first), said(check_completion(sent(client.chat.completions.create(**{**question, "messages": messages}))))


def read_broken(client, question):
    """The finish of a stream that has none."""
    chunks = list(client.chat.completions.create(**question, stream=True))
    return next((choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason), None)


class Place(pydantic.BaseModel):
    city: str
    days: int


def parsed(client, question):
    """Structured answers: the SDK sends a strict schema and parses what comes."""
    completion = client.chat.completions.parse(**question, response_format=Place)
    return completion.choices[0].finish_reason, completion.choices[0].message.parsed
