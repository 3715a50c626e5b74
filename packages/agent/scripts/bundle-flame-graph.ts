// SPDX-License-Identifier: Apache-2.0

/**
 * Bundles the script and style of the flame graph page into `src/export/flame-graph/page.gen.ts`, as two strings, so that
 * the page is in the program wherever that runs from. With `--check` it only fails if the file is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = fileURLToPath(new URL('../src/export/flame-graph/', import.meta.url));
const target = `${folder}page.gen.ts`;

const output = async (entry: string): Promise<string> => {
  const result = await build({
    entryPoints: [`${folder}browser/${entry}`],
    bundle: true,
    minify: true,
    charset: 'utf8',
    format: 'iife',
    target: ['chrome109', 'firefox115', 'safari16'],
    write: false,
    tsconfigRaw: '{}',
  });
  // Inside of an HTML element, its end tag would end it.
  return result.outputFiles[0].text.replaceAll('</', '<\\/');
};

const text = `// SPDX-License-Identifier: Apache-2.0
// Generated from browser/ by scripts/bundle-flame-graph.ts.

export const pageScript = ${JSON.stringify(await output('main.ts'))};

export const pageStyle = ${JSON.stringify(await output('page.css'))};
`;

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error(`${target} is out of date: run packages/agent/scripts/bundle-flame-graph.ts`);
    process.exitCode = 1;
  }
} else {
  writeFileSync(target, text);
}
