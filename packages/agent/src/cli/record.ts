// SPDX-License-Identifier: Apache-2.0
import os from 'node:os';
import { systemClock } from '../clock.ts';
import type { RecordResult } from '../recording-options.ts';
import { MAX_FREQUENCY_HZ, MAX_USER_FRAMES, RECORD_EVENTS, STRATEGY_CHOICES } from '../recording-options.ts';
import type { Command, CommandContext } from './command.ts';
import { formatElapsed, orList } from './flag-values.ts';
import { type Output, openOutputFile, standardOutput } from './output-file.ts';
import { encode, OUTPUT_FORMATS } from './output-format.ts';
import { checkMachine, machineFacts } from './preflight.ts';
import { DEFAULT_FREQUENCY_HZ, DEFAULT_MAX_FRAMES, type RecordRequest, readRecordRequest } from './record-request.ts';
import { recordWithProgress } from './record-with-progress.ts';
import { jsonSummary, textSummary } from './summary.ts';
import { paintFor } from './terminal.ts';
import { VERSION } from './version.ts';

export const recordCommand: Command = {
  name: 'record',
  summary: 'Profile a process, a command or the whole machine for a while, and write the profile.',
  usage: ['[flags] --pid PID', '[flags] --all', '[flags] -- COMMAND [ARGUMENTS...]'],
  takesRest: true,
  flags: [
    {
      name: 'pid',
      short: 'p',
      value: 'PID',
      help: 'Record this process (or several: PID,PID), its threads, and processes that it starts.',
    },
    { name: 'all', short: 'a', help: 'Record every process of the machine.' },
    {
      name: 'duration',
      short: 'd',
      value: 'TIME',
      help: 'How long: 500ms, 10s, 5m. Default: 10s; of a command: until it ends. Ctrl-C ends it early and still writes.',
    },
    {
      name: 'frequency',
      short: 'F',
      value: 'HZ',
      help: `Samples per second and CPU, 1 to ${MAX_FREQUENCY_HZ}. Default: ${DEFAULT_FREQUENCY_HZ}.`,
    },
    {
      name: 'event',
      short: 'e',
      value: 'EVENT',
      help: `What fires a sample: ${orList(RECORD_EVENTS)}. Default: cpu-clock.`,
    },
    {
      name: 'strategy',
      value: 'NAME',
      help: `How the kernel walks stacks: ${orList(STRATEGY_CHOICES)}. Default: auto, the best that works here.`,
    },
    {
      name: 'max-frames',
      value: 'N',
      help: `Keep so many user frames of a stack, of a deeper one both ends, 16 to ${MAX_USER_FRAMES}. Default: ${DEFAULT_MAX_FRAMES}.`,
    },
    {
      name: 'format',
      short: 'f',
      value: 'FORMAT',
      help: `${orList(OUTPUT_FORMATS)}. Default: by the name of the output; folded on standard output, else html.`,
    },
    {
      name: 'fold-recursion',
      help: 'Write frames that repeat in a row once, followed by a frame `[repeated N times: M frames]`. Not for raw.',
    },
    {
      name: 'output',
      short: 'o',
      value: 'FILE',
      help: 'Where to write; - is standard output. Default: standard output when it is piped, else a file with a dated name.',
    },
    {
      name: 'json',
      help: 'Print the closing summary as a JSON object on standard output; the profile goes to a file.',
    },
  ],
  notes: [
    'Each sample ends with exactly one outcome. Stacks that do not reach their root start with a frame `[truncated: <reason>]`; the closing table counts every reason.',
    'A command does not run before the profiler is ready. `plumbline record` then ends with its exit code; its standard output goes to standard error when the profile is on standard output.',
  ],
  examples: [
    { what: 'A flame graph of the whole machine', command: 'sudo plumbline record --all --output cpu.html' },
    {
      what: 'One process, folded stacks into another tool',
      command: 'sudo plumbline record --pid 4242 -d 30s | flamegraph.pl > cpu.svg',
    },
    {
      what: 'A command from its first instruction on',
      command: 'sudo plumbline record --output build.pb.gz -- make -j4',
    },
    { what: 'What is waited for, not what runs', command: 'sudo plumbline record --pid 4242 --event context-switches' },
  ],
  async run(args, context) {
    const request = readRecordRequest(args, {
      searchPath: context.env.PATH,
      stdoutIsTerminal: context.stdout.isTTY === true,
      now: new Date(systemClock.wallMs()),
    });
    checkMachine(await machineFacts());
    const output = request.path === undefined ? standardOutput(context.stdout) : await openOutputFile(request.path);
    try {
      return await recordTo(output, request, context);
    } finally {
      await output.discard();
    }
  },
};

async function recordTo(output: Output, request: RecordRequest, context: CommandContext): Promise<number> {
  const { reasons } = await import('@plumbline/bpf');
  const result = await recordWithProgress(request.options, request.what, context);
  const paint = paintFor(context.stderr, context.env);
  const bytes = await output.write(
    encode(request.format, result, {
      version: VERSION,
      foldRecursion: request.foldRecursion,
      title: `Plumbline: ${request.what}`,
      facts: pageFacts(request, result),
      sentences: new Map(reasons.map(({ name, sentence }) => [name, sentence])),
    }),
  );
  const { event, frequency, maxFrames } = request.options;
  const written = { path: output.path, format: request.format, bytes };
  const summary = { what: request.what, event, frequency, maxFrames, result, reasons, output: written };
  if (request.json) context.stdout.write(`${JSON.stringify(jsonSummary(summary))}\n`);
  else context.stderr.write(textSummary(summary, paint));
  return result.exitCode ?? 0;
}

function pageFacts({ options }: RecordRequest, result: RecordResult): { name: string; value: string }[] {
  const begun = new Date(Number(result.profile.startUnixNano / 1_000_000n));
  return [
    { name: 'recorded', value: `${begun.toISOString().slice(0, 19).replace('T', ' ')} UTC` },
    { name: 'for', value: formatElapsed(result.elapsedMs) },
    { name: 'event', value: `${options.event} at ${options.frequency} Hz` },
    { name: 'strategy', value: result.strategy },
    { name: 'host', value: `${os.hostname()}, Linux ${os.release()}` },
  ];
}
