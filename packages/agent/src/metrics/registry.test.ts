// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { METRICS, type MetricDefinition, SECTIONS } from './definitions.ts';
import { type KernelCountSource, mirrorKernelCounters } from './kernel-counters.ts';
import { metricsReference } from './reference.ts';
import { AgentMetrics } from './registry.ts';

/** Series and values of a text exposition, without comments. */
function series(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

const ALL = Object.values(METRICS) as MetricDefinition[];

test('names follow the rules of Prometheus: unique, base units, counters alone end in _total', () => {
  assert.equal(new Set(ALL.map(({ name }) => name)).size, ALL.length);
  assert.equal(SECTIONS.flatMap(({ metrics }) => Object.keys(metrics)).length, ALL.length);
  for (const { name, type, help, labels, buckets } of ALL) {
    assert.match(name, /^plumbline_[a-z0-9_]+$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.ok(!/_(ms|millis|percent|kb|mb)(_|$)/.test(name), `${name} is not in base units`);
    assert.ok(!help.endsWith('.') && help !== '', name);
    assert.equal(buckets !== undefined, type === 'histogram', name);
    for (const label of Object.keys(labels)) assert.match(label, /^[a-z_]+$/);
  }
});

test('the reference names every metric and label', () => {
  const text = metricsReference();
  for (const { name, labels } of ALL) {
    assert.ok(text.includes(`| \`${name}\` |`), name);
    for (const label of Object.keys(labels)) assert.ok(text.includes(`\`${label}\`:`), label);
  }
});

test('what is fed is shown with its type and help, what is not fed is absent', async () => {
  const metrics = new AgentMetrics(false);
  metrics.add('exportRequests', { exporter: 'a"b', result: 'success' }, 2);
  metrics.set('processes', {}, 7);
  metrics.observe('stackDepth', { outcome: 'complete' }, 145, 3);
  const text = await metrics.text();
  assert.match(text, /# TYPE plumbline_export_requests_total counter/);
  const values = series(text);
  assert.equal(values['plumbline_export_requests_total{exporter="a\\"b",result="success"}'], 2);
  assert.equal(values.plumbline_processes, 7);
  assert.equal(values['plumbline_stack_depth_frames_bucket{le="128",outcome="complete"}'], 0);
  assert.equal(values['plumbline_stack_depth_frames_bucket{le="256",outcome="complete"}'], 3);
  assert.ok(!text.includes('plumbline_ready'));
  assert.throws(() => metrics.mirror('processes', () => []), /fed twice/);
});

test('the process itself is measured', async () => {
  const values = series(await new AgentMetrics().text());
  assert.ok(values.process_resident_memory_bytes > 1e6);
  assert.ok('process_cpu_seconds_total' in values);
});

function kernel(): KernelCountSource & { fired: number; reads: number } {
  return {
    fired: 10,
    reads: 0,
    read() {
      this.reads++;
      const zero = {
        steps: 0,
        userFrames: 0,
        tailCalls: 0,
        stacksSent: 0,
        eventsLost: 0,
        windowReads: 0,
        framePointerSteps: 0,
        splicedWalks: 0,
        splicedFrames: 0,
        samplesWaiting: 0,
        deferredSamples: 0,
        deferredWalks: 0,
        deferredRefused: 0,
      };
      const reasons = [
        { outcome: 'complete', reason: 'root_zero_ra', count: this.fired - 3 },
        { outcome: 'truncated', reason: 'no_unwind_info', count: 2 },
      ];
      return { counts: { ...zero, fired: this.fired, steps: 400 }, reasons };
    },
    runTime: () => ({ seconds: 0.25, runs: 12 }),
  };
}

test('counters of the kernel are read at each scrape, once, and their identity is visible', async () => {
  const metrics = new AgentMetrics(false);
  const source = kernel();
  mirrorKernelCounters(metrics, source);
  const first = series(await metrics.text());
  assert.equal(first.plumbline_samples_fired_total, 10);
  assert.equal(first['plumbline_samples_total{outcome="complete",reason="root_zero_ra"}'], 7);
  assert.equal(first['plumbline_samples_total{outcome="truncated",reason="no_unwind_info"}'], 2);
  assert.equal(first.plumbline_samples_unaccounted, 1);
  assert.equal(first.plumbline_unwind_steps_total, 400);
  assert.equal(first.plumbline_bpf_run_seconds_total, 0.25);
  assert.equal(source.reads, 1);
  source.fired = 25;
  const second = series(await metrics.text());
  assert.equal(second.plumbline_samples_fired_total, 25);
  assert.equal(second['plumbline_samples_total{outcome="complete",reason="root_zero_ra"}'], 22);
});
