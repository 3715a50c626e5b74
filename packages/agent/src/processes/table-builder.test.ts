// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { AgentError } from '../errors.ts';
import { TableBuilder } from './table-builder.ts';

describe('TableBuilder', () => {
  it('builds the table of a program', async () => {
    const builder = new TableBuilder();
    const fd = openSync(process.execPath, 'r');
    try {
      const reply = await builder.build({ id: 1, fd, size: fstatSync(fd).size });
      assert.equal(reply.error, undefined);
      assert.ok(reply.segments.length > 0);
    } finally {
      closeSync(fd);
      await builder.close();
    }
  });

  it('fails at once where the program of its thread is missing', () => {
    assert.throws(
      () => new TableBuilder(pathToFileURL('/nonexistent/table-worker.mjs')),
      (error) => error instanceof AgentError && error.code === 'not_built' && /table-worker\.mjs/.test(error.message),
    );
  });

  it('answers everything that waits when the thread dies, and goes on with another', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'plumbline-table-builder-'));
    const program = join(directory, 'dying.mjs');
    writeFileSync(program, "throw new Error('out of luck');");
    const builder = new TableBuilder(pathToFileURL(program));
    try {
      const replies = await Promise.all([1, 2, 3].map((id) => builder.build({ id, fd: -1, size: id })));
      assert.deepEqual(
        replies.map(({ id, segments }) => [id, segments.length]),
        [1, 2, 3].map((id) => [id, 0]),
      );
      for (const { error } of replies) assert.match(error ?? '', /out of luck/);
      assert.match((await builder.build({ id: 4, fd: -1, size: 4 })).error ?? '', /out of luck/);
    } finally {
      await builder.close();
      rmSync(directory, { recursive: true });
    }
  });
});
