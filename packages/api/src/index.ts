// SPDX-License-Identifier: Apache-2.0
export * from './advice.ts';
export * from './condition.ts';
export * from './conditions.ts';
export * from './config-hash.ts';
export * from './duration.ts';
export * from './kernel-limit.ts';
export * from './meta.ts';
export * from './node-profiling-config.ts';
export * from './parse.ts';
export * from './policy-revision.ts';
export * from './profiling-policy.ts';
export { scaled } from './schema.ts';
export * from './selector.ts';
export * from './settings.ts';
export * from './timestamp.ts';
