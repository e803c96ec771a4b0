// Holds every dashboards/*.json to Grafana's types: each becomes an expression that must satisfy `Dashboard`, and TypeScript
// judges them all at once. So that the judge is known to be awake, spoilt copies must be refused.
//
//   node check.mjs FOLDER-OF-DASHBOARDS FOLDER-WITH-NODE_MODULES
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [dashboards, modules] = process.argv.slice(2);
const folder = mkdtempSync(join(modules, 'check-'));

// Ways to be wrong that only types know, and a text that one of the dashboards has.
const spoilt = {
  'a misspelt option': ['"graphMode"', '"graphmode"'],
  'a value that no option has': ['"mode": "absolute"', '"mode": "absolut"'],
  'a literal data source': ['"${DS_POSTGRES}"', '"P44368ADAD746BC27"'],
  'a key that no panel has': ['"gridPos"', '"gridpos"'],
};

// Each text as a module of its own; what TypeScript says of all of them, empty where they are well.
function judge(texts) {
  const files = Object.entries(texts).map(([name, text]) => {
    const file = join(folder, `${name}.ts`);
    const module = `import type { Dashboard } from './dashboard.ts';\nexport default (${text.trimEnd()}) satisfies Dashboard;\n`;
    writeFileSync(file, module);
    return file;
  });
  const options = '--noEmit --strict --skipLibCheck --allowImportingTsExtensions --module esnext --moduleResolution bundler --target esnext';
  const tsc = join(modules, 'node_modules/typescript/bin/tsc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, ...options.split(' '), ...files], { encoding: 'utf8' });
  if (status === null || stderr) throw new Error(`TypeScript did not run: ${stderr}`);
  return status === 0 ? '' : stdout;
}

try {
  copyFileSync(new URL('dashboard.ts', import.meta.url), join(folder, 'dashboard.ts'));
  const names = readdirSync(dashboards).filter((name) => name.endsWith('.json'));
  const texts = Object.fromEntries(names.map((name) => [name.slice(0, -5), readFileSync(join(dashboards, name), 'utf8')]));
  const wrong = judge(texts);
  if (names.length === 0 || wrong) throw new Error(wrong || 'there are no dashboards');

  const copies = Object.values(spoilt).map(([text, other], at) => {
    const original = Object.values(texts).find((dashboard) => dashboard.includes(text));
    return [`spoilt-${at}`, original.replace(text, other)];
  });
  const refused = judge(Object.fromEntries(copies));
  Object.keys(spoilt).forEach((what, at) => {
    if (!refused.includes(`spoilt-${at}.ts`)) throw new Error(`${what} was not refused:\n${refused}`);
  });
  console.log(`${names.length} dashboards are what Grafana's types say`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
