// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** Path of Chromium, or undefined when the machine has none. On CI a browser must be there. */
export function findChromium(): string | undefined {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    const { stdout, status } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
    if (status === 0) return stdout.trim();
  }
  if (process.env.CI === 'true') throw new Error('CI needs Chromium for the tests of pages');
  return undefined;
}

interface Message {
  id?: number;
  method?: string;
  sessionId?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** A headless Chromium with one page, driven through the DevTools protocol over a pipe. */
export class Browser {
  /** Errors that the page reported: exceptions, console errors, violations of its security policy. */
  readonly errors: string[] = [];
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #pending = new Map<number, (message: Message) => void>();
  #nextId = 1;
  #session: string | undefined;

  private constructor(process: ChildProcess, folder: string) {
    this.#process = process;
    this.#folder = folder;
    let text = '';
    (process.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (text + chunk).split('\0');
      text = parts.pop() ?? '';
      for (const part of parts) this.#receive(JSON.parse(part));
    });
  }

  static async start(path: string, flags: readonly string[] = []): Promise<Browser> {
    const folder = mkdtempSync(join(tmpdir(), 'plumbline-browser-'));
    const quiet = ['--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update'];
    const child = spawn(
      path,
      ['--headless', '--no-sandbox', '--no-first-run', '--disable-sync', ...quiet, ...flags].concat([
        '--remote-debugging-pipe',
        `--user-data-dir=${folder}`,
        '--window-size=1400,900',
      ]),
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
    );
    const browser = new Browser(child, folder);
    const { targetId } = await browser.#call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await browser.#call('Target.attachToTarget', { targetId, flatten: true });
    browser.#session = sessionId as string;
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.#call(`${domain}.enable`);
    return browser;
  }

  async open(url: string): Promise<void> {
    await this.#call('Page.navigate', { url });
    await this.until('document.readyState === "complete"');
  }

  /** Value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#call('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: T }).value;
  }

  /** Waits until an expression is true in the page, at most 20 s. */
  async until(expression: string): Promise<void> {
    const end = Date.now() + 20_000;
    while (!(await this.evaluate<boolean>(`Boolean(${expression})`))) {
      if (Date.now() > end) throw new Error(`never became true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async press(key: string): Promise<void> {
    const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined;
    await this.#call('Input.dispatchKeyEvent', { type: 'keyDown', key, text });
    await this.#call('Input.dispatchKeyEvent', { type: 'keyUp', key });
  }

  async mouse(type: 'mouseMoved' | 'click', x: number, y: number): Promise<void> {
    await this.#call('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
    if (type === 'mouseMoved') return;
    const button = { x, y, button: 'left', clickCount: 1 };
    await this.#call('Input.dispatchMouseEvent', { type: 'mousePressed', ...button });
    await this.#call('Input.dispatchMouseEvent', { type: 'mouseReleased', ...button });
  }

  /** The visible part of the page as PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data as string, 'base64');
  }

  async close(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 5_000);
    if (this.#process.exitCode === null && this.#process.signalCode === null) await exited;
    clearTimeout(timer);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #call(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    const id = this.#nextId++;
    const message = JSON.stringify({ id, method, params, sessionId: this.#session });
    (this.#process.stdio[3] as Writable).write(`${message}\0`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer in 30 s`)), 30_000);
      this.#pending.set(id, ({ result, error }) => {
        clearTimeout(timer);
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result ?? {});
      });
    });
  }

  #receive(message: Message): void {
    if (message.id !== undefined) {
      this.#pending.get(message.id)?.(message);
      this.#pending.delete(message.id);
      return;
    }
    const { method, params = {} } = message;
    const entry = params.entry as { level?: string; text?: string } | undefined;
    const isError =
      method === 'Runtime.exceptionThrown' ||
      (method === 'Runtime.consoleAPICalled' && params.type === 'error') ||
      (method === 'Log.entryAdded' && entry?.level === 'error');
    if (isError) this.errors.push(JSON.stringify(params));
  }
}
