// SPDX-License-Identifier: Apache-2.0
/** `plumbline record` and `plumbline doctor` on this kernel, as a user runs them. Needs root and a built kernel side. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { builtFile } from '@plumbline/bpf';
import type { JsonSummary } from '../src/cli/summary.ts';
import { unfoldFoldedText } from '../src/export/fold-recursion.ts';

const PLUMBLINE = fileURLToPath(new URL('../../../bin/plumbline', import.meta.url));
/** Root without any capability: files stay readable wherever the checkout lies. */
const WITHOUT_CAPABILITIES = ['setpriv', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];

function whatIsMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    if (existsSync(builtFile('profiler.bpf.o'))) return undefined;
  } catch {
    // not built
  }
  return 'needs `make setup`: the kernel side is not built';
}

const missing = whatIsMissing();
if (missing !== undefined && process.env.CI === 'true') throw new Error(`CI ${missing}`);

describe('plumbline record', { skip: missing ?? false, concurrency: 1 }, () => {
  let folder: string;
  let busy: ChildProcess;
  const env = { ...process.env, NODE_TEST_CONTEXT: '', NODE_OPTIONS: '' };
  const run = (args: readonly string[], prefix: readonly string[] = []) => {
    const [command, ...words] = [...prefix, PLUMBLINE, ...args];
    return spawnSync(command, words, { encoding: 'utf8', cwd: folder, env, timeout: 120_000, maxBuffer: 1 << 28 });
  };
  const recordBusy = (...args: string[]) => run(['record', '--pid', String(busy.pid), '--duration', '1s', ...args]);
  const identity = (summary: JsonSummary) => {
    const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
    assert.equal(sum(Object.values(summary.outcomes)), summary.fired);
    assert.equal(sum(summary.reasons.map(({ count }) => count)), summary.fired);
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-record-'));
    // A program with a full symbol table, so that its root has a name.
    busy = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore', env });
  });
  after(() => {
    busy?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  test('a process: folded stacks on standard output, from the root on, and a summary beside', () => {
    const { stdout, stderr, status } = recordBusy();
    assert.equal(status, 0, stderr);
    const lines = stdout.trimEnd().split('\n');
    assert.ok(lines.length > 0 && stdout !== '');
    for (const line of lines) assert.match(line, /^(_start|\[truncated: \w+\]);.* [1-9][0-9]*$/);
    assert.ok(lines.some((line) => line.startsWith('_start;')));
    assert.match(stderr, /Recorded .*\(pid \d+\) for [\d.]+s at 99 Hz/);
    assert.match(stderr, /user stacks reach their root/);
    assert.deepEqual(readdirSync(folder), []);
  });

  test('a recursion folded: as deep as it is, and unfolded as it was', () => {
    const deep = 'f() { if [ "$1" -gt 0 ]; then f $(($1 - 1)); else while :; do :; done; fi; }; f 100';
    const record = (...flags: string[]) => {
      const words = ['record', '-d', '1s', '-f', 'folded', '-o', '-', ...flags, '--', '/bin/sh', '-c', deep];
      const { stdout, stderr, status } = run(words);
      assert.ok(stdout !== '', `${status} ${stderr}`);
      return stdout;
    };
    const folded = record('--fold-recursion');
    const repeats = [...folded.matchAll(/\[repeated (\d+) times: \d+ frames?\]/g)].map(([, times]) => Number(times));
    assert.ok(repeats.includes(101), folded.slice(0, 500));
    const depths = (text: string) =>
      new Set(
        text
          .trimEnd()
          .split('\n')
          .map((line) => line.split(';').length),
      );
    const [unfolded, plain] = [depths(unfoldFoldedText(folded)), depths(record())];
    assert.ok(
      [...unfolded].some((depth) => plain.has(depth)),
      `${[...unfolded]} and ${[...plain]}`,
    );
    assert.ok(Math.max(...depths(folded)) * 5 < Math.max(...plain));
  });

  test('the JSON summary: every sample that fired has one outcome', () => {
    const { stdout, status } = recordBusy('--json', '--frequency', '499');
    assert.equal(status, 0);
    const summary: JsonSummary = JSON.parse(stdout);
    identity(summary);
    assert.ok(summary.outcomes.complete > 0);
    assert.equal(summary.frequencyHz, 499);
    assert.ok(['loop', 'tailCall', 'deferred'].includes(summary.strategy));
    assert.match(summary.output.path ?? '', /^plumbline-.*\.html$/);
    rmSync(join(folder, summary.output.path as string));
  });

  test('each strategy can be asked for', () => {
    for (const strategy of ['loop', 'tailCall']) {
      const summary: JsonSummary = JSON.parse(recordBusy('--json', '--strategy', strategy, '--output', 'x').stdout);
      assert.equal(summary.strategy, strategy);
      identity(summary);
    }
  });

  test('every format is written, and is what it says', () => {
    const write = (name: string, ...args: string[]) => {
      const { status, stderr } = recordBusy('--output', name, ...args);
      assert.equal(status, 0, stderr);
      assert.ok(stderr.includes(`Wrote ${name} (`));
      return readFileSync(join(folder, name));
    };
    assert.match(write('a.html').toString(), /^<!doctype html>[\s\S]*_start/);
    assert.ok(gunzipSync(write('a.pb.gz')).includes('_start'));
    const otlp = JSON.parse(write('a.json').toString());
    assert.ok(otlp.dictionary.stringTable.includes('_start'));
    const raw = write('a.jsonl')
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const stack of raw) {
      assert.equal(stack.pid, busy.pid);
      assert.match(stack.user[0].address, /^0x[0-9a-f]+$/);
    }
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('partial')),
      [],
    );
  });

  test('a command: profiled from its start with its children, its exit code is ours', () => {
    const loop = "perl -e '$end = time + 5; 1 while time < $end'";
    const script = `${loop} & ${loop}; wait; echo done; exit 7`;
    const { stdout, stderr, status } = run(['record', '--json', '--output', 'c.folded', '--', 'sh', '-c', script]);
    assert.equal(status, 7, stderr);
    assert.match(stderr, /^done$/m); // standard output is for the summary
    const summary: JsonSummary = JSON.parse(stdout);
    identity(summary);
    assert.equal(summary.exitCode, 7);
    assert.match(readFileSync(join(folder, 'c.folded'), 'utf8'), /perl_run/);
  });

  /** Starts a recording and waits until it records. */
  async function begin(args: readonly string[]) {
    const child = spawn(PLUMBLINE, args, { cwd: folder, env });
    const text = { stdout: '', stderr: '' };
    child.stdout.on('data', (data) => {
      text.stdout += data;
    });
    const recording = new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (data) => {
        text.stderr += data;
        if (/^plumbline: recording/m.test(text.stderr)) resolve();
      });
      child.once('exit', () => reject(new Error(`ended before it recorded: ${text.stderr}`)));
    });
    const status = new Promise<number | null>((resolve) => child.once('close', resolve));
    await recording;
    return { child, text, status };
  }

  test('SIGINT ends a recording early, and it is still written', async () => {
    const args = ['record', '--pid', String(busy.pid), '--duration', '1h', '--json', '-o', 'i.folded'];
    const { child, text, status } = await begin(args);
    child.kill('SIGINT');
    assert.equal(await status, 0, text.stderr);
    const summary: JsonSummary = JSON.parse(text.stdout);
    assert.equal(summary.endedEarly, 'aborted');
    identity(summary);
    assert.ok(existsSync(join(folder, 'i.folded')));
  });

  test('a process that ends meanwhile ends its recording, with what was sampled', async () => {
    const short = spawn('/bin/sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
    const { text, status } = await begin([
      'record',
      '--pid',
      String(short.pid),
      '-d',
      '1h',
      '--json',
      '-o',
      's.folded',
    ]);
    short.kill('SIGKILL');
    assert.equal(await status, 0, text.stderr);
    assert.equal((JSON.parse(text.stdout) as JsonSummary).endedEarly, 'process_ended');
  });

  test('a child that begins while a recording is being prepared is recorded too', async () => {
    const forever = 'while :; do :; done';
    const parent = spawn('/bin/sh', ['-c', `while :; do sh -c 'echo $$; ${forever}'; done`]);
    const pids: number[] = [];
    createInterface({ input: parent.stdout }).on('line', (pid) => pids.push(Number(pid)));
    const endChild = () => {
      try {
        process.kill(pids.at(-1) as number, 'SIGKILL');
      } catch {
        // It ends already, and its successor has not said its pid yet.
      }
    };
    try {
      await once(parent.stdout, 'data');
      for (let attempt = 0; attempt < 3; attempt++) {
        const ending = setInterval(endChild, 100 + Math.random() * 500);
        const args = ['record', '--pid', String(parent.pid), '--duration', '500ms', '--output', 'children.jsonl'];
        const { text, status } = await begin([...args, '--format', 'raw']).finally(() => clearInterval(ending));
        assert.equal(await status, 0, text.stderr);
        const recorded = readFileSync(join(folder, 'children.jsonl'), 'utf8').matchAll(/^\{"pid":(\d+)/gm);
        const seen = new Set([...recorded].map(([, pid]) => Number(pid)));
        assert.ok(seen.has(pids.at(-1) as number), `${[...seen]} without ${pids.at(-1)}`);
      }
    } finally {
      parent.kill('SIGKILL');
      endChild();
    }
  });

  test('a command that runs longer than the recording is ended', () => {
    const { stdout, stderr, status } = run([
      'record',
      '--json',
      '-d',
      '500ms',
      '-o',
      'l.folded',
      '--',
      'sleep',
      '3600',
    ]);
    assert.equal(status, 0, stderr);
    assert.equal((JSON.parse(stdout) as JsonSummary).exitCode, null);
  });

  test('an output that cannot be written is refused before anything is recorded', () => {
    const { stdout, stderr, status } = recordBusy('--output', '/nonexistent/a.html');
    assert.deepEqual(
      [stdout, stderr, status],
      [
        '',
        'plumbline: cannot write /nonexistent/a.html: no such file or directory; create the directory first: mkdir -p /nonexistent\n',
        1,
      ],
    );
  });

  test('without privileges it says which, and what to do', () => {
    const { stderr, status } = run(['record', '--all'], WITHOUT_CAPABILITIES);
    assert.deepEqual(
      [stderr, status],
      [
        'plumbline: this process lacks CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE; run it as root (sudo plumbline ...), or grant these capabilities\n',
        1,
      ],
    );
  });

  test('without BTF it says so', () => {
    const script = 'mount -t tmpfs none /sys/kernel/btf && exec "$0" record --all';
    const { stderr, status } = spawnSync('unshare', ['--mount', 'sh', '-c', script, PLUMBLINE], {
      encoding: 'utf8',
      env,
      cwd: folder,
    });
    assert.match(
      stderr,
      /^plumbline: the kernel does not describe its types: .*; boot a kernel built with CONFIG_DEBUG_INFO_BTF[^\n]*\n$/,
    );
    assert.equal(status, 1);
  });

  test('doctor: all is well as root, and not without privileges', () => {
    const fine = run(['doctor', '--json']);
    assert.equal(fine.status, 0, fine.stdout);
    const diagnosis = JSON.parse(fine.stdout);
    assert.equal(diagnosis.works, true);
    assert.ok(diagnosis.depth >= 145);
    assert.equal(diagnosis.kernel, readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim());
    const refused = run(['doctor'], WITHOUT_CAPABILITIES);
    assert.equal(refused.status, 1);
    assert.match(refused.stdout, /Profiling cannot work here:\n {2}CAP_BPF, CAP_PERFMON/);
  });
});
