// SPDX-License-Identifier: Apache-2.0
/**
 * Bundles the script and style of the flame graph page into `src/export/flame-graph/page.gen.ts`, as two strings, so that
 * the page is in the program wherever that runs from.
 *
 *   node packages/agent/scripts/bundle-flame-graph.ts [--check]
 */
import { join } from 'node:path';
import { build } from 'esbuild';
import { deliver } from '../../../scripts/generated-files.ts';

const browser = join(import.meta.dirname, '../src/export/flame-graph/browser');

const output = async (entry: string): Promise<string> => {
  const result = await build({
    entryPoints: [join(browser, entry)],
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

deliver({
  'packages/agent/src/export/flame-graph/page.gen.ts': `// SPDX-License-Identifier: Apache-2.0
// Generated from browser/ by scripts/bundle-flame-graph.ts.

export const pageScript = ${JSON.stringify(await output('main.ts'))};

export const pageStyle = ${JSON.stringify(await output('page.css'))};
`,
});
