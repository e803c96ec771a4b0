// A server of the stateless era (2026-07-28), for the conformance suites: the official TypeScript SDK v2.
//
//   node modern.mjs http | stdio
//
// Over HTTP it listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input
// is closed. It refuses the session era over HTTP, so that a gateway cannot pass by falling back.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { load } from "./packages.mjs";
import * as surface from "./surface.mjs";

const sdk = load("@modelcontextprotocol/server");
const { serveStdio } = load("@modelcontextprotocol/server/stdio");
const { localhostHostValidation, localhostOriginValidation, toNodeHandler } = load("@modelcontextprotocol/node");
const { form, says, sleep, text } = surface;
const { inputRequired } = sdk;

// Request state that a client cannot change unnoticed.
const secret = randomBytes(32);
const mac = (data) => createHmac("sha256", secret).update(data).digest("base64url");
const seal = (value) => {
  const data = Buffer.from(JSON.stringify({ ...value, nonce: randomBytes(8).toString("hex") })).toString("base64url");
  return `${data}.${mac(data)}`;
};
const unseal = (state) => {
  const [data, sum] = state.split(".");
  const [is, was] = [Buffer.from(mac(data ?? "")), Buffer.from(sum ?? "")];
  if (is.length !== was.length || !timingSafeEqual(is, was)) throw new Error("not my state");
  return JSON.parse(Buffer.from(data, "base64url").toString());
};

const elicit = (message, properties) => inputRequired.elicit({ message, requestedSchema: form(properties) });
const sample = (question) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: text(question) }], maxTokens: 100 });
const answers = (context) => context.mcpReq.inputResponses ?? {};
const accepted = (context, key) => {
  const { action, content } = answers(context)[key] ?? {};
  return action === "accept" ? content : undefined;
};
const capabilities = (context) => context.mcpReq.envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? {};

// What a list has changed, told to whoever listens: set once it is known what serves.
let changed = () => {};

