// SPDX-License-Identifier: Apache-2.0
import process from 'node:process';

export interface StopSignals {
  /** Aborts at the first SIGINT or SIGTERM; the reason is the name of the signal. */
  readonly signal: AbortSignal;
  /** Gives the signals their usual meaning back. */
  release(): void;
}

/** Turns the first SIGINT or SIGTERM into an abort. The second one ends the process, as if nobody had listened. */
export function stopSignals(): StopSignals {
  const abort = new AbortController();
  const names = ['SIGINT', 'SIGTERM'] as const;
  const onSignal = (name: NodeJS.Signals) => {
    release();
    abort.abort(name);
  };
  const release = () => {
    for (const name of names) process.off(name, onSignal);
  };
  for (const name of names) process.on(name, onSignal);
  return { signal: abort.signal, release };
}
