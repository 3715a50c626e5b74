// SPDX-License-Identifier: Apache-2.0
/** Shows what the collector of `make cluster` received: samples by workload, and each workload's most frequent stacks. */
import { existsSync } from 'node:fs';
import { PLAYGROUND } from './playground.ts';
import { type Attributes, type ResolvedSample, readProfiles } from './resolved-profile.ts';

if (!existsSync(PLAYGROUND.directory)) {
  process.stderr.write('there is no cluster: make cluster\n');
  process.exit(1);
}

const workloads = new Map<string, Map<string, number>>();
for (const { resource, samples } of readProfiles(PLAYGROUND.collector)) {
  for (const sample of samples) {
    const stacks = getOrSet(
      workloads,
      workloadOf({ ...resource, ...sample.attributes }),
      () => new Map<string, number>(),
    );
    const stack = stackOf(sample);
    stacks.set(stack, (stacks.get(stack) ?? 0) + (sample.values[0] ?? sample.timestampsUnixNano.length));
  }
}
if (workloads.size === 0) process.stdout.write('nothing received yet\n');
for (const [workload, stacks] of workloads) {
  const counts = [...stacks].sort(([, a], [, b]) => b - a);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  process.stdout.write(`${workload}: ${total} in ${counts.length} stacks\n`);
  for (const [stack, count] of counts.slice(0, 3))
    process.stdout.write(`  ${((100 * count) / total).toFixed(1)} % ${stack}\n`);
}

function workloadOf(attributes: Attributes): string {
  const parts = ['k8s.namespace.name', 'k8s.pod.name', 'k8s.container.name'].map((key) => attributes[key]);
  return parts.every(Boolean) ? parts.join('/') : 'not a pod';
}

/** Root first, as flame graphs are read from below. */
function stackOf({ frames }: ResolvedSample): string {
  const names = frames.map((frame) => frame.function || `${frame.mapping}+0x${frame.address.toString(16)}`);
  return names.reverse().join(';');
}

function getOrSet<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}
