// SPDX-License-Identifier: Apache-2.0
/** The pages that the agent serves, in a real browser. `PLUMBLINE_SCREENSHOT=FOLDER` keeps pictures of them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { reasons } from '@plumbline/bpf';
import { Health } from '../src/http/health.ts';
import { RecentProfiles } from '../src/http/recent-profiles.ts';
import { type HttpServer, startHttpServer } from '../src/http/server.ts';
import { silentLogger } from '../src/log.ts';
import { ATTRIBUTE } from '../src/profile/attribute-names.ts';
import { NO_MAPPING } from '../src/profile/mapping-table.ts';
import { Profile } from '../src/profile/profile.ts';
import { Browser, findChromium } from './browser.ts';

const chromium = findChromium();

interface Stack {
  readonly pid: number;
  readonly name: string;
  readonly container?: string;
  /** Root first. */
  readonly frames: readonly string[];
  readonly count: number;
  readonly truncated?: string;
}

function profileOf(stacks: readonly Stack[]): Profile {
  const profile = new Profile({ startUnixNano: BigInt(Date.now()) * 1_000_000n, periodNano: 10_101_010 });
  profile.durationNano = 10_000_000_000n;
  for (const { pid, name, container, frames, count, truncated } of stacks) {
    const handles = frames.map((text) => profile.internFrame('native', NO_MAPPING, text.length, [{ name: text }]));
    if (truncated !== undefined) handles.unshift(profile.internTruncatedRoot(truncated));
    const resource = profile.attributes.internSet({
      [ATTRIBUTE.processPid]: pid,
      [ATTRIBUTE.processExecutableName]: name,
      [ATTRIBUTE.containerId]: container,
    });
    const outcome = truncated === undefined ? 'complete' : 'truncated';
    const attributes = {
      [ATTRIBUTE.stackOutcome]: outcome,
      [ATTRIBUTE.truncationReason]: truncated,
      [ATTRIBUTE.policyName]: 'standard',
    };
    profile.addSample(resource, profile.stacks.internLeafFirst(handles.reverse()), attributes, count);
    profile.countOutcome(outcome, truncated ?? 'root_undefined_ra', count);
  }
  return profile;
}

const STACKS: Stack[] = [
  {
    pid: 71,
    name: 'postgres',
    container: 'c0ffee',
    frames: ['_start', 'main', 'PostmasterMain', 'BackendRun', 'exec_simple_query'],
    count: 50,
  },
  {
    pid: 72,
    name: 'postgres',
    container: 'c0ffee',
    frames: ['_start', 'main', 'PostmasterMain', 'BackendRun', 'PortalRun'],
    count: 30,
  },
  { pid: 80, name: 'blackbox', frames: ['strange_code'], count: 15, truncated: 'no_unwind_info' },
  { pid: 90, name: 'sshd', frames: ['_start', 'main', 'poll'], count: 5 },
];

function keep(name: string, picture: Buffer): void {
  const folder = process.env.PLUMBLINE_SCREENSHOT;
  if (folder) writeFileSync(join(folder, `${name}.png`), picture);
}

