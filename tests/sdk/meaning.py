"""What an answer says, whoever says it and in whatever format: the oracle of `translation.py`.

One reader for each provider's whole answers, and one for what each official SDK hands out. Both are written from the vendors'
documentation in the plainest way; neither knows the gateway. Finishes are told in four words: stop, length, tools, filter."""

import dataclasses
import json
import re


@dataclasses.dataclass
class Meaning:
    """`calls` are (name, arguments as a value or as raw text); `tokens` are input with all that was cached, what was read
    from the cache, and output with reasoning, or None where the vendor does not say. `refusal` is what is said instead of
    an answer."""

    text: str = ""
    refusal: str = ""
    thoughts: str = ""
    calls: list = dataclasses.field(default_factory=list)
    finish: str = "stop"
    tokens: tuple | None = None

    def plain(self):
        """As answers are compared: without blanks in thoughts (parts of a summary are joined differently by different
        clients), without the reason that stands in for a filtered answer, without what a client's format has no place for."""
        refusal = "" if self.finish == "filter" else self.refusal
        return dataclasses.replace(
            self,
            thoughts="".join(self.thoughts.split()),
            text=NOTE.sub("", self.text),
            refusal=refusal,
            tokens=self.tokens or (0, 0, 0),
        )


NOTE = re.compile(r"\[The model answered with [a-z]+/[a-z]+ content, which cannot be shown here.\]")


def arguments(text):
    """JSON arguments as a value; numbers keep their spelling; an empty text means no arguments."""
    return json.loads(text or "{}", parse_float=str, parse_int=str) if isinstance(text, str) else spelled(text)


def spelled(value):
    return json.loads(json.dumps(value), parse_float=str, parse_int=str)


def join(parts, key):
    return "".join(part.get(key) or "" for part in parts)


# --- what providers say ----------------------------------------------------------------------------------------


def of_openai_chat(answer):
    choice = answer["choices"][0]
    message = choice["message"]
    text, thoughts = message.get("content") or "", message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(text, list):
        thoughts = "".join(join(part["thinking"], "text") for part in text if part["type"] == "thinking")
        text = join([part for part in text if part["type"] == "text"], "text")
    calls = [
        (call["function"]["name"], arguments(call["function"]["arguments"]))
        if "function" in call
        else (call["custom"]["name"], call["custom"]["input"])
        for call in message.get("tool_calls") or []
    ]
    usage = answer.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    written = usage["completion_tokens"]
    if usage["total_tokens"] > usage["prompt_tokens"] + written:
        written = usage["total_tokens"] - usage["prompt_tokens"]  # xAI counts reasoning apart.
    return Meaning(
        text,
        message.get("refusal") or "",
        thoughts,
        calls,
        "tools" if calls else _CHAT[choice["finish_reason"]],
        (usage["prompt_tokens"], cached, written),
    )


_CHAT = {"stop": "stop", "length": "length", "tool_calls": "tools", "function_call": "tools", "content_filter": "filter"}


def of_openai_responses(answer):
    text = refusal = thoughts = ""
    calls = []
    for item in answer["output"]:
        kind = item["type"]
        if kind == "message":
            text += join(item["content"], "text")
            refusal += join(item["content"], "refusal")
        elif kind == "reasoning":
            thoughts += join(item.get("summary") or [], "text") + join(item.get("content") or [], "text")
        elif kind == "function_call":
            calls.append((item["name"], arguments(item["arguments"])))
        elif kind == "custom_tool_call":
            calls.append((item["name"], item["input"]))
    finish = "tools" if calls else "stop"
    if answer["status"] == "incomplete":
        finish = {"max_output_tokens": "length", "content_filter": "filter"}[answer["incomplete_details"]["reason"]]
    usage = answer["usage"]
    tokens = usage and (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["output_tokens"])
    return Meaning(text, refusal, thoughts, calls, finish, tokens)


