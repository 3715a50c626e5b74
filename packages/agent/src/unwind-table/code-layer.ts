// SPDX-License-Identifier: Apache-2.0
import { addressToOffset, type ElfFile, loadSegmentAt } from '../elf/file.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import type { RuleSink } from './cfa-program.ts';
import type { AddressRange } from './cfi.ts';
import { CodeAnalysis } from './code-analysis.ts';
import {
  FUNCTION_ENTRY_CODE,
  FUNCTION_GUESSED,
  FUNCTION_PART,
  FUNCTION_PLT_HEADER,
  FUNCTION_V8_BUILTIN,
  FUNCTION_V8_BUILTINS,
  type FunctionMap,
  gapFinder,
} from './functions.ts';
import { firstAfter, type Layer } from './layers.ts';
import { REG_RSP, RULE_FRAME_POINTER, RULE_NONE, RULE_SIGNAL, type RuleSet, ruleOfKind } from './row.ts';

/** Longer functions are not analysed. */
const MAX_UNIT = 1 << 20;
/** Guessed functions that may turn out to be one. */
const MAX_JOINED = 16;
/** How often code is followed in search of functions. */
const MAX_ROUNDS = 3;
/** All code together that is analysed. */
const MAX_ANALYSED_BYTES = 1 << 26;

/** mov $15,%rax; syscall: what a signal handler returns to (rt_sigreturn). */
const SIGRETURN = Uint8Array.of(0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05);
const NOP = 0x90;

/** Rules for text without unwind information, by analysis of its code. */
export class CodeLayer implements Pick<Layer, 'cover'> {
  provedBytes = 0;
  #analysed = 0;
  #tailCalls: Set<number> | undefined;
  readonly #file: ElfFile;
  readonly #source: ByteSource;
  readonly #functions: FunctionMap;
  readonly #analysis: CodeAnalysis;
  readonly #framePointer: number;
  readonly #signal: number;
  readonly #none: number;

  constructor(file: ElfFile, source: ByteSource, functions: FunctionMap, rules: RuleSet) {
    this.#file = file;
    this.#source = source;
    this.#functions = functions;
    this.#analysis = new CodeAnalysis(rules);
    this.#framePointer = rules.internRule(ruleOfKind(RULE_FRAME_POINTER));
    this.#signal = rules.internRule({ ...ruleOfKind(RULE_SIGNAL), base: REG_RSP });
    this.#none = rules.internRule(ruleOfKind(RULE_NONE));
  }

