// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { onlineCpus, parseCpuList } from './cpu-events.ts';

describe('parseCpuList', () => {
  const lists: [string, number[]][] = [
    ['0\n', [0]],
    ['0-3\n', [0, 1, 2, 3]],
    ['0-1,4,6-7\n', [0, 1, 4, 6, 7]],
    ['\n', []],
  ];
  for (const [list, cpus] of lists) test(JSON.stringify(list), () => assert.deepEqual(parseCpuList(list), cpus));
  for (const list of ['a', '0-', '-1', '0-3:2', '0--3', '999999']) {
    test(`refuses ${list}`, () => assert.throws(() => parseCpuList(list), RangeError));
  }
  test('there is a CPU that runs this', () => assert.ok(onlineCpus().length >= 1));
});
