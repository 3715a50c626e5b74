// SPDX-License-Identifier: Apache-2.0
/**
 * Functions of an ELF file as binutils sees them: a second opinion on names that does not share a line of code with the
 * profiler's own symbolizer.
 */
import { execFileSync } from 'node:child_process';

interface SymbolRange {
  readonly start: bigint;
  readonly end: bigint;
  readonly name: string;
}

/** Parses `nm -n -S -C`: "START SIZE TYPE NAME" a line; symbols without a size and those of data are left out. */
export function parseNm(text: string): SymbolRange[] {
  const symbols: SymbolRange[] = [];
  for (const line of text.split('\n')) {
    const match = /^([0-9a-f]{16}) ([0-9a-f]{16}) [tTwWiuV] (.+)$/.exec(line);
    if (!match) continue;
    const start = BigInt(`0x${match[1]}`);
    symbols.push({ start, end: start + BigInt(`0x${match[2]}`), name: match[3] });
  }
  return symbols;
}

interface Segment {
  readonly offset: bigint;
  readonly size: bigint;
  readonly address: bigint;
}

/** Parses the LOAD lines of `readelf -lW`: type, offset, virtual and physical address, size in the file. */
export function parseSegments(text: string): Segment[] {
  const lines = text.matchAll(/^ +LOAD +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+) /gm);
  return Array.from(lines, (match) => {
    const [offset, address, size] = match.slice(1, 4).map((digits) => BigInt(`0x${digits}`));
    return { offset, address, size };
  });
}

const run = (tool: string, args: string[]) =>
  execFileSync(tool, args, { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });

const segmentsOf = new Map<string, Segment[]>();

/** The address that the file's own headers give to the byte at `offset`; undefined where no segment has it. */
export function addressOfOffset(file: string, offset: bigint): bigint | undefined {
  let segments = segmentsOf.get(file);
  if (segments === undefined) {
    segments = parseSegments(run('readelf', ['-lW', file]));
    segmentsOf.set(file, segments);
  }
  const segment = segments.find(
    (candidate) => candidate.offset <= offset && offset < candidate.offset + candidate.size,
  );
  return segment && offset - segment.offset + segment.address;
}

const symbolsOf = new Map<string, SymbolRange[]>();

/**
 * Names of the functions that cover the address, all aliases; empty when none does.
 * @param address as in the file's own headers
 */
export function functionsAt(file: string, address: bigint): string[] {
  let symbols = symbolsOf.get(file);
  if (symbols === undefined) {
    symbols = parseNm(run('nm', ['-n', '-S', '-C', file]));
    symbolsOf.set(file, symbols);
  }
  return symbols.filter(({ start, end }) => start <= address && address < end).map(({ name }) => name);
}
