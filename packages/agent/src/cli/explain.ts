// SPDX-License-Identifier: Apache-2.0
import { release } from 'node:os';
import { systemClock } from '../clock.ts';
import { DEFAULT_LISTEN } from '../config/agent-settings.ts';
import { type Explanation, explainProfile } from '../explain/explanation.ts';
import { explanationLines } from '../explain/explanation-text.ts';
import { MAX_FREQUENCY_HZ, MAX_USER_FRAMES, STRATEGY_CHOICES } from '../recording-options.ts';
import { askAgent } from './agent-client.ts';
import { textOf } from './arguments.ts';
import type { Arguments, Command, CommandContext } from './command.ts';
import { orList, usage } from './flag-values.ts';
import { checkMachine, machineFacts } from './preflight.ts';
import { DEFAULT_FREQUENCY_HZ, DEFAULT_MAX_FRAMES, readRecordRequest } from './record-request.ts';
import { recordWithProgress } from './record-with-progress.ts';
import { readSince, SINCE_FLAG } from './since-flag.ts';
import { paintFor } from './terminal.ts';

export const explainCommand: Command = {
  name: 'explain',
  summary: 'Say why stacks are cut, in which files and processes, and what to do about it.',
  usage: ['[--agent ADDRESS] [flags]', '[flags] --pid PID', '[flags] --all', '[flags] -- COMMAND [ARGUMENTS...]'],
  takesRest: true,
  flags: [
    {
      name: 'agent',
      value: 'ADDRESS',
      help: `Ask the agent at this address for what it saw lately. The default, at ${DEFAULT_LISTEN}.`,
    },
    SINCE_FLAG,
    { name: 'workload', short: 'w', value: 'NAME', help: 'Of an agent: only this workload, namespace/name.' },
    {
      name: 'pid',
      short: 'p',
      value: 'PID',
      help: 'Record this process and what it starts for a while, and explain that.',
    },
    { name: 'all', short: 'a', help: 'Record every process of the machine.' },
    {
      name: 'duration',
      short: 'd',
      value: 'TIME',
      help: 'How long to record. Default: 10s; of a command: until it ends.',
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
      help: `How the kernel walks stacks: ${orList(STRATEGY_CHOICES)}. Default: auto.`,
    },
    {
      name: 'max-frames',
      value: 'N',
      help: `Keep so many user frames of a stack, of a deeper one both ends, 16 to ${MAX_USER_FRAMES}. Default: ${DEFAULT_MAX_FRAMES}.`,
    },
    { name: 'json', help: 'Print a JSON object.' },
  ],
  notes: [
    'The same text is served by an agent at /api/explain, and by `kubectl plumbline explain WORKLOAD` for a whole cluster.',
  ],
  examples: [
    { what: 'What the agent of this node saw in the last minutes', command: 'plumbline explain' },
    { what: 'One process, recorded for ten seconds', command: 'sudo plumbline explain --pid 4242' },
  ],
  async run(args, context) {
    const { explanation, what } = recordsItself(args) ? await record(args, context) : await fromAgent(args);
    const { stdout, env } = context;
    stdout.write(
      args.flags.json === true
        ? `${JSON.stringify(explanation, null, 2)}\n`
        : `${explanationLines(explanation, what, paintFor(stdout, env)).join('\n')}\n`,
    );
    return 0;
  },
};

interface Explained {
  readonly explanation: Explanation;
  readonly what: string;
}

function recordsItself({ flags, rest }: Arguments): boolean {
  const records = flags.pid !== undefined || flags.all !== undefined || rest !== undefined;
  const ofAgents = (['agent', 'since', 'workload'] as const).filter((name) => flags[name] !== undefined);
  if (records && ofAgents.length > 0) throw usage(`--${ofAgents[0]} is for what an agent saw, not for a recording`);
  const ofRecordings = (['duration', 'frequency', 'strategy', 'max-frames'] as const).filter(
    (n) => flags[n] !== undefined,
  );
  if (!records && ofRecordings.length > 0)
    throw usage(`--${ofRecordings[0]} is for a recording`, 'give --pid PID, --all, or a command after `--`');
  return records;
}

async function fromAgent(args: Arguments): Promise<Explained> {
  const query = new URLSearchParams();
  const since = readSince(args);
  const workload = textOf(args, 'workload');
  if (since !== undefined) query.set('since', since);
  if (workload !== undefined) query.set('workload', workload);
  const {
    text: _,
    summary: __,
    ...explanation
  } = await askAgent<Explanation & { text: string; summary?: string }>(
    textOf(args, 'agent') ?? DEFAULT_LISTEN,
    `/api/explain?${query}`,
  );
  return { explanation, what: workload ?? 'this node' };
}

async function record(args: Arguments, context: CommandContext): Promise<Explained> {
  const { options, what } = readRecordRequest(args, {
    searchPath: context.env.PATH,
    stdoutIsTerminal: false,
    now: new Date(systemClock.wallMs()),
  });
  checkMachine(await machineFacts());
  const { reasons } = await import('@plumbline/bpf');
  const { kernelLimitsHere, probeKernelLimits } = await import('../kernel-limits.ts');
  await probeKernelLimits();
  const result = await recordWithProgress(options, what, context);
  const dropped = new Set<string>(reasons.filter(({ outcome }) => outcome === 'dropped').map(({ name }) => name));
  const explanation = explainProfile(result.profile, {
    kernel: release(),
    strategy: result.strategy,
    kernelLimits: kernelLimitsHere(),
    policies: [{ name: '', maxFrames: options.maxFrames, spill: 'Auto' }],
    sentences: new Map(reasons.map(({ name, sentence }) => [name, sentence])),
    lost: Object.fromEntries(Object.entries(result.counters.byReason).filter(([reason]) => dropped.has(reason))),
  });
  return { explanation, what };
}
