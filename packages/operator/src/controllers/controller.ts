// SPDX-License-Identifier: Apache-2.0
/**
 * The loop around a reconciler: takes names, never events; retries with backoff; measures and traces.
 */
import { SpanStatusCode, trace } from '@opentelemetry/api';
import type { Clock, WorkQueue } from '@plumbline/kube';
import type { Logger } from '../log.ts';
import type { OperatorMetrics } from '../metrics.ts';

/** Look again after so many milliseconds, even if nothing is heard. */
export interface Result {
  againAfterMs?: number;
}

export interface Reconciler {
  /** "kind.verb", for metrics, traces and logs. */
  readonly name: string;
  readonly queue: WorkQueue;
  readonly workers: number;
  /** Reads the world as it is now and brings the named thing one step nearer. Throws to be called again later. */
  reconcile(key: string): Promise<Result>;
}

export interface ControllerDependencies {
  clock: Clock;
  log: Logger;
  metrics: OperatorMetrics;
}

const tracer = trace.getTracer('plumbline-operator');

/** Works until the signal aborts, finishing what was begun. */
export async function runController(
  reconciler: Reconciler,
  { clock, log, metrics }: ControllerDependencies,
  signal: AbortSignal,
): Promise<void> {
  const { name, queue, workers } = reconciler;
  metrics.maxConcurrentReconciles.set({ controller: name }, workers);
  signal.addEventListener('abort', () => queue.close(), { once: true });
  if (signal.aborted) queue.close();

  const work = async () => {
    for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
      const started = clock.now();
      metrics.activeWorkers.inc({ controller: name });
      const result = await attempt(key);
      metrics.activeWorkers.dec({ controller: name });
      metrics.reconcileTotal.inc({ controller: name, result });
      metrics.reconcileSeconds.observe({ controller: name }, (clock.now() - started) / 1000);
      queue.done(key);
    }
  };

  const attempt = (key: string) =>
    tracer.startActiveSpan(`${name} reconcile`, { attributes: { 'plumbline.object': key } }, async (span) => {
      try {
        const { againAfterMs } = await reconciler.reconcile(key);
        queue.forget(key);
        if (againAfterMs === undefined) return 'success';
        queue.addAfter(key, againAfterMs);
        return 'requeue_after';
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
        metrics.reconcileErrors.inc({ controller: name });
        if (!signal.aborted)
          log.warn('reconcile failed, will retry', { controller: name, object: key, error: String(error) });
        queue.addRateLimited(key);
        return 'error';
      } finally {
        span.end();
      }
    });

  await Promise.all(Array.from({ length: workers }, work));
}
