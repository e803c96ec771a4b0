"""The official SDKs of OpenAI and Anthropic in front of a real gateway, behind it a scripted provider of every format:
`python translation.py PATH_TO_TIDEGATE [WORD…]`. With words, only checks whose name has all of them are run.

Every documented answer of every vendor is asked for through every client's format, whole and streamed, and has to be a valid
object of the SDK that says what the vendor's says. It must not reach into the gateway."""

import json
import os
import re
import sys
import traceback

import anthropic
import openai

import gateway
import meaning
import strict
import surface_chat
import surface_messages
import surface_responses
import upstreams
from meaning import Meaning

SURFACES = [surface_chat, surface_responses, surface_messages]
NEXT = "[answer {}]"


class World:
    def __init__(self, base, providers):
        self.providers = providers
        shared = {"api_key": gateway.FULL_KEY, "max_retries": 0, "_strict_response_validation": True}
        self.openai = openai.OpenAI(base_url=f"{base}/v1", **shared)
        # Builds objects as the SDKs do by default, without validation.
        self.lax = openai.OpenAI(base_url=f"{base}/v1", api_key=gateway.FULL_KEY, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=base, **shared)

    def client(self, surface):
        return self.anthropic if surface is surface_messages else self.openai


# --- each documented answer ----------------------------------------------------------------------------------------


def tool_names(form, case):
    return sorted({name for name, _ in meaning.of_provider(form, upstreams.answer(form, case)).calls})


def expected(form, case, surface):
    wanted = meaning.of_provider(form, upstreams.answer(form, case))
    if surface is surface_messages and wanted.refusal and wanted.finish == "stop":
        # Anthropic's refusals are a reason to stop, not a kind of text.
        wanted.text, wanted.refusal, wanted.finish = wanted.refusal, "", "filter"
    return wanted.plain()


# What passes as bytes is the vendor's own, and judged only where it is one that the pinned SDK knows: not other servers'
# dialects, nor citations and custom tools in a form that the SDK's models of streams have no place for.
FOREIGN = {
    "openai_chat": lambda case: not case.startswith("openai_") or case in ("openai_custom_tool", "openai_parallel_tools"),
    "openai_responses": lambda case: case.startswith("sparse_") or case in ("citations",),
    "anthropic": lambda case: case in ("web_search",),
}
# Calls of tools that a client in another format cannot have asked for.
FOREIGN_CALLS = {
    ("openai_responses", "client_tools"),
    ("openai_responses", "custom"),
    ("openai_chat", "openai_custom_tool"),
}


def check_answers(world):
    for form in upstreams.FORMATS:
        for case in upstreams.cases(form):
            for surface in SURFACES:
                if (
                    surface.FORMAT == form
                    and FOREIGN[form](case)
                    or surface.FORMAT != form
                    and (form, case) in FOREIGN_CALLS
                ):
                    continue
                for way in (surface.whole, surface.streamed, surface.helped):
                    yield (
                        f"{form} {case} {surface.__name__} {way.__name__}",
                        check_answer,
                        (world, form, case, surface, way),
                    )


def check_answer(world, form, case, surface, way):
    names = tool_names(form, case)
    question = surface.ask(form, NEXT.format(case), names)
    found = way(world.client(surface), question)
    if found is not None:
        same(found.plain(), expected(form, case, surface))


def same(found, wanted):
    for name in Meaning.__dataclass_fields__:
        assert getattr(found, name) == getattr(wanted, name), (
            f"{name}: {getattr(found, name)!r} instead of {getattr(wanted, name)!r}"
        )


# --- tool loops ------------------------------------------------------------------------------------------------------

# Cases with calls, and what proves the thoughts before them.
LOOPS = {
    "openai_chat": ["openai_parallel_tools", "deepseek_reasoning"],
    "openai_responses": ["tool", "parallel", "no_arguments", "custom"],
    "anthropic": ["parallel_tools"],
    "gemini": ["tool", "parallel_tools"],
    "bedrock": ["tools", "parallel_tools", "reasoning"],
    "ollama": ["tools", "parallel"],
    "cohere": ["parallel", "tools_streamed"],
}


