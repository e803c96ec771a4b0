#!/usr/bin/env bash
# The compliance suite of Open Responses (https://github.com/openresponses/openresponses) against the gateway, in front of a
# scripted provider of every format: HTTP, compaction and WebSocket. Not part of tests/run: it needs a checkout of the suite in which
# `bun install` has been run, and bun (https://www.npmjs.com/package/bun).
#
#   cargo build && tests/clients/open_responses.sh CHECKOUT [TEST,TEST…]
#
# BUN=/path/to/bun chooses another bun. Nothing but loopback is called. What came of it stands in docs/guide/clients-tested.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
checkout=${1:?the path of a checkout of openresponses}
bun=${BUN:-bun}
suite=("$bun" run bin/compliance-test.ts --base-url "{base}" --api-key "{key}" --model "{model}")
if [ $# -gt 1 ]; then suite+=(--filter "$2" --verbose); fi
cd "$checkout"
exec "${PYTHON:-python3}" -B "$root/tests/sdk/upstreams.py" "${TIDEGATE:-$root/target/debug/tidegate}" "${suite[@]}"
