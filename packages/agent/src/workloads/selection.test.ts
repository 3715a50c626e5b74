// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseNodeProfilingSpec } from '@plumbline/api';
import { NOT_SELECTED, Selection } from './selection.ts';
import { HOST, type Workload } from './workload.ts';

const selection = (...rules: object[]) =>
  new Selection(
    parseNodeProfilingSpec({ rules: rules.map((rule, index) => ({ policy: { name: `p${index}` }, ...rule })) }).rules,
  );
const container = (namespace: string, labels = {}, containerName: string | undefined = 'main'): Workload => ({
  containerId: 'a'.repeat(64),
  pod: { namespace, name: 'x', uid: 'u', labels, owner: undefined },
  containerName,
});
const NO_POD: Workload = { containerId: 'a'.repeat(64), pod: undefined, containerName: undefined };

describe('Selection', () => {
  it('takes the first rule that matches', () => {
    const rules = selection(
      { namespaces: ['shop'], podSelector: { matchLabels: { app: 'api' } } },
      { namespaces: ['shop', 'bank'] },
    );
    assert.equal(rules.policyOf(container('shop', { app: 'api' })), 1);
    assert.equal(rules.policyOf(container('shop', { app: 'db' })), 2);
    assert.equal(rules.policyOf(container('bank', { app: 'api' })), 2);
    assert.equal(rules.policyOf(container('kube-system')), NOT_SELECTED);
    assert.deepEqual(rules.matching(container('shop', { app: 'api' })), [0, 1]);
  });

  it('takes containers by name only once the name is known', () => {
    const rules = selection({ allNamespaces: true, containers: ['main'] });
    assert.equal(rules.policyOf(container('shop')), 1);
    assert.equal(rules.policyOf(container('shop', {}, 'sidecar')), NOT_SELECTED);
    assert.equal(rules.policyOf({ ...container('shop'), containerName: undefined }), NOT_SELECTED);
  });

  it('takes processes of the host, and containers of no pod, only where asked for all', () => {
    assert.equal(selection({ namespaces: ['shop'] }).policyOf(HOST), NOT_SELECTED);
    assert.equal(selection({ namespaces: ['shop'] }).policyOf(NO_POD), NOT_SELECTED);
    assert.equal(selection({ allNamespaces: true }).policyOf(NO_POD), 1);
    assert.equal(selection({ allNamespaces: true }).policyOf(HOST), NOT_SELECTED);
    assert.equal(selection({ hostProcesses: true }).policyOf(HOST), 1);
  });

  it('has the kernel leave out what is not known, unless everything is selected', () => {
    assert.equal(selection().defaultPolicy, NOT_SELECTED);
    assert.equal(selection({ namespaces: ['shop'] }).defaultPolicy, NOT_SELECTED);
    assert.equal(selection({ allNamespaces: true }).defaultPolicy, NOT_SELECTED);
    assert.equal(selection({ allNamespaces: true, hostProcesses: true }).defaultPolicy, 1);
  });
});
