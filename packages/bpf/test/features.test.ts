// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FEATURES, type FeatureName, features } from '../src/index.ts';
import { kernelDescriptors, needsBpf } from './kernel.ts';

const version = (text: string) => text.split('.').map((part) => Number.parseInt(part, 10));

/** Whether this kernel is of the release or newer. */
function atLeast(kernel: string, release: string): boolean {
  const [major, minor] = version(kernel);
  const [sinceMajor, sinceMinor] = version(release);
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
}

describe('features', needsBpf(), () => {
  test('a kernel newer than the first release of a feature has it', () => {
    const before = kernelDescriptors().length;
    const report = features();
    assert.equal(kernelDescriptors().length, before);
    for (const name of Object.keys(FEATURES) as FeatureName[]) {
      const { supported, since, detail } = report.features[name];
      assert.notEqual(supported, null, `${name}: ${detail}`);
      if (atLeast(report.release, since))
        assert.equal(supported, true, `${name} since ${since}, on ${report.release}: ${detail}`);
    }
    assert.equal(report.taskWorkFunctions !== undefined, report.features.taskWork.supported);
    assert.match(report.libbpf, /^\d+\.\d+$/);
    assert.ok(report.capabilities.includes('CAP_BPF') || report.capabilities.includes('CAP_SYS_ADMIN'));
    assert.ok(report.perfEventMaxSampleRate! > 0);
  });
});
