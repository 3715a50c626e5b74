// SPDX-License-Identifier: Apache-2.0

/** Where OpenTelemetry's own variables say that traces go. */
export function tracingEndpoint(environment: NodeJS.ProcessEnv): string | undefined {
  if (environment.OTEL_SDK_DISABLED === 'true' || environment.OTEL_TRACES_EXPORTER === 'none') return undefined;
  return environment.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || environment.OTEL_EXPORTER_OTLP_ENDPOINT || undefined;
}

/**
 * Exports traces of reconciles, if the environment names an endpoint. The SDK is loaded only then. Metrics and logs stay
 * with Prometheus and standard error. @returns a function that sends what is left and stops.
 */
export async function startTracing(environment: NodeJS.ProcessEnv): Promise<() => Promise<void>> {
  if (tracingEndpoint(environment) === undefined) return async () => {};
  environment.OTEL_METRICS_EXPORTER ??= 'none';
  environment.OTEL_LOGS_EXPORTER ??= 'none';
  environment.OTEL_SERVICE_NAME ??= 'plumbline-operator';
  const { NodeSDK } = await import('@opentelemetry/sdk-node');
  const sdk = new NodeSDK({ instrumentations: [] });
  sdk.start();
  return () => sdk.shutdown();
}
