// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRetryAfter } from './otlp-http.ts';
import { readExportResponse, readRpcStatus } from './otlp-transport.ts';
import { protobufFields } from './protobuf-reader.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

test('fields come back as they were written', () => {
  const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const field = fc.record({ number: fc.integer({ min: 1, max: 536_870_911 }), value: u64, bytes: fc.uint8Array() });
  fc.assert(
    fc.property(fc.array(field, { maxLength: 8 }), (fields) => {
      const writer = new ProtobufWriter(0);
      for (const { number, value, bytes } of fields.toReversed()) {
        writer.bytes(number, bytes);
        writer.int64Element(number, value);
      }
      const read = [...protobufFields(writer.finish())];
      assert.deepEqual(
        read.map(({ number, value, bytes }) => [number, value, [...bytes]]),
        fields.flatMap(({ number, value, bytes }) => [
          [number, value, []],
          [number, 0n, [...bytes]],
        ]),
      );
    }),
  );
});

test('an answer of any bytes is survived', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.equal(readExportResponse(bytes).outcome, 'accepted');
      const { retryAfterMs } = readRpcStatus(bytes);
      assert.ok(retryAfterMs === undefined || retryAfterMs >= 0);
    }),
    { numRuns: 1_000 },
  );
});

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('120', now), 120_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000);
  assert.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0);
  assert.equal(parseRetryAfter('soon', now), undefined);
  assert.equal(parseRetryAfter(undefined, now), undefined);
});