describe('the page of the agent in a browser', { skip: chromium ? false : 'no Chromium on this machine' }, () => {
  const recent = new RecentProfiles({ windowMs: 300_000 });
  let server: HttpServer;
  let browser: Browser;
  const select = (value: string) =>
    browser.evaluate(`(() => {
      const list = document.getElementById('process');
      list.value = [...list.options].find((option) => option.textContent.startsWith(${JSON.stringify(value)})).value;
      list.dispatchEvent(new Event('change'));
    })()`);
  const details = () => browser.evaluate<string>('document.getElementById("details").textContent');
  const options = () =>
    browser.evaluate<string[]>('[...document.getElementById("process").options].map((o) => o.textContent)');

  before(async () => {
    recent.add(profileOf(STACKS));
    server = await startHttpServer({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: { contentType: 'text/plain', text: async () => '' },
      health: new Health(),
      recent,
      sentences: new Map(reasons.map(({ name, sentence }) => [name, sentence])),
      facts: () => [
        { name: 'node', value: 'worker-1' },
        { name: 'strategy', value: 'loop' },
      ],
      objective: () => 0.01,
      refreshSeconds: 1,
      version: '0.0.0',
      log: silentLogger,
    });
    browser = await Browser.start(chromium ?? '');
    await browser.open(`http://${server.address}/flame`);
    await browser.until('document.getElementById("canvas").width > 300');
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  test('it shows the node, the window, the outcomes, and how much is cut', async () => {
    const text = await browser.evaluate<string>('document.body.innerText');
    for (const part of ['worker-1', 'last 5 min', 'loop', '85.0 %', '15.0 %', 'of stacks are cut']) {
      assert.ok(text.includes(part), `${part} is not in:\n${text}`);
    }
    assert.match(
      await browser.evaluate('document.getElementById("reasons").textContent'),
      /no_unwind_info.*the file has no unwind/,
    );
    const picture = await browser.screenshot();
    keep('flame', picture);
  });

  test('processes and containers can be chosen, with their own share of cut stacks', async () => {
    assert.deepEqual(await options(), [
      'All processes (4): 100.0 %, 15.0 % cut',
      'Container c0ffee (2): 80.0 %',
      'postgres (71) in c0ffee: 50.0 %',
      'postgres (72) in c0ffee: 30.0 %',
      'blackbox (80): 15.0 %, 100.0 % cut',
      'sshd (90): 5.00 %',
    ]);
    await select('Container c0ffee');
    assert.match(await details(), /^all processes80 samples/);
    await select('blackbox');
    assert.match(await details(), /blackbox \(80\)15 samples/);
  });

  test('newer samples appear by themselves, and the choice stays', async () => {
    await select('sshd');
    recent.add(profileOf([{ pid: 90, name: 'sshd', frames: ['_start', 'main', 'poll'], count: 200 }]));
    await browser.until('document.getElementById("details").textContent.includes("205 samples")');
    assert.match((await options())[2], /^sshd \(90\): /); // the first of the processes now, the last before
    assert.match(await browser.evaluate('document.getElementById("process").selectedOptions[0].textContent'), /^sshd/);
  });

  test('not while someone looks at a part, or has turned it off', async () => {
    const requests = () => browser.evaluate<number>('performance.getEntriesByType("resource").length');
    await browser.evaluate('document.getElementById("every").click()');
    assert.equal(await browser.evaluate('document.getElementById("every").getAttribute("aria-pressed")'), 'false');
    const before = await requests();
    recent.add(profileOf([{ pid: 90, name: 'sshd', frames: ['_start', 'main', 'poll'], count: 100 }]));
    const now = await browser.evaluate<number>('performance.now()');
    await browser.until(`performance.now() > ${now + 1500}`); // the timer has turned meanwhile
    assert.equal(await requests(), before);
    await browser.evaluate('document.getElementById("refresh").click()');
    await browser.until('document.getElementById("details").textContent.includes("305 samples")');
  });

  test('the overview says first which workload has a problem, and leads to its stacks', async () => {
    recent.add(profileOf([{ ...STACKS[2], count: 85 }])); // a hundred with those before: enough to say something
    await browser.open(`http://${server.address}/`);
    const text = await browser.evaluate<string>('document.querySelector(".verdict").innerText');
    assert.match(text, /^blackbox: 100\.0 % of its stacks are cut, policy standard promises at most 1\.0 %/);
    assert.match(text, /no_unwind_info: build the file with/);
    const rows = 'document.querySelectorAll(".workloads tbody tr")';
    assert.equal(await browser.evaluate(`${rows}[0].className`), 'bad');
    const width = (part: string) =>
      browser.evaluate<number>(`${rows}[0].querySelector(".fill-${part}").getBoundingClientRect().width`);
    assert.ok((await width('truncated')) > 50 && (await width('complete')) === 0, 'the bar is drawn');
    keep('overview', await browser.screenshot());
    await browser.evaluate(`${rows}[0].querySelector("a").click()`);
    await browser.until(
      'document.title === "Plumbline: blackbox" && document.getElementById("details").textContent !== ""',
    );
    assert.match(await details(), /blackbox \(80\)/);
  });

  test('nothing went wrong in the page, its security policy included', () => assert.deepEqual(browser.errors, []));
});
