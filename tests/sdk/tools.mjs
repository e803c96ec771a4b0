// Answers in which the gateway runs tools, through the official Node SDK: `tools.py` starts it. What is streamed has to come
// to what the same answer is whole. It must not know who answers.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// tests/run installs the SDK here, outside the source tree.
const { default: OpenAI } = createRequire(new URL("../.cache/node/", import.meta.url))("openai");

const [base, apiKey] = process.argv.slice(2);
const client = new OpenAI({ apiKey, baseURL: `${base}/v1`, maxRetries: 0, timeout: 30_000 });
const own = { type: "object", properties: { n: { type: "integer" } } };
const block = {
  type: "mcp", server_label: "house", server_url: "litellm_proxy/mcp/py", require_approval: "never",
};

// Without ids and what the network decides.
function outline(response) {
  return response.output.map((item) => {
    const { type, name, arguments: given, output, error, status } = item;
    const text = item.content?.map((part) => part.text).join("").trim();
    return { type, name, given: given && JSON.parse(given), output, error, status, text, tools: item.tools?.length };
  });
}

for (const input of ["rounds", "mixed"]) {
  const question = { model: "m", input, tools: [block, { type: "function", name: "own", parameters: own, strict: false }] };
  const whole = await client.responses.create(question);
  const stream = client.responses.stream(question);
  const sums = {};
  for await (const event of stream) {
    if (event.type === "response.mcp_call_arguments.delta") {
      sums[event.output_index] = (sums[event.output_index] ?? "") + event.delta;
    }
  }
  const streamed = await stream.finalResponse();
  assert.deepEqual(outline(streamed), outline(whole));
  const calls = streamed.output.map((item, at) => [item, at]).filter(([item]) => item.type === "mcp_call");
  assert.ok(calls.length >= 2);
  for (const [item, at] of calls) assert.equal(sums[at], item.arguments);
}

const question = {
  model: "m",
  messages: [{ role: "user", content: "mixed" }],
  tools: [{ type: "function", function: { name: "own", parameters: own } }],
};
const options = { headers: { "x-mcp-servers": "py" } };
const whole = (await client.chat.completions.create(question, options)).choices[0];
const streamed = (await client.chat.completions.stream(question, options).finalChatCompletion()).choices[0];
const said = ({ message, finish_reason }) => ({
  finish_reason,
  text: message.content.trim(),
  calls: message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
  results: message.provider_specific_fields.mcp_call_results.map(({ name, result, is_error }) => [name, result, is_error]),
});
assert.deepEqual(said(streamed), said(whole));
assert.deepEqual(said(whole).calls, [["own", { n: 1 }]]);
