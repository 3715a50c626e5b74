// SPDX-License-Identifier: Apache-2.0

/**
 * From an ELF file to its unwind table: for every byte of its text one rule that says how to get to the caller.
 *
 *   const table = buildUnwindTable(parseElf(source), source);
 *
 * Knowledge comes in layers; what one does not know is left to the next: entry code that is not marked as such; call
 * frame information of `.eh_frame`; the function table of Go programs; call frame information of `.debug_frame`;
 * analysis of the code; and nothing (RULE_NONE).
 */
import { ElfError } from '../elf/errors.ts';
import { type ElfFile, PF_X, PT_LOAD, type Section, SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS } from '../elf/file.ts';
import { type GoPclntab, openGoPclntab } from '../elf/go-pclntab.ts';
import type { ByteSource } from '../elf/source.ts';
import { CfaProgram } from './cfa-program.ts';
import type { AddressRange } from './cfi.ts';
import { CodeLayer } from './code-layer.ts';
import { SegmentEncoder, type UnwindSegment } from './encode.ts';
import { EntryLayer, findContextStart, findUnmarkedEntry } from './entry-code.ts';
import { UnwindTableError } from './errors.ts';
import { openDebugFrame, openEhFrame } from './frame-sections.ts';
import { findFunctions } from './functions.ts';
import { GoLayer } from './go-pclntab.ts';
import { coverWithLayers, FrameLayer, gapsOfLayers } from './layers.ts';
import { RULE_NONE, RuleSet, ruleOfKind } from './row.ts';

/** Text above this size is refused; the largest programs known have some 500 MB. */
export const MAX_TEXT_SIZE = 2 ** 31;
/** Bytes between functions up to this many are padding: they get no rows of their own. */
const MAX_PADDING = 15;
/** Parts of an executable segment without code (data between sections) above this size get no table. */
const MAX_HOLE = 1 << 20;
const MAX_EXECUTABLE_SEGMENTS = 64;

export interface UnwindTableStats {
  /** Functions described by a Go function table, `.eh_frame` and `.debug_frame`. */
  goFunctions: number;
  ehFrameFunctions: number;
  debugFrameFunctions: number;
  /** Entries of those sections that could not be used. */
  skippedEntries: number;
  malformedSections: number;
  rows: number;
  /** Distinct rules of the whole file. */
  rules: number;
  textBytes: number;
  /** Bytes of text whose rules come from an analysis of the code. */
  analysedBytes: number;
  /** Bytes of text under RULE_NONE. */
  uncoveredBytes: number;
  byteLength: number;
}

export interface UnwindTable {
  /** Sorted by address; they do not overlap. */
  readonly segments: UnwindSegment[];
  readonly stats: UnwindTableStats;
}

