// SPDX-License-Identifier: Apache-2.0
/**
 * Bundles the agent and the operator for production: dist/agent/{plumbline,worker}.mjs, dist/operator/operator.mjs.
 * The addon and the BPF objects are not part of it; they lie beside it in the image (packages/bpf/build).
 *
 *   node scripts/bundle.ts [FOLDER]     default: dist
 */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { build } from 'esbuild';

/** Packages in CommonJS call require(), which an ES module has not of itself. */
const banner = {
  js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
};

async function bundle(outdir: string, entryPoints: Record<string, string>): Promise<void> {
  rmSync(outdir, { recursive: true, force: true }); // chunks of earlier bundles have other names
  mkdirSync(outdir, { recursive: true });
  await build({
    entryPoints,
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // what is imported lazily stays out of memory until it is needed
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minify: true,
    legalComments: 'none',
    banner,
    chunkNames: 'chunk-[hash]', // beside the entry points: what is found relative to a module lies there too
    logLevel: 'warning',
  });
  for (const name of Object.keys(entryPoints)) {
    const file = `${outdir}/${name}.mjs`;
    console.log(`${file}  ${Math.round(statSync(file).size / 1024)} KiB`);
  }
}

const folder = process.argv[2] ?? 'dist';
await bundle(`${folder}/agent`, {
  plumbline: 'packages/agent/src/main.ts',
  worker: 'packages/agent/src/worker.ts',
});
await bundle(`${folder}/operator`, { operator: 'packages/operator/src/main.ts' });
