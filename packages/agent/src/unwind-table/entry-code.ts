// SPDX-License-Identifier: Apache-2.0
import type { ElfFile } from '../elf/file.ts';
import type { ByteSource } from '../elf/source.ts';
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
