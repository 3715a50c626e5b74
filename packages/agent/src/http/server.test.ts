// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { AgentError } from '../errors.ts';
import type { FlameData } from '../export/flame-graph/flame-data.ts';
import { createLogger } from '../log.ts';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import { Profile } from '../profile/profile.ts';
import { Health } from './health.ts';
import { RecentProfiles } from './recent-profiles.ts';
import { type HttpServer, startHttpServer } from './server.ts';

interface Scene {
  readonly server: HttpServer;
  readonly health: Health;
  readonly recent: RecentProfiles;
  readonly log: string[];
  readonly metrics: { contentType: string; text: () => Promise<string> };
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** The body as JSON; the assertions say what is expected in it. */
async function read<T>(response: Response): Promise<T> {
  return (await response.json()) as T;
}

type ErrorBody = { error: { message: string } };

async function scene(t: TestContext): Promise<Scene> {
  const health = new Health();
  const recent = new RecentProfiles({ windowMs: 300_000 });
  const log: string[] = [];
  const metrics = { contentType: 'text/plain; version=0.0.4', text: async () => 'plumbline_ready 1\n' };
  const server = await startHttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    metrics,
    health,
    recent,
    sentences: new Map([['no_unwind_info', 'the file has no unwind information']]),
    facts: () => [{ name: 'node', value: 'worker-<1>' }],
    refreshSeconds: 10,
    version: '1.2.3',
    log: createLogger({ level: 'debug', format: 'json', write: (line) => log.push(line) }),
  });
  t.after(() => server.close());
  return {
    server,
    health,
    recent,
    log,
    metrics,
    get: (path, headers) => fetch(`http://${server.address}${path}`, { headers }),
  };
}

function sample(recent: RecentProfiles, pid: number, names: string[], count: number, container?: string): void {
  const profile = new Profile({ startUnixNano: BigInt(Date.now()) * 1_000_000n, periodNano: 10_000_000 });
  const resource = {
    [ATTRIBUTE.processPid]: pid,
    [ATTRIBUTE.processExecutableName]: 'server',
    [ATTRIBUTE.containerId]: container,
  };
  const frames = names.map((name) => profile.internSyntheticFrame(name)).reverse();
  profile.addSample(profile.attributes.internSet(resource), profile.stacks.internLeafFirst(frames), {}, count);
  recent.add(profile);
}

test('metrics are served as Prometheus expects them', async (t) => {
  const { get } = await scene(t);
  const response = await get('/metrics');
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4');
  assert.equal(await response.text(), 'plumbline_ready 1\n');
});

test('health: live and ready are apart, and what is wrong is said with what to do', async (t) => {
  const { get, health } = await scene(t);
  assert.deepEqual([(await get('/healthz')).status, (await get('/readyz')).status], [200, 200]);

  let session: AgentError | undefined = new AgentError('not_permitted', 'lacks CAP_BPF', 'add it');
  health.check('ready', 'session', () => session);
  health.check('notice', 'config', () => new AgentError('config_invalid', 'line 3'));
  const response = await get('/readyz');
  assert.equal(response.status, 503);
  assert.deepEqual(await response.json(), {
    ready: false,
    problems: [{ check: 'session', code: 'not_permitted', message: 'lacks CAP_BPF', remedy: 'add it' }],
    notices: [{ check: 'config', code: 'config_invalid', message: 'line 3', remedy: '' }],
  });
  assert.equal((await get('/healthz')).status, 200);

  session = undefined;
  assert.equal((await get('/readyz')).status, 200);
  health.check('live', 'reader', () => {
    throw new Error('stuck');
  });
  assert.deepEqual([(await get('/healthz')).status, (await get('/readyz')).status], [503, 503]);
});