def check_loops(world):
    for form in upstreams.FORMATS:
        for case in LOOPS[form]:
            for surface in SURFACES:
                if surface.FORMAT != form and (form, case) in FOREIGN_CALLS:
                    continue
                for stream in (False, True):
                    if surface.FORMAT == form and FOREIGN[form](case):
                        continue
                    way = "streamed" if stream else "whole"
                    yield f"{form} {case} {surface.__name__} {way}", check_loop, (world, form, case, surface, stream)
            yield f"{form} {case} by id", check_loop_by_id, (world, form, case)


def after(form):
    return NEXT.format(upstreams.PLAIN[form])


def check_loop(world, form, case, surface, stream):
    question = surface.ask(form, NEXT.format(case), tool_names(form, case))
    first, second = surface.loop(world.client(surface), question, after(form), stream)
    same(first.plain(), expected(form, case, surface))
    same(second.plain(), expected(form, upstreams.PLAIN[form], surface))
    exchanged(world, form, case, surface)


def check_loop_by_id(world, form, case):
    question = surface_responses.ask(form, NEXT.format(case), tool_names(form, case))
    first, second = surface_responses.loop_by_id(world.openai, question, after(form))
    same(first.plain(), expected(form, case, surface_responses))
    same(second.plain(), expected(form, upstreams.PLAIN[form], surface_responses))
    if form != "openai_responses":
        exchanged(world, form, case, surface_responses)


def exchanged(world, form, case, surface):
    """What the provider got the second time: its own calls, a result for each and no other, and its own proofs."""
    vendor = upstreams.answer(form, case)
    request = world.providers[form].last()
    calls, results = meaning.exchange(form, request)
    wanted = meaning.of_provider(form, vendor).calls
    assert [call[1:] for call in calls] == wanted, f"calls: {calls} instead of {wanted}"
    assert [key for key, _ in results] == [key for key, *_ in calls], f"results {results} for calls {calls}"
    # Each result says whose it is, in the client's own words.
    whose = [re.search(r"([\w-]+): " + re.escape(after(form)), text) for _, text in results]
    assert all(whose) and len({found.group(1) for found in whose}) == len(results), results
    text = json.dumps(request)
    lost = [proof for proof in meaning.proofs(vendor) if json.dumps(proof).strip('"') not in text]
    assert not lost, f"proofs of thoughts that did not come back: {lost}\n{text[:3000]}"


# --- tools that only some clients or providers have -----------------------------------------------------------------------

LONG = "mcp.some-server.with.dots_and_a_name_that_is_longer_than_sixty_four_characters_alas"


def check_tools(world):
    for form in upstreams.FORMATS:
        for surface in SURFACES:
            if form == surface.FORMAT:
                continue
            for name in ("look", LONG):
                for way in (surface.whole, surface.helped):
                    yield f"{form} {name} {surface.__name__} {way.__name__}", check_name, (world, form, surface, name, way)
        if form != "openai_responses":
            for stream in (False, True):
                yield f"{form} custom {'streamed' if stream else 'whole'}", check_custom, (world, form, stream)
                yield f"{form} namespace {'streamed' if stream else 'whole'}", check_namespace, (world, form, stream)


def check_name(world, form, surface, name, way):
    """A name that a provider would refuse comes back as the client's."""
    question = surface.ask(form, NEXT.format("first_tool"), [name])
    assert way(world.client(surface), question).calls == [(name, {})]


def ask_twice(world, form, tools, stream):
    """A tool's call, judged strictly, and what is said to the text of its result."""
    question = {"model": form, "input": [{"role": "user", "content": NEXT.format("first_tool")}], "tools": tools}
    first = surface_responses.answered(world.openai, question, stream)
    call = next(item for item in first.output if hasattr(item, "call_id"))
    kind = {"custom_tool_call": "custom_tool_call_output"}.get(call.type, "function_call_output")
    result = {"type": kind, "call_id": call.call_id, "output": after(form)}
    items = [*question["input"], *(strict.sent(item) for item in first.output), result]
    second = surface_responses.answered(world.openai, {**question, "input": items}, stream)
    same(surface_responses.said(second).plain(), expected(form, upstreams.PLAIN[form], surface_responses))
    calls, results = meaning.exchange(form, world.providers[form].last())
    assert len(calls) == len(results) == 1 and calls[0][0] == results[0][0], (calls, results)
    return call


