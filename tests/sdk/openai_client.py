"""The official OpenAI Python SDK against a real gateway: `python openai_client.py PATH_TO_TIDEGATE`.

Every function named check_* runs; the exit code is 1 if one of them fails. It must not reach into
the gateway: only what a client sees, and what arrives at the scripted upstream."""

import base64
import json
import urllib.error
import urllib.request

import openai

import gateway
from gateway import FULL_KEY, NARROW_KEY, UPSTREAM_KEY

MOCK = "gpt-4o-mock"
HELLO = [{"role": "user", "content": "Hello, who are you?"}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city.", "parameters": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["city", "unit", "days", "place"],
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "place": {"type": "object", "required": ["tags"], "properties": {
                "tags": {"type": "array", "minItems": 1, "items": {"type": "string"}}}}},
        "additionalProperties": False}}}
TIME = {"type": "function", "function": {
    "name": "read_clock", "description": "The time now.", "parameters": {"type": "object", "properties": {}}}}


def client(world, key=FULL_KEY, **options):
    return openai.OpenAI(api_key=key, base_url=f"{world.base}/v1", **{"max_retries": 0, **options})


def expect(error, call):
    try:
        call()
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got an answer")


def follows_weather_schema(text):
    arguments = json.loads(text)
    assert set(arguments) == {"city", "unit", "days", "place"}, arguments
    assert isinstance(arguments["city"], str) and len(arguments["city"]) >= 2, arguments
    assert arguments["unit"] in ("celsius", "fahrenheit"), arguments
    assert type(arguments["days"]) is int and 1 <= arguments["days"] <= 14, arguments
    tags = arguments["place"]["tags"]
    assert tags and all(isinstance(tag, str) for tag in tags), arguments
    return arguments


# --- models ----------------------------------------------------------------------------------------------

def check_models_list(world):
    models = {model.id: model for model in client(world).models.list()}
    assert {MOCK, "canned", *gateway.MODELS} <= set(models), sorted(models)
    again = {model.id: model.created for model in client(world).models.list()}
    for name, model in models.items():
        assert model.object == "model" and isinstance(model.created, int), model
        assert isinstance(model.owned_by, str) and model.owned_by, model
        assert again[name] == model.created, "created must be stable"


def check_models_are_filtered_by_key(world):
    narrow = client(world, NARROW_KEY)
    assert [model.id for model in narrow.models.list()] == [MOCK]
    refused = expect(openai.APIStatusError, lambda: narrow.models.retrieve("chat"))
    assert refused.status_code in (403, 404), refused.status_code


def check_models_retrieve(world):
    model = client(world).models.retrieve(MOCK)
    listed = next(entry for entry in client(world).models.list() if entry.id == MOCK)
    assert model == listed, (model, listed)
    missing = expect(openai.NotFoundError, lambda: client(world).models.retrieve("no-such-model"))
    assert missing.code == "model_not_found", missing.code


# --- the mock ----------------------------------------------------------------------------------------------

def check_mock_chat(world):
    answer = client(world).chat.completions.create(model=MOCK, messages=HELLO)
    assert answer.object == "chat.completion" and answer.model == MOCK, answer
    assert answer.id and answer.created > 0
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage


def check_canned_answer(world):
    answer = client(world).chat.completions.create(model="canned", messages=HELLO)
    assert answer.choices[0].message.content == "A canned answer.", answer


def stream_is_sound(chunks, with_usage):
    assert len({chunk.id for chunk in chunks}) == 1, "one id over all chunks"
    assert chunks[0].choices[0].delta.role == "assistant", "role first"
    usage = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(usage) == (1 if with_usage else 0), usage
    if with_usage:
        assert chunks[-1] is usage[0] and usage[0].choices == [], usage
        assert usage[0].usage.total_tokens > 0
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert len(finishes) == 1, finishes
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, finishes[0]


