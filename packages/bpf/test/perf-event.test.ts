// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import { BpfObject, CpuEvents, maxSampleRate, onlineCpus, PerfEvent } from '../src/index.ts';
import { kernelDescriptors, needsBpf, testObject } from './kernel.ts';

describe('PerfEvent', needsBpf(), () => {
  let path: string;
  let object: BpfObject;
  before(() => {
    path = testObject('ring');
  });
  beforeEach(() => {
    object = BpfObject.open(path);
    object.setAutoload('from_the_future', false);
    object.load();
  });
  afterEach(() => object.close());

  /** Runs of `count_hits` on all CPUs together. */
  const hits = () =>
    object
      .map('hits')
      .lookupPerCpu(0)!
      .reduce((sum, value) => sum + Number(value.readBigUInt64LE()), 0);

  /** Burns CPU until `condition` holds. */
  function burn(condition: () => boolean, what: string): void {
    const deadline = performance.now() + 20_000;
    while (!condition()) assert.ok(performance.now() < deadline, `waited in vain: ${what}`);
  }

  test('a program runs at each overflow while the event is enabled', () => {
    const event = PerfEvent.open({ event: 'cpuClock', frequencyHz: 1000, pid: process.pid });
    const link = object.program('count_hits').attachPerfEvent(event);
    assert.equal(hits(), 0);
    event.enable();
    burn(() => hits() >= 20, 'samples fire');
    event.disable();
    const seen = hits();
    const until = performance.now() + 20;
    burn(() => performance.now() > until, 'some time passes');
    assert.equal(hits(), seen);
    assert.ok(event.read() > 0);
    link.close();
    event.close();
    assert.throws(() => event.enable(), { code: 'EBADF' });
  });

  test('a cookie needs a link, which detaches without closing the event', () => {
    const event = PerfEvent.open({ event: 'taskClock', period: 1_000_000, pid: 0 });
    const link = object.program('count_hits').attachPerfEvent(event, 12n);
    event.enable();
    burn(() => hits() >= 3, 'samples fire');
    link.close();
    const seen = hits();
    const until = performance.now() + 20;
    burn(() => performance.now() > until, 'some time passes');
    assert.ok(hits() <= seen + 1); // one may have been under way
    event.close();
  });

  test('the frequency changes while it runs', () => {
    const event = PerfEvent.open({ event: 'cpuClock', frequencyHz: 1, pid: process.pid });
    const link = object.program('count_hits').attachPerfEvent(event);
    event.enable();
    event.setFrequency(2000);
    const [hitsBefore, nsBefore] = [hits(), event.read()];
    burn(() => hits() >= hitsBefore + 50, 'the new frequency holds');
    // Against the event's own clock: it fires as often as asked, and not as often as it can.
    const expected = ((event.read() - nsBefore) / 1e9) * 2000;
    assert.ok(hits() - hitsBefore <= 2 * expected, `${hits() - hitsBefore} hits where ${expected} were asked for`);
    assert.throws(() => event.setPeriod(1000), { name: 'TypeError' });
    assert.throws(() => event.setFrequency(0), { name: 'RangeError' });
    assert.throws(() => event.setFrequency(maxSampleRate() + 1), {
      code: 'EINVAL',
      message: /perf_event_max_sample_rate/,
    });
    link.close();
    event.close();
    const byPeriod = PerfEvent.open({ event: 'cpuClock', period: 1_000_000, pid: process.pid });
    byPeriod.setPeriod(2_000_000);
    assert.throws(() => byPeriod.setFrequency(10), { name: 'TypeError' });
    byPeriod.close();
  });

  test('refusals say what to do', () => {
    const limit = maxSampleRate();
    assert.throws(() => PerfEvent.open({ event: 'cpuClock', frequencyHz: limit + 1, cpu: 0 }), {
      code: 'EINVAL',
      message: new RegExp(`${limit + 1} Hz is above kernel.perf_event_max_sample_rate, which is ${limit}`),
    });
    assert.throws(() => PerfEvent.open({ event: 'cpuClock', cpu: 99_999 }), { name: 'BpfError' });
    assert.throws(() => PerfEvent.open({ event: 'cpuClock', pid: 2 ** 22 + 5 }), { code: 'ESRCH' });
    assert.throws(() => PerfEvent.open({ event: { type: 12345, config: 0n }, cpu: 0 }), {
      code: 'ENOENT',
      advice: /does not offer the event/,
    });
    assert.throws(() => PerfEvent.open({ event: 'cpuClock' }), { name: 'TypeError', message: /a pid, a cpu, or both/ });
    assert.throws(() => PerfEvent.open({ event: 'cpuClock', cpu: 0, frequencyHz: 9, period: 9 }), {
      name: 'TypeError',
    });
    assert.throws(() => PerfEvent.open({ event: 'cpuclock' as never, cpu: 0 }), {
      name: 'TypeError',
      message: /unknown perf event: cpuclock/,
    });
    assert.throws(() => PerfEvent.open({ event: 'cpuClock', cpu: 0, frequencyHz: 1.5 }), { name: 'RangeError' });
    const event = PerfEvent.open({ event: 'cpuClock', frequencyHz: 1, pid: 0 });
    assert.throws(() => object.program('produce').attachPerfEvent(event), { code: 'EINVAL' });
    event.close();
    assert.throws(() => object.program('count_hits').attachPerfEvent(event), { code: 'EBADF' });
  });

  test('CpuEvents: every online CPU, all steered together', () => {
    const before = kernelDescriptors().length;
    const opened: number[] = [];
    const events = CpuEvents.open(
      { event: 'cpuClock', frequencyHz: 10 },
      { program: object.program('count_hits'), onOpen: (_, cpu) => opened.push(cpu) },
    );
    assert.deepEqual(events.cpus, onlineCpus());
    assert.deepEqual(opened, onlineCpus());
    events.enable();
    events.setFrequency(500);
    burn(() => hits() > 20, 'samples fire');
    assert.deepEqual(events.refresh(), { opened: [], closed: [] });
    events.disable();
    events.close();
    events.close();
    assert.deepEqual(events.cpus, []);
    // The program was taken from the object meanwhile, and its map.
    assert.ok(kernelDescriptors().length <= before + 2);
  });

  test('CpuEvents: where one CPU refuses, none is left open', () => {
    const before = kernelDescriptors().length;
    assert.throws(() => CpuEvents.open({ event: 'cpuClock', frequencyHz: maxSampleRate() + 1 }), { code: 'EINVAL' });
    assert.equal(kernelDescriptors().length, before);
  });
});
