// A reverse proxy that adds what the conformance suites cannot send: the key, and the path of one server's view.
//
//   node shim.mjs http://127.0.0.1:4000/everything/mcp KEY
//
// It listens on a free port of 127.0.0.1 and prints its URL as the first line; it ends when its standard input is closed.
// Everything else passes as it is, in both directions and at once: status, headers with their spelling, Host and Origin
// among them, and bodies piece by piece. A side that hangs up makes the other hang up too.

import http from "node:http";

const [target, key] = process.argv.slice(2);
const { hostname, port, pathname, search } = new URL(target);
const agent = new http.Agent({ keepAlive: true, noDelay: true });

// Node's flat list of names and values, without those that belong to one connection.
const passed = (raw, dropped) => {
  const kept = [];
  for (let at = 0; at < raw.length; at += 2)
    if (!dropped.includes(raw[at].toLowerCase())) kept.push(raw[at], raw[at + 1]);
  return kept;
};
const HOPS = ["connection", "keep-alive"];

const server = http.createServer((request, response) => {
  const headers = passed(request.rawHeaders, [...HOPS, "authorization"]);
  headers.push("Authorization", `Bearer ${key}`);
  const options = { hostname, port, path: pathname + search, method: request.method, headers, agent };
  const onward = http.request(options, (answer) => {
    response.sendDate = false;
    response.writeHead(answer.statusCode, answer.statusMessage, passed(answer.rawHeaders, HOPS));
    response.flushHeaders();
    answer.on("error", () => response.destroy()).pipe(response);
  });
  onward.on("error", (error) => {
    if (response.headersSent || response.destroyed) return response.destroy();
    response.writeHead(502, { "content-type": "text/plain" }).end(`shim: ${error.message}\n`);
  });
  response.on("close", () => onward.destroy());
  request.on("error", () => onward.destroy()).pipe(onward);
});
server.on("connection", (socket) => socket.setNoDelay(true));
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
process.stdin.on("end", () => process.exit(0)).resume();
