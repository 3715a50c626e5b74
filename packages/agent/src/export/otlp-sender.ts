// SPDX-License-Identifier: Apache-2.0
import { type Clock, systemClock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { Profile } from '../profile/profile.ts';
import type { Exporter } from './exporter.ts';
import { encodeOtlpBatches, MAX_REQUEST_BYTES } from './otlp-batches.ts';
import { createGrpcTransport } from './otlp-grpc.ts';
import { createHttpTransport } from './otlp-http.ts';
import type { OtlpTarget } from './otlp-target.ts';
import type { OtlpTransport, SendResult } from './otlp-transport.ts';
import { type DropCause, ExportQueue, type QueuedRequest } from './queue.ts';
import { Spool } from './spool.ts';

export interface OtlpSenderOptions {
  readonly target: OtlpTarget;
  /** Where requests wait while the receiver is away; without it, in memory only. */
  readonly spool?: { readonly directory: string; readonly maxBytes: number };
  /** Bytes of requests that wait in memory. Default 16 MiB. */
  readonly maxQueueBytes?: number;
  /** Bytes of one request. Default 4,000,000. */
  readonly maxRequestBytes?: number;
  readonly scopeVersion?: string;
  readonly log?: Logger;
  readonly clock?: Clock;
  /** Between 0 and 1; spreads the tries of many agents. */
  readonly random?: () => number;
  /** Instead of the target's own: for tests. */
  readonly transport?: OtlpTransport;
}

/** What was done so far, for metrics. */
export interface OtlpSenderStatistics {
  requestsSent: number;
  samplesSent: number;
  /** Of requests that were accepted, before compression. */
  bytesSent: number;
  /** When a request was last accepted, ms since 1970; 0: never. */
  lastSuccessMs: number;
  /** Profiles that the receiver rejected of requests that it accepted otherwise (partial success). */
  profilesRejected: number;
  /** Tries that failed and are made again. */
  retries: number;
  /** Samples lost, by cause. */
  samplesDropped: Partial<Record<DropCause, number>>;
  requestsDropped: Partial<Record<DropCause, number>>;
  /** Requests that wait, and the bytes of those in memory and on disk. */
  queued: number;
  queuedBytes: number;
  spooledBytes: number;
  /** Of the last try that failed; '' after one that succeeded. */
  lastError: string;
}

const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 60_000;
/** A receiver that asks for a longer pause is asked again after this. */
const MAX_RETRY_AFTER_MS = 10 * 60_000;

/** Samples and requests that were lost, by cause. */
class Drops {
  readonly samples: Partial<Record<DropCause, number>> = {};
  readonly requests: Partial<Record<DropCause, number>> = {};

  add(cause: DropCause, samples: number): void {
    this.samples[cause] = (this.samples[cause] ?? 0) + samples;
    this.requests[cause] = (this.requests[cause] ?? 0) + 1;
  }
}

/**
 * Sends profiles to an OpenTelemetry receiver: one request at a time, oldest first, each tried until the receiver takes or
 * refuses it. While the receiver is away requests are on disk, and only a full spool loses them, counted.
 */
export class OtlpSender implements Exporter {
  readonly #options: OtlpSenderOptions;
  readonly #transport: OtlpTransport;
  readonly #clock: Clock;
  readonly #queue: ExportQueue;
  readonly #spool: Spool | undefined;
  readonly #drops: Drops;
  readonly #running: Promise<void>;
  /** Aborts when `drain` begins: the loop then ends with an empty queue, or with a failure that the spool catches. */
  readonly #draining = new AbortController();
  /** Aborts when time is up: the try that is under way is given up. */
  readonly #stopped = new AbortController();
  #requestsSent = 0;
  #samplesSent = 0;
  #bytesSent = 0;
  #lastSuccessMs = 0;
  #profilesRejected = 0;
  #retries = 0;
  #lastError = '';

  private constructor(options: OtlpSenderOptions, drops: Drops, spool: Spool | undefined) {
    const { target, log } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#transport =
      options.transport ?? (target.protocol === 'grpc' ? createGrpcTransport(target) : createHttpTransport(target));
    this.#drops = drops;
    this.#spool = spool;
    this.#queue = new ExportQueue({
      maxBytes: options.maxQueueBytes ?? 16 << 20,
      spool,
      onDrop: (cause, samples) => drops.add(cause, samples),
      onSpoolError: (error) => log?.warn('cannot write to the spool', { error: error.message }),
    });
    this.#running = this.#run();
  }

  /** Starts with what an earlier run left in the spool. A spool that cannot be used is done without, and said. */
  static async start(options: OtlpSenderOptions): Promise<OtlpSender> {
    const drops = new Drops();
    let spool: Spool | undefined;
    if (options.spool) {
      try {
        spool = await Spool.open({ ...options.spool, onDrop: (cause, samples) => drops.add(cause, samples) });
      } catch (error) {
        const { message } = error as Error;
        options.log?.warn('no spool: profiles wait in memory only', {
          directory: options.spool.directory,
          error: message,
        });
      }
    }
    return new OtlpSender(options, drops, spool);
  }

  get statistics(): OtlpSenderStatistics {
    return {
      requestsSent: this.#requestsSent,
      samplesSent: this.#samplesSent,
      bytesSent: this.#bytesSent,
      lastSuccessMs: this.#lastSuccessMs,
      profilesRejected: this.#profilesRejected,
      retries: this.#retries,
      samplesDropped: { ...this.#drops.samples },
      requestsDropped: { ...this.#drops.requests },
      queued: this.#queue.count,
      queuedBytes: this.#queue.memoryBytes,
      spooledBytes: this.#spool?.bytes ?? 0,
      lastError: this.#lastError,
    };
  }

  async export(profile: Profile): Promise<void> {
    const { scopeVersion, maxRequestBytes } = this.#options;
    for (const batch of encodeOtlpBatches(profile, { scopeVersion }, maxRequestBytes ?? MAX_REQUEST_BYTES)) {
      if (batch.isTooLarge) this.#drops.add('too_large', batch.samples);
      else await this.#queue.push(batch);
    }
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining.abort();
    const finished = new AbortController();
    const timer = this.#clock.sleep(deadlineMs, finished.signal).then(() => this.#stopped.abort());
    await this.#running;
    finished.abort();
    await timer;
    await this.#queue.close();
    this.#transport.close();
  }

  async #run(): Promise<void> {
    let failures = 0;
    for (;;) {
      const request = await this.#queue.head(this.#draining.signal);
      if (!request || this.#stopped.signal.aborted) return;
      const result = await this.#transport.send(request.payload, this.#stopped.signal);
      if (result.outcome !== 'retry') {
        failures = 0;
        await this.#finish(request, result);
        continue;
      }
      this.#failed(result.message);
      if (this.#stopped.signal.aborted) return;
      this.#retries++;
      // The receiver is away: what waits survives a crash from now on.
      await this.#queue.spill();
      if (this.#draining.signal.aborted && this.#spool) return;
      // The beginning of a drain ends the pause, for one more try.
      const { signal } = this.#draining;
      const wake = signal.aborted ? this.#stopped.signal : AbortSignal.any([signal, this.#stopped.signal]);
      await this.#clock.sleep(this.#delay(failures++, result.afterMs), wake);
    }
  }

  async #finish(request: QueuedRequest, result: Exclude<SendResult, { outcome: 'retry' }>): Promise<void> {
    if (result.outcome === 'refused') {
      this.#failed(result.message);
      this.#drops.add('refused', request.samples);
    } else {
      this.#requestsSent++;
      this.#samplesSent += request.samples;
      this.#bytesSent += request.payload.byteLength;
      this.#lastSuccessMs = this.#clock.wallMs();
      this.#profilesRejected += result.rejected;
      this.#lastError = '';
      if (result.rejected > 0 || result.message !== '') {
        const { rejected, message } = result;
        this.#options.log?.warn('the receiver accepted only a part', { rejected, error: message });
      }
    }
    await this.#queue.remove(request);
  }

  #failed(message: string): void {
    this.#lastError = message;
    this.#options.log?.warn('sending profiles failed', { endpoint: this.#options.target.url.host, error: message });
  }

  /** Exponential, between half and the whole of its value, and never shorter than the receiver asks for. */
  #delay(failures: number, afterMs: number | undefined): number {
    const random = this.#options.random ?? Math.random;
    const backoff = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** failures) * (0.5 + random() / 2);
    return Math.max(backoff, Math.min(afterMs ?? 0, MAX_RETRY_AFTER_MS));
  }
}
