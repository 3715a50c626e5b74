// SPDX-License-Identifier: Apache-2.0
/**
 * The chart's templates, against Helm and a real API server. `UPDATE_GOLDEN=1` rewrites the golden files: the default
 * values' is the whole rendering, every other value set's what differs from it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { dashboards } from '../../deploy/monitoring/dashboards/dashboards.ts';
import { type RuleFile, ruleFile } from '../../deploy/monitoring/rules.ts';
import { ControlPlane } from '../cluster/control-plane.ts';
import { CHART, helm } from '../cluster/helm.ts';

const NAMESPACE = 'profiling';
const GOLDEN = join(import.meta.dirname, 'golden');
const VALUE_SETS = readdirSync(join(CHART, 'ci')).map((file) => file.replace('-values.yaml', ''));
const valuesOf = (set: string) => join(CHART, 'ci', `${set}-values.yaml`);

/** CRDs are left out of golden files: they are `crds/` itself. */
const template = (set: string, ...args: string[]) =>
  helm(['template', 'plumbline', CHART, '--namespace', NAMESPACE, '--values', valuesOf(set), ...args]);
const withoutCrds = (set: string) => template(set, '--set', 'crds.install=false');

describe('chart', { timeout: 600_000 }, () => {
  it('has at least six value sets, and Helm finds nothing wrong with any', async () => {
    assert.ok(VALUE_SETS.length >= 6);
    for (const set of VALUE_SETS) await helm(['lint', '--strict', CHART, '--values', valuesOf(set)]);
  });

  for (const set of VALUE_SETS) {
    it(`renders ${set} values as agreed`, async () => {
      const rendered = readable(await withoutCrds(set));
      const actual = set === 'default' ? rendered : difference(readable(await withoutCrds('default')), rendered);
      const path = join(GOLDEN, set === 'default' ? 'default.yaml' : `${set}.diff`);
      if (process.env.UPDATE_GOLDEN) writeFileSync(path, actual);
      assert.equal(actual, readFileSync(path, 'utf8'), `${path} is out of date (UPDATE_GOLDEN=1 rewrites it)`);
    });
  }

  it('refuses values that it does not know or that cannot work, saying which', async () => {
    const refusals: Record<string, RegExp> = {
      'agent.replicas=2': /at '\/agent': additional properties 'replicas' not allowed/,
      'operator.replicas=0': /at '\/operator\/replicas': minimum: got 0, want 1/,
      'agent.securityContext.capabilities={ALL}': /at '\/agent\/securityContext\/capabilities\/0'/,
      'agent.image.digest=latest': /at '\/agent\/image\/digest'/,
      'agent.stateDirectory=relative': /at '\/agent\/stateDirectory'/,
    };
    for (const [setting, message] of Object.entries(refusals))
      await assert.rejects(template('default', '--set', setting), message, setting);
  });

  it("takes its objects' names from fullnameOverride", async () => {
    const rendered = await template('monitoring', '--set', 'fullnameOverride=profiler', '--set', 'crds.install=false');
    const names = [...rendered.matchAll(/^metadata:\s+name: (\S+)$/gm)].map(([, name]) => name);
    assert.ok(names.length > 15);
    assert.deepEqual(
      names.filter((name) => !name.startsWith('profiler-')),
      [],
    );
  });

  it('has the rules of the rule file, but for what the values say', async () => {
    const ruleOf = async (set: string, ...args: string[]): Promise<RuleFile> => {
      const documents = parseAllDocuments(await template(set, ...args)).map((document) => document.toJS());
      return documents.find((object) => object?.kind === 'PrometheusRule')?.spec;
    };
    const plain = await ruleOf('default', '--set', 'monitoring.enabled=true');
    assert.deepEqual(plain, ruleFile());
    assert.equal(await ruleOf('monitoring', '--set', 'monitoring.rules.enabled=false'), undefined);
    const changed = await ruleOf('monitoring');
    const alerts = changed.groups.flatMap(({ rules }) => rules.filter((rule) => 'alert' in rule));
    const all = plain.groups.flatMap(({ rules }) => rules.filter((rule) => 'alert' in rule));
    assert.deepEqual(
      alerts.map(({ alert }) => alert),
      all.map(({ alert }) => alert).filter((name) => name !== 'PlumblineThrottled'),
    );
    for (const { alert, labels, annotations } of alerts) {
      assert.equal((labels as Record<string, string>).team, 'observability');
      assert.equal(annotations.runbook_url, `https://wiki.example/plumbline/${alert}.md`);
    }
    assert.ok(
      alerts.some(({ annotations }) => annotations.reason_url?.endsWith('plumbline/reasons.md#{{ $labels.reason }}')),
    );
  });

  it('has each dashboard in a ConfigMap that the sidecar of Grafana finds', async () => {
    const objects = parseAllDocuments(await template('monitoring')).map((document) => document.toJS());
    const maps = objects.filter((object) => object?.metadata?.labels?.grafana_dashboard === '1');
    const contents = maps.map(({ data }) =>
      Object.entries<string>(data).map(([file, json]) => [file, JSON.parse(json)]),
    );
    assert.deepEqual(
      Object.fromEntries(contents.flat()),
      Object.fromEntries(
        Object.entries(dashboards()).map(([name, board]) => [
          `plumbline-${name}.json`,
          JSON.parse(JSON.stringify(board)),
        ]),
      ),
    );
    assert.ok(maps.every(({ metadata }) => metadata.annotations.grafana_folder === 'Plumbline'));
    assert.doesNotMatch(await template('monitoring', '--set', 'monitoring.dashboards.enabled=false'), /grafana/);
  });

  it('gives the agent the listed capabilities and no privilege', async () => {
    const rendered = await withoutCrds('default');
    assert.doesNotMatch(rendered, /privileged: true|hostNetwork: true|allowPrivilegeEscalation: true|SYS_ADMIN/);
    assert.equal(rendered.match(/readOnlyRootFilesystem: true/g)?.length, 3, 'agent, operator and test');
  });
});

