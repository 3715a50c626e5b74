// SPDX-License-Identifier: Apache-2.0
/** Walks spilled stacks with the call frame information of files, which it keeps from one walk to the next. */
import { bytesSource } from '../elf/source.ts';
import { fileSource } from '../processes/file-source.ts';
import { BY_POINTER, EXACT } from '../samples/decode.ts';
import { unpackRule } from '../unwind-table/row.ts';
import { type Code, walkStack } from './cfi-unwinder.ts';
import { StackCopy } from './stack-copy.ts';
import { RuleNeeded, UnwindFile } from './unwind-file.ts';
import { MAPPING_NUMBERS, type MappedFile, type WalkReply, type WalkRequest } from './walk-request.ts';

const MAX_FILES = 256;
/** Memory that files may take between two requests: bytes. */
const MAX_MEMORY = 96 << 20;

/** Files in order of their last use; undefined: not a usable ELF file. */
const files = new Map<number, UnwindFile | undefined>();

function openFile({ id, fd, bytes }: MappedFile): UnwindFile | undefined {
  let file = files.get(id);
  if (!files.has(id)) {
    try {
      file = new UnwindFile(bytes ? bytesSource(bytes) : fileSource(fd));
    } catch {
      file = undefined; // unwound by frame pointers, if at all
    }
  }
  files.delete(id);
  files.set(id, file);
  return file;
}

function forgetFiles(): void {
  let memory = 0;
  for (const file of files.values()) memory += file?.memoryBytes ?? 0;
  for (const [id, file] of files) {
    if (files.size <= MAX_FILES && memory <= MAX_MEMORY) return;
    files.delete(id);
    memory -= file?.memoryBytes ?? 0;
  }
}

/** The mapping that holds an address, its file opened when it is first needed. */
function codeFinder({ mappings, files: mapped }: WalkRequest): (address: number) => Code | undefined {
  const count = mappings.length / MAPPING_NUMBERS;
  const made: (Code | undefined)[] = [];
  const byId = new Map(mapped.map((file) => [file.id, file]));
  return (address) => {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (mappings[middle * MAPPING_NUMBERS] <= address) low = middle + 1;
      else high = middle;
    }
    const index = low - 1;
    if (index < 0 || address >= mappings[index * MAPPING_NUMBERS + 1]) return undefined;
    let code = made[index];
    if (!code) {
      const [start, end, offset, id] = mappings.subarray(index * MAPPING_NUMBERS);
      const named = byId.get(id);
      const file = named && openFile(named);
      const base = file?.addressOfOffset(offset);
      code = base === undefined ? { start, end, file: undefined, bias: 0 } : { start, end, file, bias: start - base };
      made[index] = code;
    }
    return code;
  };
}

/** Walks a spilled stack as far as it goes; see WalkReply. */
export function walkSpill(request: WalkRequest): WalkReply {
  const { stack, stackStart, maxFrames } = request;
  const none = { addresses: new Float64Array(0), flags: new Uint8Array(0), pc: 0, stack };
  try {
    learn(request);
    const { frames, end, pc } = walkStack(request, new StackCopy(stackStart, stack), codeFinder(request), maxFrames);
    return {
      addresses: Float64Array.from(frames, (frame) => frame.pc),
      flags: Uint8Array.from(frames, (f) => (f.exact ? EXACT : 0) | (f.byPointer ? BY_POINTER : 0)),
      end,
      pc,
      stack,
    };
  } catch (error) {
    if (error instanceof RuleNeeded) {
      const file = request.files.find((mapped) => files.get(mapped.id) === error.file);
      if (file) return { ...none, end: 'rule_needed', needed: { file: file.id, address: error.address } };
    }
    // A file that cannot be read any more, or breaks what the parsers foresee.
    return { ...none, end: 'failed', error: error instanceof Error ? error.message : String(error) };
  } finally {
    forgetFiles();
  }
}

function learn({ rules, files: mapped }: WalkRequest): void {
  for (const { file, address, rule } of rules) {
    const named = mapped.find(({ id }) => id === file);
    if (named) openFile(named)?.learn(address, rule && unpackRule(rule, 0));
  }
}
