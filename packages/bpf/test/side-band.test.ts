// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { builtFile, decodeSideBandBatch, EventReader, type SideBandRecord } from '../src/index.ts';
import { needsBpf } from './kernel.ts';

type Of<T extends SideBandRecord['type']> = Extract<SideBandRecord, { type: T }>;

describe('side band of the running kernel', needsBpf(), () => {
  async function record(
    run: () => Promise<void> | void,
    pages = 16,
  ): Promise<{ records: SideBandRecord[]; lost: number }> {
    const records: SideBandRecord[] = [];
    const reader = EventReader.open({
      sideBand: { pages },
      onBatch: (batch) => {
        assert.equal(batch.kind, 'sideBand');
        records.push(...decodeSideBandBatch(batch));
      },
    });
    reader.unref(); // a test that fails must end
    await run();
    assert.equal(await reader.flush(), true);
    await reader.close();
    assert.deepEqual(
      records.filter((record) => record.type === 'malformed'),
      [],
    );
    return { records, lost: reader.statistics().sideBandLost };
  }

  test('exec, mappings of a new process, dlopen, and its end, in this order', async () => {
    // Loads the addon (which is a dlopen), then says where the kernel has put it.
    const library = builtFile('addon.node');
    const script = `require(${JSON.stringify(library)});
      const maps = require('fs').readFileSync('/proc/self/maps', 'utf8').split('\\n');
      const line = maps.find((mapping) => mapping.includes(' r-xp ') && mapping.endsWith('addon.node'));
      console.log(JSON.stringify({ pid: process.pid, line }));`;
    let output = '';
    const { records } = await record(async () => {
      output = (await promisify(execFile)(process.execPath, ['-e', script])).stdout;
    });
    const { pid, line } = JSON.parse(output) as { pid: number; line: string };
    const [, start, end, offset] = /^(\w+)-(\w+) r-xp (\w+)/.exec(line)!;

    const of = records.filter((record) => 'pid' in record && record.pid === pid);
    const exec = of.find((record): record is Of<'exec'> => record.type === 'exec')!;
    assert.equal(exec.name, 'node');
    const mappings = of.filter((record): record is Of<'mapping'> => record.type === 'mapping');
    const mapped = mappings.find((mapping) => mapping.file === library)!;
    const file = statSync(library, { bigint: true });
    assert.equal(mapped.start, BigInt(`0x${start}`));
    assert.equal(mapped.end, BigInt(`0x${end}`));
    assert.equal(mapped.fileOffset, BigInt(`0x${offset}`));
    assert.equal(mapped.inode, file.ino);
    assert.equal(BigInt(mapped.deviceMajor), (file.dev >> 8n) & 0xfffn);
    assert.equal(mapped.protection & 4, 4, 'executable');
    assert.ok(mappings.some((mapping) => mapping.file === '[vdso]'));
    assert.ok(mappings.some((mapping) => /libc\.so/.test(mapping.file)));
    const fork = records.find(
      (record): record is Of<'fork'> => record.type === 'fork' && record.childPid === pid && record.childTid === pid,
    )!;
    assert.equal(fork.parentPid, process.pid);
    const exit = records.findLast((record): record is Of<'exit'> => record.type === 'exit' && record.exitPid === pid)!;
    const order = [fork, exec, mapped, exit];
    for (let i = 1; i < order.length; i++) {
      assert.ok(
        records.indexOf(order[i - 1]) < records.indexOf(order[i]),
        `${order[i - 1].type} before ${order[i].type}`,
      );
      assert.ok(order[i - 1].time <= order[i].time);
    }
  });

  test('a storm of short processes on all CPUs: none missed, sorted by time', async () => {
    const shells = 4;
    const each = 100;
    const { records, lost } = await record(async () => {
      const shell = `i=0; while [ $i -lt ${each} ]; do /bin/true; i=$((i + 1)); done`;
      await Promise.all(Array.from({ length: shells }, () => promisify(execFile)('/bin/sh', ['-c', shell])));
    });
    const execs = records.filter((record): record is Of<'exec'> => record.type === 'exec' && record.name === 'true');
    const pids = new Set(execs.map((exec) => exec.pid));
    assert.equal(lost, 0);
    assert.ok(execs.length >= shells * each);
    const exits = new Set(records.flatMap((record) => (record.type === 'exit' ? [record.exitPid] : [])));
    for (const pid of pids) assert.ok(exits.has(pid));
    const times = records.map((record) => (record as { time: bigint }).time);
    // Two records written at the same moment on two CPUs may be seen in either order; whole processes may not.
    const inversions = times.filter((time, index) => index > 0 && time + 1_000_000n < times[index - 1]);
    assert.deepEqual(inversions, []);
  });

  test('records that do not fit a ring are counted, and said to be lost in their place', async () => {
    let blocked = 0;
    const records: SideBandRecord[] = [];
    let release!: () => void;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reader = EventReader.open({
      sideBand: { pages: 1 },
      buffers: 1,
      onBatch: async (batch) => {
        records.push(...decodeSideBandBatch(batch));
        blocked++;
        await gate;
      },
    });
    reader.unref();
    execFileSync('/bin/sh', ['-c', 'i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i + 1)); done']);
    // The kernel says what was lost with the next record that fits.
    release();
    await reader.flush();
    execFileSync('/bin/sh', ['-c', '/bin/true; /bin/true; /bin/true; /bin/true']);
    await reader.close();
    assert.ok(blocked > 0);
    const lost = records.filter((record): record is Of<'lost'> => record.type === 'lost');
    assert.ok(lost.length > 0);
    assert.equal(
      lost.reduce((sum, record) => sum + Number(record.records), 0),
      reader.statistics().sideBandLost,
    );
  });
});
