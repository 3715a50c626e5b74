// SPDX-License-Identifier: Apache-2.0
/** Grafana's schema is held by the types of its foundation SDK; here is what the types do not say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertDefined } from '../defined-metrics.fixture.ts';
import { dashboards, expressionsOf } from './dashboards.ts';

const boards = Object.entries(dashboards());

test('dashboards have names of their own, and links between them', () => {
  assert.deepEqual(
    boards.map(([name, { uid }]) => uid === `plumbline-${name}`),
    boards.map(() => true),
  );
  for (const [, { tags, links, editable }] of boards) {
    assert.deepEqual(tags, ['plumbline']);
    assert.deepEqual(links?.[0]?.tags, tags);
    assert.equal(editable, false);
  }
});

test('every panel says what it shows, and lies on no other', () => {
  for (const [name, { panels = [] }] of boards) {
    const taken = new Set<string>();
    for (const panel of panels) {
      assert.ok(panel.title, name);
      const { x, y, w, h } = panel.gridPos!;
      assert.ok(x + w <= 24, `${name}: ${panel.title} is too wide`);
      for (let column = x; column < x + w; column++)
        for (let line = y; line < y + h; line++) {
          assert.ok(!taken.has(`${column} ${line}`), `${name}: ${panel.title} overlaps`);
          taken.add(`${column} ${line}`);
        }
      if (panel.type === 'row' || !('targets' in panel)) continue;
      assert.ok(panel.description, `${name}: ${panel.title}`);
      const ids = (panel.targets ?? []).map((target) => (target as { refId?: string }).refId);
      assert.ok(ids.length > 0 && new Set(ids).size === ids.length, `${name}: ${panel.title}`);
    }
  }
});

test('expressions ask for metrics that are defined, by variables that the dashboard has', () => {
  for (const [name, board] of boards) {
    const variables = new Set(['__rate_interval', ...(board.templating?.list ?? []).map((variable) => variable.name)]);
    for (const { panel, expr } of expressionsOf(board)) {
      assertDefined(expr);
      for (const [, variable] of expr.matchAll(/\$(\w+)/g))
        assert.ok(variables.has(variable), `${name}: ${panel}: ${variable}`);
    }
  }
});

test('links lead to dashboards that there are, by variables that these have and columns of the table', () => {
  const links = boards.flatMap(([, { panels = [] }]) =>
    panels.flatMap((panel) =>
      'fieldConfig' in panel
        ? (panel.fieldConfig?.overrides ?? []).flatMap(({ properties }) =>
            properties.flatMap(({ id, value }) => (id === 'links' ? [{ url: String(value[0].url), panel }] : [])),
          )
        : [],
    ),
  );
  assert.equal(links.length, 2);
  for (const { url, panel } of links) {
    const board = boards.find(([, { uid }]) => url.startsWith(`/d/${uid}?`))?.[1];
    assert.ok(board, url);
    for (const [, name, column] of url.matchAll(/var-(\w+)=\$\{__data\.fields\["([^"]+)"\]\}/g)) {
      assert.ok(
        board.templating?.list?.some((variable) => variable.name === name),
        name,
      );
      assert.ok(JSON.stringify(panel).includes(`:"${column}"`), column);
    }
  }
});