test('recent samples as folded stacks, pprof and OTLP, of all, one process or one container', async (t) => {
  const { get, recent } = await scene(t);
  sample(recent, 7, ['_start', 'main', 'serve'], 3, 'abcdef');
  sample(recent, 8, ['_start', 'main', 'idle'], 2);
  assert.equal(
    await (await get('/api/profile?since=5m&format=folded')).text(),
    '_start;main;idle 2\n_start;main;serve 3\n',
  );
  assert.equal(await (await get('/api/profile?pid=7')).text(), '_start;main;serve 3\n');
  assert.equal(await (await get('/api/profile?container=abc')).text(), '_start;main;serve 3\n');
  assert.equal(await (await get('/api/profile?container=x')).text(), '');
  const pprof = await get('/api/profile?format=pprof');
  assert.match(pprof.headers.get('content-disposition') ?? '', /plumbline\.pb\.gz/);
  assert.ok(gunzipSync(Buffer.from(await pprof.arrayBuffer())).includes('serve'));
  const json = await read<{ resourceProfiles: unknown[] }>(await get('/api/profile?format=json'));
  assert.equal(json.resourceProfiles.length, 2);
});

test('the flame graph has the samples in it, cannot be framed, and runs only its own script', async (t) => {
  const { get, recent } = await scene(t);
  sample(recent, 7, ['</script><b>', 'main'], 3);
  const response = await get('/flame?since=5m');
  const policy = response.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/);
  assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  const html = await response.text();
  assert.match(html, /data-refresh-url="\/api\/flame\?since=5m" data-refresh-seconds="10"/);
  assert.ok(!html.includes('</script><b>'));
  const flame = await read<FlameData>(await get('/api/flame'));
  assert.equal(flame.processes[0].total, 3);
  assert.ok(flame.frames.label.includes('</script><b>'));
  assert.deepEqual(flame.facts, [
    { name: 'window', value: 'last 5 min' },
    { name: 'node', value: 'worker-<1>' },
  ]);
});

test('the overview names workloads and reasons, and lets neither speak as HTML', async (t) => {
  const { get, recent, health } = await scene(t);
  sample(recent, 7, ['main'], 3);
  const { headers, text } = await get('/').then(async (answer) => ({
    headers: answer.headers,
    text: await answer.text(),
  }));
  assert.match(
    headers.get('content-security-policy') ?? '',
    /default-src 'none'; style-src 'sha256-[^;]+'.*frame-ancestors 'none'/,
  );
  assert.doesNotMatch(text, /<script|style=/);
  assert.match(text, /worker-&lt;1&gt;/);
  assert.doesNotMatch(text, /not profiled as configured/);
  health.check('ready', 'configuration', () => new AgentError('config_invalid', 'rule <x> is wrong', 'mend it'));
  assert.match(
    await (await get('/')).text(),
    /not profiled as configured:<\/b> rule &lt;x&gt; is wrong\. To do: mend it\./,
  );
});

test('large answers are compressed for who takes it', async (t) => {
  const { server } = await scene(t);
  for (const [accept, encoding] of [
    ['gzip', 'gzip'],
    ['identity', null],
  ] as const) {
    const { get } = await import('node:http');
    const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
      get(`http://${server.address}/flame`, { headers: { 'accept-encoding': accept } }, (response) => {
        response.resume().on('end', () => resolve(response.headers));
      }).on('error', reject);
    });
    assert.equal(headers['content-encoding'] ?? null, encoding);
  }
});

