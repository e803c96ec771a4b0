// The official OpenAI Node SDK in front of one provider's format:
// `python upstreams.py PATH_TO_TIDEGATE node translation.mjs {base} {key} {model} {said}`.
//
// A smaller set than `translation.py`, for what this SDK does by itself: its accumulators, its parsing, its errors. `said` is
// what the provider's answers say: the one without tools, and the one that calls.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// tests/run installs the SDK here, outside the source tree.
const { default: OpenAI } = createRequire(new URL("../.cache/node/", import.meta.url))("openai");

const [baseURL, apiKey, model, told] = process.argv.slice(2);
const said = JSON.parse(told);
const client = new OpenAI({ apiKey, baseURL, maxRetries: 0, timeout: 30_000 });
const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: {}, additionalProperties: true };
const names = [...new Set(said.calling.calls.map(([name]) => name))];
const functions = names.map((name) => ({ type: "function", function: { name, parameters } }));
const tools = names.map((name) => ({ type: "function", name, parameters, strict: false }));
const schema = {
  type: "object",
  required: ["city", "days"],
  properties: { city: { type: "string" }, days: { type: "integer" } },
  additionalProperties: false,
};
const after = `[answer ${said.plain.case}]`;
// Numbers as their text: both sides spell them as the provider did.
const values = (text) => JSON.parse((text || "{}").replace(/(:\s*)(-?[0-9.]+)/g, '$1"$2"'));

function sameCalls(calls) {
  assert.deepEqual(calls.map(({ name, arguments: text }) => [name, values(text)]), said.calling.calls);
}

async function chatLoop(first) {
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const message = first.choices[0].message;
  sameCalls(message.tool_calls.map((call) => call.function));
  const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: after }));
  const second = { model, messages: [...user("Look."), message, ...results], tools: functions };
  assert.equal((await client.chat.completions.create(second)).choices[0].message.content, said.plain.text);
}

async function responsesLoop(first) {
  const calls = first.output.filter((item) => item.type === "function_call");
  sameCalls(calls);
  const output = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: after }));
  const second = { model, input: [...user("Look."), ...first.output, ...output], tools };
  assert.equal((await client.responses.create(second)).output_text, said.plain.text);
}

const checks = {
  async "chat: whole, and through the accumulator"() {
    const whole = await client.chat.completions.create({ model, messages: user("Moin") });
    assert.equal(whole.choices[0].message.content, said.plain.text);
    assert.equal(whole.choices[0].finish_reason, "stop");
    assert.equal(whole.usage.prompt_tokens, said.plain.tokens[0]);
    const stream = client.chat.completions.stream({ model, messages: user("Moin"), stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, said.plain.text);
    assert.deepEqual(final.usage, whole.usage);
  },

  async "chat: tools, whole and through the accumulator, and their results"() {
    const question = { model, messages: user("Look."), tools: functions };
    await chatLoop(await client.chat.completions.create(question));
    await chatLoop(await client.chat.completions.stream(question).finalChatCompletion());
  },

  async "chat: a structured answer is parsed"() {
    const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
    const answer = await client.chat.completions.parse({ model, messages: user("[answer json]"), response_format });
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Kyiv", days: 3 });
  },

  async "responses: whole, and through the accumulator"() {
    const whole = await client.responses.create({ model, input: "Moin" });
    assert.equal(whole.output_text, said.plain.text);
    assert.equal(whole.status, "completed");
    assert.equal(whole.usage.input_tokens, said.plain.tokens[0]);
    const stream = client.responses.stream({ model, input: "Moin" });
    let text = "";
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    const final = await stream.finalResponse();
    assert.equal(text, said.plain.text);
    assert.equal(final.output_text, text);
    assert.deepEqual(final.usage, whole.usage);
  },

  async "responses: tools, whole and through the accumulator, and their results"() {
    const question = { model, input: user("Look."), tools };
    await responsesLoop(await client.responses.create(question));
    await responsesLoop(await client.responses.stream(question).finalResponse());
  },

  async "responses: one goes on from another, and is forgotten"() {
    const first = await client.responses.create({ model, input: "Moin" });
    const second = await client.responses.create({ model, input: "And then?", previous_response_id: first.id });
    assert.equal(second.output_text, said.plain.text);
    assert.equal((await client.responses.retrieve(first.id)).output_text, said.plain.text);
    await client.responses.delete(first.id);
    await assert.rejects(() => client.responses.retrieve(first.id), OpenAI.NotFoundError);
  },

  async "errors: class, code and patience, whole and streamed"() {
    const kinds = [
      ["limited", OpenAI.RateLimitError, "rate_limit_exceeded"],
      ["overflow", OpenAI.BadRequestError, "context_length_exceeded"],
      ["missing", OpenAI.NotFoundError, "model_not_found"],
      ["broken", OpenAI.InternalServerError],
    ];
    for (const [kind, expected, code] of kinds) {
      const content = `[answer error.${kind}]`;
      const calls = [
        () => client.chat.completions.create({ model, messages: user(content) }),
        () => client.chat.completions.stream({ model, messages: user(content) }).finalChatCompletion(),
        () => client.responses.create({ model, input: content }),
        () => client.responses.stream({ model, input: content }).finalResponse(),
      ];
      for (const call of calls) {
        await assert.rejects(call, (error) => {
          assert.ok(error instanceof expected, `${kind}: ${error.constructor.name}: ${error.message}`);
          if (code) assert.equal(error.code, code);
          return true;
        });
      }
    }
  },
};

let failures = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok   ${model}: ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL ${model}: ${name}\n${error.stack}`);
  }
}
process.exit(failures ? 1 : 0);
