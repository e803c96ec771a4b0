// What both fixture servers offer: the names that the conformance suites ask for, and what they expect to get.
// It knows no SDK: plain values and functions, which legacy.mjs and modern.mjs hand to theirs.

// One red pixel, and a WAV file without samples.
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/q842iQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

export const text = (said) => ({ type: "text", text: said });
export const says = (said) => ({ content: [text(said)] });
export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const image = { type: "image", data: PNG, mimeType: "image/png" };
const audio = { type: "audio", data: WAV, mimeType: "audio/wav" };
const embedded = (uri) => ({
  type: "resource",
  resource: { uri, mimeType: "text/plain", text: "Text of an embedded resource." },
});

export const nothing = { type: "object", properties: {} };
export const form = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required });

// What tools ask users for, in the forms that the suites look at.
const plain = ["option1", "option2", "option3"];
const titled = ["value1", "value2", "value3"].map((value, at) => ({ const: value, title: `Option ${at + 1}` }));
export const questions = {
  test_elicitation_sep1034_defaults: {
    about: "Asks with defaults of every kind.",
    message: "Please check these.",
    schema: form(
      {
        name: { type: "string", description: "A name", default: "John Doe" },
        age: { type: "integer", description: "An age", default: 30 },
        score: { type: "number", description: "A score", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", description: "Whether it was checked", default: true },
      },
      [],
    ),
  },
  test_elicitation_sep1330_enums: {
    about: "Asks with choices of every kind.",
    message: "Please choose.",
    schema: form(
      {
        untitledSingle: { type: "string", enum: plain },
        titledSingle: { type: "string", oneOf: titled },
        legacyEnum: {
          type: "string",
          enum: ["opt1", "opt2", "opt3"],
          enumNames: ["Option 1", "Option 2", "Option 3"],
        },
        untitledMulti: { type: "array", minItems: 1, maxItems: 3, items: { type: "string", enum: plain } },
        titledMulti: { type: "array", minItems: 1, maxItems: 3, items: { anyOf: titled } },
      },
      [],
    ),
  },
};

// Tools that answer at once. The suite for header checks calls the first of the list without arguments.
export const tools = {
  test_simple_text: { about: "Answers with a text.", call: () => says("A plain text.") },
  test_image_content: { about: "Answers with an image.", call: () => ({ content: [image] }) },
  test_audio_content: { about: "Answers with a sound.", call: () => ({ content: [audio] }) },
  test_embedded_resource: {
    about: "Answers with a resource.",
    call: () => ({ content: [embedded("test://embedded")] }),
  },
  test_multiple_content_types: {
    about: "Answers with a text, an image and a resource.",
    call: () => ({ content: [text("Three kinds:"), image, embedded("test://mixed")] }),
  },
  test_error_handling: {
    about: "Fails, as tools do.",
    call: () => ({ ...says("This tool always fails."), isError: true }),
  },
  json_schema_2020_12_tool: {
    about: "Has an input schema with much of JSON Schema 2020-12 in it.",
    schema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: { type: "string" }, city: { type: "string" } },
        },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    call: (args) => says(`Got ${Object.keys(args).join(", ") || "nothing"}.`),
  },
  test_custom_header: {
    about: "Has an argument that is repeated in a header.",
    schema: form({ region: { type: "string", "x-mcp-header": "Region" } }, []),
    call: ({ region }) => says(`Region ${region}.`),
  },
};

export const toolList = (table) =>
  Object.entries(table).map(([name, { about, schema = nothing }]) => ({
    name,
    description: about,
    inputSchema: schema,
  }));

// Resources, by URI.
const contents = {
  "test://static-text": { name: "Static text", mimeType: "text/plain", text: "The text of a resource." },
  "test://static-binary": { name: "Static bytes", mimeType: "image/png", blob: PNG },
  "test://watched-resource": { name: "Watched text", mimeType: "text/plain", text: "A text that may change." },
};

export const resourceList = () =>
  Object.entries(contents).map(([uri, { name, mimeType }]) => ({
    uri,
    name,
    description: `A resource: ${name.toLowerCase()}.`,
    mimeType,
  }));

export const templateList = () => [
  {
    uriTemplate: "test://template/{id}/data",
    name: "Templated data",
    description: "Data by number.",
    mimeType: "application/json",
  },
];

// The contents of a resource, or undefined.
export function read(uri) {
  const found = contents[uri];
  if (found) {
    const { name: _, ...body } = found;
    return [{ uri, ...body }];
  }
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id !== undefined) {
    return [{ uri, mimeType: "application/json", text: JSON.stringify({ id, data: `Data of ${id}.` }) }];
  }
}

const user = (content) => ({ role: "user", content });
const argument = (name) => ({ name, description: `The ${name}.`, required: true });

export const prompts = {
  test_simple_prompt: { about: "A prompt.", get: () => [user(text("Say something simple."))] },
  test_prompt_with_arguments: {
    about: "A prompt with two arguments.",
    arguments: [argument("arg1"), argument("arg2")],
    get: ({ arg1, arg2 }) => [user(text(`The first is '${arg1}', the second '${arg2}'.`))],
  },
  test_prompt_with_embedded_resource: {
    about: "A prompt with a resource.",
    arguments: [argument("resourceUri")],
    get: ({ resourceUri }) => [user(embedded(resourceUri)), user(text("What is this?"))],
  },
  test_prompt_with_image: {
    about: "A prompt with an image.",
    get: () => [user(image), user(text("What is this?"))],
  },
};

export const promptList = (table) =>
  Object.entries(table).map(([name, { about, arguments: wanted }]) => ({
    name,
    description: about,
    ...(wanted && { arguments: wanted }),
  }));

export const complete = ({ argument }) => {
  const values = ["paris", "park", "party", "test-one", "test-two"];
  const found = values.filter((value) => value.startsWith(argument.value));
  return { completion: { values: found, total: found.length, hasMore: false } };
};
