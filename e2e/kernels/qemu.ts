// SPDX-License-Identifier: Apache-2.0
/** Boots a kernel in qemu, emulated (no KVM needed), and reads what the guest reports. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { decodeReport, type Report } from './report.ts';

export const QEMU = 'qemu-system-x86_64';

export interface BootOptions {
  /** Paths of the kernel and of the file system to boot from. */
  readonly kernel: string;
  readonly initramfs: string;
  /** After which the guest is stopped. */
  readonly timeoutMs: number;
  readonly onReport?: (report: Report) => void;
}

/** Without features that cost much when they are emulated: copies byte by byte above all. */
const CPU = 'max,-erms,-fsrm,-la57,-smap,-smep';
/** A panic ends the guest. The time-stamp counter cannot be calibrated when the host is busy, and a guest's time would run wild. */
const COMMAND_LINE = 'console=ttyS0 panic=-1 loglevel=5 mitigations=off tsc=unstable nokaslr';

/** Messages of the guest's kernel and init that an error shows. */
const CONSOLE_TAIL = 4000;

/**
 * Runs the guest to its end; returns all that it reported.
 * @throws Error with the end of the guest's console when it did not come to its end
 */
export async function boot({ kernel, initramfs, timeoutMs, onReport }: BootOptions): Promise<Report[]> {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-qemu-'));
  const consolePath = process.env.PLUMBLINE_GUEST_CONSOLE ?? join(directory, 'console');
  const errors = openSync(join(directory, 'errors'), 'w+');
  const args = ['-accel', 'tcg,thread=multi', '-machine', 'q35', '-cpu', CPU, '-smp', '2', '-m', '1536'];
  args.push('-kernel', kernel, '-initrd', initramfs, '-append', COMMAND_LINE);
  args.push('-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none');
  args.push('-chardev', `file,id=console,path=${consolePath}`, '-serial', 'chardev:console');
  args.push('-chardev', 'stdio,id=reports,signal=off', '-serial', 'chardev:reports');
  const child = spawn(QEMU, args, { stdio: ['ignore', 'pipe', errors] });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const reports: Report[] = [];
  let damaged: unknown;
  createInterface({ input: child.stdout! }).on('line', (line) => {
    try {
      const report = decodeReport(line);
      if (report === undefined) return;
      reports.push(report);
      onReport?.(report);
    } catch (error) {
      damaged ??= error;
    }
  });
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (damaged !== undefined) throw new Error('a report of the guest came damaged', { cause: damaged });
    if (reports.at(-1)?.kind === 'end') return reports;
    const how = signal === null ? `ended with code ${code}` : `was stopped after ${timeoutMs / 1e3} s`;
    const said =
      readFileSync(join(directory, 'errors'), 'utf8') + readFileSync(consolePath, 'utf8').slice(-CONSOLE_TAIL);
    throw new Error(`the guest ${how} before it had reported all:\n${said}`);
  } finally {
    clearTimeout(timer);
    closeSync(errors);
    rmSync(directory, { recursive: true, force: true });
  }
}
