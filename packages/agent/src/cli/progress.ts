// SPDX-License-Identifier: Apache-2.0
/** Progress of a recording: one line rewritten in place on a terminal, a line now and then elsewhere. */
import type { Clock } from '../clock.ts';
import type { RecordProgress } from '../recording-options.ts';
import { formatElapsed } from './flag-values.ts';
import { grouped, percent, type ReasonDescription, tabulate } from './outcome-table.ts';
import type { OutputStream, Paint } from './terminal.ts';
import { clip, widthOf } from './terminal.ts';

export interface ProgressOptions {
  readonly stream: OutputStream;
  /** Rewrite one line. */
  readonly interactive: boolean;
  readonly paint: Paint;
  /** What is recorded, such as `postgres (pid 4242)`. */
  readonly what: string;
  /** Infinity when it ends by itself. */
  readonly durationMs: number;
  readonly reasons: readonly ReasonDescription[];
  readonly clock: Clock;
}

const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const REWRITE_EVERY_MS = 100;
const LINE_EVERY_MS = 10_000;
const BAR_COLUMNS = 12;

export class Progress {
  readonly #options: ProgressOptions;
  #shownAtMs = Number.NEGATIVE_INFINITY;
  #phase: RecordProgress['phase'] | undefined;
  #turn = 0;
  #lineOpen = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(progress: RecordProgress): void {
    const now = this.#options.clock.wallMs();
    const every = this.#options.interactive ? REWRITE_EVERY_MS : LINE_EVERY_MS;
    if (progress.phase === this.#phase && now - this.#shownAtMs < every) return;
    this.#phase = progress.phase;
    this.#shownAtMs = now;
    if (this.#options.interactive) this.#rewrite(this.#describe(progress));
    else this.#options.stream.write(`plumbline: ${this.#describe(progress)}\n`);
  }

  /** Takes the line away, so that what follows starts on an empty one. */
  end(): void {
    if (this.#lineOpen) this.#options.stream.write('\r\x1b[K');
    this.#lineOpen = false;
  }

  #rewrite(text: string): void {
    const { stream, paint } = this.#options;
    const spinner = SPINNER[this.#turn++ % SPINNER.length];
    stream.write(`\r${paint('cyan', spinner)} ${clip(text, widthOf(stream) - 3)}\x1b[K`);
    this.#lineOpen = true;
  }

  #describe(progress: RecordProgress): string {
    const { what } = this.#options;
    switch (progress.phase) {
      case 'preparing':
        return `preparing to record ${what}${partsOf(progress)}`;
      case 'finishing':
        return `symbolizing${partsOf(progress)}`;
      case 'recording':
        return `recording ${what}${this.#time(progress.elapsedMs)}${this.#samples(progress)}`;
    }
  }

  #time(elapsedMs: number): string {
    const { durationMs, interactive } = this.#options;
    if (!interactive && elapsedMs < LINE_EVERY_MS) {
      return durationMs === Number.POSITIVE_INFINITY ? ' until it ends' : ` for ${formatElapsed(durationMs)}`;
    }
    if (durationMs === Number.POSITIVE_INFINITY)
      return `  ${formatElapsed(elapsedMs)}${interactive ? ' (Ctrl-C ends it)' : ''}`;
    const share = Math.min(1, elapsedMs / durationMs);
    const filled = Math.round(share * BAR_COLUMNS);
    const bar = interactive ? `${'█'.repeat(filled)}${'░'.repeat(BAR_COLUMNS - filled)} ` : '';
    return `  ${bar}${formatElapsed(Math.max(0, durationMs - elapsedMs))} left`;
  }

  #samples({ counters }: RecordProgress): string {
    if (counters.fired === 0) return '';
    const table = tabulate(counters, this.#options.reasons);
    const { truncated = 0, dropped = 0, filtered = 0 } = table.byOutcome;
    const parts = ['', `${grouped(table.fired - filtered)} samples`];
    if (table.userStacks > 0) parts.push(`${percent(1 - table.truncatedRatio)} whole`);
    if (truncated > 0) parts.push(`${grouped(truncated)} truncated`);
    if (dropped > 0) parts.push(`${grouped(dropped)} dropped`);
    return parts.join('  ');
  }
}

function partsOf({ done, total }: RecordProgress): string {
  if (done === undefined || total === undefined || total === 0) return '';
  return `  ${grouped(done)} of ${grouped(total)}`;
}
