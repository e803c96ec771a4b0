// A server of the session era, for the conformance suites: the official TypeScript SDK v1.
//
//   node legacy.mjs http | sse | stdio
//
// Over HTTP it listens on a free port of 127.0.0.1 and prints its URL as the first line. It ends when its standard
// input is closed. Sessions and resumable streams come from the SDK; nothing here knows what stands in front of it.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { load } from "./packages.mjs";
import * as surface from "./surface.mjs";

const { Server } = load("@modelcontextprotocol/sdk/server/index.js");
const { StdioServerTransport } = load("@modelcontextprotocol/sdk/server/stdio.js");
const { SSEServerTransport } = load("@modelcontextprotocol/sdk/server/sse.js");
const { StreamableHTTPServerTransport } = load("@modelcontextprotocol/sdk/server/streamableHttp.js");
const types = load("@modelcontextprotocol/sdk/types.js");
const { form, says, sleep, text } = surface;

const ask = (extra, message, requestedSchema) =>
  extra.sendRequest(
    { method: "elicitation/create", params: { message, requestedSchema } },
    types.ElicitResultSchema,
  );
const answered = ({ action, content }) => says(`${action}: ${JSON.stringify(content ?? {})}`);

// Tools that talk to their client while they run.
const tools = {
  ...surface.tools,
  test_tool_with_logging: {
    about: "Logs three messages.",
    async call(_, extra) {
      for (const data of ["started", "working", "done"]) {
        await extra.sendNotification({ method: "notifications/message", params: { level: "info", data } });
        await sleep(50);
      }
      return says("Logged.");
    },
  },
  test_tool_with_progress: {
    about: "Reports its progress three times.",
    async call(_, extra) {
      const progressToken = extra._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken === undefined) break;
        const params = { progressToken, progress, total: 100, message: `${progress} of 100` };
        await extra.sendNotification({ method: "notifications/progress", params });
        await sleep(50);
      }
      return says(String(progressToken));
    },
  },
  test_reconnection: {
    about: "Closes its stream in the middle; the answer comes when the client is back.",
    async call(_, extra) {
      extra.closeSSEStream?.();
      await sleep(100);
      return says("Here again.");
    },
  },
  test_sampling: {
    about: "Has the client ask its model.",
    schema: form({ prompt: { type: "string" } }),
    async call({ prompt }, extra) {
      const params = { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 };
      const said = await extra.sendRequest(
        { method: "sampling/createMessage", params },
        types.CreateMessageResultSchema,
      );
      return says(`The model said: ${said.content.text}`);
    },
  },
  test_elicitation: {
    about: "Has the client ask its user.",
    schema: form({ message: { type: "string" } }),
    call: async ({ message }, extra) =>
      answered(await ask(extra, message, form({ username: { type: "string" }, email: { type: "string" } }))),
  },
};

for (const [name, { about, message, schema }] of Object.entries(surface.questions))
  tools[name] = { about, call: async (_, extra) => answered(await ask(extra, message, schema)) };

// What a tool of the stateless era does with `input_required`, done with requests to the client: for clients of that era
// behind a gateway.
const confirm = async (_, extra) => answered(await ask(extra, "Please confirm.", form({ ok: { type: "boolean" } })));
const asking = {
  elicitation: async (_, extra) => answered(await ask(extra, "What is your name?", form({ name: { type: "string" } }))),
  sampling: (_, extra) => tools.test_sampling.call({ prompt: "What is the capital of France?" }, extra),
  list_roots: async (_, extra) => {
    const { roots } = await extra.sendRequest({ method: "roots/list" }, types.ListRootsResultSchema);
    return says(roots.map(({ uri }) => uri).join(", "));
  },
  request_state: confirm,
  tampered_state: confirm,
  multi_round: async (_, extra) => {
    const { content } = await ask(extra, "What is your name?", form({ name: { type: "string" } }));
    const { content: more } = await ask(extra, "Which color do you like?", form({ color: { type: "string" } }));
    return says(`${content?.name} likes ${more?.color}.`);
  },
  // Whoever is asked says itself what it cannot do.
  capabilities: async (_, extra) => {
    const asked = ask(extra, "A value?", form({ value: { type: "string" } }));
    return asked.then(answered, () => asking.sampling(_, extra));
  },
};
for (const [name, call] of Object.entries(asking))
  tools[`test_input_required_result_${name}`] = { about: "Asks through its client.", call };
