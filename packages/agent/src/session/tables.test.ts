// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { type BpfMap, type BpfObject, structs } from '@plumbline/bpf';
import type { KernelMapping } from '../processes/kernel-mappings.ts';
import { Tables } from './tables.ts';

/** Keeps what is written, by map and key. */
class FakeObject {
  readonly written = new Map<string, Map<unknown, Uint8Array>>();

  map(name: string): BpfMap {
    const entries = new Map<unknown, Uint8Array>();
    this.written.set(name, entries);
    const map: Partial<BpfMap> = {
      update: (key, value) => void entries.set(key, value as Uint8Array),
      updateBatch: () => 0,
      delete: (key) => entries.delete(key),
    };
    return map as BpfMap;
  }
}

const mappings = (...starts: number[]): KernelMapping[] =>
  starts.map((start) => ({ start, end: start + 0x1000, base: start, segment: 1, kind: 'table' }));

describe('versions of mappings', () => {
  let object: FakeObject;
  let tables: Tables;
  beforeEach(() => {
    object = new FakeObject();
    tables = new Tables(object as unknown as BpfObject, () => assert.fail('no shard is needed'));
  });
  const entryOf = (tgid: number) => {
    const value = object.written.get('processes')?.get(tgid);
    assert.ok(value);
    const view = new DataView(value.buffer, value.byteOffset);
    const { first, version } = structs.process.offsets;
    return { first: view.getUint32(first, true), version: view.getUint32(version, true) };
  };

  it('are those of the list: processes that share it share them', () => {
    const list = mappings(0x1000, 0x3000);
    tables.setProcess(1, 0, 1, list);
    tables.setProcess(2, 7, 1, list);
    tables.setProcess(1, 0, 2, list);
    assert.equal(entryOf(1).version, entryOf(2).version);
    assert.notEqual(entryOf(1).version, 0);
    tables.setProcess(1, 0, 2, mappings(0x1000, 0x3000)); // read anew: whether it is the same is not asked
    assert.notEqual(entryOf(1).version, entryOf(2).version);
  });

  it('never come back, though the room of mappings does', (t) => {
    let now = 0;
    mock.method(performance, 'now', () => now);
    t.after(() => mock.restoreAll());
    const seen: { first: number; version: number }[] = [];
    for (let i = 0; i < 6; i++, now += 10_000) {
      tables.setProcess(1, 0, 1, mappings(0x1000 * (i + 1)));
      seen.push(entryOf(1));
    }
    assert.ok(new Set(seen.map(({ first }) => first)).size < seen.length, 'room was used again');
    assert.equal(new Set(seen.map(({ version }) => version)).size, seen.length);
  });
});