describe('chart on an API server', { timeout: 600_000 }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await ControlPlane.start();
    await controlPlane.kubectl('create', 'namespace', NAMESPACE);
    await controlPlane.kubectl('create', 'serviceaccount', 'plumbline-test', '-n', NAMESPACE); // pods need theirs, even in a dry run
    for (const kind of ['PodMonitor', 'ServiceMonitor', 'PrometheusRule'])
      await controlPlane.apply(monitorDefinition(kind));
    await controlPlane.kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=20s');
  });
  after(() => controlPlane?.stop());

  for (const set of VALUE_SETS) {
    it(`is accepted with ${set} values`, async () => {
      const file = join(controlPlane.directory, `${set}.yaml`);
      writeFileSync(file, await template(set));
      const output = await controlPlane.kubectl(
        'apply',
        '--server-side',
        '--dry-run=server',
        '--validate=strict',
        '-f',
        file,
      );
      assert.match(output, /daemonset\.apps\/\S+ serverside-applied \(server dry run\)/);
      assert.match(output, /validatingadmissionpolicybinding\S+ serverside-applied/);
    });
  }

  it('installs, upgrades the CRDs with the release, and keeps them and the policies when it is uninstalled', async () => {
    const { kubeconfig } = controlPlane;
    const release = ['plumbline', CHART, '--namespace', NAMESPACE];
    await controlPlane.kubectl('delete', 'serviceaccount', 'plumbline-test', '-n', NAMESPACE);
    await helm(['install', ...release], kubeconfig);
    const crd = 'profilingpolicies.profiling.plumbline.dev';
    await controlPlane.kubectl('wait', '--for=condition=Established', `crd/${crd}`, '--timeout=20s');
    const policy = { target: { allPods: true }, export: { otlp: { endpoint: 'collector.example:4317' } } };
    await controlPlane.apply({
      apiVersion: 'profiling.plumbline.dev/v1alpha1',
      kind: 'ProfilingPolicy',
      metadata: { name: 'kept' },
      spec: policy,
    });

    await helm(['upgrade', ...release, '--set', 'commonLabels.upgraded=yes'], kubeconfig);
    const labels = await controlPlane.kubectl('get', 'crd', crd, '-o', 'jsonpath={.metadata.labels}');
    assert.equal(JSON.parse(labels).upgraded, 'yes', 'helm upgrade reaches the CRDs');

    await helm(['uninstall', 'plumbline', '--namespace', NAMESPACE], kubeconfig);
    assert.equal(
      await controlPlane.kubectl('get', 'profpol', '-o', 'name'),
      'profilingpolicy.profiling.plumbline.dev/kept\n',
    );
    const left = await controlPlane.kubectl(
      'get',
      'clusterrole,clusterrolebinding,validatingadmissionpolicy,ds,deploy,sa,cm,role,rolebinding,service',
      '-A',
      '-l',
      'app.kubernetes.io/part-of=plumbline',
      '-o',
      'name',
    );
    assert.equal(left, '');
    await helm(['install', ...release], kubeconfig); // over the CRDs that stayed
  });
});

/** Without what repeats in every object and says nothing about this one. */
function readable(rendered: string): string {
  const boilerplate = /^\s*(app\.kubernetes\.io\/(name|instance|version|managed-by|part-of)|helm\.sh\/chart): .*\n/gm;
  const dashboard = /^( {2}plumbline-\w+\.json: \|-)\n( {4}.*\n)+/gm; // files/dashboards
  const groups = /^( {2}groups:\n)( {4}.*\n)+/gm; // the rules are deploy/helm/plumbline/files/rules
  const test = /^ {2}test\.mjs: \|\n( {4}.*\n|\s*\n)+/m; // the program is deploy/helm/plumbline/files/test.mjs
  return rendered
    .replace(boilerplate, '')
    .replace(test, '  test.mjs: …\n')
    .replace(dashboard, '$1 …\n')
    .replace(groups, '  groups: …\n')
    .replace(/^\s*\n/gm, '');
}

function difference(from: string, to: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-golden-'));
  try {
    writeFileSync(join(directory, 'from'), from);
    writeFileSync(join(directory, 'to'), to);
    const { status, stdout, stderr } = spawnSync('diff', ['-U3', '--label=default', '--label=this', 'from', 'to'], {
      cwd: directory,
      encoding: 'utf8',
    });
    if (status === null || status > 1) throw new Error(`diff: ${stderr}`);
    return stdout.replace(/^@@ .*\n/gm, '@@\n'); // line numbers would change with every earlier line
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What the API server needs to know of the Prometheus Operator's kinds. */
function monitorDefinition(kind: string) {
  const singular = kind.toLowerCase();
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${singular}s.monitoring.coreos.com` },
    spec: {
      group: 'monitoring.coreos.com',
      scope: 'Namespaced',
      names: { kind, singular, plural: `${singular}s` },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
}
