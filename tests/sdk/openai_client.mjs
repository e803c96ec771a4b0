// The official OpenAI Node SDK against a real gateway: `python gateway.py PATH_TO_TIDEGATE node openai_client.mjs`.
//
// Every entry of `checks` runs; the exit code is 1 if one of them fails. It must not reach into the gateway: only
// what a client sees, and what the scripted upstream says has arrived.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// tests/run installs the SDK here, outside the source tree.
const { default: OpenAI, toFile } = createRequire(new URL("../.cache/node/", import.meta.url))("openai");

const [base, upstream, fullKey, narrowKey] = process.argv.slice(2);
const model = "gpt-4o-mock";
const messages = [{ role: "user", content: "Hello, who are you?" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      required: ["city", "unit"],
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
    },
  },
};

const client = (options = {}) =>
  new OpenAI({ apiKey: fullKey, baseURL: `${base}/v1`, maxRetries: 0, timeout: 30_000, ...options });
const collect = async (stream) => {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
};
const seen = async (path) => (await fetch(`${upstream}/seen${path}`)).json();

function soundStream(chunks, withUsage) {
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1, "one id over all chunks");
  assert.equal(chunks[0].choices[0].delta.role, "assistant", "role first");
  const usage = chunks.filter((chunk) => chunk.usage);
  assert.equal(usage.length, withUsage ? 1 : 0, "usage only if asked for");
  if (withUsage) assert.deepEqual(chunks.at(-1).choices, [], "usage last");
  const choices = chunks.flatMap((chunk) => chunk.choices);
  const finishes = choices.map((choice) => choice.finish_reason).filter(Boolean);
  assert.equal(finishes.length, 1, "one finish reason");
  return { text: choices.map((choice) => choice.delta.content ?? "").join(""), finish: finishes[0], choices };
}

function followsSchema(text) {
  const values = JSON.parse(text);
  assert.equal(typeof values.city, "string");
  assert.ok(["celsius", "fahrenheit"].includes(values.unit), text);
}

