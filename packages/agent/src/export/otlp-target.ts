// SPDX-License-Identifier: Apache-2.0
import { AgentError } from '../errors.ts';

export type OtlpProtocol = 'grpc' | 'http';

/** What a configuration says of a receiver; what it leaves out, environment variables say. */
export interface OtlpConfig {
  /** `host:port` or a URL; without it, from the environment. */
  readonly endpoint?: string;
  readonly protocol?: OtlpProtocol;
  readonly compression?: 'gzip' | 'none';
  /** Plain text where the endpoint has no scheme. */
  readonly insecure?: boolean;
  readonly timeoutMs?: number;
}

/** Files with TLS material (PEM); read when a connection is made, so that renewed certificates are taken up. */
export interface TlsFiles {
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
}

/** A receiver, with everything decided. */
export interface OtlpTarget {
  readonly protocol: OtlpProtocol;
  /** `http:` is plain text, for gRPC too. Its path is used by HTTP only. */
  readonly url: URL;
  readonly compression: 'gzip' | 'none';
  readonly timeoutMs: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsFiles;
}

const HTTP_PATH = '/v1development/profiles';
const DEFAULT_TIMEOUT_MS = 10_000;
const PORTS: Readonly<Record<OtlpProtocol, number>> = { grpc: 4317, http: 4318 };

/**
 * Decides where profiles are sent, from a configuration and the variables of the OpenTelemetry specification:
 * `OTEL_EXPORTER_OTLP_{ENDPOINT,PROTOCOL,COMPRESSION,INSECURE,TIMEOUT,HEADERS,CERTIFICATE,CLIENT_CERTIFICATE,CLIENT_KEY}`,
 * each also as `OTEL_EXPORTER_OTLP_PROFILES_…`, which comes first. Undefined when nothing names an endpoint.
 * Throws an AgentError of code `config_invalid`.
 */
export function resolveOtlpTarget(
  config: OtlpConfig,
  env: Readonly<Record<string, string | undefined>>,
): OtlpTarget | undefined {
  const own = (name: string) => env[`OTEL_EXPORTER_OTLP_PROFILES_${name}`]?.trim() || undefined;
  const general = (name: string) => env[`OTEL_EXPORTER_OTLP_${name}`]?.trim() || undefined;
  const variable = (name: string) => own(name) ?? general(name);

  const protocol = config.protocol ?? protocolOf(variable('PROTOCOL'));
  const endpoint = config.endpoint ?? own('ENDPOINT') ?? general('ENDPOINT');
  if (endpoint === undefined) return undefined;
  // Of the general variable, signals append their path; the other forms are complete.
  const isBase = config.endpoint === undefined && own('ENDPOINT') === undefined;
  const insecure = config.insecure ?? variable('INSECURE')?.toLowerCase() === 'true';
  const compression = config.compression ?? (variable('COMPRESSION') === 'none' ? 'none' : 'gzip');
  const timeout = variable('TIMEOUT');
  if (timeout !== undefined && !/^[0-9]{1,8}$/.test(timeout)) throw invalid('TIMEOUT', timeout, 'milliseconds');
  return {
    protocol,
    url: endpointUrl(endpoint, protocol, insecure, isBase),
    compression,
    timeoutMs: config.timeoutMs ?? (timeout === undefined ? DEFAULT_TIMEOUT_MS : Number(timeout)),
    headers: { ...parseHeaders(general('HEADERS')), ...parseHeaders(own('HEADERS')) },
    tls: { ca: variable('CERTIFICATE'), certificate: variable('CLIENT_CERTIFICATE'), key: variable('CLIENT_KEY') },
  };
}

function protocolOf(text: string | undefined): OtlpProtocol {
  if (text === undefined || text === 'grpc') return 'grpc';
  if (text === 'http/protobuf') return 'http';
  throw invalid('PROTOCOL', text, 'grpc or http/protobuf');
}

function endpointUrl(endpoint: string, protocol: OtlpProtocol, insecure: boolean, isBase: boolean): URL {
  const hasScheme = /^https?:\/\//i.test(endpoint);
  let url: URL;
  try {
    url = new URL(hasScheme ? endpoint : `${insecure ? 'http' : 'https'}://${endpoint}`);
  } catch (cause) {
    throw new AgentError('config_invalid', `the endpoint ${endpoint} is not host:port or a URL`, 'correct it', {
      cause,
    });
  }
  // URL drops a port that is the scheme's default, which is not the default here.
  const hasPort = /^(?:https?:\/\/)?(?:\[[^\]]*\]|[^/:]*):[0-9]+/i.test(endpoint);
  if (!hasPort && !hasScheme) url.port = String(PORTS[protocol]);
  if (protocol === 'http') {
    const path = url.pathname.replace(/\/$/, '');
    if (isBase || path === '') url.pathname = `${path}${HTTP_PATH}`;
  }
  return url;
}

/** `a=1,b=2`, values percent-encoded, as in W3C Baggage. */
function parseHeaders(text: string | undefined): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const pair of (text ?? '').split(',')) {
    if (pair.trim() === '') continue;
    const [, name, value] = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
    if (name === undefined) throw invalid('HEADERS', '…', 'name=value, separated by commas');
    try {
      headers[name.toLowerCase()] = decodeURIComponent(value);
    } catch {
      headers[name.toLowerCase()] = value;
    }
  }
  return headers;
}

function invalid(name: string, value: string, expected: string): AgentError {
  return new AgentError(
    'config_invalid',
    `OTEL_EXPORTER_OTLP_${name}=${value}: expected ${expected}`,
    'correct the variable',
  );
}
