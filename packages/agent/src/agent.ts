// SPDX-License-Identifier: Apache-2.0
/**
 * The agent of a node: profiles as its configuration says until it is stopped.
 *
 * Once per report interval the counted stacks become a profile, which goes to the destinations and to the page of the
 * last minutes. A new configuration is applied while samples go on; only another strategy needs other programs, which
 * are loaded beside the running ones before these stop.
 */
import { cpus, release } from 'node:os';
import { type NodeProfilingSpec, parseDuration } from '@plumbline/api';
import { enableRunTimeStatistics, reasons } from '@plumbline/bpf';
import { AgentMetricsFeed } from './agent-metrics.ts';
import type { AgentOptions } from './agent-options.ts';
import { BaselineKeeper } from './baseline/baseline-keeper.ts';
import { systemClock } from './clock.ts';
import type { EffectiveConfig } from './config/source.ts';
import { AgentError } from './errors.ts';
import type { ExplainContext } from './explain/explanation.ts';
import { foldRecursion } from './export/fold-recursion.ts';
import { Destinations } from './exports.ts';
import { Health } from './http/health.ts';
import { RecentProfiles } from './http/recent-profiles.ts';
import type { HttpServer } from './http/server.ts';
import { type IntervalHealth, IntervalHealthMeter } from './interval-health.ts';
import { kernelLimitsHere, probeKernelLimits } from './kernel-limits.ts';
import type { Logger } from './log.ts';
import { AgentMetrics } from './metrics/registry.ts';
import type { Attributes } from './profile/attribute-table.ts';
import { Profile } from './profile/profile.ts';
import { Profiler } from './profiler.ts';
import type { StrategyChoice } from './recording-options.ts';
import type { StackCount } from './samples/aggregate.ts';
import { Budget } from './session/budget.ts';
import { type ChosenStrategy, chooseStrategy, describeChoice } from './strategy-choice.ts';
import { NOT_SELECTED, Selection } from './workloads/selection.ts';
import type { PodDirectory } from './workloads/workload.ts';
import { Workloads } from './workloads/workloads.ts';

/** How long tables of programs that run already may take before sampling begins all the same: ms. */
const READINESS_MS = 30_000;
/** How long walks in progress may take before the profiler that they are of goes. */
const RECOVERY_MS = 1_000;
/** How long what profiling costs is not held against the budget: ms. */
const SETTLING_MS = 60_000;
/** What is still to be delivered at the end may take so long: ms. */
const SHUTDOWN_MS = 10_000;
/** The first report with a new configuration comes this soon: people wait for it. */
const FIRST_REPORT_MS = 2_000;

/** Reason → what it means to a person. */
const SENTENCES = new Map(reasons.map(({ name, sentence }) => [name, sentence]));

/** What became of an interval, for those who report it (status in Kubernetes). */
export interface IntervalReport {
  readonly spec: NodeProfilingSpec;
  readonly strategy: string;
  readonly counts: readonly StackCount[];
  readonly workloads: Workloads;
  readonly profiler: Profiler;
  readonly health: IntervalHealth;
  readonly baselines: BaselineKeeper;
}

export interface AgentExtensions {
  /** Pods of the node; `onChange` is called when the selection may have changed. */
  readonly pods?: PodDirectory & { onChange(listener: () => void): void };
  /** Added to the resource of everything exported. */
  readonly resource?: Attributes;
  readonly onInterval?: (report: IntervalReport) => void;
  /** @param strategy undefined while nothing is profiled */
  readonly onApplied?: (config: EffectiveConfig, strategy: string | undefined) => void;
  /** Where there is somebody to tell, the agent stays also without a configuration, and waits for one that works. */
  readonly onRefused?: (config: EffectiveConfig, error: AgentError) => void;
  readonly health?: (health: Health) => void;
  /** Called before programs are loaded; throws what keeps them from running. */
  readonly preflight?: () => void;
}

export async function runAgent(options: AgentOptions, extensions: AgentExtensions = {}): Promise<void> {
  const agent = new Agent(options, extensions);
  try {
    await agent.run();
  } finally {
    await agent.close();
  }
}

