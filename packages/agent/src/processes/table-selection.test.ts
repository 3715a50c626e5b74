// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { Executable } from './executable.ts';
import type { Executables } from './executables.ts';
import type { KernelMapping } from './kernel-mappings.ts';
import { ProcessTable } from './table.ts';

interface Written {
  readonly policy: number;
  readonly mappings: number;
}

describe('ProcessTable with a selection', () => {
  let child: ChildProcess;
  let pid: number;
  before(async () => {
    child = spawn(process.execPath, ['-e', 'console.log("there"); setInterval(() => {}, 1000)']);
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    pid = child.pid as number;
  });
  after(() => child.kill('SIGKILL'));

  function make(policies: Map<number, number>) {
    const searched: string[] = [];
    const users = new Map<Executable, number>();
    const written = new Map<number, Written>();
    const count = (executable: Executable, by: number) => users.set(executable, (users.get(executable) ?? 0) + by);
    const table = new ProcessTable({
      store: {
        setProcess: (tgid: number, _generation: number, policy: number, mappings: readonly KernelMapping[]) => {
          written.set(tgid, { policy, mappings: mappings.length });
          return true;
        },
        deleteProcess: (tgid) => written.delete(tgid),
      },
      executables: {
        find: (_pid: number, { path }: { path: string }) => {
          searched.push(path);
          return path.startsWith('/') ? new Executable(searched.length, path, path, -1) : undefined;
        },
        retain: (executable: Executable) => count(executable, 1),
        release: (executable: Executable) => count(executable, -1),
      } as unknown as Executables,
      selectPolicy: (tgid) => policies.get(tgid) ?? 0,
    });
    return { table, searched, users, written };
  }

  it('looks for no file of a process that no rule selects, and tells the kernel that it is known', () => {
    const { table, searched, written } = make(new Map());
    table.scan([pid]);
    table.flush();
    assert.deepEqual(searched, []);
    assert.deepEqual(written.get(pid), { policy: 0, mappings: 0 });
  });

  it('makes up for it when a rule selects the process, once', () => {
    const policies = new Map<number, number>();
    const { table, searched, users, written } = make(policies);
    table.scan([pid]);
    table.flush();
    policies.set(pid, 3);
    table.reselect();
    table.flush();
    assert.ok(
      searched.some((path) => path === process.execPath || path.endsWith('/node')),
      searched.join(),
    );
    assert.equal(written.get(pid)?.policy, 3);
    assert.ok((written.get(pid)?.mappings ?? 0) > 0);
    assert.ok([...users.values()].every((count) => count === 1));
    const files = () => searched.filter((path) => path.startsWith('/')).length;
    const before = files();
    policies.set(pid, 0);
    table.reselect();
    table.flush();
    assert.deepEqual(written.get(pid), { policy: 0, mappings: 0 });
    policies.set(pid, 1);
    table.reselect();
    table.flush();
    assert.equal(written.get(pid)?.policy, 1);
    assert.equal(files(), before, 'what was found is kept');
  });

  it('reads what a child has mapped that is selected while its parent is not', () => {
    const policies = new Map([[pid, 2]]);
    const { table, searched, written } = make(policies);
    table.scan([process.pid]);
    assert.deepEqual(searched, []);
    table.handleEvent({ kind: 'fork', tgid: pid, parent: process.pid, generation: 7, time: 1, address: 0, comm: 'x' });
    table.flush();
    assert.ok(searched.length > 0);
    assert.equal(written.get(pid)?.policy, 2);
    assert.ok((written.get(pid)?.mappings ?? 0) > 0);
  });
});