  /**
   * Where there are no symbols, functions that are only reached by tail calls are found by following the others.
   * `gaps` is the text that the layer will be asked for.
   */
  completeFunctions(gaps: readonly AddressRange[]): void {
    const functions = this.#functions;
    const nothing: RuleSink = { add() {} };
    const inGap = gapFinder(gaps);
    for (let round = 0; round < MAX_ROUNDS && functions.isIncomplete; round++) {
      const before = functions.starts.length;
      this.#tailCalls = new Set();
      for (const { start, end } of gaps) this.cover(start, end, nothing, () => {});
      for (const target of this.#tailCalls) if (inGap(target) >= 0) functions.add(target, 0, FUNCTION_GUESSED);
      functions.sort();
      if (functions.starts.length === before) break;
    }
    this.#tailCalls = undefined;
    this.#analysed = 0;
    this.provedBytes = 0;
  }

  cover(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void {
    const { starts, kinds } = this.#functions;
    let at = from;
    let i = firstAfter(starts, from - 1);
    while (i < starts.length && starts[i] < to) {
      if (starts[i] > at) this.#coverUnknown(at, starts[i], sink, gap);
      at = Math.max(at, starts[i]);
      let last = i; // the unit may turn out to be of several functions
      let end = Math.min(starts[i + 1] ?? to, to);
      // The entries of a PLT are one unit: they jump to the first.
      if (kinds[i] === FUNCTION_PLT_HEADER) {
        while (starts[last + 1] <= starts[last] + 16 && starts[last + 1] < to) last++;
        end = Math.min(starts[last + 1] ?? to, to);
      }
      const bound = () => {
        end = Math.min(starts[++last + 1] ?? to, to);
      };
      while (!this.#coverUnit(i, last, end, from, to, sink)) bound();
      at = end;
      i = last + 1;
    }
    if (at < to) this.#coverUnknown(at, to, sink, gap);
  }

  /** Covers the functions `first` to `last`, up to `end`. False: the last function does not end there, take the next with it. */
  #coverUnit(first: number, last: number, end: number, from: number, limit: number, sink: RuleSink): boolean {
    const { starts, kinds } = this.#functions;
    const start = starts[first];
    const kind = kinds[first];
    if (kind === FUNCTION_V8_BUILTINS) {
      sink.add(start, end, this.#framePointer);
      return true;
    }
    const isBuiltin = kind === FUNCTION_V8_BUILTIN;
    const missing = isBuiltin
      ? (a: number, b: number) => sink.add(a, b, this.#framePointer)
      : (a: number, b: number) => sink.add(a, b, this.#none);
    const bytes = kind === FUNCTION_PART ? undefined : this.#read(start, end);
    if (bytes === undefined) {
      missing(start, end);
      return true;
    }
    if (startsWith(bytes, SIGRETURN)) {
      // Its frame is found by an address one below its first instruction, where C libraries put a nop.
      const hasNop = start > from && this.#read(start - 1, start)?.[0] === NOP;
      sink.add(hasNop ? start - 1 : start, end, this.#signal);
      return true;
    }
    // Guessed functions that were joined to the first are none.
    const entries: number[] = kind === FUNCTION_PLT_HEADER ? [] : [0];
    for (let i = first + 1; i <= last; i++) if (kinds[i] !== FUNCTION_GUESSED) entries.push(starts[i] - start);
    const unit = { entries, calleesPop: isBuiltin, isEntryCode: kind === FUNCTION_ENTRY_CODE };
    const rows: number[] = [];
    const result = this.#analysis.analyze(
      bytes,
      start,
      unit,
      { add: (a, b, rule) => void rows.push(a, b, rule) },
      (a, b) => void rows.push(a, b, -1),
    );
    const leadsTo = start + result.escape;
    const next = starts[last + 1];
    if (result.escape > 0 && kinds[last + 1] === FUNCTION_GUESSED && last - first < MAX_JOINED) {
      if (next < limit && leadsTo >= next && leadsTo < (starts[last + 2] ?? limit)) return false;
    }
    this.provedBytes += result.provedBytes;
    if (this.#tailCalls !== undefined) for (const offset of result.tailCalls) this.#tailCalls.add(start + offset);
    for (let r = 0; r < rows.length; r += 3) {
      if (rows[r + 2] >= 0) sink.add(rows[r], rows[r + 1], rows[r + 2]);
      else missing(rows[r], rows[r + 1]);
    }
    return true;
  }

  /** Text of which it is not known where functions begin. */
  #coverUnknown(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void {
    const bytes = to - from > 15 ? this.#read(from, to) : undefined;
    if (bytes === undefined) {
      gap(from, to);
      return;
    }
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = from;
    for (let i = buffer.indexOf(SIGRETURN); i >= 0; i = buffer.indexOf(SIGRETURN, i + SIGRETURN.length)) {
      // A trampoline's frame is found by an address one below its first instruction, which is a return address.
      const start = Math.max(at, from + i - 1);
      if (start > at) gap(at, start);
      at = from + i + SIGRETURN.length;
      sink.add(start, at, this.#signal);
    }
    if (at < to) gap(at, to);
  }

  #read(from: number, to: number): Uint8Array | undefined {
    this.#analysed += to - from;
    if (to - from > MAX_UNIT || this.#analysed > MAX_ANALYSED_BYTES) return undefined;
    const segment = loadSegmentAt(this.#file, from);
    if (segment === undefined || to > segment.address + segment.fileSize) return undefined;
    return readBytes(this.#source, addressToOffset(this.#file, from), to - from, 'text');
  }
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, i) => bytes[i] === byte);
}
