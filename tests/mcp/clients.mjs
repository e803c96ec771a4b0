// The official TypeScript SDKs as clients of any MCP endpoint that has one of the fixture servers behind it.
//
//   node clients.mjs --direct
//   node clients.mjs --url URL --sdk v1|v2|v2-auto|v1-sse --server legacy|modern|everything
//                    [--key KEY] [--header NAME:VALUE] [--prefix PREFIX] [--only NAME]
//
// v1 is `@modelcontextprotocol/sdk`, which knows the session era only; v2 is `@modelcontextprotocol/client`, which speaks
// that era too unless it is told to find out. Every check runs; the exit code is 1 if one fails. A check must not know
// what is behind the URL, but by the names that the fixture has.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load } from "./packages.mjs";

const { values: asked } = parseArgs({
  options: {
    direct: { type: "boolean" },
    url: { type: "string" },
    sdk: { type: "string" },
    server: { type: "string" },
    key: { type: "string" },
    header: { type: "string", multiple: true, default: [] },
    prefix: { type: "string", default: "" },
    only: { type: "string", default: "" },
  },
});
const PATIENCE = 10_000;
setTimeout(() => {
  console.log("FAIL the watchdog: something hangs");
  process.exit(1);
}, 300_000).unref();

const CAPABILITIES = { sampling: {}, elicitation: {}, roots: {} };
const ANSWERS = {
  "sampling/createMessage": () => ({
    role: "assistant",
    model: "test-model",
    content: { type: "text", text: "said Ada" },
  }),
  "elicitation/create": ({ params: { requestedSchema } }) => {
    const sample = { string: "Ada", integer: 1, number: 1.5, boolean: true };
    const wanted = Object.entries(requestedSchema.properties).filter(([name]) => requestedSchema.required?.includes(name));
    const content = Object.fromEntries(wanted.map(([name, it]) => [name, it.enum?.[0] ?? sample[it.type]]));
    return { action: "accept", content };
  },
  "roots/list": () => ({ roots: [{ uri: "file:///ada", name: "Ada" }] }),
};

// One way to call both SDKs: what differs between them is here.
function v1(transportKind) {
  const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
  const types = load("@modelcontextprotocol/sdk/types.js");
  const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { SSEClientTransport } = load("@modelcontextprotocol/sdk/client/sse.js");
  const schemas = {
    "sampling/createMessage": types.CreateMessageRequestSchema,
    "elicitation/create": types.ElicitRequestSchema,
    "roots/list": types.ListRootsRequestSchema,
    "notifications/message": types.LoggingMessageNotificationSchema,
    "notifications/tools/list_changed": types.ToolListChangedNotificationSchema,
    "notifications/prompts/list_changed": types.PromptListChangedNotificationSchema,
    "notifications/resources/updated": types.ResourceUpdatedNotificationSchema,
  };
  const Transport = transportKind === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return {
    client: () => new Client({ name: "judge", version: "1.0.0" }, { capabilities: CAPABILITIES }),
    transport: (url, headers) => new Transport(new URL(url), { requestInit: { headers } }),
    key: (method) => schemas[method],
    call: (client, params, options) => client.callTool(params, undefined, options),
    McpError: types.McpError,
  };
}

function v2(mode) {
  const { Client, StreamableHTTPClientTransport, ProtocolError } = load("@modelcontextprotocol/client");
  const options = { capabilities: CAPABILITIES, versionNegotiation: { mode } };
  return {
    client: () => new Client({ name: "judge", version: "2.0.0" }, options),
    transport: (url, headers) => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }),
    key: (method) => method,
    call: (client, params, options) => client.callTool(params, options),
    McpError: ProtocolError,
  };
}

const SDKS = {
  v1: () => v1("http"),
  "v1-sse": () => v1("sse"),
  v2: () => v2("legacy"),
  "v2-auto": () => v2("auto"),
};