def check_custom(world, form, stream):
    """A tool of free text, as Codex's patches."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
    tool = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": grammar}
    call = ask_twice(world, form, [tool], stream)
    assert (call.type, call.name, call.input) == ("custom_tool_call", "apply_patch", upstreams.TEXT), call


def check_namespace(world, form, stream):
    """A server's tools under one name."""
    parameters = {
        "type": "object",
        "properties": {"q": {"type": "string"}},
        "required": ["q"],
        "additionalProperties": False,
    }
    search = {"type": "function", "name": "search", "description": "Searches.", "strict": False, "parameters": parameters}
    tool = {"type": "namespace", "name": "mcp__docs", "description": "Documents.", "tools": [search]}
    call = ask_twice(world, form, [tool], stream)
    assert (call.type, call.name, call.namespace) == ("function_call", "search", "mcp__docs"), call
    assert json.loads(call.arguments) == {"q": upstreams.TEXT}, call


# --- structured answers -----------------------------------------------------------------------------------------------


def check_structured(world):
    for form in upstreams.FORMATS:
        for surface in SURFACES:
            yield f"{form} {surface.__name__}", check_parsed, (world, form, surface)


def check_parsed(world, form, surface):
    finish, place = surface.parsed(world.client(surface), surface.ask(form, NEXT.format("json")))
    assert place is not None and (place.city, place.days) == ("Kyiv", 3), place
    assert finish in ("stop", "completed", "end_turn"), finish


# --- what is stored, counted, listed --------------------------------------------------------------------------------------


def check_rest(world):
    for form in upstreams.FORMATS:
        yield f"{form} stored response", check_stored, (world, form)
        yield f"{form} websocket", check_websocket, (world, form)
        yield f"{form} count_tokens", check_count, (world, form)
        if form != "openai_chat":  # which has an endpoint of its own for it
            yield f"{form} completions", check_completions, (world, form)
    yield "models for both", check_models, (world,)


def check_stored(world, form):
    surface_responses.stored(world.openai, surface_responses.ask(form, after(form)))


def check_websocket(world, form):
    question = surface_responses.ask(form, after(form))
    for answer in surface_responses.over_websocket(world.openai, question):
        same(answer.plain(), expected(form, upstreams.PLAIN[form], surface_responses))


def check_count(world, form):
    question = surface_messages.ask(form, "How many tokens are these?", ["look"])
    question.pop("max_tokens")
    counted = world.anthropic.messages.count_tokens(**question)
    assert strict.judge(anthropic.types.MessageTokensCount, strict.sent(counted)).input_tokens > 5, counted


def check_completions(world, form):
    """The legacy form: the same words."""
    wanted = expected(form, upstreams.PLAIN[form], surface_chat)
    question = {"model": form, "prompt": after(form)}
    extras = {"service_tier", "reasoning_content"}
    whole = strict.judge(openai.types.Completion, strict.sent(world.openai.completions.create(**question)), extras)
    assert whole.choices[0].text == wanted.text and whole.choices[0].finish_reason == "stop", whole
    # The SDK has no type for chunks, whose finish is open until the last.
    chunks = list(world.lax.completions.create(**question, stream=True))
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert finishes[-1] == "stop" and set(finishes[:-1]) == {None}, finishes
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.object for chunk in chunks} == {"text_completion"}, chunks
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == wanted.text, chunks


def check_models(world):
    listed = list(world.anthropic.models.list(limit=1000))
    assert {model.id for model in listed} >= set(upstreams.FORMATS), listed
    for model in listed:
        strict.judge(anthropic.types.ModelInfo, strict.sent(model), {"object", "created", "owned_by"})
    found = world.anthropic.models.retrieve("gemini")
    strict.judge(anthropic.types.ModelInfo, strict.sent(found), {"object", "created", "owned_by"})


# --- errors ----------------------------------------------------------------------------------------------------------

# What goes wrong → the class of OpenAI's SDK, its code, the class of Anthropic's SDK, its type.
KINDS = {
    "limited": ("RateLimitError", "rate_limit_exceeded", "RateLimitError", "rate_limit_error"),
    "overflow": ("BadRequestError", "context_length_exceeded", "BadRequestError", "invalid_request_error"),
    "missing": ("NotFoundError", "model_not_found", "NotFoundError", "not_found_error"),
    "invalid": ("BadRequestError", None, "BadRequestError", "invalid_request_error"),
    "overloaded": ("InternalServerError", None, "OverloadedError", "overloaded_error"),
    "broken": ("InternalServerError", None, "InternalServerError", "api_error"),
    "key": ("APIStatusError", None, "APIStatusError", None),
}