const mistakes: [string, number, RegExp][] = [
  ['/api/profile?since=5', 400, /since must be a duration/],
  ['/api/profile?since=0s', 400, /since must be a duration/],
  ['/api/profile?format=svg', 400, /format must be folded, pprof, json/],
  ['/api/profile?pid=1%20or', 400, /pid must be a number/],
  ['/api/profile?formt=folded', 400, /unknown parameter formt \(did you mean format\?\)/],
  ['/api/profile?pid=1&pid=2', 400, /pid is given more than once/],
  ['/api/profile?__proto__=1', 400, /./],
  ['/nothing', 404, /there is \//],
  ['/%', 400, /./],
];
for (const [path, status, message] of mistakes) {
  test(`bad request: ${path}`, async (t) => {
    const { get } = await scene(t);
    const response = await get(path);
    assert.equal(response.status, status);
    assert.match((await read<ErrorBody>(response)).error.message, message);
  });
}

test('nothing can be written', async (t) => {
  const { server } = await scene(t);
  const response = await fetch(`http://${server.address}/metrics`, { method: 'POST', body: 'x'.repeat(10_000) });
  assert.ok([404, 413].includes(response.status));
});

test('a part that fails is an error of that request, logged, and the server goes on', async (t) => {
  const { get, metrics, log } = await scene(t);
  metrics.text = () => Promise.reject(new Error('broken'));
  const response = await get('/metrics');
  assert.equal(response.status, 500);
  assert.equal((await read<ErrorBody>(response)).error.message, 'broken');
  assert.match(log.join(''), /request failed.*broken/s);
  assert.equal((await get('/healthz')).status, 200);
});

test('an address that cannot be used is an error that says so', async (t) => {
  const { server } = await scene(t);
  const port = Number(server.address.split(':')[1]);
  const options = {
    metrics: { contentType: '', text: async () => '' },
    health: new Health(),
    recent: new RecentProfiles({ windowMs: 1000 }),
    sentences: new Map(),
    facts: () => [],
    refreshSeconds: 1,
    version: '',
    log: createLogger({ level: 'error', format: 'json', write: () => {} }),
  };
  await assert.rejects(startHttpServer({ ...options, listen: { host: '127.0.0.1', port } }), {
    code: 'listen_failed',
    message: `cannot listen on 127.0.0.1:${port}: it is in use`,
  });
  await assert.rejects(startHttpServer({ ...options, listen: { host: '192.0.2.1', port: 0 } }), {
    code: 'listen_failed',
    message: /no interface has this address/,
  });
});

test('why stacks are cut, of a workload, as an object and as text', async (t) => {
  const { get, recent } = await scene(t);
  const profile = new Profile({ startUnixNano: BigInt(Date.now()) * 1_000_000n });
  for (const [name, count] of [
    ['api', 30],
    ['db', 50],
  ] as const) {
    const resource = { [ATTRIBUTE.namespaceName]: 'shop', [ATTRIBUTE.serviceName]: name, [ATTRIBUTE.processPid]: 1 };
    const attributes = {
      [ATTRIBUTE.stackOutcome]: 'truncated',
      [ATTRIBUTE.truncationReason]: 'no_unwind_info',
      [ATTRIBUTE.truncationFile]: `/opt/${name}`,
    };
    const stack = profile.stacks.internLeafFirst([profile.internTruncatedRoot('no_unwind_info')]);
    profile.addSample(profile.attributes.internSet(resource), stack, attributes, count);
  }
  recent.add(profile);
  type Body = { truncated: number; text: string; summary: string; causes: { files: { path: string }[] }[] };
  const one = await read<Body>(await get('/api/explain?workload=shop/api'));
  assert.equal(one.truncated, 30);
  assert.equal(one.causes[0].files[0].path, '/opt/api');
  assert.match(one.text, /^shop\/api: 30 of 30 user stacks are cut \(100\.0 %\)/);
  assert.match(one.summary, /mostly for no_unwind_info in \/opt\/api/);
  assert.equal((await read<Body>(await get('/api/explain'))).truncated, 80);
  const { workloads } = await read<{ workloads: { workload: string }[] }>(await get('/api/workloads?since=5m'));
  assert.deepEqual(
    workloads.map(({ workload }) => workload),
    ['shop/db', 'shop/api'],
  );
  const flame = await read<FlameData>(await get('/api/flame?workload=shop/db'));
  assert.deepEqual([flame.title, flame.processes.length, flame.processes[0].total], ['Plumbline: shop/db', 1, 50]);
  assert.equal((await get('/api/explain?workloda=x')).status, 400);
});