// A connected client with everything that the checks ask of it.
async function connect(at) {
  const sdk = SDKS[at.sdk]();
  const client = sdk.client();
  const transport = sdk.transport(at.url, at.headers);
  const heard = [];
  for (const [method, answer] of Object.entries(ANSWERS)) client.setRequestHandler(sdk.key(method), answer);
  for (const method of [
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/updated",
  ])
    client.setNotificationHandler(sdk.key(method), (it) => void heard.push(it));
  await client.connect(transport);
  return {
    client,
    heard,
    McpError: sdk.McpError,
    listens: client.getProtocolEra?.() === "modern",
    call: (name, args = {}, options) => sdk.call(client, { name: at.prefix + name, arguments: args }, options),
    async all(list, field) {
      const found = [];
      let cursor;
      do {
        const page = await client[list](cursor && { cursor });
        found.push(...page[field]);
        cursor = page.nextCursor;
      } while (cursor);
      return found;
    },
    async eventually(condition, what) {
      const end = Date.now() + PATIENCE;
      for (;;) {
        const found = condition();
        if (found) return found;
        assert.ok(Date.now() < end, `${what} did not happen`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async end() {
      await transport.terminateSession?.().catch(() => {});
      await client.close();
    },
  };
}

const said = (result) => {
  assert.ok(!result.isError, JSON.stringify(result));
  return result.content[0].text;
};

const surface = {
  async "lists have their names and schemas"(it, at) {
    const tools = await it.all("listTools", "tools");
    assert.ok(tools.every(({ name }) => name.startsWith(at.prefix)));
    const { inputSchema } = tools.find(({ name }) => name === `${at.prefix}json_schema_2020_12_tool`);
    assert.equal(inputSchema.$defs.address.$anchor, "addressDef");
    assert.deepEqual(inputSchema.else, { required: ["email"] });
    const prompts = await it.all("listPrompts", "prompts");
    assert.ok(prompts.some(({ name }) => name === `${at.prefix}test_prompt_with_arguments`));
    const templates = await it.all("listResourceTemplates", "resourceTemplates");
    assert.ok(templates.some(({ uriTemplate }) => uriTemplate.endsWith("test://template/{id}/data")));
  },

  async "results of every kind"(it) {
    assert.equal(said(await it.call("test_simple_text")), "A plain text.");
    const [image] = (await it.call("test_image_content")).content;
    assert.equal(image.mimeType, "image/png");
    const kinds = (await it.call("test_multiple_content_types")).content.map(({ type }) => type);
    assert.deepEqual(kinds, ["text", "image", "resource"]);
    const failed = await it.call("test_error_handling");
    assert.ok(failed.isError);
    assert.equal(failed.content[0].text, "This tool always fails.");
  },

  async "errors keep their code"(it) {
    await assert.rejects(it.client.readResource({ uri: "test://not/there" }), (error) => [-32602, -32002].includes(error.code));
  },

  async "resources, by address and by template"(it) {
    const resources = await it.all("listResources", "resources");
    const { uri } = resources.find((resource) => resource.uri.endsWith("test://static-binary"));
    const [binary] = (await it.client.readResource({ uri })).contents;
    assert.ok(binary.blob.startsWith("iVBOR"));
    const [templated] = (await it.client.readResource({ uri: uri.replace("static-binary", "template/17/data") })).contents;
    assert.equal(JSON.parse(templated.text).id, "17");
  },

  async "prompts and completion"(it, at) {
    const name = `${at.prefix}test_prompt_with_arguments`;
    const got = await it.client.getPrompt({ name, arguments: { arg1: "a", arg2: "ü" } });
    assert.equal(got.messages[0].content.text, "The first is 'a', the second 'ü'.");
    const ref = { type: "ref/prompt", name };
    const { completion } = await it.client.complete({ ref, argument: { name: "arg1", value: "par" } });
    assert.deepEqual(completion.values, ["paris", "park", "party"]);
  },

  async "progress comes before the result"(it) {
    const seen = [];
    const onprogress = ({ progress }) => seen.push(progress);
    await it.call("test_tool_with_progress", {}, { onprogress });
    assert.deepEqual(seen, [0, 50, 100]);
  },

  async "the user and the model are asked"(it) {
    assert.equal(said(await it.call("test_elicitation", { message: "?" })), 'accept: {"username":"Ada","email":"Ada"}');
    assert.equal(said(await it.call("test_sampling", { prompt: "?" })), "The model said: said Ada");
    assert.equal(said(await it.call("test_input_required_result_list_roots")), "file:///ada");
    assert.equal(said(await it.call("test_input_required_result_multi_round")), "Ada likes Ada.");
  },

  async "changes are told"(it) {
    const resources = await it.all("listResources", "resources");
    const { uri } = resources.find((resource) => resource.uri.endsWith("test://watched-resource"));
    const filter = { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: [uri] };
    if (it.listens) await it.client.listen(filter);
    else await it.client.subscribeResource({ uri });
    for (const [kind, method] of Object.entries({
      tool_change: "notifications/tools/list_changed",
      prompt_change: "notifications/prompts/list_changed",
      resource_update: "notifications/resources/updated",
    })) {
      await it.call(`test_trigger_${kind}`);
      const told = await it.eventually(() => it.heard.find((note) => note.method === method), method);
      if (kind === "resource_update") assert.equal(told.params.uri, uri);
    }
  },
};

const legacyOnly = {
  async "logs come on the way"(it) {
    await it.client.setLoggingLevel("debug");
    await it.call("test_tool_with_logging");
    await it.eventually(() => it.heard.filter(({ method }) => method === "notifications/message").length >= 3, "logs");
  },

  async "what was interrupted goes on"(it) {
    assert.equal(said(await it.call("test_reconnection")), "Here again.");
  },

  async "ping"(it) {
    assert.deepEqual(await it.client.ping(), {});
  },
};

const everything = {
  async "tools of all sorts"(it) {
    assert.equal(said(await it.call("echo", { message: "hei" })), "Echo: hei");
    assert.match(said(await it.call("get-sum", { a: 2, b: 3 })), /5/);
    const { structuredContent } = await it.call("get-structured-content", { location: "Chicago" });
    assert.equal(typeof structuredContent.temperature, "number");
    const image = (await it.call("get-tiny-image")).content.find(({ type }) => type === "image");
    assert.equal(image.mimeType, "image/png");
    const annotated = (await it.call("get-annotated-message", { messageType: "error" })).content[0];
    assert.equal(annotated.annotations.priority, 1);
  },

  async "links in results can be read"(it) {
    const { content } = await it.call("get-resource-links", { count: 3 });
    const links = content.filter(({ type }) => type === "resource_link");
    assert.equal(links.length, 3);
    for (const { uri } of links) assert.equal((await it.client.readResource({ uri })).contents.length, 1);
  },

  async "a long operation reports progress"(it, at) {
    const seen = [];
    const onprogress = ({ progress, total }) => seen.push([progress, total]);
    await it.call("trigger-long-running-operation", { duration: 1, steps: 4 }, { onprogress });
    // Of what comes in one piece with the answer, this client over SSE forgets whose it was: there the last may be missing.
    const all = at.sdk === "v1-sse" ? [1, 2, 3, 4].slice(0, seen.length) : [1, 2, 3, 4];
    assert.deepEqual(seen.map(([progress]) => progress), all);
  },

  async "prompts and completion"(it, at) {
    const got = await it.client.getPrompt({ name: `${at.prefix}args-prompt`, arguments: { city: "Kiel" } });
    assert.match(got.messages[0].content.text, /Kiel/);
    const ref = { type: "ref/prompt", name: `${at.prefix}completable-prompt` };
    const { completion } = await it.client.complete({ ref, argument: { name: "department", value: "E" } });
    assert.deepEqual(completion.values, ["Engineering"]);
  },

  async "the client is asked"(it) {
    const sampled = await it.call("trigger-sampling-request", { prompt: "?", maxTokens: 10 });
    assert.match(JSON.stringify(sampled), /said Ada/);
    assert.match(JSON.stringify(await it.call("trigger-elicitation-request")), /Ada/);
    // The server asks for roots once, and keeps them: on a connection that is shared, those of the first client.
    assert.match(JSON.stringify(await it.call("get-roots-list")), /file:\/\/\/ada/i);
  },
};

const CHECKS = {
  legacy: (at) => ({ ...surface, ...(at.sdk === "v2-auto" ? {} : legacyOnly) }),
  modern: () => surface,
  everything: () => everything,
};

async function judge(at) {
  let failures = 0;
  for (const [name, check] of Object.entries(CHECKS[at.server](at))) {
    if (!name.includes(asked.only)) continue;
    let it;
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error("took too long")), 60_000).unref());
    const run = async () => {
      it = await connect(at);
      await check(it, at);
    };
    try {
      await Promise.race([run(), late]);
      console.log(`ok   ${name}`);
    } catch (error) {
      failures += 1;
      console.log(`FAIL ${name}\n${error.stack}`);
    }
    await it?.end().catch(() => {});
  }
  return failures;
}

