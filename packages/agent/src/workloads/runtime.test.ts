// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RUNTIMES } from '@plumbline/api';
import { runtimeOf } from './runtime.ts';

const mapped = (...paths: string[]) => paths.map((path) => ({ path, executable: { buildIds: { go: '' } } }));

test('a runtime is recognized by its program or its library', () => {
  const cases: [string, string[]][] = [
    ['jvm', ['/usr/lib/jvm/java-21/bin/java', '/usr/lib/jvm/java-21/lib/server/libjvm.so']],
    ['python', ['/usr/bin/python3.13', '/lib/x86_64-linux-gnu/libc.so.6']],
    ['python', ['/usr/sbin/uwsgi', '/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0']],
    ['nodejs', ['/opt/node-v24/bin/node']],
    ['ruby', ['/usr/bin/ruby3.3', '/usr/lib/libruby-3.3.so.3.3.8']],
    ['php', ['/usr/sbin/php-fpm8.4']],
    ['perl', ['/usr/bin/perl']],
    ['dotnet', ['/usr/bin/dotnet', '/usr/share/dotnet/shared/libcoreclr.so']],
    ['beam', ['/usr/lib/erlang/erts-15/bin/beam.smp']],
    ['lua', ['/usr/bin/lua5.4']],
    ['native', ['/usr/sbin/nginx', '/lib/x86_64-linux-gnu/libc.so.6', '[vdso]', '']],
    ['native', ['/usr/bin/python-config-is-not-python/tool', '/usr/bin/nodeadm', '/usr/bin/perlite']],
    ['native', []],
  ];
  for (const [runtime, paths] of cases) assert.equal(runtimeOf(mapped(...paths)), runtime, paths.join());
  for (const runtime of new Set(cases.map(([name]) => name)))
    assert.ok(
      RUNTIMES.some((name) => name.toLowerCase() === runtime),
      `${runtime} is a runtime of policies`,
    );
});

test('a Go program by its build id, where nothing else says otherwise', () => {
  const go = { path: '/app/server', executable: { buildIds: { go: 'abc' } } };
  assert.equal(runtimeOf([go]), 'go');
  assert.equal(runtimeOf([go, ...mapped('/usr/lib/libpython3.13.so.1.0')]), 'python');
});
