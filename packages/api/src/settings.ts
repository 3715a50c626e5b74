// SPDX-License-Identifier: Apache-2.0
/** Settings that a ProfilingPolicy asks for and that a NodeProfilingConfig carries to the agent. */
import { z } from 'zod';
import { Duration } from './duration.ts';
import { setOf, withRules } from './schema.ts';

export const RUNTIMES = ['Native', 'Python', 'NodeJS', 'JVM', 'Ruby', 'PHP', 'Perl', 'DotNet', 'BEAM', 'Lua'] as const;

export const Event = z.enum(['CPU', 'OffCPU']);
export const Strategy = z.enum(['Auto', 'TailCall', 'Loop', 'Deferred']);
export const Spill = z.enum(['Auto', 'Never']);
export const Runtime = z.enum(RUNTIMES);

export const FrequencyHz = z
  .int()
  .min(1)
  .max(997)
  .describe('Samples per second and CPU. Prime numbers avoid lockstep with periodic work.');

export const MaxFrames = z
  .int()
  .min(16)
  .max(4096)
  .describe(
    'Frames that are kept of a stack. Of a deeper one both ends are kept and the middle is left out; its reason is `frame_limit`.',
  );

/** A share between 0 and 1 as a decimal string, so that no client rounds it: `"0.01"`. */
export const Ratio = z
  .string()
  .max(10)
  .regex(/^(0(\.[0-9]{1,8})?|1(\.0{1,8})?)$/, { error: 'must be a decimal string from "0" to "1", such as "0.01"' });

/** A percentage above 0, at most 100, as a decimal string: `"1"`, `"0.5"`. */
export const Percent = z
  .string()
  .max(8)
  .regex(/^(100|[1-9]?[0-9](\.[0-9]{1,3})?)$/, { error: 'must be a decimal string from "0" to "100", such as "1.5"' });

export const Sampling = z.object({
  event: Event.default('CPU').describe('CPU samples running threads; OffCPU samples threads that wait.'),
  frequencyHz: FrequencyHz.default(19),
});

export const Unwinding = z.object({
  strategy: Strategy.default('Auto').describe(
    'How the kernel walks stacks. Auto takes the best one that a probe on the node proves to work.',
  ),
  maxFrames: MaxFrames.default(1024),
  runtimes: setOf(Runtime, RUNTIMES.length)
    .optional()
    .describe('Runtimes whose frames are unwound as such. Absent: all that the agent knows.'),
  spill: Spill.default('Auto').describe(
    'Auto copies registers and stack to the agent, which finishes what the kernel cannot walk. Raw stacks never leave the node.',
  ),
  verifyRatio: Ratio.default('0').describe('Share of complete walks compared with an independent unwinder.'),
});

export const Objective = z.object({
  truncatedRatio: Ratio.default('0.01').describe('Largest share of truncated user stacks that keeps the promise.'),
  window: Duration.default('10m').describe('Time over which the share is taken.'),
});

export const Budget = z.object({
  cpuPercentOfNode: Percent.default('1').describe(
    'CPU time of the agent and its BPF programs, in percent of the node.',
  ),
  onExceeded: z
    .enum(['Throttle', 'Report'])
    .default('Throttle')
    .describe(
      'Throttle lowers the sampling frequency until the budget holds, at most to a quarter; Report only says so.',
    ),
});

export const OtlpExport = withRules(
  z.object({
    endpoint: z
      .string()
      .min(1)
      .max(253)
      .regex(/^(https?:\/\/)?[A-Za-z0-9.[\]:_-]+(\/[A-Za-z0-9._~/-]*)?$/, {
        error: 'must be host:port or an http(s) URL without credentials',
      })
      .describe('`host:port` or a URL. Never credentials: these objects can be read by every agent.'),
    protocol: z.enum(['grpc', 'http']).default('grpc').describe('OTLP over gRPC or HTTP/protobuf.'),
    compression: z.enum(['gzip', 'none']).default('gzip').describe('Compression of requests.'),
    insecure: z
      .boolean()
      .default(true)
      .describe('Plain text where the endpoint has no scheme; `https://` always means TLS.'),
    timeout: Duration.default('10s').describe('Deadline of one request.'),
  }),
  [
    {
      cel: "self.protocol != 'http' || self.endpoint.startsWith('http://') || self.endpoint.startsWith('https://') || !self.endpoint.contains('/')",
      check: ({ protocol, endpoint }) =>
        protocol !== 'http' || /^https?:\/\//.test(endpoint) || !endpoint.includes('/'),
      message: 'an endpoint with a path needs a scheme: http://host:port/path',
    },
  ],
);

export type Sampling = z.infer<typeof Sampling>;
export type Unwinding = z.infer<typeof Unwinding>;
export type Objective = z.infer<typeof Objective>;
export type Budget = z.infer<typeof Budget>;
export type OtlpExport = z.infer<typeof OtlpExport>;
