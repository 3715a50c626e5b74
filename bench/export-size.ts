// SPDX-License-Identifier: Apache-2.0
/** Bytes per sample of each format, of real recordings: against plain encoding, with and without gzip, recursion folded. */
import { spawn } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { foldRecursion } from '../packages/agent/src/export/fold-recursion.ts';
import { encodeFolded } from '../packages/agent/src/export/folded.ts';
import { encodeOtlp } from '../packages/agent/src/export/otlp.ts';
import { encodePprofMessage } from '../packages/agent/src/export/pprof.ts';
import type { Profile } from '../packages/agent/src/profile/profile.ts';
import type { SampleHandle } from '../packages/agent/src/profile/sample-table.ts';
import { record } from '../packages/agent/src/recording.ts';
import type { Table } from './table.ts';
import { startRecursion } from './walk.ts';

/** Parses, walks and prints much text by many functions: broad stacks, some of them deep. */
const BROAD = `
const items = Array.from({ length: 400 }, (_, i) => ({ id: i, name: 'item ' + i, tags: ['a', 'b', String(i % 7)], at: new Date(i * 1e9) }));
const walk = (value, depth) => depth === 0 ? JSON.stringify(value).length : walk({ value }, depth - 1);
for (;;) {
  const text = JSON.stringify(items);
  JSON.parse(text, (key, value) => (typeof value === 'string' ? value.toUpperCase() : value));
  text.replace(/item (\\d+)/g, (_, n) => n.padStart(8)).split(',').sort().map((s) => s.length);
  walk(items[3], 200);
  new Map(items.map((item) => [item.name, item])).forEach((item) => item.at.toISOString());
}`;

interface Load {
  readonly name: string;
  start(): Promise<{ readonly pids: readonly number[]; stop(): Promise<void> }>;
}

const LOADS: readonly Load[] = [
  { name: 'broad program', start: startBroad },
  { name: 'recursion, depth 1,000', start: () => startRecursion(1000) },
];

async function startBroad() {
  const child = spawn(process.execPath, ['--interpreted-frames-native-stack', '-e', BROAD], { stdio: 'ignore' });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  return {
    pids: [child.pid as number],
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Eight bytes for every frame of every sample, and for its process, thread and time: what a stream of raw samples takes. */
function plainBytes({ samples, stacks }: Profile): number {
  let bytes = 0;
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    bytes += samples.value(sample) * 8 * (stacks.depth(samples.stack(sample)) + 3);
  }
  return bytes;
}

const ENCODINGS: readonly (readonly [name: string, encode: (profile: Profile) => Uint8Array])[] = [
  ['folded', (profile) => Buffer.from(encodeFolded(profile))],
  ['folded, recursion folded', (profile) => Buffer.from(encodeFolded(profile, { foldRecursion: true }))],
  ['pprof', encodePprofMessage],
  ['pprof, recursion folded', (profile) => encodePprofMessage(foldRecursion(profile))],
  ['OTLP', (profile) => encodeOtlp(profile)],
  ['OTLP, recursion folded', (profile) => encodeOtlp(foldRecursion(profile))],
];

export async function benchExportSize(brief: boolean): Promise<Table> {
  const rows: string[][] = [];
  for (const { name, start } of LOADS) {
    const load = await start();
    let profile: Profile;
    try {
      const [pid, ...others] = load.pids;
      const result = await record(
        {
          target: { kind: 'pid', pid, others },
          durationMs: brief ? 3_000 : 10_000,
          frequency: 99,
          event: 'cpu-clock',
          strategy: 'auto',
          maxFrames: 4096,
          keepRawStacks: false,
          abort: new AbortController().signal,
        },
        () => {},
      );
      profile = result.profile;
    } finally {
      await load.stop();
    }
    let samples = 0;
    for (let i = 0; i < profile.samples.count; i++) samples += profile.samples.value(i as SampleHandle);
    const per = (bytes: number) => (bytes / samples).toFixed(1);
    const plain = plainBytes(profile);
    rows.push([`${name}: plain`, `${samples}`, `${profile.samples.count}`, per(plain), '', '1.0']);
    for (const [encoding, encode] of ENCODINGS) {
      const bytes = encode(profile);
      const zipped = gzipSync(bytes).length;
      rows.push([`${name}: ${encoding}`, '', '', per(bytes.length), per(zipped), (plain / zipped).toFixed(1)]);
    }
  }
  return {
    title: 'Bytes per sample',
    command: 'make bench (case export-size)',
    head: ['10 s at 99 Hz', 'samples', 'distinct', 'bytes per sample', 'gzipped', 'times smaller than plain'],
    rows,
    notes: [
      'Plain: eight bytes for each frame, process, thread and time of each sample, no names. The others are whole: names, files and build ids included, once.',
    ],
  };
}