tools.test_streaming_elicitation = { about: "Asks through its client.", call: asking.elicitation };
tools.test_logging_tool = { ...tools.test_tool_with_logging };
tools.test_trigger_tool_change = {
  about: "Tells its client that the tools have changed.",
  call: async (_, extra, server) => (await server.sendToolListChanged(), says("Told.")),
};
tools.test_trigger_prompt_change = {
  about: "Tells its client that the prompts have changed.",
  call: async (_, extra, server) => (await server.sendPromptListChanged(), says("Told.")),
};
tools.test_trigger_resource_update = {
  about: "Tells its client that the watched resource has changed.",
  call: async (_, extra, server) => {
    await server.sendResourceUpdated({ uri: "test://watched-resource" });
    return says("Told.");
  },
};

function build() {
  const server = new Server(
    { name: "tidegate-legacy-fixture", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
    },
  );
  const on = (schema, handler) => server.setRequestHandler(schema, handler);
  const missing = (what) => {
    throw new types.McpError(types.ErrorCode.InvalidParams, what);
  };
  on(types.ListToolsRequestSchema, () => ({ tools: surface.toolList(tools) }));
  on(types.CallToolRequestSchema, ({ params }, extra) => {
    const tool = tools[params.name] ?? missing(`no tool ${params.name}`);
    return tool.call(params.arguments ?? {}, extra, server);
  });
  on(types.ListResourcesRequestSchema, () => ({ resources: surface.resourceList() }));
  on(types.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: surface.templateList() }));
  on(types.ReadResourceRequestSchema, ({ params: { uri } }) => {
    const contents = surface.read(uri);
    if (!contents) throw new types.McpError(-32002, "no such resource", { uri });
    return { contents };
  });
  on(types.SubscribeRequestSchema, () => ({}));
  on(types.UnsubscribeRequestSchema, () => ({}));
  on(types.ListPromptsRequestSchema, () => ({ prompts: surface.promptList(surface.prompts) }));
  on(types.GetPromptRequestSchema, ({ params }) => {
    const prompt = surface.prompts[params.name] ?? missing(`no prompt ${params.name}`);
    return { messages: prompt.get(params.arguments ?? {}) };
  });
  on(types.CompleteRequestSchema, ({ params }) => surface.complete(params));
  return server;
}

// Events of one session's streams, kept for as long as the session.
function eventStore() {
  const events = [];
  return {
    async storeEvent(stream, message) {
      events.push({ stream, message });
      return String(events.length - 1);
    },
    async getStreamIdForEventId(id) {
      return events[id]?.stream;
    },
    async replayEventsAfter(last, { send }) {
      const stream = events[last]?.stream;
      for (const [id, event] of events.entries()) {
        const later = id > Number(last) && event.stream === stream;
        if (later && Object.keys(event.message).length > 0) await send(String(id), event.message);
      }
      return stream;
    },
  };
}

const sessions = new Map();
const refuse = (response, status, message) => {
  const body = { jsonrpc: "2.0", error: { code: -32000, message } };
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
};
const body = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
};

// POST, GET and DELETE on /mcp.
async function streamable(request, response) {
  const id = request.headers["mcp-session-id"];
  const message = request.method === "POST" ? await body(request) : undefined;
  let transport = sessions.get(id);
  if (!transport && id) return refuse(response, 404, "no such session");
  if (!transport) {
    if (message?.method !== "initialize") return refuse(response, 400, "no session");
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: eventStore(),
      retryInterval: 500,
      onsessioninitialized: (session) => sessions.set(session, transport),
      onsessionclosed: (session) => sessions.delete(session),
    });
    await build().connect(transport);
  }
  await transport.handleRequest(request, response, message);
}

// GET on /sse opens a stream, POST on /messages sends.
async function sse(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (request.method === "GET" && pathname === "/sse") {
    const transport = new SSEServerTransport("/messages", response);
    sessions.set(transport.sessionId, transport);
    response.on("close", () => sessions.delete(transport.sessionId));
    return build().connect(transport);
  }
  const transport = sessions.get(searchParams.get("sessionId"));
  if (!transport) return refuse(response, 404, "no such session");
  await transport.handlePostMessage(request, response);
}

const isLoopback = (host = "") => /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(host);

function serve(path, handle) {
  const server = createServer((request, response) => {
    if (!isLoopback(request.headers.host)) return refuse(response, 403, "not this host");
    handle(request, response).catch((error) => {
      console.error(error);
      response.headersSent ? response.destroy() : refuse(response, 500, String(error));
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}${path}`));
  process.stdin.on("end", () => process.exit(0)).resume();
}

const transport = process.argv[2];
if (transport === "stdio") await build().connect(new StdioServerTransport());
else if (transport === "sse") serve("/sse", sse);
else if (transport === "http") serve("/mcp", streamable);
else throw new Error("legacy.mjs http | sse | stdio");
