// SPDX-License-Identifier: Apache-2.0
/** Everything that touches the kernel: BPF objects, maps, perf events, records, and what this kernel offers. */

export { Btf, type BtfKind, type BtfMember, type BtfType, type BtfTypeId, parseBtf } from './btf.ts';
export { CpuEvents, onlineCpus, parseCpuList } from './cpu-events.ts';
export { demangle } from './demangle.ts';
export {
  BpfError,
  type BpfErrorOptions,
  CAPABILITIES,
  type Capability,
  effectiveCapabilities,
  lockdownMode,
} from './errors.ts';
export { type EventBatch, EventReader, type EventReaderOptions } from './event-reader.ts';
export { FEATURES, type FeatureName, type FeatureResult, features, type KernelReport } from './features.ts';
export { KnownStack } from './known-stack.ts';
export { enums, limits, type OutcomeName, outcomes, type ReasonName, reasons, structs } from './layout.gen.ts';
export {
  BpfMap,
  MAP_FLAGS,
  MAP_TYPES,
  type MapBatch,
  type MapKey,
  type MapOptions,
  type MapType,
  type MapValue,
  type UpdateMode,
} from './map.ts';
export { releaseMemory } from './memory.ts';
export { builtFile, type MapInfo, type ProgramInfo, type ReaderStatistics } from './native.ts';
export { BpfObject, type GlobalValue, type OpenOptions } from './object.ts';
export { maxSampleRate, PERF_EVENTS, PerfEvent, type PerfEventName, type PerfEventOptions } from './perf-event.ts';
export { BpfLink, BpfProgram, enableRunTimeStatistics, type TestRunOptions } from './program.ts';
export { decodeSideBand, decodeSideBandBatch, type MappingRecord, type SideBandRecord } from './side-band.ts';
