// SPDX-License-Identifier: Apache-2.0
/** Writes the references in `docs/` that are made from the agent's schemas; with `--check`, fails where one is out of date. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { configurationReference } from '../src/config/reference.ts';
import { metricsReference } from '../src/metrics/reference.ts';

const DOCS = {
  'configuration.md': configurationReference,
  'metrics.md': metricsReference,
};

const check = process.argv.includes('--check');
for (const [name, render] of Object.entries(DOCS)) {
  const path = fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url));
  const text = render();
  if (check) {
    if (read(path) !== text) {
      console.error(`docs/${name} is out of date: run \`node packages/agent/scripts/generate-docs.ts\``);
      process.exitCode = 1;
    }
  } else if (read(path) !== text) {
    writeFileSync(path, text);
    console.log(`wrote docs/${name}`);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