const tools = {
  ...surface.tools,
  test_tool_with_progress: {
    about: "Reports its progress three times.",
    async call(_, context) {
      const progressToken = context.mcpReq._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken === undefined) break;
        const params = { progressToken, progress, total: 100, message: `${progress} of 100` };
        await context.mcpReq.notify({ method: "notifications/progress", params });
        await sleep(30);
      }
      return says(String(progressToken));
    },
  },
  test_tool_with_logging: {
    about: "Logs three messages, where the request asks for them.",
    async call(_, context) {
      for (const data of ["started", "working", "done"]) await context.mcpReq.log("info", data);
      return says("Logged.");
    },
  },
  test_logging_tool: {
    about: "Logs, where the request asks for it.",
    async call(_, context) {
      await context.mcpReq.log("info", "one");
      return says("Logged.");
    },
  },
  test_streaming_elicitation: {
    about: "Reports progress, then asks.",
    async call(_, context) {
      await context.mcpReq.notify({
        method: "notifications/progress",
        params: { progressToken: context.mcpReq._meta?.progressToken ?? 0, progress: 1, total: 2 },
      });
      const go = accepted(context, "go");
      return go ? says("Gone.") : inputRequired({ inputRequests: { go: elicit("Go?", { ok: { type: "boolean" } }) } });
    },
  },
  test_missing_capability: {
    about: "Needs a client that can sample.",
    call(_, context) {
      if (capabilities(context).sampling) return says("You can sample.");
      throw new sdk.MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
    },
  },
  test_trigger_tool_change: {
    about: "Tells listeners that the tools have changed.",
    call: () => (changed("tools"), says("Told.")),
  },
  test_trigger_prompt_change: {
    about: "Tells listeners that the prompts have changed.",
    call: () => (changed("prompts"), says("Told.")),
  },
  test_trigger_resource_update: {
    about: "Tells listeners that the watched resource has changed.",
    call: () => (changed("resource"), says("Told.")),
  },
  test_input_required_result_elicitation: {
    about: "Asks for a name.",
    call(_, context) {
      const name = accepted(context, "user_name")?.name;
      if (typeof name === "string") return says(`Hello, ${name}!`);
      return inputRequired({
        inputRequests: { user_name: elicit("What is your name?", { name: { type: "string" } }) },
      });
    },
  },
  test_input_required_result_sampling: {
    about: "Asks the client's model.",
    call(_, context) {
      const said = answers(context).capital_question;
      if (said) return says(`The model said: ${said.content?.text}`);
      return inputRequired({ inputRequests: { capital_question: sample("What is the capital of France?") } });
    },
  },
  test_input_required_result_list_roots: {
    about: "Asks for the client's roots.",
    call(_, context) {
      const roots = answers(context).client_roots?.roots;
      if (roots) return says(roots.map(({ uri }) => uri).join(", "));
      return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
    },
  },
  test_input_required_result_request_state: {
    about: "Asks, and wants its state back.",
    call(_, context) {
      if (context.mcpReq.requestState()?.tool === "state" && accepted(context, "confirm")) return says("state-ok");
      return inputRequired({
        inputRequests: { confirm: elicit("Please confirm.", { ok: { type: "boolean" } }) },
        requestState: seal({ tool: "state" }),
      });
    },
  },
  test_input_required_result_tampered_state: {
    about: "Asks, and refuses a state that was changed.",
    call(_, context) {
      if (context.mcpReq.requestState()?.tool === "tampered" && accepted(context, "confirm")) return says("Unchanged.");
      return inputRequired({
        inputRequests: { confirm: elicit("Please confirm.", { ok: { type: "boolean" } }) },
        requestState: seal({ tool: "tampered" }),
      });
    },
  },
  test_input_required_result_multiple_inputs: {
    about: "Asks for three things at once.",
    call(_, context) {
      const given = answers(context);
      if (context.mcpReq.requestState() && accepted(context, "user_name") && given.greeting && given.client_roots)
        return says(`${given.greeting.content?.text} ${accepted(context, "user_name").name}`);
      return inputRequired({
        inputRequests: {
          user_name: elicit("What is your name?", { name: { type: "string" } }),
          greeting: sample("Write a greeting."),
          client_roots: inputRequired.listRoots(),
        },
        requestState: seal({ tool: "multiple" }),
      });
    },
  },
  test_input_required_result_multi_round: {
    about: "Asks twice.",
    call(_, context) {
      const state = context.mcpReq.requestState();
      const color = accepted(context, "step2")?.color;
      if (state?.name !== undefined && color !== undefined) return says(`${state.name} likes ${color}.`);
      const name = state?.round === 1 ? accepted(context, "step1")?.name : undefined;
      if (name !== undefined)
        return inputRequired({
          inputRequests: { step2: elicit("Which color do you like?", { color: { type: "string" } }) },
          requestState: seal({ round: 2, name }),
        });
      return inputRequired({
        inputRequests: { step1: elicit("What is your name?", { name: { type: "string" } }) },
        requestState: seal({ round: 1 }),
      });
    },
  },
  test_input_required_result_capabilities: {
    about: "Asks only for what the client can do.",
    call(_, context) {
      if (Object.keys(answers(context)).length > 0) return says(Object.keys(answers(context)).join(", "));
      const can = capabilities(context);
      const inputRequests = {
        ...(can.elicitation && { elicit_input: elicit("A value?", { value: { type: "string" } }) }),
        ...(can.sampling && { sample_input: sample("Say anything.") }),
      };
      if (Object.keys(inputRequests).length === 0) return says("You can do nothing.");
      return inputRequired({ inputRequests, requestState: seal({ tool: "capabilities" }) });
    },
  },
};

