// The pinned npm packages that tests/run installs outside the source tree. The only place that knows where.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const cache = process.env.TIDEGATE_MCP_PACKAGES ?? fileURLToPath(new URL("../.cache/mcp/", import.meta.url));

export const load = createRequire(`${cache.replace(/\/*$/, "/")}none.js`);
