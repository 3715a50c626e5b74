// SPDX-License-Identifier: Apache-2.0
/** `plumbline explain` on this kernel: by a recording of its own, and from an agent that runs. Needs root and a built kernel side. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../../e2e/cluster/free-port.ts';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import type { Explanation } from '../src/explain/explanation.ts';
import type { WorkloadSummary } from '../src/explain/workload-summary.ts';

const PLUMBLINE = fileURLToPath(new URL('../../../bin/plumbline', import.meta.url));
const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';
const ENV = { ...process.env, NODE_OPTIONS: '', NODE_TEST_CONTEXT: '' };
/** A shell walks its syntax tree by recursion: a hundred nested calls are some hundred frames. */
const DEEP = 'f() { if [ "$1" -gt 0 ]; then f $(($1 - 1)); else while :; do :; done; fi; }; f 100';
/** Outside of containers a workload has the name of its program. */
const SHELL = basename(realpathSync('/bin/sh'));
const HOUR = 3_600_000;

describe('plumbline explain', { skip, timeout: 300_000 }, () => {
  let busy: ChildProcess;
  const explain = (...args: string[]) => {
    const { stdout, stderr, status } = spawnSync(PLUMBLINE, ['explain', ...args], {
      encoding: 'utf8',
      env: ENV,
      timeout: 100_000,
    });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  };
  before(() => {
    busy = spawn('/bin/sh', ['-c', DEEP], { stdio: 'ignore' });
  });
  after(() => busy?.kill('SIGKILL'));

  test('a process that is recorded: the limit that cuts, as text and as an object', () => {
    const args = ['--pid', String(busy.pid), '--duration', '2s', '--max-frames', '16'];
    const text = explain(...args);
    assert.match(text, /^sh \(pid \d+\): [\d,]+ of [\d,]+ user stacks are cut \((9\d|100)\.\d %\)/);
    assert.match(text, /1\. frame_limit: /);
    assert.match(text, /→ Raise --max-frames, which is 16/);
    const { causes, truncated, samples }: Explanation = JSON.parse(explain(...args, '--json'));
    assert.ok(truncated > 20 && truncated <= samples, `${truncated} of ${samples}`);
    assert.equal(causes[0].reason, 'frame_limit');
    assert.equal(causes[0].processes[0].pid, busy.pid);
  });

  test('the same process without the limit: nothing to do', () => {
    assert.match(explain('--pid', String(busy.pid), '-d', '1s'), /cut \(0\.0 %\)[\s\S]+every stack reaches its root/);
  });

  test('an agent: the policy is named, the baseline of before its start is known, and kept', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'plumbline-explain-'));
    const state = join(directory, 'state');
    const [port] = await freePorts(1);
    const address = `127.0.0.1:${port}`;
    mkdirSync(state);
    const entry = {
      policy: 'tight',
      workload: SHELL,
      sinceMs: Date.now() - 48 * HOUR,
      atMs: Date.now() - HOUR,
      samples: 100_000,
      truncated: 1_000,
      frames: 20_000_000,
    };
    writeFileSync(join(state, 'baselines.json'), JSON.stringify({ layout: 1, entries: [entry] }));
    const config = {
      sampling: { frequencyHz: 97 },
      reportInterval: '1s',
      budget: { cpuPercentOfNode: '100' },
      rules: [{ policy: { name: 'tight' }, hostProcesses: true, allNamespaces: true, unwinding: { maxFrames: 16 } }],
      agent: { listen: address, stateDirectory: state },
    };
    writeFileSync(join(directory, 'node.yaml'), JSON.stringify(config));
    const agent = spawn(PLUMBLINE, ['agent', '--config', join(directory, 'node.yaml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: ENV,
    });
    let log = '';
    agent.stderr?.on('data', (chunk) => {
      log += chunk;
    });
    const ended = new Promise<void>((resolve) => agent.once('exit', () => resolve()));
    t.after(async () => {
      agent.kill('SIGKILL');
      await ended;
      rmSync(directory, { recursive: true, force: true });
    });
    const ask = async <T>(path: string) => (await (await fetch(`http://${address}${path}`)).json()) as T;
    const seen = await waitUntil(
      'cut stacks of the shell',
      async () => {
        const { workloads } = await ask<{ workloads: WorkloadSummary[] }>('/api/workloads').catch(() => ({
          workloads: [],
        }));
        const found = workloads.find(({ workload }) => workload === SHELL);
        return found !== undefined && found.truncated > 50 && found;
      },
      { timeout: 60_000 },
    ).catch((error) => assert.fail(`${error}\n${log}`));
    assert.deepEqual([seen.policy, seen.topReason], ['tight', 'frame_limit']);
    assert.ok(seen.truncatedRatio > 0.5, `${seen.truncatedRatio}`);
    assert.ok((seen.usual?.truncatedRatio ?? 1) < 0.05, JSON.stringify(seen.usual));
    assert.ok((seen.usual?.depth ?? 0) > 150, JSON.stringify(seen.usual));

    const text = explain('--agent', address, '--workload', SHELL);
    assert.match(text, /^\w+: [\d,]+ of [\d,]+ user stacks are cut/);
    assert.match(text, /→ Raise spec\.unwinding\.maxFrames of policy tight \(16\); at most 4096\./);

    const metrics = await (await fetch(`http://${address}/metrics`)).text();
    const labels = `namespace="",workload="${SHELL}",policy="tight"`;
    const ratio = Number(metrics.split(`plumbline_workload_baseline_truncated_ratio{${labels}} `)[1]?.split('\n')[0]);
    assert.ok(ratio >= 0.01 && ratio < 0.05, `${ratio}`);
    assert.match(metrics, /^plumbline_baseline_files_rejected_total 0$/m);

    agent.kill('SIGTERM');
    await ended;
    const { entries } = JSON.parse(readFileSync(join(state, 'baselines.json'), 'utf8'));
    const kept = entries.find((other: { workload: string }) => other.workload === SHELL);
    assert.equal(kept.sinceMs, entry.sinceMs);
    assert.ok(kept.truncated > entry.truncated * 0.9 && kept.atMs > entry.atMs, JSON.stringify(kept));
  });

  test('no agent: says so, and what to do', async () => {
    const [port] = await freePorts(1);
    const { stderr, status } = spawnSync(PLUMBLINE, ['explain', '--agent', `127.0.0.1:${port}`], {
      encoding: 'utf8',
      env: ENV,
    });
    assert.match(
      stderr,
      /^plumbline: no agent answers at 127\.0\.0\.1:\d+: ECONNREFUSED; start one, or give --agent ADDRESS/,
    );
    assert.equal(status, 1);
  });
});