def of_anthropic(answer):
    said = Meaning()
    for block in answer["content"]:
        said.text += block.get("text") or ""
        said.thoughts += block.get("thinking") or ""
        if block["type"] == "tool_use":
            said.calls.append((block["name"], spelled(block["input"])))
    said.finish = {
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tools",
        "refusal": "filter",
    }.get(answer["stop_reason"], "stop")
    usage = answer["usage"]
    read, written = (usage.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation"))
    said.tokens = (usage["input_tokens"] + read + written, read, usage["output_tokens"])
    return said


def of_gemini(answer):
    said = Meaning()
    candidate = (answer.get("candidates") or [{"finishReason": "SAFETY"}])[0]
    for part in candidate.get("content", {}).get("parts", []):
        if part.get("thought"):
            said.thoughts += part["text"]
        else:
            said.text += part.get("text") or ""
        # Code that Google ran is told as text.
        if code := part.get("executableCode"):
            said.text += f"\n```python\n{code['code']}\n```\n"
        if result := part.get("codeExecutionResult"):
            said.text += f"\n```\n{result['output']}```\n"
        if call := part.get("functionCall"):
            said.calls.append((call["name"], spelled(call.get("args") or {})))
    finish = candidate["finishReason"]
    said.finish = {"MAX_TOKENS": "length", "SAFETY": "filter", "RECITATION": "filter"}.get(
        finish, "tools" if said.calls else "stop"
    )
    usage = answer["usageMetadata"]
    said.tokens = (
        usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        usage.get("cachedContentTokenCount", 0),
        usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
    )
    return said


def of_bedrock(answer):
    said = Meaning()
    for block in answer["output"]["message"]["content"]:
        said.text += block.get("text") or join(block.get("citationsContent", {}).get("content", []), "text")
        said.thoughts += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
        if call := block.get("toolUse"):
            said.calls.append((call["name"], spelled(call["input"])))
    said.finish = {
        "max_tokens": "length",
        "tool_use": "tools",
        "guardrail_intervened": "filter",
        "content_filtered": "filter",
    }.get(answer["stopReason"], "stop")
    usage = answer["usage"]
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    said.tokens = (usage["inputTokens"] + read + written, read, usage["outputTokens"])
    return said


def of_ollama(answer):
    message = answer["message"]
    calls = [(call["function"]["name"], spelled(call["function"]["arguments"])) for call in message.get("tool_calls", [])]
    finish = "length" if answer["done_reason"] == "length" else "tools" if calls else "stop"
    tokens = (answer["prompt_eval_count"], 0, answer["eval_count"]) if "eval_count" in answer else None
    return Meaning(message["content"], "", message.get("thinking", ""), calls, finish, tokens)


def of_cohere(answer):
    message = answer["message"]
    parts = message.get("content") or []
    calls = [
        (call["function"]["name"], arguments(call["function"]["arguments"])) for call in message.get("tool_calls") or []
    ]
    finish = {"MAX_TOKENS": "length", "TOOL_CALL": "tools"}.get(answer["finish_reason"], "stop")
    usage = answer["usage"]
    counted = usage.get("tokens") or usage["billed_units"]
    tokens = (int(counted["input_tokens"]), usage.get("cached_tokens", 0), int(counted["output_tokens"]))
    return Meaning(
        join(parts, "text"), "", (message.get("tool_plan") or "") + join(parts, "thinking"), calls, finish, tokens
    )


def of_provider(form, answer):
    return globals()[f"of_{form}"](answer)


# --- what is asked of providers the second time ----------------------------------------------------------------


def exchange(form, request):
    """The calls in a request and the results for them: [(id or name, name, arguments)], [(id or name, text)]."""
    calls, results = [], []
    for kind, name, key, value in _EXCHANGES[form](request):
        if kind == "call":
            calls.append((key or name, name, value))
        else:
            results.append((key or name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return calls, results


def _chat_exchange(request):
    for message in request["messages"]:
        for call in message.get("tool_calls") or []:
            if custom := call.get("custom"):
                yield "call", custom["name"], call["id"], custom["input"]
            else:
                yield "call", call["function"]["name"], call["id"], arguments(call["function"]["arguments"])
        if message["role"] == "tool":
            yield "result", message.get("tool_name"), message.get("tool_call_id"), message["content"]


def _ollama_exchange(request):
    for message in request["messages"]:
        for call in message.get("tool_calls") or []:
            yield "call", call["function"]["name"], None, spelled(call["function"]["arguments"])
        if message["role"] == "tool":
            yield "result", message["tool_name"], None, message["content"]


def _responses_exchange(request):
    for item in request["input"]:
        if item.get("type") == "function_call":
            yield "call", item["name"], item["call_id"], arguments(item["arguments"])
        elif item.get("type") == "custom_tool_call":
            yield "call", item["name"], item["call_id"], item["input"]
        elif item.get("type") in ("function_call_output", "custom_tool_call_output"):
            yield "result", None, item["call_id"], item["output"]


def _messages_exchange(request):
    for message in request["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "tool_use":
                yield "call", block["name"], block["id"], spelled(block["input"])
            elif block["type"] == "tool_result":
                yield "result", None, block["tool_use_id"], block["content"]


def missing_call(request):
    """The id of a result in a request to responses whose call is not there."""
    items = request["input"] if isinstance(request["input"], list) else []
    calls, results = exchange("openai_responses", {"input": items})
    return next((key for key, _ in results if key not in [known for known, *_ in calls]), None)


def _gemini_exchange(request):
    for content in request["contents"]:
        for part in content["parts"]:
            if call := part.get("functionCall"):
                yield "call", call["name"], None, spelled(call.get("args") or {})
            elif result := part.get("functionResponse"):
                yield "result", result["name"], None, result["response"]


def _bedrock_exchange(request):
    for message in request["messages"]:
        for block in message["content"]:
            if call := block.get("toolUse"):
                yield "call", call["name"], call["toolUseId"], spelled(call["input"])
            elif result := block.get("toolResult"):
                yield "result", None, result["toolUseId"], result["content"]


_EXCHANGES = {
    "openai_chat": _chat_exchange,
    "openai_responses": _responses_exchange,
    "anthropic": _messages_exchange,
    "gemini": _gemini_exchange,
    "bedrock": _bedrock_exchange,
    "ollama": _ollama_exchange,
    "cohere": _chat_exchange,
}


def proofs(value):
    """The signatures and sealed thoughts of an answer, which have to come back to whoever made them."""
    if isinstance(value, list):
        return [proof for entry in value for proof in proofs(entry)]
    if not isinstance(value, dict):
        return []
    found = [
        entry
        for key, entry in value.items()
        if isinstance(entry, str)
        and entry
        and key in ("signature", "thoughtSignature", "thought_signature", "encrypted_content", "redactedContent")
    ]
    if value.get("type") == "redacted_thinking":
        found.append(value["data"])
    return found + [proof for entry in value.values() for proof in proofs(entry)]
