// SPDX-License-Identifier: Apache-2.0
import { addressToOffset, type ElfFile, loadSegmentAt } from '../elf/file.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import type { CfaProgram, RuleSink } from './cfa-program.ts';
import type { AddressRange, FrameSection } from './cfi.ts';
import { hasEntryCode } from './functions.ts';
import { firstAfter, type Layer } from './layers.ts';
import { RULE_ENTRY, RULE_ROOT, type RuleSet, ruleOfKind } from './row.ts';

/**
 * The function at the ELF entry point, if call frame information describes it but does not say that it has no caller:
 * old start files leave the return address defined, as the count of arguments. (Entry code without any information is
 * found by the analysis of the code.)
 */
export function findUnmarkedEntry(
  file: ElfFile,
  source: ByteSource,
  section: FrameSection,
  program: CfaProgram,
  rules: RuleSet,
): AddressRange | undefined {
  const index = firstAfter(section.starts, file.entry) - 1;
  if (index < 0 || !section.select(index) || file.entry >= section.end || !hasEntryCode(file, source)) return undefined;
  const range = { start: section.start, end: section.end };
  let isMarked = false;
  program.run(section, {
    add(_start, _end, rule) {
      if (rules.kind(rule) === RULE_ROOT) isMarked = true;
    },
  });
  return isMarked ? undefined : range;
}

/**
 * mov %rbx,%rsp; mov (%rsp),%rdi; test %rdi,%rdi: how glibc's __start_context begins, which makecontext() lays down as the
 * return address of a coroutine's first function.
 */
const START_CONTEXT = Uint8Array.of(0x48, 0x89, 0xdc, 0x48, 0x8b, 0x3c, 0x24, 0x48, 0x85, 0xff);
const ENDBR64_SIZE = 4;
/** Text above this size is not searched: no C library is as large. */
const MAX_SEARCHED = 1 << 23;
const CHUNK = 1 << 20;

/**
 * The bottom of coroutines: nothing calls it, and its call frame information does not say so. With the byte before it, since a
 * return address belongs to the instruction before.
 */
export function findContextStart(
  file: ElfFile,
  source: ByteSource,
  section: FrameSection,
  text: readonly AddressRange[],
): AddressRange | undefined {
  if (text.reduce((sum, { start, end }) => sum + end - start, 0) > MAX_SEARCHED) return undefined;
  for (const range of text) {
    for (let from = range.start; from < range.end; from += CHUNK) {
      const size = Math.min(CHUNK + START_CONTEXT.length, range.end - from);
      const segment = loadSegmentAt(file, from);
      if (segment === undefined || from + size > segment.address + segment.fileSize) break;
      const bytes = readBytes(source, addressToOffset(file, from), size, 'text');
      const code = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let at = code.indexOf(START_CONTEXT); at >= 0; at = code.indexOf(START_CONTEXT, at + 1)) {
        const address = from + at;
        const index = firstAfter(section.starts, address) - 1;
        const isStart = address === section.starts[index] || address === section.starts[index] + ENDBR64_SIZE;
        if (isStart && section.select(index)) return { start: section.start - 1, end: section.end };
      }
    }
  }
  return undefined;
}

/** RULE_ENTRY for one range, whatever other layers say. */
export class EntryLayer implements Layer {
  readonly #range: AddressRange;
  readonly #entry: number;

  constructor(range: AddressRange, rules: RuleSet) {
    this.#range = range;
    this.#entry = rules.internRule(ruleOfKind(RULE_ENTRY));
  }

  cover(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void {
    const start = Math.max(from, this.#range.start);
    const end = Math.min(to, this.#range.end);
    if (start >= end) {
      gap(from, to);
      return;
    }
    if (from < start) gap(from, start);
    sink.add(start, end, this.#entry);
    if (end < to) gap(end, to);
  }

  gaps(from: number, to: number, gap: (from: number, to: number) => void): void {
    this.cover(from, to, { add() {} }, gap);
  }
}
