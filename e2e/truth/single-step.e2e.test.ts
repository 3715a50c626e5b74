// SPDX-License-Identifier: Apache-2.0
/**
 * Programs run one instruction at a time and sampled at each: prologues, epilogues, stubs of the procedure linkage table, the
 * dynamic linker, the C++ runtime's own unwinder, the vDSO. Chance has no part in it: there is a sample at every instruction.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes, stepper } from '../fixtures/recipes.ts';
import { startFixture } from '../fixtures/start.ts';
import { closeFiles, withoutCallSite } from './call-sites.ts';
import { compareWithTruth } from './compare.ts';
import { placeOf } from './fixture-place.ts';
import { executableMappings } from './mappings.ts';
import { type RecordedFrame, recordRaw } from './recording.ts';

const run = promisify(execFile);

/** Fixtures whose leaf runs through much code, and how many instructions to follow it for. */
const STEPPED: readonly (readonly [name: string, instructions: number])[] = [
  ['plt-lazy', 300],
  ['plt-ibt', 300],
  ['vdso', 600],
  ['exceptions', 12000],
  ['resolve', 12000],
  ['regex', 6000],
];
const DEPTH = 3;

const hex = (value: bigint | undefined) => (value === undefined ? '?' : `0x${value.toString(16)}`);

/**
 * The last instructions of a throw put a landing pad where a return address belongs, which no call has left: all unwinders go
 * by the instruction before it, and are wrong.
 */
function isInstallingContext(stack: readonly RecordedFrame[]): boolean {
  return /^_Unwind_(Resume|RaiseException)/.test(stack[0]?.name ?? '');
}

describe('single steps', { timeout: 300_000 }, () => {
  let directories: Map<string, string>;
  before(async () => {
    const wanted = recipes.filter(({ name }) => STEPPED.some(([stepped]) => stepped === name));
    directories = await buildFixtures([...wanted, stepper]);
  });
  after(closeFiles);

  for (const [name, instructions] of STEPPED) {
    const recipe = recipes.find((candidate) => candidate.name === name)!;
    it(`${name}: ${recipe.about}`, async (t) => {
      const fixture = await startFixture(recipe, directories.get(name)!, DEPTH);
      try {
        const { summary, stacks } = await recordRaw({
          pid: fixture.pid,
          strategy: 'loop',
          event: 'context-switches',
          seconds: 100,
          endsWithCallback: true,
          whileRecording: async () => {
            const step = join(directories.get(stepper.name)!, stepper.program);
            const { stdout } = await run(step, [`${fixture.pid}`, `${instructions}`]);
            assert.equal(Number(stdout), instructions);
          },
          keep: ({ pid }) => pid === fixture.pid,
        });
        const mappings = executableMappings(fixture.pid);
        const problems: string[] = [];
        let samples = 0;
        for (const { user, outcome, reason, failingPc, count } of stacks) {
          samples += count;
          const frames = user.map((frame) => {
            const { names, mapping } = placeOf(fixture, mappings, frame.address, frame.exact);
            return { address: frame.address, names: names ?? (frame.name === undefined ? [] : [frame.name]), mapping };
          });
          const isWhole = outcome === 'complete' || outcome === 'recovered';
          const alien = withoutCallSite(user);
          const wrong =
            compareWithTruth(frames, isWhole, fixture.stacks[0], recipe) ??
            (alien ? `no call before ${hex(alien.address)} (${alien.name})` : undefined) ??
            (isWhole ? undefined : `${outcome} (${reason}) at ${hex(failingPc)} after ${frames.length} frames`);
          if (wrong === undefined || (alien !== undefined && isInstallingContext(user))) continue;
          const shown = user.slice(0, 6).map(({ name, file, fileAddress }) => `${name ?? file} ${hex(fileAddress)}`);
          problems.push(`${count} × ${wrong}; ${shown.join(' < ')}`);
        }
        t.diagnostic(`${samples} samples, ${stacks.length} distinct stacks, ${summary.fired} fired`);
        assert.ok(samples >= instructions, `${samples} samples of ${instructions} instructions`);
        assert.deepEqual(problems, []);
      } finally {
        await fixture.stop();
      }
    });
  }
});