// --- The servers themselves ------------------------------------------------------------------------------------------

const folder = fileURLToPath(new URL(".", import.meta.url));

// Starts a fixture; resolves with its URL and what ends it.
async function start(program, transport) {
  const child = spawn(process.execPath, [`${folder}${program}.mjs`, transport], { stdio: ["pipe", "pipe", "inherit"] });
  const line = await new Promise((found) => child.stdout.once("data", (data) => found(String(data).split("\n")[0])));
  child.stdout.resume();
  return { url: line, stop: () => child.kill() };
}

// The official server takes a port and no zero: one that was free a moment ago.
async function startEverything() {
  const port = await new Promise((found) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => found(port));
    });
  });
  const main = load.resolve("@modelcontextprotocol/server-everything/package.json").replace("package.json", "dist/index.js");
  const child = spawn(process.execPath, [main, "streamableHttp"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PORT: String(port) },
  });
  child.stdout.resume();
  await new Promise((found) => child.stderr.on("data", (data) => /listening/.test(String(data)) && found()));
  return { url: `http://127.0.0.1:${port}/mcp`, stop: () => child.kill() };
}

async function direct() {
  let failures = 0;
  for (const [server, transport, sdks] of [
    ["legacy", "http", ["v1", "v2", "v2-auto"]],
    ["legacy", "sse", ["v1-sse"]],
    ["modern", "http", ["v2-auto"]],
    ["everything", "http", ["v1", "v2-auto"]],
  ]) {
    const { url, stop } = server === "everything" ? await startEverything() : await start(server, transport);
    for (const sdk of sdks) {
      console.log(`--- ${server} over ${transport}, client ${sdk}`);
      failures += await judge({ url, sdk, server, prefix: "", headers: {} });
    }
    stop();
  }
  return failures;
}

const headers = Object.fromEntries(asked.header.map((header) => header.split(/:\s*(.*)/).slice(0, 2)));
if (asked.key) headers.Authorization = `Bearer ${asked.key}`;
const failures = asked.direct
  ? await direct()
  : await judge({ url: asked.url, sdk: asked.sdk, server: asked.server, prefix: asked.prefix, headers });
process.exit(failures ? 1 : 0);