const checks = {
  async "models: list and retrieve"() {
    const models = (await client().models.list()).data;
    const again = (await client().models.list()).data;
    assert.deepEqual(models, again, "created must be stable");
    const mock = models.find((entry) => entry.id === model);
    assert.ok(Number.isInteger(mock.created) && mock.owned_by && mock.object === "model");
    assert.deepEqual(await client().models.retrieve(model), mock);
    const narrow = (await client({ apiKey: narrowKey }).models.list()).data;
    assert.deepEqual(narrow.map((entry) => entry.id), [model]);
  },

  async "mock: chat"() {
    const answer = await client().chat.completions.create({ model, messages });
    assert.equal(answer.model, model);
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer.usage.total_tokens > 0);
  },

  async "mock: chat stream, with and without usage"() {
    for (const include_usage of [undefined, true, false]) {
      const stream_options = include_usage === undefined ? undefined : { include_usage };
      const chunks = await collect(client().chat.completions.create({ model, messages, stream: true, stream_options }));
      const { text, finish } = soundStream(chunks, include_usage === true);
      assert.ok(text);
      assert.equal(finish, "stop");
    }
  },

  async "mock: tools, then the tool's result"() {
    const question = [{ role: "user", content: "How is the weather in Husum?" }];
    const first = await client().chat.completions.create({ model, messages: question, tools: [weather] });
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    const call = first.choices[0].message.tool_calls[0];
    assert.equal(call.function.name, "get_weather");
    followsSchema(call.function.arguments);
    const result = { role: "tool", tool_call_id: call.id, content: "14 degrees and drizzle" };
    const history = [...question, first.choices[0].message, result];
    const second = await client().chat.completions.create({ model, messages: history, tools: [weather] });
    assert.match(second.choices[0].message.content, /14 degrees and drizzle/);
  },

  async "mock: tools, streamed through the SDK's own accumulator"() {
    const question = [{ role: "user", content: "How is the weather in Husum?" }];
    const stream = client().chat.completions.stream({ model, messages: question, tools: [weather] });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, "tool_calls");
    followsSchema(final.choices[0].message.tool_calls[0].function.arguments);
  },

  async "mock: embeddings"() {
    const input = "high tide";
    const plain = (await client().embeddings.create({ model, input, encoding_format: "float" })).data[0].embedding;
    const byDefault = (await client().embeddings.create({ model, input })).data[0].embedding;
    assert.equal(byDefault.length, plain.length);
    assert.ok(plain.every((number, index) => Math.abs(number - byDefault[index]) < 1e-6), "base64 and float differ");
    assert.equal((await client().embeddings.create({ model, input, dimensions: 8 })).data[0].embedding.length, 8);
    const several = await client().embeddings.create({ model, input: ["high tide", "low tide"] });
    assert.deepEqual(several.data.map((entry) => entry.index), [0, 1]);
  },

  async "mock: completions"() {
    const answer = await client().completions.create({ model, prompt: "Once upon a tide" });
    assert.ok(answer.choices[0].text);
  },

  async "mock: responses"() {
    const answer = await client().responses.create({ model, input: "Hello" });
    assert.equal(answer.status, "completed");
    assert.ok(answer.output_text);
    const events = await collect(client().responses.create({ model, input: "Hello", stream: true }));
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    assert.equal(events[0].type, "response.created");
    assert.equal(events.at(-1).type, "response.completed");
    const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
    assert.equal(events.at(-1).response.output[0].content[0].text, text);
    const final = await client().responses.stream({ model, input: "Hello" }).finalResponse();
    assert.ok(final.output_text);
  },

  async "errors: each status has its class"() {
    const create = (name, options) => () => client(options).chat.completions.create({ model: name, messages });
    const wrongKey = { apiKey: "sk-wrong-0123456789abcdefghijkl" };
    const cases = [
      [create(model, wrongKey), OpenAI.AuthenticationError, "invalid_api_key"],
      [create("chat", { apiKey: narrowKey }), OpenAI.PermissionDeniedError],
      [create("no-such-model"), OpenAI.NotFoundError, "model_not_found"],
      [create("always-429"), OpenAI.RateLimitError, "rate_limit_exceeded"],
      [create("always-500"), OpenAI.InternalServerError],
      [create("overflow"), OpenAI.BadRequestError, "context_length_exceeded"],
      [() => client().chat.completions.create({ model, messages: "hello" }), OpenAI.BadRequestError],
    ];
    for (const [call, kind, code] of cases) {
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.message}`);
        if (code) assert.equal(error.code, code);
        if (kind === OpenAI.RateLimitError) assert.equal(error.headers.get("retry-after"), "7");
        return true;
      });
    }
  },

  async "errors: the default client recovers from one 429"() {
    const retrying = new OpenAI({ apiKey: fullKey, baseURL: `${base}/v1` });
    const answer = await retrying.chat.completions.create({ model: "once-429", messages });
    assert.ok(answer.choices[0].message.content);
  },

  async "upstream: headers, stream, reasoning"() {
    const headers = { cookie: "a=b", "x-mcp-servers": "!db" };
    const answer = await client().chat.completions.create({ model: "chat", messages }, { headers });
    assert.equal(answer.choices[0].message.reasoning_content, "hm");
    const request = await seen("/chat/completions");
    assert.ok(!("cookie" in request.headers) && !("x-mcp-servers" in request.headers));
    assert.ok(!JSON.stringify(request).includes(fullKey), "the client's key reached the upstream");
    assert.equal(JSON.parse(request.text).model, "upstream-chat");
    const chunks = await collect(client().chat.completions.create({ model: "chat", messages, stream: true }));
    assert.equal(soundStream(chunks, false).text, "élan ✓ done");
  },

  async "upstream: a cut stream is not complete"() {
    const finishes = [];
    await assert.rejects(async () => {
      for await (const chunk of await client().chat.completions.create({ model: "cut", messages, stream: true })) {
        finishes.push(...chunk.choices.map((choice) => choice.finish_reason).filter(Boolean));
      }
    });
    assert.deepEqual(finishes, []);
  },

  async "upstream: an abort reaches it"() {
    const stream = await client().chat.completions.create({ model: "endless", messages, stream: true });
    let count = 0;
    for await (const _ of stream) if (++count === 3) break;
    stream.controller.abort();
    assert.equal(await seen("/client-gone"), true, "the upstream still streams to nobody");
  },

  async "upstream: a 10 MB picture"() {
    const url = `data:image/png;base64,${Buffer.alloc(7_700_000, 7).toString("base64")}`;
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
    const answer = await client().chat.completions.create({ model: "chat", messages: [{ role: "user", content }] });
    const { length } = await seen("/chat/completions");
    assert.ok(length > 10_000_000);
    assert.equal(answer.choices[0].message.content, `${length} bytes`);
  },

  async "upstream: audio, up and down"() {
    const file = await toFile(Buffer.alloc(2_000_000, 5), "tide.wav");
    const answer = await client().audio.transcriptions.create({ model: "transcribe", file });
    const { length } = await seen("/audio/transcriptions");
    assert.ok(length > 2_000_000);
    assert.equal(answer.text, `${length} bytes`);
    const speech = await client().audio.speech.create({ model: "speak", voice: "alloy", input: "Moin" });
    assert.equal(speech.headers.get("content-type"), "audio/mpeg");
    const sound = Buffer.from(await speech.arrayBuffer());
    assert.equal(sound.length, 256 * 1200);
    assert.ok(sound.every((byte, index) => byte === index % 256));
  },
};

let failures = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok   ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
  }
}
process.exit(failures ? 1 : 0);
