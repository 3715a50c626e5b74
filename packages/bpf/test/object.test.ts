// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { BpfError, BpfObject, enableRunTimeStatistics } from '../src/index.ts';
import { kernelDescriptors, needsBpf, testObject } from './kernel.ts';

/** Arguments of a raw tracepoint, as its context. */
const words = (...values: number[]) => new Uint8Array(BigUint64Array.from(values, BigInt).buffer);

describe('BpfObject', needsBpf(), () => {
  let path: string;
  before(() => {
    path = testObject('ring');
  });

  /** The object without the program that no kernel loads. */
  function open(source: string | Uint8Array = path): BpfObject {
    const object = BpfObject.open(source);
    object.setAutoload('from_the_future', false);
    return object;
  }

  test('names what it holds', () => {
    const object = open(readFileSync(path));
    assert.deepEqual(object.programNames, ['produce', 'discard', 'read_globals', 'from_the_future', 'count_hits']);
    for (const name of ['ring', 'hits', 'programs']) assert.ok(object.mapNames.includes(name));
    assert.equal(object.state, 'open');
    object.close();
    assert.equal(object.state, 'closed');
  });

  test('rodata and data reach the programs, and can be read back before and after load', () => {
    const object = open();
    assert.equal(object.readGlobal('answer'), 1);
    object.setRodata({ answer: 42, flag: true, negative: -3, flavour: 7, label: Buffer.from('\x02bcdefgh') });
    object.setGlobal('level', 6);
    const expectRodata = () => {
      assert.equal(object.readGlobal('answer'), 42);
      assert.equal(object.readGlobal('flag'), true);
      assert.equal(object.readGlobal('negative'), -3);
      assert.equal(object.readGlobal('flavour'), 7);
      assert.equal(String(object.readGlobal('label')), '\x02bcdefgh');
      assert.equal(object.readGlobal('level'), 6);
    };
    expectRodata();
    object.load();
    expectRodata();
    const run = () => object.program('read_globals').testRun({ context: words() }).returnValue;
    assert.equal(run(), 42 + 100 - 3 + 7 * 1000 + 2 * 10_000 + 6 * 10_000_000);
    object.setGlobal('level', 1);
    assert.equal(run(), 42 + 100 - 3 + 7 * 1000 + 2 * 10_000 + 1 * 10_000_000);
    object.program('produce').testRun({ context: words(3, 0, 0) });
    assert.equal(object.readGlobal('sequence'), 3n);
    object.close();
  });

  test('refuses wrong values and wrong names, saying which', () => {
    const object = open();
    assert.throws(() => object.setRodata({ anser: 1 }), {
      name: 'TypeError',
      message: /no variable anser; it has .*answer/,
    });
    assert.throws(() => object.setRodata({ level: 1 }), { name: 'TypeError', message: /level is not in rodata/ });
    assert.throws(() => object.setRodata({ answer: 2 ** 32 }), { name: 'RangeError', message: /answer does not fit/ });
    assert.throws(() => object.setRodata({ answer: 1.5 }), { name: 'RangeError', message: /must be an integer/ });
    assert.throws(() => object.setRodata({ flag: 2 }), { name: 'RangeError', message: /flag is a boolean/ });
    assert.throws(() => object.setRodata({ label: Buffer.alloc(7) }), {
      name: 'RangeError',
      message: /label is 8 bytes long/,
    });
    assert.throws(() => object.setRodata({ label: 7 }), { name: 'TypeError', message: /give its bytes/ });
    assert.throws(() => object.setAutoload('nothing', true), { name: 'TypeError', message: /no program nothing/ });
    assert.throws(() => object.setMaxEntries('ring', 0), { name: 'RangeError' });
    assert.throws(() => object.setMaxEntries('nothing', 1), { code: 'ENOENT' });
    assert.throws(() => object.map('ring'), { name: 'TypeError', message: /not loaded yet/ });
    object.load();
    assert.throws(() => object.setRodata({ answer: 1 }), { name: 'TypeError', message: /loaded already/ });
    assert.throws(() => object.load(), { name: 'TypeError', message: /loaded already/ });
    assert.throws(() => object.program('from_the_future'), { code: 'EBADF', message: /not loaded/ });
    assert.throws(() => object.map('nothing'), { code: 'ENOENT' });
    object.close();
    assert.throws(() => object.map('ring'), { code: 'CLOSED' });
  });

  test('a map is as large as it is set to be', () => {
    const object = open();
    object.setMaxEntries('ring', 1 << 16);
    object.setMaxEntries('hits', 9);
    object.load();
    assert.equal(object.map('ring').info.maxEntries, 1 << 16);
    assert.equal(object.map('hits').info.maxEntries, 9);
    object.close();
  });

  test('a refused program comes with the verifier log, and leaves nothing open', () => {
    const open = kernelDescriptors().length;
    const object = BpfObject.open(testObject('reject'));
    assert.throws(
      () => object.load(),
      (error) => {
        assert.ok(error instanceof BpfError);
        assert.equal(error.code, 'EACCES');
        assert.match(error.verifierLog, /invalid access to map value, value_size=8 off=8 size=8/);
        assert.match(error.message, /load object reject: .*invalid mem access|load object reject: .*R0/);
        assert.match(error.advice, /verifier refused/);
        return true;
      },
    );
    assert.equal(object.state, 'closed');
    assert.equal(kernelDescriptors().length, open);
  });

  test('a helper that the kernel lacks is a refusal too', () => {
    const object = BpfObject.open(path);
    assert.throws(() => object.load(), { name: 'BpfError', verifierLog: /(invalid|unknown) func/ });
  });

  test('the log of accepted programs can be asked for', () => {
    const object = BpfObject.open(path, { verifierLogLevel: 1 });
    object.setAutoload('from_the_future', false);
    object.load();
    assert.match(object.verifierLog, /processed \d+ insns/);
    object.close();
  });

  test('what is no BPF object is refused with what libbpf says', () => {
    assert.throws(() => BpfObject.open(Buffer.from('no ELF at all')), { name: 'BpfError', libbpfLog: /libbpf/ });
    assert.throws(() => BpfObject.open(Buffer.alloc(0)), { name: 'BpfError' });
    assert.throws(() => BpfObject.open('/nowhere.bpf.o'), { code: 'ENOENT' });
    assert.throws(() => BpfObject.open(7 as never), { name: 'TypeError' });
    const truncated = `${path}.truncated`;
    writeFileSync(truncated, readFileSync(path).subarray(0, 2000));
    assert.throws(() => BpfObject.open(truncated), { name: 'BpfError' });
  });

  test('run times are counted while statistics are on', () => {
    const statistics = enableRunTimeStatistics();
    const object = open();
    object.load();
    for (let i = 0; i < 10; i++) object.program('read_globals').testRun({ context: words() });
    const stats = object.stats();
    assert.equal(stats.get('read_globals')!.runs, 10);
    assert.ok(stats.get('read_globals')!.runTimeNs > 0);
    assert.equal(stats.get('discard')!.runs, 0);
    assert.equal(stats.has('from_the_future'), false);
    assert.ok(object.program('produce').instructions > 10);
    statistics.close(); // others may keep them on, so that they are off now cannot be asked
    object.close();
  });

  test('a program in a link outlives its object; closing the link ends it', () => {
    const object = open();
    object.load();
    const link = object.program('discard').attachRawTracepoint('sched_process_exec');
    assert.throws(() => object.program('discard').attachRawTracepoint('no_such_tracepoint'), {
      code: 'ENOENT',
      message: /raw tracepoint no_such_tracepoint/,
    });
    object.close();
    assert.ok(link.fd > 0);
    link.close();
    assert.throws(() => link.fd, { code: 'EBADF' });
    link.close();
  });

  test('opening, loading and closing leaves no descriptor behind', () => {
    const before = kernelDescriptors().length;
    for (let i = 0; i < 10; i++) {
      const object = open();
      object.load();
      object.map('ring');
      object.program('discard').attachRawTracepoint('sched_process_exit').close();
      object.close();
    }
    assert.equal(kernelDescriptors().length, before);
  });
});
