#!/usr/bin/env bash
# The MCP Inspector's command line against an endpoint, by hand: it brings a hundred packages, too many for tests/run.
#
#   tests/mcp/inspector.sh URL [KEY]       URL of a view in which a fixture's names stand as they are
#
# Lists and calls in every era (ERAS="legacy auto" for some), then loads the endpoint for five seconds. Needs what tests/run installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
url=$1 key=${2-}
version=2.12.0
export PATH=$PWD/.cache/venv/bin:$PATH
home=$PWD/.cache/inspector-$version
if [ ! -e "$home/node_modules/.bin/mcp-inspector" ]; then
  mkdir -p "$home"
  echo '{"private": true}' >"$home/package.json"
  (cd "$home" && node ../venv/nodejs/lib/node_modules/npm/bin/npm-cli.js install --loglevel=error --no-audit --no-fund \
    --ignore-scripts "@modelcontextprotocol/inspector@$version")
fi
inspect() {
  "$home/node_modules/.bin/mcp-inspector" --cli "$url" --transport http --stored-auth-only \
    ${key:+--header "Authorization: Bearer $key"} "$@"
}
failed=0
expect() {
  local wanted=$1 said
  shift
  if said=$(inspect "$@" 2>&1) && grep -q "$wanted" <<<"$said"; then echo "ok   $*"
  else echo "FAIL $*"; head -c 2000 <<<"$said"; failed=1
  fi
}
for era in ${ERAS:-legacy auto modern}; do
  expect test_simple_text --protocol-era "$era" --strict --method tools/list
  expect "A plain text." --protocol-era "$era" --method tools/call --tool-name test_simple_text
  expect test://static-text --protocol-era "$era" --method resources/list
  expect test_simple_prompt --protocol-era "$era" --method prompts/list
done
inspect --protocol-era "$era" --method tools/call --tool-name test_simple_text --load --load-duration 5 --load-concurrency 16
exit $failed
