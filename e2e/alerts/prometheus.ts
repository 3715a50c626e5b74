// SPDX-License-Identifier: Apache-2.0
/** A real Prometheus on free ports that scrapes given targets by given rules; data in a folder that goes with it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RuleFile } from '../../deploy/monitoring/rules.ts';
import { Daemon } from '../cluster/daemon.ts';
import { freePorts } from '../cluster/free-port.ts';
import { ensureTool } from '../cluster/tools.ts';

export interface ScrapeTarget {
  readonly job: string;
  readonly address: string;
  /** Those that discovery would attach. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface FiringAlert {
  readonly name: string;
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export class Prometheus {
  readonly url: string;
  readonly #daemon: Daemon;
  readonly #directory: string;

  private constructor(url: string, daemon: Daemon, directory: string) {
    this.url = url;
    this.#daemon = daemon;
    this.#directory = directory;
  }

  /** Resolves when it answers queries. @param interval of scrapes, such as `1s` */
  static async start(targets: readonly ScrapeTarget[], rules: RuleFile, interval: string): Promise<Prometheus> {
    const command = await ensureTool('prometheus');
    const [port] = await freePorts(1);
    const directory = mkdtempSync(join(tmpdir(), 'plumbline-prometheus-'));
    writeFileSync(join(directory, 'rules.json'), JSON.stringify(rules));
    const config = {
      global: { scrape_interval: interval, scrape_timeout: interval, evaluation_interval: interval },
      rule_files: [join(directory, 'rules.json')],
      scrape_configs: targets.map(({ job, address, labels }) => ({
        job_name: job,
        honor_labels: true, // as the chart's PodMonitor says
        static_configs: [{ targets: [address], labels }],
      })),
    };
    const file = join(directory, 'prometheus.json');
    writeFileSync(file, JSON.stringify(config));
    const args = [`--config.file=${file}`, `--storage.tsdb.path=${join(directory, 'data')}`];
    const daemon = Daemon.start({
      name: 'prometheus',
      command,
      args: [...args, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'],
      directory,
    });
    const prometheus = new Prometheus(`http://127.0.0.1:${port}`, daemon, directory);
    try {
      await daemon.waitUntilReady(async () => (await fetch(`${prometheus.url}/-/ready`)).ok);
    } catch (error) {
      await prometheus.stop();
      throw error;
    }
    return prometheus;
  }

  /** Value of an instant query now. @throws Error with what Prometheus says is wrong with it. */
  async query(expression: string): Promise<Series[]> {
    const { resultType, result } = await this.#get('query', { query: expression });
    if (resultType === 'scalar') return [{ labels: {}, value: Number(result[1]) }];
    return (result as { metric: Record<string, string>; value: [number, string] }[]).map(({ metric, value }) => ({
      labels: metric,
      value: Number(value[1]),
    }));
  }

  /** The one value of a query; undefined where it has none. */
  async value(expression: string): Promise<number | undefined> {
    const series = await this.query(expression);
    if (series.length > 1) throw new Error(`${expression}: ${series.length} series`);
    return series[0]?.value;
  }

  /** Alerts that are pending or firing. */
  async alerts(): Promise<FiringAlert[]> {
    const { alerts } = await this.#get('alerts', {});
    return alerts.map(({ labels, annotations, state }: Omit<FiringAlert, 'name'>) => {
      const { alertname, ...rest } = labels;
      return { name: alertname, state, labels: rest, annotations };
    });
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  // biome-ignore lint/suspicious/noExplicitAny: the answers of Prometheus, taken apart by the callers above
  async #get(path: string, parameters: Record<string, string>): Promise<any> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const body = (await response.json()) as { status: string; error?: string; data: unknown };
    if (body.status !== 'success') throw new Error(`${parameters.query ?? path}: ${body.error}`);
    return body.data;
  }
}
