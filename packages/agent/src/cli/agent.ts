// SPDX-License-Identifier: Apache-2.0
import process from 'node:process';
import { systemClock } from '../clock.ts';
import type { AgentSettings } from '../config/agent-settings.ts';
import { AgentError } from '../errors.ts';
import { createProcessLogger, LOG_LEVELS } from '../log.ts';
import { textOf } from './arguments.ts';
import type { Arguments, Command, CommandContext } from './command.ts';
import { orList, usage } from './flag-values.ts';
import { checkMachine, machineFacts } from './preflight.ts';
import { stopSignals } from './stop-signals.ts';
import { colorsOf, type Environment } from './terminal.ts';
import { VERSION } from './version.ts';

export const agentCommand: Command = {
  name: 'agent',
  summary: 'Profile this node until stopped, as a configuration says, and ship the profiles.',
  usage: ['--config FILE [flags]', '--config FILE --check', '--kubernetes [flags]'],
  flags: [
    {
      name: 'config',
      short: 'c',
      value: 'FILE',
      help: 'The configuration, YAML or JSON. Read again when it changes and on SIGHUP.',
    },
    {
      name: 'kubernetes',
      help: 'Follow the NodeProfilingConfig of this node, as a pod of the cluster. Needs NODE_NAME in the environment.',
    },
    { name: 'check', help: 'Only say whether the configuration is valid: exit code 0, or 1 with what is wrong.' },
    { name: 'listen', value: 'ADDRESS', help: 'Instead of agent.listen: host:port, :port, or off.' },
    { name: 'state-directory', value: 'DIR', help: 'Instead of agent.stateDirectory.' },
    {
      name: 'log-level',
      value: 'LEVEL',
      help: `Instead of agent.logLevel and PLUMBLINE_LOG_LEVEL: ${orList(LOG_LEVELS)}.`,
    },
    { name: 'json', help: 'With --check: print the effective configuration, every default filled in.' },
  ],
  details: async () => (await import('../config/reference.ts')).configurationHelp(),
  examples: [
    { what: 'Profile the node as node.yaml says', command: 'sudo plumbline agent --config node.yaml' },
    { what: 'What is in force, with all defaults', command: 'plumbline agent --config node.yaml --check --json' },
  ],
  async run(args, context) {
    const path = textOf(args, 'config');
    if (args.flags.kubernetes === true) {
      if (path !== undefined) throw usage('--config and --kubernetes exclude each other');
      if (args.flags.check === true) throw usage('--check needs --config');
      return runAgentInKubernetes(args, context);
    }
    if (path === undefined) throw usage('--config is missing', 'give a file: plumbline agent --config node.yaml');
    return args.flags.check === true ? check(path, args, context) : runAgentFrom(path, args, context);
  },
};

async function check(path: string, args: Arguments, { stdout }: CommandContext): Promise<number> {
  const { loadConfigFile } = await import('../config/file.ts');
  const { spec, settings } = loadConfigFile(path);
  if (args.flags.json === true) {
    stdout.write(`${JSON.stringify({ spec, agent: settings }, null, 2)}\n`);
  } else {
    const exports = spec.exports.map(({ name }) => name).join(', ') || 'none';
    stdout.write(
      `${path} is valid: ${spec.rules.length} rules, ${spec.sampling.frequencyHz} Hz, exports: ${exports}\n`,
    );
  }
  return 0;
}

async function runAgentFrom(path: string, args: Arguments, { stderr, env }: CommandContext): Promise<number> {
  const { loadConfigFile, FileConfigSource } = await import('../config/file.ts');
  const { AgentSettings, resolveSettings } = await import('../config/agent-settings.ts');
  const overrides = readOverrides(args, env, AgentSettings.shape);
  // A file that cannot be used is not the end: the last good configuration may be there. The source decides.
  const inFile = settingsOf(() => loadConfigFile(path).settings);
  const settings = resolveSettings({ ...(inFile ?? AgentSettings.parse({})), ...overrides });
  const log = createProcessLogger(settings.logLevel, stderr as NodeJS.WriteStream, colorsOf(stderr, env));
  checkMachine(await machineFacts());

  const source = new FileConfigSource({
    path,
    stateDirectory: settings.stateDirectory,
    ...(inFile && { settings: inFile }),
    log: log.child({ component: 'config' }),
    clock: systemClock,
  });
  const onHangup = () => {
    log.info('SIGHUP: reading the configuration again');
    source.reload();
  };
  process.on('SIGHUP', onHangup);
  const stop = stopSignals();
  try {
    const { runAgent } = await import('../agent.ts');
    await runAgent({ source, settings, log, clock: systemClock, stop: stop.signal, version: VERSION });
  } finally {
    stop.release();
    process.off('SIGHUP', onHangup);
  }
  return 0;
}

async function runAgentInKubernetes(args: Arguments, { stderr, env }: CommandContext): Promise<number> {
  const nodeName = env.NODE_NAME;
  if (!nodeName) {
    throw usage('--kubernetes needs the name of the node', 'set NODE_NAME from the field spec.nodeName of the pod');
  }
  const { AgentSettings, resolveSettings } = await import('../config/agent-settings.ts');
  const settings = resolveSettings({ ...AgentSettings.parse({}), ...readOverrides(args, env, AgentSettings.shape) });
  const log = createProcessLogger(settings.logLevel, stderr as NodeJS.WriteStream, colorsOf(stderr, env));
  const { POD_NAME: pod, POD_NAMESPACE: namespace } = env;
  log.info('starting', { node: nodeName, pod, namespace, version: VERSION });
  const facts = await machineFacts();
  const stop = stopSignals();
  try {
    const { runKubernetesAgent } = await import('../kubernetes-agent.ts');
    await runKubernetesAgent({
      nodeName,
      env,
      settings,
      log,
      clock: systemClock,
      stop: stop.signal,
      version: VERSION,
      preflight: () => checkMachine(facts), // what is missing belongs into the status, not into a crash loop
    });
  } finally {
    stop.release();
  }
  return 0;
}

/** What stands in for a setting of the file: a flag, or before it a variable of the environment. */
const OVERRIDES = [
  { setting: 'listen', flag: 'listen' },
  { setting: 'stateDirectory', flag: 'state-directory' },
  { setting: 'logLevel', flag: 'log-level', variable: 'PLUMBLINE_LOG_LEVEL' },
] as const;

function readOverrides(
  args: Arguments,
  env: Environment,
  shape: (typeof AgentSettings)['shape'],
): Partial<AgentSettings> {
  const values = OVERRIDES.flatMap((override) => {
    const fromFlag = textOf(args, override.flag);
    const fromVariable = 'variable' in override ? env[override.variable] || undefined : undefined;
    const text = fromFlag ?? fromVariable;
    if (text === undefined) return [];
    const parsed = shape[override.setting].safeParse(text);
    if (parsed.success) return [[override.setting, parsed.data]];
    const source = fromFlag === undefined && 'variable' in override ? override.variable : `--${override.flag}`;
    throw usage(`${source} ${JSON.stringify(text)}: ${parsed.error.issues[0].message}`);
  });
  return Object.fromEntries(values);
}

function settingsOf<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch (error) {
    if (error instanceof AgentError) return undefined;
    throw error;
  }
}