def check_errors(world):
    for form in upstreams.FORMATS:
        for kind in upstreams.ERRORS[form]:
            for surface in SURFACES:
                for way in (surface.whole, surface.streamed, surface.helped):
                    yield f"{form} {kind} {surface.__name__} {way.__name__}", check_error, (world, form, kind, surface, way)


def check_error(world, form, kind, surface, way):
    status, headers, body = upstreams.ERRORS[form][kind]
    openai_class, code, anthropic_class, word = KINDS[kind]
    name = anthropic_class if surface is surface_messages else openai_class
    question = surface.ask(form, NEXT.format(f"error.{kind}"))
    try:
        way(world.client(surface), question)
    except surface.ERRORS.APIStatusError as error:
        caught = error
    else:
        raise AssertionError("an error came as an answer")
    classes = [base.__name__ for base in type(caught).__mro__]
    assert name in classes, f"{classes[0]} instead of {name}: {caught}"
    message = re.search(r'"(?:message|error)": "([^"]*)"', json.dumps(body)).group(1)
    if kind != "key":
        assert message in str(caught), f"the provider's words are lost: {caught}"
    assert upstreams.KEY not in str(caught.body), "the upstream's key reached the client"
    if surface is surface_messages:
        found = strict.judge(anthropic.types.ErrorResponse, caught.body)
        assert word in (None, found.error.type), found
        assert kind != "overflow" or "prompt is too long" in found.error.message, found
    else:
        assert set(caught.body) >= {"message", "type", "param", "code"}, caught.body
        assert code in (None, caught.code), caught.body
    wanted = "7" if kind == "limited" and form != "bedrock" else headers.get("retry-after")
    assert wanted in (None, caught.response.headers.get("retry-after")), dict(caught.response.headers)


# Answers that begin and then fail, or end before their end.
BROKEN = {
    "openai_chat": ["vllm_error", "openrouter_error", "truncated", "empty"],
    "openai_responses": ["error", "failed", "truncated"],
    "anthropic": ["error", "truncated"],
    "gemini": ["error", "truncated"],
    "bedrock": ["throttled", "model_error", "unmodelled_error", "truncated"],
    "ollama": ["error", "truncated"],
    "cohere": ["error", "truncated"],
}


def check_broken_streams(world):
    for form in upstreams.FORMATS:
        for case in BROKEN[form]:
            for surface in SURFACES:
                if (case, surface.FORMAT) == ("vllm_error", form):
                    continue  # vLLM's own word for an error passes as bytes, and is none of OpenAI's SDK's.
                yield f"{form} {case} {surface.__name__}", check_broken, (world, form, case, surface)


def check_broken(world, form, case, surface):
    """It is an error to the SDK, whatever came before, and never a finished answer."""
    question = surface.ask(form, NEXT.format(case))
    try:
        found = surface.read_broken(world.lax if surface is surface_responses else world.client(surface), question)
    except surface.ERRORS.APIError as error:
        assert str(error) and not isinstance(error, surface.ERRORS.APIResponseValidationError), repr(error)
        return
    if surface.FORMAT == form and case in ("truncated", "empty"):
        # Bytes pass as they come; what is missing shows in the SDK's reading.
        assert found in (None, "failed"), found
        return
    assert found == "failed", f"a broken stream became: {found}"


CHECKS = [check_answers, check_loops, check_tools, check_structured, check_rest, check_errors, check_broken_streams]


def main():
    providers = {form: upstreams.Provider(form) for form in upstreams.FORMATS}
    words = sys.argv[2:]

    def checks(running):
        world = World(running.base, providers)
        passed = failed = 0
        for group in CHECKS:
            for name, check, arguments in group(world):
                name = f"{group.__name__.removeprefix('check_')}: {name}"
                if not all(word in name for word in words):
                    continue
                try:
                    check(*arguments)
                    passed += 1
                except Exception as error:
                    failed += 1
                    print(
                        f"FAIL {name}: {error}"
                        if isinstance(error, AssertionError) and not os.environ.get("TRACE")
                        else f"FAIL {name}\n{traceback.format_exc()}",
                        flush=True,
                    )
        print(f"{passed} passed, {failed} failed", flush=True)
        return failed

    gateway.between(sys.argv[1], upstreams.model_list(providers), checks)


if __name__ == "__main__":
    main()