class Agent {
  readonly #options: AgentOptions;
  readonly #extensions: AgentExtensions;
  readonly #metrics = new AgentMetrics();
  readonly #feed: AgentMetricsFeed;
  readonly #health = new Health();
  readonly #recent: RecentProfiles;
  readonly #destinations: Destinations;
  readonly #workloads: Workloads;
  readonly #baselines: BaselineKeeper;
  /** Undefined where the kernel does not measure the programs' run time for us. */
  readonly #statistics: { close(): void } | undefined;
  #server: HttpServer | undefined;
  #profiler: Profiler | undefined;
  #chosen: ChosenStrategy | undefined;
  #config: EffectiveConfig | undefined;
  #selection = new Selection([]);
  #budget: Budget | undefined;
  #intervalStart = 0n;
  #intervalBegan = 0;
  #cpu = process.cpuUsage();
  #bpfNs = 0;
  #profilingSince = 0;
  #reporting: Promise<void> | undefined;
  readonly #healthMeter = new IntervalHealthMeter();
  /** Aborted when a configuration comes into force; then there is a new one. */
  #changed = new AbortController();

  constructor(options: AgentOptions, extensions: AgentExtensions) {
    this.#options = options;
    this.#extensions = extensions;
    this.#workloads = new Workloads(extensions.pods);
    this.#baselines = new BaselineKeeper({
      stateDirectory: options.settings.stateDirectory,
      clock: systemClock,
      log: options.log.child({ component: 'baselines' }),
    });
    this.#recent = new RecentProfiles({ windowMs: options.settings.recentProfilesMs });
    this.#destinations = new Destinations(options.settings, options.version, options.log);
    this.#statistics = measureRunTime(options.log);
    this.#feed = new AgentMetricsFeed(this.#metrics, {
      destinations: () => this.#destinations.all,
      profiler: () => this.#profiler,
      strategy: () => this.#chosen,
      budget: () => this.#budget,
      baselines: this.#baselines,
      ready: () => this.#health.problems('ready').length === 0,
      configValid: () => options.source.problem === undefined,
      version: options.version,
      kernel: release(),
      maxWorkloadSeries: options.settings.maxWorkloadSeries,
    });
    this.#health.check('ready', 'configuration', () => options.source.problem ?? this.#noConfiguration());
    this.#health.check('ready', 'tables', () =>
      this.#profiler && this.#profiler.executables.pending > 0 && this.#feed.intervals === 0
        ? new AgentError(
            'internal',
            `unwind tables of ${this.#profiler.executables.pending} files are being built`,
            'wait',
          )
        : undefined,
    );
    extensions.health?.(this.#health);
    extensions.pods?.onChange(() => this.#reselect());
  }

  async run(): Promise<void> {
    const { source, stop, settings, log } = this.#options;
    if (settings.listen) await this.#serve();
    const ticking = this.#tick();
    try {
      for await (const config of source.configs(stop)) {
        try {
          await this.#apply(config);
          source.applied(config);
          this.#extensions.onApplied?.(config, this.#profiler?.session.strategy.name);
          log.info('configuration applied', {
            origin: config.origin,
            rules: config.spec.rules.length,
            hash: config.spec.configHash,
          });
        } catch (thrown) {
          const error = AgentError.from(thrown);
          source.refused(config, error);
          this.#extensions.onRefused?.(config, error);
          if (!this.#config && !this.#extensions.onRefused) throw error;
          log.error('configuration refused; what was in force stays', {
            origin: config.origin,
            error: error.message,
            remedy: error.remedy,
          });
        }
      }
    } finally {
      await ticking;
    }
    await this.#report();
    log.info('stopped');
  }

  async close(): Promise<void> {
    this.#profiler?.session.stop();
    this.#baselines.save();
    await this.#destinations.drain(SHUTDOWN_MS);
    await this.#server?.close();
    await this.#profiler?.close();
    this.#statistics?.close();
  }

  #noConfiguration(): AgentError | undefined {
    return this.#config
      ? undefined
      : new AgentError('config_invalid', 'no configuration is in force yet', 'wait for one, or see the log');
  }

  async #serve(): Promise<void> {
    const { startHttpServer } = await import('./http/server.ts');
    const { settings, log, version } = this.#options;
    if (!settings.listen) return;
    this.#server = await startHttpServer({
      listen: settings.listen,
      metrics: this.#metrics,
      health: this.#health,
      recent: this.#recent,
      sentences: SENTENCES,
      facts: () => [
        { name: 'kernel', value: release() },
        { name: 'strategy', value: this.#profiler?.session.strategy.name ?? 'none yet' },
        { name: 'frequency', value: `${this.#budget?.frequencyHz ?? 0} Hz` },
      ],
      explain: () => this.#explainContext(),
      objective: (name) => {
        const rule = this.#config?.spec.rules.find(({ policy }) => policy.name === name);
        return rule && Number(rule.objective.truncatedRatio);
      },
      usual: (policy, workload) => this.#baselines.of(policy, workload),
      refreshSeconds: 10,
      version,
      log: log.child({ component: 'http' }),
    });
    log.info('serving metrics, health and the page of the last minutes', {
      address: `http://${this.#server.address}/`,
    });
  }

  #explainContext(): ExplainContext {
    return {
      kernel: release(),
      strategy: this.#profiler?.session.strategy.name ?? 'none yet',
      kernelLimits: kernelLimitsHere(),
      policies: (this.#config?.spec.rules ?? []).map(({ policy, unwinding }) => ({
        name: policy.name,
        maxFrames: unwinding.maxFrames,
        spill: unwinding.spill,
      })),
      sentences: SENTENCES,
    };
  }

  async #apply(config: EffectiveConfig): Promise<void> {
    const { spec } = config;
    if (spec.sampling.event !== 'CPU')
      throw new AgentError(
        'config_invalid',
        `sampling.event ${spec.sampling.event} is not supported by this version`,
        'use CPU',
      );
    const strategy = strategyOf(spec);
    const before = this.#selection;
    try {
      // What was sampled until now belongs to the rules and destinations of the configuration before.
      await this.#profiler?.session.flush();
      await this.#reportOrLog();
      await this.#destinations.apply(spec);
      this.#selection = new Selection(spec.rules);
      await this.#enforce(spec, strategy);
    } catch (error) {
      this.#selection = before;
      if (this.#config) await this.#destinations.apply(this.#config.spec);
      throw error;
    }
    this.#config = config;
    this.#feed.applied(spec);
    this.#changed.abort();
    this.#changed = new AbortController();
  }

  async #enforce(spec: NodeProfilingSpec, strategy: StrategyChoice): Promise<void> {
    const budget = new Budget({
      ratio: Number(spec.budget.cpuPercentOfNode) / 100,
      throttle: spec.budget.onExceeded === 'Throttle',
      frequencyHz: spec.sampling.frequencyHz,
    });
    if (spec.rules.length === 0) {
      await this.#retireProfiler(undefined);
    } else if (!this.#profiler || this.#config?.spec.unwinding.strategy !== spec.unwinding.strategy) {
      await this.#replaceProfiler(strategy, spec, budget);
    } else {
      this.#setPolicies(this.#profiler, spec);
      this.#reselect();
      this.#profiler.session.setFrequency(budget.frequencyHz);
    }
    this.#budget = budget;
  }

  /** Asks again for the rule of every process. */
  #reselect(): void {
    const profiler = this.#profiler;
    if (!profiler) return;
    profiler.processes.reselect();
    profiler.processes.flush();
    profiler.pipeline.beginEpoch(); // a stack that is remembered says under which rule it was sampled
  }

  /** Ends the running profiler, if there is one, and puts another in its place. Nothing that it has sampled is lost. */
  async #retireProfiler(next: Profiler | undefined): Promise<void> {
    const before = this.#profiler;
    if (before) {
      await before.endSampling(RECOVERY_MS);
      await this.#reportOrLog();
      this.#feed.retire(before.counters());
    }
    this.#profiler = next;
    this.#profilingSince = performance.now();
    this.#beginInterval();
    this.#cpu = process.cpuUsage(); // what preparing cost does not count against the budget
    this.#bpfNs = 0;
    await before?.close();
  }

  async #replaceProfiler(strategy: StrategyChoice, spec: NodeProfilingSpec, budget: Budget): Promise<void> {
    const { log, settings } = this.#options;
    this.#extensions.preflight?.();
    await probeKernelLimits();
    const chosen = await chooseStrategy(strategy);
    const next = new Profiler({
      strategy: chosen.name,
      defaultPolicy: NOT_SELECTED,
      selectPolicy: (tgid, parent) => {
        this.#workloads.learn(tgid, parent);
        if (tgid === process.pid && !settings.profileSelf) return NOT_SELECTED;
        return this.#selection.policyOf(this.#workloads.of(tgid));
      },
      describe: (image) => this.#workloads.describe(image),
      onProcessReady: (seconds) => this.#metrics.observe('processReady', {}, seconds),
      onTableBuilt: (buildMs) => this.#metrics.observe('unwindTableBuild', {}, buildMs / 1e3),
      log: log.child({ component: 'profiler' }),
    });
    try {
      this.#setPolicies(next, spec);
      next.processes.scan();
      next.processes.flush();
      const deadline = performance.now() + READINESS_MS;
      while (next.executables.pending > 0 && performance.now() < deadline && !this.#options.stop.aborted)
        await systemClock.sleep(20, this.#options.stop);
    } catch (error) {
      await next.close();
      throw error;
    }
    this.#profiler?.session.stop();
    next.session.start({ event: 'cpu-clock', frequency: budget.frequencyHz });
    await this.#retireProfiler(next);
    this.#chosen = chosen;
    for (const { strategy: name, cause, detail } of chosen.rejected)
      log.warn('a better strategy is not used', { strategy: name, cause, detail });
    log.info('profiling', {
      strategy: next.session.strategy.name,
      why: describeChoice(chosen).join('; '),
      frequency: budget.frequencyHz,
      processes: next.processes.size,
      files: next.executables.size,
    });
  }

  #setPolicies(profiler: Profiler, spec: NodeProfilingSpec): void {
    spec.rules.forEach((rule, index) => {
      profiler.session.tables.setPolicy(index + 1, {
        maxFrames: rule.unwinding.maxFrames,
        kernelStacks: true,
        keep: rule.frequencyHz / spec.sampling.frequencyHz,
        spill: rule.unwinding.spill === 'Auto',
        verify: Number(spec.unwinding.verifyRatio),
      });
    });
    profiler.session.setDefaultPolicy(this.#selection.defaultPolicy);
  }

  /** Reports once per interval until stopped. */
  async #tick(): Promise<void> {
    const { stop } = this.#options;
    let known = this.#config;
    while (!stop.aborted) {
      const { signal: changed } = this.#changed;
      const interval = parseDuration(this.#config?.spec.reportInterval ?? '1s');
      const ms = known === this.#config ? interval : Math.min(interval, FIRST_REPORT_MS);
      known = this.#config;
      await systemClock.sleep(ms, AbortSignal.any([stop, changed]));
      if (stop.aborted) return;
      if (changed.aborted) continue;
      await this.#reportOrLog();
    }
  }

  async #reportOrLog(): Promise<void> {
    try {
      await this.#report();
    } catch (error) {
      this.#options.log.error('a report failed', { error: (error as Error).stack });
    }
  }

  #beginInterval(): void {
    this.#intervalStart = BigInt(Math.round(systemClock.wallMs() * 1e6));
    this.#intervalBegan = performance.now();
  }

  /** Makes a profile of what was sampled since the last report, and sends it. One at a time. */
  async #report(): Promise<void> {
    while (this.#reporting) await this.#reporting;
    const profiler = this.#profiler;
    const config = this.#config;
    if (!profiler || !config) return;
    this.#reporting = this.#reportNow(profiler, config).finally(() => {
      this.#reporting = undefined;
    });
    await this.#reporting;
  }

  async #reportNow(profiler: Profiler, config: EffectiveConfig): Promise<void> {
    const start = this.#intervalStart;
    const elapsedMs = performance.now() - this.#intervalBegan;
    const counts = profiler.pipeline.take();
    this.#beginInterval();
    const destinations = this.#destinations.all;
    const resource = { ...config.spec.resourceAttributes, ...this.#extensions.resource };
    const policies = config.spec.rules.map(({ policy }) => policy.name);
    const build = async (chosen: readonly StackCount[], markTruncated: boolean) => {
      const profile = new Profile({
        startUnixNano: start,
        periodNano: Math.round(1e9 / (this.#budget?.frequencyHz ?? config.spec.sampling.frequencyHz)),
      });
      profile.durationNano = BigInt(Math.round(elapsedMs * 1e6));
      await profiler.pipeline.build(chosen, profile, { markTruncated, resource, policies });
      return profile;
    };
    const begun = performance.now();
    const whole = await build(counts, true);
    this.#recent.add(whole);
    const everything = `true ${config.spec.rules.map((_, index) => index + 1).join()}`;
    const profiles = new Map<string, Profile>([[everything, whole]]);
    for (const { profileKey, policies, markTruncated, foldRecursion: fold, exporter } of destinations) {
      let profile = profiles.get(profileKey);
      if (!profile) {
        profile = await build(
          counts.filter(({ stack }) => policies.has(stack.policy)),
          markTruncated,
        );
        profiles.set(profileKey, profile);
      }
      if (profile.samples.count > 0) void exporter.export(fold ? foldRecursion(profile) : profile);
    }
    this.#feed.interval(counts, config.spec, this.#workloads, profiler, (performance.now() - begun) / 1e3);
    this.#baselines.observe(counts, policies, ({ stack }) => {
      const image = profiler.processes.image(stack.tgid, stack.generation);
      return image ? this.#workloads.name(image) : 'unknown';
    });
    this.#extensions.onInterval?.({
      spec: config.spec,
      strategy: profiler.session.strategy.name,
      counts,
      workloads: this.#workloads,
      profiler,
      baselines: this.#baselines,
      health: this.#healthMeter.read(profiler.counters(), destinations, {
        frequencyHz: this.#budget?.frequencyHz ?? 0,
        wantedFrequencyHz: config.spec.sampling.frequencyHz,
        budgetExhausted: this.#budget?.exhausted ?? false,
      }),
    });
    this.#workloads.retain((tgid) => profiler.processes.get(tgid) !== undefined);
    this.#holdBudget(profiler, elapsedMs);
  }

  /** Measures what the interval cost, and samples less where that is over the budget. */
  #holdBudget(profiler: Profiler, elapsedMs: number): void {
    const cpu = process.cpuUsage(this.#cpu);
    this.#cpu = process.cpuUsage();
    const { ns } = profiler.session.runTime();
    const bpfNs = ns >= this.#bpfNs ? ns - this.#bpfNs : ns;
    this.#bpfNs = ns;
    const ratio = ((cpu.user + cpu.system) / 1e3 + bpfNs / 1e6) / Math.max(1, elapsedMs) / cpus().length;
    this.#feed.overhead(ratio);
    const budget = this.#budget;
    // To learn the programs that run already costs once, and sampling less would not make it less.
    if (!budget || performance.now() - this.#profilingSince < SETTLING_MS) return;
    const before = budget.frequencyHz;
    const wasExhausted = budget.exhausted;
    const now = budget.observe(ratio);
    if (budget.exhausted && !wasExhausted) {
      this.#options.log.warn('over the budget at the lowest frequency: raise the budget, or lower the frequency', {
        overheadPercent: Number((ratio * 100).toFixed(2)),
        budgetPercent: budget.ratio * 100,
        frequency: now,
      });
    }
    if (now === before) return;
    profiler.session.setFrequency(now);
    this.#options.log.warn(
      now < before ? 'over the budget: sampling less often' : 'within the budget: sampling more often',
      {
        overheadPercent: Number((ratio * 100).toFixed(2)),
        budgetPercent: budget.ratio * 100,
        frequency: now,
      },
    );
  }
}

/** Run times of BPF programs cost a capability that the agent does without: then the budget counts the agent's CPU time alone. */
function measureRunTime(log: Logger): { close(): void } | undefined {
  try {
    return enableRunTimeStatistics();
  } catch (error) {
    log.info('the kernel does not measure the run time of BPF programs', { why: (error as Error).message });
    return undefined;
  }
}

function strategyOf({ unwinding }: NodeProfilingSpec): StrategyChoice {
  switch (unwinding.strategy) {
    case 'TailCall':
      return 'tailCall';
    case 'Loop':
      return 'loop';
    case 'Deferred':
      return 'deferred';
    default:
      return 'auto';
  }
}