def check_mock_stream(world):
    for options in ({}, {"stream_options": {"include_usage": True}}, {"stream_options": {"include_usage": False}}):
        wanted = options.get("stream_options", {}).get("include_usage", False)
        chunks = list(client(world).chat.completions.create(model=MOCK, messages=HELLO, stream=True, **options))
        text, finish = stream_is_sound(chunks, wanted)
        assert text and finish == "stop", (text, finish)


def check_mock_tools(world):
    messages = [{"role": "user", "content": "How is the weather in Husum?"}]
    first = client(world).chat.completions.create(model=MOCK, messages=messages, tools=[TIME, WEATHER])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert call.id and call.type == "function" and call.function.name == "get_weather", call
    follows_weather_schema(call.function.arguments)
    messages += [choice.message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": call.id, "content": "14 degrees and drizzle"}]
    second = client(world).chat.completions.create(model=MOCK, messages=messages, tools=[TIME, WEATHER])
    assert second.choices[0].finish_reason == "stop", second
    assert "14 degrees and drizzle" in second.choices[0].message.content, second


def check_mock_tools_streamed(world):
    messages = [{"role": "user", "content": "How is the weather in Husum?"}]
    chunks = list(client(world).chat.completions.create(
        model=MOCK, messages=messages, tools=[TIME, WEATHER], stream=True))
    _, finish = stream_is_sound(chunks, False)
    assert finish == "tool_calls", finish
    pieces = [piece for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or []]
    assert pieces[0].id and pieces[0].type == "function" and pieces[0].function.name == "get_weather", pieces[0]
    assert {piece.index for piece in pieces} == {0}, pieces
    arguments = "".join(piece.function.arguments or "" for piece in pieces)
    follows_weather_schema(arguments)
    call = {"id": pieces[0].id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages += [{"role": "assistant", "content": None, "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": call["id"], "content": "14 degrees and drizzle"}]
    chunks = list(client(world).chat.completions.create(model=MOCK, messages=messages, tools=[WEATHER], stream=True))
    text, finish = stream_is_sound(chunks, False)
    assert finish == "stop" and "14 degrees and drizzle" in text, text


def check_mock_honours_tool_choice(world):
    messages = [{"role": "user", "content": "How is the weather in Husum?"}]
    create = client(world).chat.completions.create
    none = create(model=MOCK, messages=messages, tools=[WEATHER], tool_choice="none")
    assert none.choices[0].finish_reason == "stop" and not none.choices[0].message.tool_calls, none
    named = {"type": "function", "function": {"name": "read_clock"}}
    forced = create(model=MOCK, messages=messages, tools=[WEATHER, TIME], tool_choice=named)
    assert forced.choices[0].message.tool_calls[0].function.name == "read_clock", forced


def check_mock_embeddings(world):
    create = client(world).embeddings.create
    default = create(model=MOCK, input="high tide")  # the SDK asks for base64 by itself
    vector = default.data[0].embedding
    assert vector and all(isinstance(number, float) for number in vector), vector[:3]
    plain = create(model=MOCK, input="high tide", encoding_format="float").data[0].embedding
    assert len(plain) == len(vector) and all(abs(a - b) < 1e-6 for a, b in zip(plain, vector)), "base64 and float differ"
    raw = create(model=MOCK, input="high tide", encoding_format="base64").data[0].embedding
    assert isinstance(raw, str) and len(base64.b64decode(raw)) == 4 * len(plain), "base64 holds 32-bit floats"
    assert len(create(model=MOCK, input="high tide", dimensions=8).data[0].embedding) == 8
    several = create(model=MOCK, input=["high tide", "low tide"])
    assert [entry.index for entry in several.data] == [0, 1], several
    assert several.data[0].embedding == vector and several.data[1].embedding != vector
    assert len(create(model=MOCK, input=[[1, 2, 3], [4, 5]]).data) == 2, "token arrays"
    assert several.usage.total_tokens > 0 and several.object == "list"


def check_mock_completions(world):
    answer = client(world).completions.create(model=MOCK, prompt="Once upon a tide")
    assert answer.object == "text_completion" and answer.choices[0].text, answer
    chunks = list(client(world).completions.create(model=MOCK, prompt="Once upon a tide", stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices), chunks


def check_mock_responses(world):
    answer = client(world).responses.create(model=MOCK, input="Hello")
    assert answer.object == "response" and answer.status == "completed" and answer.output_text, answer
    assert answer.id.startswith("resp"), answer.id
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0, usage


def check_mock_responses_stream(world):
    events = list(client(world).responses.create(model=MOCK, input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    texts = [event for event in events if event.type == "response.output_text.delta"]
    ladder = [kind for kind in kinds if kind != "response.output_text.delta"]
    assert ladder == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed"], ladder
    final = events[-1].response
    assert final.output_text == "".join(event.delta for event in texts) != "", final
    assert len({event.item_id for event in texts} | {final.output[0].id}) == 1, "one item id"
    assert final.id == events[0].response.id


# --- errors ------------------------------------------------------------------------------------------------

def check_wrong_key(world):
    for key in ("sk-wrong-0123456789abcdefghijkl", "x"):
        error = expect(openai.AuthenticationError, client(world, key).models.list)
        assert error.code == "invalid_api_key", error.body
        chat = client(world, key).chat.completions
        error = expect(openai.AuthenticationError, lambda: chat.create(model=MOCK, messages=HELLO))
        assert error.code == "invalid_api_key" and error.message, error.body


def check_no_access(world):
    chat = client(world, NARROW_KEY).chat.completions
    assert chat.create(model=MOCK, messages=HELLO).choices
    expect(openai.PermissionDeniedError, lambda: chat.create(model="chat", messages=HELLO))


def check_unknown_model(world):
    chat = client(world).chat.completions
    error = expect(openai.NotFoundError, lambda: chat.create(model="no-such-model", messages=HELLO))
    assert error.code == "model_not_found" and "no-such-model" in error.message, error.body


def check_malformed_bodies(world):
    for body in ({"messages": HELLO}, {"model": MOCK}, {"model": MOCK, "messages": "hello"},
                 {"model": 7, "messages": HELLO}, {"model": MOCK, "messages": HELLO, "stream": "yes"}):
        error = expect(openai.BadRequestError,
                       lambda: client(world).post("/chat/completions", body=body, cast_to=object))
        assert error.message and error.type == "invalid_request_error", (body, error.body)
    for body in (b"{", b"[]", b"null", b"", b'"text"', b'{"model":"\xff"}'):
        request = urllib.request.Request(
            f"{world.base}/v1/chat/completions", data=body, method="POST",
            headers={"authorization": f"Bearer {FULL_KEY}", "content-type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30)
            raise AssertionError(f"{body!r} was accepted")
        except urllib.error.HTTPError as error:
            assert error.code == 400, (body, error.code)
            assert {"message", "type", "param", "code"} <= set(json.load(error)["error"]), body


def check_upstream_errors_survive(world):
    def create(model):
        return lambda: client(world).chat.completions.create(model=model, messages=HELLO)

    limited = expect(openai.RateLimitError, create("always-429"))
    assert limited.response.headers["retry-after"] == "7", dict(limited.response.headers)
    assert limited.code == "rate_limit_exceeded" and "slow down, says the upstream" in limited.message, limited.body
    broken = expect(openai.InternalServerError, create("always-500"))
    assert "the upstream broke" in broken.message, broken.body
    overflow = expect(openai.BadRequestError, create("overflow"))
    assert overflow.code == "context_length_exceeded", overflow.body
    # The upstream refuses the gateway's key; whatever the status, that key must not be shown.
    refused = expect(openai.APIStatusError, create("always-401"))
    assert UPSTREAM_KEY not in str(refused.body), "the upstream's key reached the client"


def check_default_client_recovers_from_one_429(world):
    chat = openai.OpenAI(api_key=FULL_KEY, base_url=f"{world.base}/v1").chat.completions
    assert chat.create(model="once-429", messages=HELLO).choices[0].message.content


def check_one_failure_is_no_cool_down(world):
    chat = client(world).chat.completions
    expect(openai.InternalServerError, lambda: chat.create(model="once-500", messages=HELLO))
    assert chat.create(model="once-500", messages=HELLO).choices[0].message.content


# --- the upstream ------------------------------------------------------------------------------------------

def check_upstream_chat_and_headers(world):
    answer = client(world).chat.completions.create(
        model="chat", messages=HELLO, extra_headers={"cookie": "a=b", "x-mcp-servers": "!db"})
    assert answer.choices[0].message.reasoning_content == "hm", answer
    _, _, headers, body = world.upstream.last("/chat/completions")
    assert json.loads(body)["model"] == "upstream-chat", body
    assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert "cookie" not in headers and not [name for name in headers if name.startswith("x-mcp-")], headers
    assert FULL_KEY not in str(headers)


def check_what_was_answered_can_be_sent_back(world):
    chat = client(world).chat.completions
    for model in (MOCK, "chat"):
        message = chat.create(model=model, messages=HELLO).choices[0].message
        history = [*HELLO, message.model_dump(exclude_none=True), {"role": "user", "content": "and then?"}]
        assert chat.create(model=model, messages=history).choices[0].message.content


def check_upstream_stream(world):
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(client(world).chat.completions.create(model="chat", messages=HELLO, stream=True, **options))
        text, finish = stream_is_sound(chunks, bool(options))
        assert text == "élan ✓ done" and finish == "stop", text


def check_cut_stream_is_not_complete(world):
    chunks = []

    def read():
        for chunk in client(world).chat.completions.create(model="cut", messages=HELLO, stream=True):
            chunks.append(chunk)

    expect(Exception, read)
    assert not [choice for chunk in chunks for choice in chunk.choices if choice.finish_reason], chunks


def check_abort_reaches_the_upstream(world):
    stream = client(world).chat.completions.create(model="endless", messages=HELLO, stream=True)
    for _, _ in zip(range(3), stream):
        pass
    stream.close()
    assert world.upstream.client_gone.wait(timeout=20), "the upstream still streams to nobody"


def check_ten_megabyte_picture(world):
    picture = base64.b64encode(bytes(range(256)) * 30_000).decode()
    parts = [{"type": "text", "text": "What is this?"},
             {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]
    answer = client(world).chat.completions.create(model="chat", messages=[{"role": "user", "content": parts}])
    _, _, _, body = world.upstream.last("/chat/completions")
    assert len(body) > 10_000_000 and answer.choices[0].message.content == f"{len(body)} bytes"
    assert json.loads(body)["messages"][0]["content"] == parts, "the picture changed on its way"


def check_transcription_upload(world):
    sound = bytes(range(256)) * 8_000
    answer = client(world).audio.transcriptions.create(model="transcribe", file=("tide.wav", sound), language="de")
    _, _, headers, body = world.upstream.last("/audio/transcriptions")
    assert answer.text == f"{len(body)} bytes", answer
    assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert sound in body, "the sound changed on its way"
    assert b"upstream-transcribe" in body and b'filename="tide.wav"' in body, "the model was not rewritten"


def check_speech_is_streamed(world):
    speech = client(world).audio.speech.with_streaming_response
    with speech.create(model="speak", voice="alloy", input="Moin") as answer:
        assert answer.headers["content-type"] == "audio/mpeg", dict(answer.headers)
        sound = b"".join(answer.iter_bytes())
    assert gateway.digest(sound) == gateway.digest(gateway.SPEECH), len(sound)


if __name__ == "__main__":
    gateway.run(dict(globals()))
