// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type OtlpConfig, resolveOtlpTarget } from './otlp-target.ts';

const endpoints: [OtlpConfig, string][] = [
  [{ endpoint: 'collector:4317', insecure: true }, 'http://collector:4317/'],
  [{ endpoint: 'collector', insecure: true }, 'http://collector:4317/'],
  [{ endpoint: 'collector', protocol: 'http', insecure: true }, 'http://collector:4318/v1development/profiles'],
  [{ endpoint: 'collector:443' }, 'https://collector/'],
  [{ endpoint: 'https://collector', insecure: true }, 'https://collector/'],
  [{ endpoint: '[::1]:4317', insecure: true }, 'http://[::1]:4317/'],
  [{ endpoint: 'http://pyroscope:4040/', protocol: 'http' }, 'http://pyroscope:4040/v1development/profiles'],
  [{ endpoint: 'http://gateway/own/path', protocol: 'http' }, 'http://gateway/own/path'],
];

for (const [config, url] of endpoints) {
  test(`${JSON.stringify(config)} is ${url}`, () => assert.equal(resolveOtlpTarget(config, {})?.url.href, url));
}

test('nothing names an endpoint', () => assert.equal(resolveOtlpTarget({}, {}), undefined));

test('the environment says what the configuration leaves out; the form for profiles comes first', () => {
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://general:4318/base/',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL: 'http/protobuf',
    OTEL_EXPORTER_OTLP_TIMEOUT: '2500',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'none',
    OTEL_EXPORTER_OTLP_HEADERS: 'a=1, b=x%20y',
    OTEL_EXPORTER_OTLP_PROFILES_HEADERS: 'B=2',
    OTEL_EXPORTER_OTLP_CERTIFICATE: '/ca.pem',
    OTEL_EXPORTER_OTLP_PROFILES_CLIENT_KEY: '/key.pem',
  };
  const target = resolveOtlpTarget({}, env)!;
  assert.equal(target.url.href, 'http://general:4318/base/v1development/profiles');
  const { url, ...rest } = target;
  assert.deepEqual(rest, {
    protocol: 'http',
    compression: 'none',
    timeoutMs: 2500,
    headers: { a: '1', b: '2' },
    tls: { ca: '/ca.pem', certificate: undefined, key: '/key.pem' },
  });
  const own = { ...env, OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT: 'http://own:1/p' };
  assert.equal(resolveOtlpTarget({}, own)?.url.href, 'http://own:1/p');
  assert.equal(resolveOtlpTarget({ endpoint: 'x:1', protocol: 'grpc' }, own)?.url.href, 'https://x:1/');
});

const errors: [Record<string, string>, RegExp][] = [
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, /PROTOCOL=http\/json: expected grpc or http\/protobuf/],
  [{ OTEL_EXPORTER_OTLP_TIMEOUT: '10s' }, /TIMEOUT=10s: expected milliseconds/],
  [{ OTEL_EXPORTER_OTLP_HEADERS: 'no value' }, /HEADERS=…: expected name=value/],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a b' }, /not host:port or a URL/],
];

for (const [env, message] of errors) {
  test(`${JSON.stringify(env)} is an error`, () => {
    const full = { OTEL_EXPORTER_OTLP_ENDPOINT: 'x:1', ...env };
    assert.throws(() => resolveOtlpTarget({}, full), message);
  });
}
