// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { Spool } from './spool.ts';

let directory: string;
let drops: [string, number][];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plumbline-spool-'));
  drops = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const openSpool = (maxBytes = 1 << 20) =>
  Spool.open({ directory, maxBytes, onDrop: (cause, samples) => drops.push([cause, samples]) });

/** Everything in the spool, in order, removed as it is read. */
async function drainSpool(spool: Spool): Promise<string[]> {
  const payloads: string[] = [];
  for (let request = await spool.oldest(); request; request = await spool.oldest()) {
    payloads.push(`${Buffer.from(request.payload)} ${request.samples}`);
    await spool.remove(request.name);
  }
  return payloads;
}

test('what is written comes back in order, also to the next run', async () => {
  const spool = await openSpool();
  for (let i = 0; i < 5; i++) await spool.write({ payload: Buffer.from(`request ${i}`), samples: i });
  assert.equal((await spool.oldest())?.samples, 0);
  assert.equal((await spool.oldest())?.samples, 0, 'it stays until it is removed');

  const next = await openSpool();
  assert.deepEqual([next.count, next.samples, next.bytes], [5, 10, spool.bytes]);
  assert.deepEqual(await drainSpool(next), ['request 0 0', 'request 1 1', 'request 2 2', 'request 3 3', 'request 4 4']);
  assert.deepEqual(readdirSync(directory), []);
  assert.deepEqual(drops, []);
});

test('beyond its size the oldest go, but not the one that is being sent', async () => {
  const payload = (i: number) =>
    Buffer.concat([Buffer.from([i]), Buffer.from(Array.from({ length: 200 }, (_, k) => (k * 37 * (i + 1)) & 255))]);
  const spool = await openSpool(1_000);
  for (let i = 0; i < 3; i++) await spool.write({ payload: payload(i), samples: i + 1 });
  const held = await spool.oldest();
  for (let i = 3; i < 8; i++) await spool.write({ payload: payload(i), samples: i + 1 });
  assert.ok(spool.bytes <= 1_000);
  assert.equal((await spool.oldest())?.name, held?.name);
  const lost = drops.reduce((sum, [, samples]) => sum + samples, 0);
  assert.equal(lost + spool.samples, 36);
  assert.ok(drops.every(([cause]) => cause === 'spool_full'));

  const smaller = await openSpool(500);
  assert.ok(smaller.bytes <= 500, 'a limit that was lowered holds for what is there');
  await smaller.write({ payload: Buffer.from(Array.from({ length: 4_000 }, (_, i) => (i * i * 31) >> 3)), samples: 9 });
  assert.deepEqual(drops.at(-1), ['spool_full', 9]);
});

test('damaged files are counted and gone; files of others stay', async () => {
  const spool = await openSpool();
  await spool.write({ payload: Buffer.from('damaged later'), samples: 7 });
  await spool.write({ payload: Buffer.from('whole'), samples: 1 });
  await spool.write({ payload: Buffer.from('cut'), samples: 2 });
  const [first, , third] = readdirSync(directory).sort();
  const flip = readFileSync(join(directory, first));
  flip[flip.length - 1] ^= 0xff;
  writeFileSync(join(directory, first), flip);
  writeFileSync(join(directory, third), readFileSync(join(directory, third)).subarray(0, 30));
  writeFileSync(join(directory, '.partial-left-by-a-crash'), 'x');
  writeFileSync(join(directory, 'README'), 'not ours');

  const next = await openSpool();
  assert.deepEqual(await drainSpool(next), ['whole 1']);
  assert.deepEqual(drops, [
    ['spool_damaged', 0], // cut: its header is not trusted
    ['spool_damaged', 7],
  ]);
  assert.deepEqual(readdirSync(directory), ['README']);
});

test('no damage does harm', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 8 }),
      fc.nat(),
      async (edits, cut) => {
        rmSync(directory, { recursive: true, force: true });
        drops = [];
        const spool = await openSpool();
        await spool.write({ payload: Buffer.from('some request'), samples: 3 });
        const [name] = readdirSync(directory);
        const bytes = readFileSync(join(directory, name));
        const damaged = Buffer.from(bytes.subarray(0, bytes.length - (cut % 4)));
        for (const [at, value] of edits) damaged[at % damaged.length] = value;
        writeFileSync(join(directory, name), damaged);
        const read = await drainSpool(await openSpool());
        const isSame = damaged.equals(bytes);
        // The number of samples is outside of the checksum; the payload is not.
        if (isSame) assert.deepEqual(read, ['some request 3']);
        else assert.ok(read.length === 0 ? drops.length === 1 : read[0].startsWith('some request'));
      },
    ),
    { numRuns: 60 },
  );
});
