// SPDX-License-Identifier: Apache-2.0
/** Every real program that tests, demo and benchmark may run. */
import { cxxCompiler, goCompiler, rustCompiler } from './compilers.ts';
import { bash, node, perl, php, python } from './interpreters.ts';
import { nginx } from './nginx.ts';
import { openssl } from './openssl.ts';
import { postgresql } from './postgresql.ts';
import { redis } from './redis.ts';
import type { Program } from './workload.ts';

export const programs: readonly Program[] = [
  postgresql,
  nginx,
  redis,
  openssl,
  cxxCompiler,
  goCompiler,
  rustCompiler,
  bash,
  python,
  perl,
  php,
  node,
];
