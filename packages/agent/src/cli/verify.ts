// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../clock.ts';
import { MAX_FREQUENCY_HZ, MAX_SPILLED_STACK, type RecordResult, STRATEGY_CHOICES } from '../recording-options.ts';
import type { Arguments, Command } from './command.ts';
import { orList } from './flag-values.ts';
import { PerfCheck, type PerfOutcome } from './perf-check.ts';
import { findPerf } from './perf-recording.ts';
import { checkMachine, machineFacts } from './preflight.ts';
import { DEFAULT_FREQUENCY_HZ, readRecordRequest } from './record-request.ts';
import { recordWithProgress } from './record-with-progress.ts';
import { paintFor } from './terminal.ts';
import { jsonVerification, standsVerification, textVerification } from './verification-report.ts';

export const verifyCommand: Command = {
  name: 'verify',
  summary: 'Walk stacks twice, in the kernel and by an independent unwinder, and compare them frame by frame.',
  usage: ['[flags] [--all]', '[flags] --pid PID', '[flags] -- COMMAND [ARGUMENTS...]'],
  takesRest: true,
  flags: [
    { name: 'pid', short: 'p', value: 'PID', help: 'Verify this process, its threads, and processes that it starts.' },
    { name: 'all', short: 'a', help: 'Verify every process of the machine. The default.' },
    {
      name: 'duration',
      short: 'd',
      value: 'TIME',
      help: 'How long: 500ms, 10s, 5m. Default: 10s; of a command: until it ends.',
    },
    {
      name: 'frequency',
      short: 'F',
      value: 'HZ',
      help: `Samples per second and CPU, 1 to ${MAX_FREQUENCY_HZ}. Default: ${DEFAULT_FREQUENCY_HZ}.`,
    },
    {
      name: 'strategy',
      value: 'NAME',
      help: `How the kernel walks stacks: ${orList(STRATEGY_CHOICES)}. Default: auto, the best that works here.`,
    },
    {
      name: 'no-perf',
      help: 'With --pid: do not compare with perf. Where perf is installed, it samples the same processes meanwhile.',
    },
    { name: 'json', help: 'Print a JSON object, with both walks of every mismatch.' },
  ],
  notes: [
    `Registers and up to ${MAX_SPILLED_STACK >> 10} KiB of stack of each sample are copied, and walked again by the full call frame information of the files (DWARF expressions included). The copies do not leave this machine and are dropped at once.`,
    'perf walks by DWARF call graphs from copies of 32 KiB of stack. It takes other samples of the same programs, so what is compared is how often each call site is on the stack, and what chance does not explain is listed. The exit code does not depend on it.',
    'The exit code is 1 when a walk differs, or when nothing could be compared. An agent verifies a share of its walks all the time where unwinding.verifyRatio says so.',
  ],
  examples: [
    { what: 'Every process of the machine', command: 'sudo plumbline verify' },
    { what: 'A command, from its first instruction on', command: 'sudo plumbline verify -- openssl speed sha256' },
  ],
  async run(args, { stdout, stderr, env }) {
    const { options, what, json } = readRecordRequest(withTarget(args), {
      searchPath: env.PATH,
      stdoutIsTerminal: false,
      now: new Date(systemClock.wallMs()),
    });
    checkMachine(await machineFacts());
    const { target } = options;
    const perf =
      target.kind === 'pid' && args.flags['no-perf'] !== true
        ? new PerfCheck(findPerf(env.PATH), [target.pid, ...(target.others ?? [])], options.frequency)
        : undefined;
    let result: RecordResult;
    let comparison: PerfOutcome | undefined;
    try {
      result = await recordWithProgress(
        { ...options, verifyRatio: 1, keepRawStacks: perf !== undefined },
        what,
        { stderr, env },
        {
          onStep: ({ phase }) => perf?.follow(phase),
          async onRecorded(recorded) {
            comparison = await perf?.compare(recorded.rawStacks());
          },
        },
      );
    } finally {
      await perf?.close();
    }
    const input = { what, frequency: options.frequency, result, ...(comparison && { perf: comparison }) };
    stdout.write(
      json ? `${JSON.stringify(jsonVerification(input), null, 2)}\n` : textVerification(input, paintFor(stdout, env)),
    );
    return standsVerification(result) ? 0 : 1;
  },
};

/** Without a target: everything. */
function withTarget(args: Arguments): Arguments {
  const hasTarget = args.flags.pid !== undefined || args.flags.all !== undefined || args.rest !== undefined;
  return hasTarget ? args : { ...args, flags: { ...args.flags, all: true } };
}