/** Throws ElfError or UnwindTableError, and what the source throws on I/O errors. */
export function buildUnwindTable(file: ElfFile, source: ByteSource): UnwindTable {
  const ranges = textRanges(file);
  if (ranges.length === 0) throw new UnwindTableError('noText', 'the file has no executable bytes');
  const text = { start: ranges[0].start, end: ranges[ranges.length - 1].end };
  const textBytes = ranges.reduce((sum, range) => sum + range.end - range.start, 0);
  if (text.end - text.start > MAX_TEXT_SIZE) {
    throw new UnwindTableError('tooLarge', `executable segments span ${text.end - text.start} bytes`);
  }

  const rules = new RuleSet();
  const none = rules.internRule(ruleOfKind(RULE_NONE));
  const program = new CfaProgram(rules);
  const ehFrame = openEhFrame(file, source, text);
  const debugFrame = openDebugFrame(file, source, text);
  const go = openGoTable(file, source);
  const [ehLayer, debugLayer] = [ehFrame, debugFrame].map((s) => (s === undefined ? [] : [new FrameLayer(s, program)]));
  const goLayer = go === undefined ? [] : [new GoLayer(go, file, source, rules)];
  const entry = ehFrame && findUnmarkedEntry(file, source, ehFrame, program, rules);
  const contextStart = ehFrame && findContextStart(file, source, ehFrame, ranges);
  const entryLayer = [entry, contextStart].flatMap((range) =>
    range === undefined ? [] : [new EntryLayer(range, rules)],
  );
  const topLayers = [...entryLayer, ...ehLayer, ...goLayer, ...debugLayer];
  const sections = codeSections(file).map(({ address }) => address);
  const isPadding = (from: number, to: number) =>
    to - from <= MAX_PADDING && !sections.some((start) => start >= from && start < to); // .fini has 9 bytes
  const gaps = ranges.flatMap((range) => gapsOfLayers(topLayers, range.start, range.end, isPadding));
  const codeLayer = new CodeLayer(file, source, findFunctions(file, source, gaps), rules);
  codeLayer.completeFunctions(gaps);
  const layers = [...topLayers, codeLayer];

  const encoder = new SegmentEncoder(rules);
  let uncoveredBytes = 0;
  for (const range of ranges) {
    encoder.begin(range.start);
    const sink = {
      add(start: number, end: number, rule: number) {
        if (rule === none) uncoveredBytes += end - start;
        encoder.add(start, rule);
      },
    };
    coverWithLayers(layers, range.start, range.end, sink, (from, to) => {
      if (isPadding(from, to) && from > range.start) return;
      uncoveredBytes += to - from;
      encoder.add(from, none);
    });
    encoder.end(range.end);
  }
  const { segments } = encoder;
  return {
    segments,
    stats: {
      goFunctions: go?.count ?? 0,
      ehFrameFunctions: ehFrame?.count ?? 0,
      debugFrameFunctions: debugFrame?.count ?? 0,
      skippedEntries: (ehFrame?.problems.skipped ?? 0) + (debugFrame?.problems.skipped ?? 0),
      malformedSections: (ehFrame?.problems.malformed ?? 0) + (debugFrame?.problems.malformed ?? 0),
      rows: segments.reduce((sum, segment) => sum + segment.rows.length, 0),
      rules: rules.count,
      textBytes,
      analysedBytes: codeLayer.provedBytes,
      uncoveredBytes,
      byteLength: segments.reduce((sum, segment) => sum + segment.byteLength, 0),
    },
  };
}

/** The Go function table; one that is damaged or of a version unknown is left out, like other unwind information. */
function openGoTable(file: ElfFile, source: ByteSource): GoPclntab | undefined {
  try {
    return openGoPclntab(file, source);
  } catch (error) {
    if (error instanceof ElfError) return undefined;
    throw error;
  }
}

function codeSections(file: ElfFile): Section[] {
  return file.sections.filter(
    (s) => (s.flags & SHF_ALLOC) !== 0 && (s.flags & SHF_EXECINSTR) !== 0 && s.type !== SHT_NOBITS && s.size > 0,
  );
}

/** The executable ranges of a file, sorted, without large holes that hold no code. */
export function textRanges(file: ElfFile): AddressRange[] {
  const ranges: AddressRange[] = [];
  const code = codeSections(file);
  const add = (start: number, end: number) => {
    const last = ranges[ranges.length - 1];
    if (last !== undefined && start - last.end <= MAX_HOLE) last.end = Math.max(last.end, end);
    else ranges.push({ start, end });
  };
  const segments = file.programHeaders.filter((h) => h.type === PT_LOAD && (h.flags & PF_X) !== 0 && h.fileSize > 0);
  if (segments.length > MAX_EXECUTABLE_SEGMENTS) {
    throw new UnwindTableError('tooLarge', `${segments.length} executable segments`);
  }
  for (const { address, fileSize } of segments.sort((a, b) => a.address - b.address)) {
    const end = address + fileSize;
    const inside = code.filter((s) => s.address >= address && s.address < end).sort((a, b) => a.address - b.address);
    for (const section of inside) add(section.address, Math.min(end, section.address + section.size));
    if (inside.length === 0) add(address, end);
  }
  return ranges;
}