// What a tool of the session era asks its client for, done with `input_required`.
tools.test_sampling = {
  about: "Has the client ask its model.",
  schema: form({ prompt: { type: "string" } }),
  call({ prompt }, context) {
    const said = answers(context).said;
    return said ? says(`The model said: ${said.content?.text}`) : inputRequired({ inputRequests: { said: sample(prompt) } });
  },
};
const asks = (message, requestedSchema, context) => {
  const given = answers(context).given;
  if (given) return says(`${given.action}: ${JSON.stringify(given.content ?? {})}`);
  return inputRequired({ inputRequests: { given: inputRequired.elicit({ message, requestedSchema }) } });
};
tools.test_elicitation = {
  about: "Has the client ask its user.",
  schema: form({ message: { type: "string" } }),
  call: ({ message }, context) =>
    asks(message, form({ username: { type: "string" }, email: { type: "string" } }), context),
};
for (const [name, { about, message, schema }] of Object.entries(surface.questions))
  tools[name] = { about, call: (_, context) => asks(message, schema, context) };

const prompts = {
  ...surface.prompts,
  test_input_required_result_prompt: {
    about: "A prompt that asks first.",
    get(_, context) {
      const found = accepted(context, "user_context")?.context;
      if (typeof found === "string") return [{ role: "user", content: text(`Consider: ${found}`) }];
      return inputRequired({
        inputRequests: { user_context: elicit("Which context?", { context: { type: "string" } }) },
      });
    },
  },
};

function build() {
  const hint = { ttlMs: 60_000, cacheScope: "public" };
  const server = new sdk.Server(
    { name: "tidegate-modern-fixture", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
      instructions: "A server for tests.",
      cacheHints: {
        "tools/list": hint,
        "prompts/list": hint,
        "resources/list": hint,
        "resources/templates/list": hint,
        "resources/read": { ttlMs: 1000, cacheScope: "private" },
        "server/discover": hint,
      },
      requestState: { verify: (state) => unseal(state) },
    },
  );
  const on = (method, handler) => server.setRequestHandler(method, handler);
  const missing = (what, data) => {
    throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, what, data);
  };
  on("tools/list", () => ({ tools: surface.toolList(tools) }));
  on("tools/call", ({ params }, context) => {
    const tool = tools[params.name] ?? missing(`no tool ${params.name}`);
    return tool.call(params.arguments ?? {}, context);
  });
  on("resources/list", () => ({ resources: surface.resourceList() }));
  on("resources/templates/list", () => ({ resourceTemplates: surface.templateList() }));
  on("resources/read", ({ params: { uri } }) => ({
    contents: surface.read(uri) ?? missing("no such resource", { uri }),
  }));
  on("prompts/list", () => ({ prompts: surface.promptList(prompts) }));
  on("prompts/get", ({ params }, context) => {
    const prompt = prompts[params.name] ?? missing(`no prompt ${params.name}`);
    const got = prompt.get(params.arguments ?? {}, context);
    return Array.isArray(got) ? { messages: got } : got;
  });
  on("completion/complete", ({ params }) => surface.complete(params));
  return server;
}

function serveHttp() {
  const handler = sdk.createMcpHandler(build, { legacy: "reject" });
  changed = (what) => {
    if (what === "tools") handler.notify.toolsChanged();
    else if (what === "prompts") handler.notify.promptsChanged();
    else handler.notify.resourceUpdated("test://watched-resource");
  };
  const [hostFits, originFits, answer] = [localhostHostValidation(), localhostOriginValidation(), toNodeHandler(handler)];
  const server = createServer((request, response) => {
    if (hostFits(request, response) && originFits(request, response)) answer(request, response);
  });
  server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
  process.stdin.on("end", () => process.exit(0)).resume();
}

function serveChild() {
  let last;
  serveStdio(() => (last = build()));
  changed = (what) => {
    if (what === "tools") last.sendToolListChanged();
    else if (what === "prompts") last.sendPromptListChanged();
    else last.sendResourceUpdated({ uri: "test://watched-resource" });
  };
}

const transport = process.argv[2];
if (transport === "stdio") serveChild();
else if (transport === "http") serveHttp();
else throw new Error("modern.mjs http | stdio");
