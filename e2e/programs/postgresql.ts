// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../cluster/free-port.ts';
import { waitUntil } from '../cluster/wait-until.ts';
import { findProgram, type Program, spawnBound, WORKLOAD_SECONDS } from './workload.ts';

/** Debian keeps the server's programs out of PATH, one directory a version. */
function serverDirectory(): string {
  const root = '/usr/lib/postgresql';
  let versions: string[] = [];
  try {
    versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
  } catch {
    // None is installed.
  }
  const found = versions.map((version) => join(root, version, 'bin')).find((path) => findProgram(join(path, 'initdb')));
  return found ?? join(root, 'bin');
}

const BIN = serverDirectory();
/** The server refuses to run as root. */
const AS_NOBODY = 'setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig KILL';

/** Long-lived backends run pgbench's transactions; others live for one query of half a second that loads an extension. */
const SCHEMA = `
create function spin(n int) returns bigint language plpgsql as $$
declare total bigint := 0; declare word text;
begin
  for i in 1..n loop
    word := md5(i::text);
    total := total + length(regexp_replace(word, '[a-f]+', '-', 'g'));
  end loop;
  return total;
end $$;
create table events as select i, md5(i::text) as word, (i * 7919) % 1000 as bucket from generate_series(1, 50000) i;
`;
const QUERY = `
select bucket, count(*), max(word), spin(40) from events where word like '%a%b%' group by bucket order by 2 desc limit 5;
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5000) select sum(n) from t;
`;

async function finished(child: ChildProcess, what: string): Promise<void> {
  let complaint = '';
  child.stderr!.on('data', (text) => {
    complaint += text;
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${what} ended with code ${code}: ${complaint.trim()}`);
}

export const postgresql: Program = {
  name: 'postgresql',
  about: 'long-lived backends under pgbench, and short-lived ones that load PL/pgSQL',
  needs: [join(BIN, 'postgres'), join(BIN, 'initdb'), join(BIN, 'pgbench'), 'psql', 'setpriv'],
  comm: 'postgres',
  async prepare(directory) {
    const [port] = await freePorts(1);
    const data = join(directory, 'data');
    chmodSync(directory, 0o777);
    mkdirSync(data);
    chmodSync(data, 0o777);
    writeFileSync(join(directory, 'schema.sql'), SCHEMA);
    writeFileSync(join(directory, 'query.sql'), QUERY);
    const initdb = `${AS_NOBODY} ${BIN}/initdb -D ${data}/db -U postgres -A trust --no-sync --no-instructions`;
    await finished(spawnBound(['sh', '-c', initdb], { cwd: directory }), 'initdb');
    const settings = [`listen_addresses=127.0.0.1`, `port=${port}`, `unix_socket_directories=`, 'fsync=off', 'jit=off'];
    const server = `${BIN}/postgres -D ${data}/db ${settings.map((setting) => `-c ${setting}`).join(' ')}`;
    const env = { ...process.env, PGHOST: '127.0.0.1', PGPORT: `${port}`, PGUSER: 'postgres', PGDATABASE: 'postgres' };
    const client = (...command: string[]) => spawnBound(command, { cwd: directory, env });
    return {
      script: `exec ${AS_NOBODY} ${server}`,
      endSignal: 'SIGINT',
      load: async () => {
        await waitUntil('PostgreSQL to accept connections', () =>
          finished(client('psql', '-qc', 'select 1'), 'psql').then(() => true),
        );
        await finished(client('psql', '-q', '-f', 'schema.sql'), 'psql');
        await finished(client(join(BIN, 'pgbench'), '-iq'), 'pgbench -i');
        const shortLived = `while :; do psql -qAtc 'select spin(30000)'; done`;
        return [
          client(join(BIN, 'pgbench'), '-c', '2', '-T', `${WORKLOAD_SECONDS}`, '-n'),
          client(join(BIN, 'pgbench'), '-c', '1', '-T', `${WORKLOAD_SECONDS}`, '-n', '-f', 'query.sql'),
          client('timeout', `${WORKLOAD_SECONDS}`, 'sh', '-c', shortLived),
        ];
      },
    };
  },
};
