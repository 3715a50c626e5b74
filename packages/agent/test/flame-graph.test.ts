// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { encodeHtml } from '../src/export/html.ts';
import { NO_MAPPING } from '../src/profile/mapping-table.ts';
import { Profile } from '../src/profile/profile.ts';
import { Browser, findChromium } from './browser.ts';

const chromium = findChromium();

/** Two processes, one of them with cut stacks, and one stack of 3,000 frames. */
function exampleProfile(): Profile {
  const profile = new Profile({ startUnixNano: 0n });
  const frame = (name: string) => profile.internFrame('native', NO_MAPPING, name.length, [{ name }]);
  const add = (name: string, pid: number, rootFirst: ReturnType<typeof frame>[], count: number, outcome: string) => {
    const resource = profile.attributes.internSet({ 'process.pid': pid, 'process.executable.name': name });
    const stack = profile.stacks.internLeafFirst(rootFirst.toReversed());
    profile.addSample(resource, stack, { 'plumbline.stack.outcome': outcome }, count);
    profile.countOutcome(outcome, outcome === 'truncated' ? 'no_unwind_info' : 'root_entry', count);
  };
  add('server', 10, [frame('_start'), frame('main'), frame('handle_request')], 60, 'complete');
  add('server', 10, [frame('_start'), frame('main'), frame('parse_json')], 20, 'complete');
  add('crypto', 20, [profile.internTruncatedRoot('no_unwind_info'), frame('sha512_block')], 15, 'truncated');
  add('crypto', 20, [frame('_start'), ...Array.from({ length: 3000 }, () => frame('recurse'))], 5, 'complete');
  return profile;
}

describe('the flame graph page in a browser', { skip: chromium ? false : 'no Chromium on this machine' }, () => {
  let browser: Browser;
  let folder: string;
  const details = 'document.getElementById("details").textContent';
  /** Middle of a row of boxes (0: the root) at a fraction of the width, in the window. */
  const point = async (row: number, fraction: number): Promise<[number, number]> => {
    const box = await browser.evaluate<{ left: number; top: number; width: number }>(
      'document.getElementById("scroller").getBoundingClientRect().toJSON()',
    );
    return [box.left + box.width * fraction, box.top + row * 20 + 11];
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-page-'));
    const page = encodeHtml(exampleProfile(), {
      title: 'Example',
      facts: [{ name: 'Strategy', value: 'loop' }],
      sentences: new Map([['no_unwind_info', 'the file has no unwind information']]),
    });
    const file = join(folder, 'page.html');
    writeFileSync(file, page);
    browser = await Browser.start(chromium ?? '');
    await browser.open(pathToFileURL(file).href);
    await browser.until('document.getElementById("canvas").width > 300');
  });
  after(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('it says how complete the stacks are', async () => {
    const text = await browser.evaluate<string>('document.body.innerText');
    for (const part of [
      'Example',
      'Strategy loop',
      '85.0 %',
      'of stacks reach their root',
      '15.0 %',
      'of stacks are cut',
      '3,001',
    ]) {
      assert.ok(text.includes(part), `${part} is not in:\n${text}`);
    }
    const reasons = await browser.evaluate<string>('document.getElementById("reasons").textContent');
    assert.match(reasons, /Truncated1515\.0 %no_unwind_info: the file has no unwind information/);
  });

  test('a box tells about itself, and a cut one why it is cut', async () => {
    await browser.mouse('mouseMoved', ...(await point(1, 0.9)));
    const tooltip = 'document.getElementById("tooltip").textContent';
    await browser.until(`${tooltip}.startsWith("crypto")`);
    await browser.mouse('mouseMoved', ...(await point(3, 0.95)));
    await browser.until(`${tooltip}.startsWith("sha512_block")`);
    assert.match(
      await browser.evaluate(tooltip),
      /15 samples · 15\.0 %.*Stack cut \(no_unwind_info\): the file has no/,
    );
  });

  test('cut stacks have a pattern that no other box has', async () => {
    const colours = (row: number, from: number, to: number) => `(() => {
      const canvas = document.getElementById('canvas');
      const left = Math.round(canvas.width * ${from}), width = Math.round(canvas.width * ${to - from});
      const y = Math.round((${row} * 20 + 4) * devicePixelRatio);
      const { data } = canvas.getContext('2d').getImageData(left, y, width, 1);
      const seen = new Set();
      for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 3).join());
      return seen.size;
    })()`;
    assert.equal(await browser.evaluate(colours(3, 0.2, 0.4)), 1, 'a complete box is plain');
    const hatched = await browser.evaluate<number>(colours(3, 0.9, 0.98));
    assert.ok(hatched > 1, 'a cut box is striped');
  });

  test('a process can be chosen, searched, and zoomed by mouse and keyboard', async () => {
    const choose = (label: string) =>
      browser.evaluate(`(() => {
        const select = document.getElementById('process');
        select.value = [...select.options].find((o) => o.textContent.startsWith(${JSON.stringify(label)})).value;
        select.dispatchEvent(new Event('change'));
      })()`);
    await choose('server');
    assert.match(await browser.evaluate(details), /^server \(10\)80 samples · 100\.0 %/);

    await browser.evaluate('document.body.focus()');
    await browser.press('/');
    for (const key of 'json') await browser.press(key);
    await browser.until('document.getElementById("matched").textContent === "25.0 % matched"');
    await browser.press('Escape');
    await browser.until('document.getElementById("matched").textContent === ""');

    await browser.mouse('click', ...(await point(3, 0.9)));
    await browser.until(`${details}.startsWith("parse_json")`);
    assert.equal(await browser.evaluate('document.getElementById("reset").hidden'), false);
    await browser.press('ArrowUp');
    await browser.until(`${details}.startsWith("main")`);
    await browser.press('ArrowDown');
    await browser.until(`${details}.startsWith("handle_request")`);
    await browser.press('ArrowRight');
    await browser.until(`${details}.startsWith("parse_json")`);
    await browser.press('Escape');
    await browser.until('document.getElementById("reset").hidden');
    await choose('All processes');
  });

  test('a deep stack can be scrolled to its end', async () => {
    await browser.evaluate('document.getElementById("scroller").scrollTop = 1e9');
    const height = await browser.evaluate<number>('document.getElementById("scroller").clientHeight');
    const box = await browser.evaluate<{ left: number; top: number; width: number }>(
      'document.getElementById("scroller").getBoundingClientRect().toJSON()',
    );
    await browser.mouse('mouseMoved', box.left + box.width * 0.82, box.top + height - 8);
    await browser.until('document.getElementById("tooltip").textContent.includes("depth 3002")');
    await browser.evaluate('document.getElementById("scroller").scrollTop = 0');
  });

  test('it is readable in dark, and breaks no rule of its security policy', async () => {
    await browser.evaluate('document.getElementById("theme").click()');
    assert.equal(await browser.evaluate('getComputedStyle(document.documentElement).colorScheme'), 'dark');
    assert.ok((await browser.screenshot()).length > 10_000);
    assert.deepEqual(browser.errors, []);
  });
});
