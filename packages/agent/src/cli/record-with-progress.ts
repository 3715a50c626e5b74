// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../clock.ts';
import type { RecordOptions, RecordProgress, RecordResult } from '../recording-options.ts';
import type { CommandContext } from './command.ts';
import { Progress } from './progress.ts';
import { stopSignals } from './stop-signals.ts';
import { isInteractive, paintFor } from './terminal.ts';

export interface Followers {
  onStep?(step: RecordProgress): void;
  /** The progress is shown until this has settled, too. */
  onRecorded?(result: RecordResult): Promise<void>;
}

/** Records, shows on standard error how far it is, and ends early on a signal. */
export async function recordWithProgress(
  options: Omit<RecordOptions, 'abort'>,
  what: string,
  { stderr, env }: Pick<CommandContext, 'stderr' | 'env'>,
  followers: Followers = {},
): Promise<RecordResult> {
  const { reasons } = await import('@plumbline/bpf');
  const { record } = await import('../recording.ts');
  const stop = stopSignals();
  const progress = new Progress({
    stream: stderr,
    interactive: isInteractive(stderr, env),
    paint: paintFor(stderr, env),
    what,
    durationMs: options.durationMs,
    reasons,
    clock: systemClock,
  });
  try {
    const result = await record({ ...options, abort: stop.signal }, (step) => {
      progress.update(step);
      followers.onStep?.(step);
    });
    await followers.onRecorded?.(result);
    return result;
  } finally {
    progress.end();
    stop.release();
  }
}
