// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SideBandRecord } from '@plumbline/bpf';
import { Executable } from './executable.ts';
import type { Executables } from './executables.ts';
import { type ProcessEvent, ProcessTable } from './table.ts';

const TGID = 4_000_000; // above every pid of this machine: /proc says nothing of it

function make() {
  const program = new Executable(1, 'program', '/program', -1);
  const seconds: number[] = [];
  const table = new ProcessTable({
    store: { setProcess: () => true, deleteProcess: () => {} },
    executables: { find: () => program, retain: () => {}, release: () => {} } as unknown as Executables,
    selectPolicy: () => 1,
    onReady: (time) => seconds.push(time),
  });
  const now = Number(process.hrtime.bigint());
  const exec = { type: 'exec', pid: TGID, tid: TGID, comm: 'program', time: BigInt(now) };
  const mapping = { ...{ type: 'mapping', pid: TGID, tid: TGID, start: 0x1000n, end: 0x2000n, fileOffset: 0n } };
  const file = { file: '/program', deviceMajor: 8, deviceMinor: 1, inode: 12n, inodeGeneration: 1n, time: BigInt(now) };
  table.handleSideBand(exec as unknown as SideBandRecord);
  table.handleSideBand({ ...mapping, ...file } as unknown as SideBandRecord);
  const event = (kind: ProcessEvent['kind'], tgid: number, parent: number, generation: number): ProcessEvent => {
    return { kind, tgid, parent, generation, time: now, address: 0, comm: 'program' };
  };
  table.handleEvent(event('exec', TGID, TGID, 1));
  table.flush();
  return { table, program, seconds, event };
}

test('a process is ready when the table of what it runs has come, and is so once', () => {
  const { table, program, seconds } = make();
  assert.deepEqual(seconds, [], 'the table is being built');
  program.state = 'ready';
  table.settled(program);
  table.flush();
  assert.equal(seconds.length, 1);
  assert.ok(seconds[0] >= 0 && seconds[0] < 60, `${seconds[0]} s by the clock of the events`);
  table.settled(program);
  table.flush();
  assert.equal(seconds.length, 1);
});

test('a child is ready at once where its parent is, and a file without a table keeps nobody waiting', () => {
  const { table, program, seconds, event } = make();
  program.state = 'failed';
  table.settled(program);
  table.flush();
  table.handleEvent(event('fork', TGID + 1, TGID, 2));
  table.flush();
  assert.equal(seconds.length, 2);
});
