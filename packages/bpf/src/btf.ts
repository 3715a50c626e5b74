// SPDX-License-Identifier: Apache-2.0
/**
 * Reads BTF, the type information of BPF objects and of the running kernel: sizes, field offsets, enumerators, the
 * place of global variables, names of kernel functions.
 *
 * `parseBtf` checks the bounds of every type once and remembers where each lies; types are decoded when asked for, so
 * the kernel's 5 MB cost one pass and 4 bytes a type.
 * Source: Documentation/bpf/btf.rst of the kernel.
 */
import { BpfError } from './errors.ts';

const MAGIC = 0xeb9f;
const HEADER_SIZE = 24;
const TYPE_SIZE = 12;
/** More than any kernel has (about 140,000 with all modules in one), so that a lie cannot take memory. */
const MAX_TYPES = 1 << 22;
/** Longest chain of typedefs, qualifiers and arrays; the kernel has the same limit (MAX_RESOLVE_DEPTH). */
const MAX_DEPTH = 32;

/** Numbers of the kinds, and the bytes that follow a type: a fixed part, and a part for each of its members. */
const KINDS = [
  ['void', 0, 0],
  ['int', 4, 0],
  ['pointer', 0, 0],
  ['array', 12, 0],
  ['struct', 0, 12],
  ['union', 0, 12],
  ['enum', 0, 8],
  ['forward', 0, 0],
  ['typedef', 0, 0],
  ['volatile', 0, 0],
  ['const', 0, 0],
  ['restrict', 0, 0],
  ['function', 0, 0],
  ['prototype', 0, 8],
  ['variable', 4, 0],
  ['dataSection', 0, 12],
  ['float', 0, 0],
  ['declarationTag', 4, 0],
  ['typeTag', 0, 0],
  ['enum64', 0, 12],
] as const;

export type BtfKind = (typeof KINDS)[number][0];
const KIND_NUMBER = Object.fromEntries(KINDS.map(([kind], number) => [kind, number])) as Record<BtfKind, number>;

/** A number that names a type; 0 is `void`. */
export type BtfTypeId = number;

export interface BtfMember {
  readonly name: string;
  readonly type: BtfTypeId;
  /** Bits from the start of the structure. */
  readonly bitOffset: number;
  /** Width of a bit field; 0 for an ordinary member. */
  readonly bitSize: number;
}

/** A variable inside its section, in bytes. Offsets are filled in by libbpf: a file fresh from clang has zeros. */
export interface BtfSectionVariable {
  readonly type: BtfTypeId;
  readonly offset: number;
  readonly size: number;
}

export type BtfType =
  | { readonly kind: 'void' }
  | {
      readonly kind: 'int';
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly bool: boolean;
      readonly char: boolean;
    }
  | { readonly kind: 'float'; readonly name: string; readonly size: number }
  | { readonly kind: 'pointer' | 'volatile' | 'const' | 'restrict'; readonly target: BtfTypeId }
  | { readonly kind: 'typedef' | 'typeTag' | 'declarationTag'; readonly name: string; readonly target: BtfTypeId }
  | { readonly kind: 'array'; readonly element: BtfTypeId; readonly length: number }
  | {
      readonly kind: 'struct' | 'union';
      readonly name: string;
      readonly size: number;
      readonly members: readonly BtfMember[];
    }
  | {
      readonly kind: 'enum' | 'enum64';
      readonly name: string;
      readonly size: number;
      readonly values: readonly { name: string; value: bigint }[];
    }
  | { readonly kind: 'forward'; readonly name: string }
  | { readonly kind: 'function'; readonly name: string; readonly target: BtfTypeId }
  | {
      readonly kind: 'prototype';
      readonly returns: BtfTypeId;
      readonly parameters: readonly { name: string; type: BtfTypeId }[];
    }
  | { readonly kind: 'variable'; readonly name: string; readonly target: BtfTypeId }
  | {
      readonly kind: 'dataSection';
      readonly name: string;
      readonly size: number;
      readonly variables: readonly BtfSectionVariable[];
    };

type OfKind<K extends BtfKind> =
  | Extract<BtfType, { readonly kind: K }>
  | (Extract<BtfType, { readonly kind: unknown }> & { readonly kind: K });

function malformed(what: string): BpfError {
  return new BpfError({ operation: 'parse BTF', code: 'BTF_MALFORMED', detail: what });
}

/**
 * @param bytes content of a `.BTF` section or of `/sys/kernel/btf/vmlinux`; kept, not copied
 * @throws BpfError `BTF_MALFORMED` if a type lies outside or is of a kind unknown here
 */
export function parseBtf(bytes: Uint8Array): Btf {
  if (bytes.length < HEADER_SIZE) throw malformed('shorter than its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0, true) !== MAGIC) throw malformed('no BTF of this byte order (wrong magic number)');
  if (bytes[2] !== 1) throw malformed(`version ${bytes[2]}`);
  const headerSize = view.getUint32(4, true);
  const section = (at: number, what: string) => {
    const start = headerSize + view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    if (headerSize < HEADER_SIZE || start + length > bytes.length) throw malformed(`${what} lie outside`);
    return { start, end: start + length };
  };
  const types = section(8, 'types');
  const strings = section(16, 'strings');

  let offsets = new Uint32Array(Math.min(MAX_TYPES, (types.end - types.start) / TYPE_SIZE + 2));
  let count = 1; // type 0 is void and has no bytes
  for (let at = types.start; at < types.end; ) {
    if (at + TYPE_SIZE > types.end) throw malformed(`type ${count} is cut off`);
    if (count >= offsets.length) throw malformed('too many types');
    const info = view.getUint32(at + 4, true);
    const kind = KINDS[(info >>> 24) & 31];
    if (!kind || kind[0] === 'void') throw malformed(`type ${count} is of unknown kind ${(info >>> 24) & 31}`);
    offsets[count++] = at;
    at += TYPE_SIZE + kind[1] + kind[2] * (info & 0xffff);
    if (at > types.end) throw malformed(`type ${count - 1} is cut off`);
  }
  offsets = offsets.slice(0, count);
  return new Btf(view, offsets, strings.start, strings.end);
}

export class Btf {
  /** Types, `void` included: valid ids are below this. */
  readonly typeCount: number;
  readonly #view: DataView;
  readonly #offsets: Uint32Array;
  readonly #stringsStart: number;
  readonly #stringsEnd: number;

  /** Use `parseBtf`, which checks what is handed in here. */
  constructor(view: DataView, offsets: Uint32Array, stringsStart: number, stringsEnd: number) {
    this.#view = view;
    this.#offsets = offsets;
    this.#stringsStart = stringsStart;
    this.#stringsEnd = stringsEnd;
    this.typeCount = offsets.length;
  }

  #string(offset: number): string {
    const start = this.#stringsStart + offset;
    if (start >= this.#stringsEnd) {
      if (offset === 0) return '';
      throw malformed(`string ${offset} lies outside`);
    }
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, this.#stringsEnd - start);
    const end = bytes.indexOf(0);
    if (end < 0) throw malformed(`string ${offset} does not end`);
    return Buffer.from(bytes.buffer, bytes.byteOffset, end).toString('latin1');
  }

  #offset(id: BtfTypeId): number {
    if (!(id > 0 && id < this.typeCount)) throw malformed(`there is no type ${id}`);
    return this.#offsets[id];
  }

  #kindNumber(id: BtfTypeId): number {
    return id === 0 ? 0 : (this.#view.getUint32(this.#offset(id) + 4, true) >>> 24) & 31;
  }

  /** @throws BpfError `BTF_MALFORMED` if there is no such type or one of its names lies outside */
  type(id: BtfTypeId): BtfType {
    if (id === 0) return { kind: 'void' };
    const at = this.#offset(id);
    const u32 = (offset: number) => this.#view.getUint32(offset, true);
    const info = u32(at + 4);
    const flag = info >>> 31 === 1;
    const size = u32(at + 8);
    const target = size; // the same word, by kind
    const name = this.#string(u32(at));
    const extra = at + TYPE_SIZE;
    const each = <T>(stride: number, decode: (at: number) => T): T[] =>
      Array.from({ length: info & 0xffff }, (_, index) => decode(extra + index * stride));
    const kind = KINDS[(info >>> 24) & 31][0];
    switch (kind) {
      case 'int': {
        const encoding = (u32(extra) >>> 24) & 15;
        return {
          kind,
          name,
          size,
          signed: (encoding & 1) !== 0,
          char: (encoding & 2) !== 0,
          bool: (encoding & 4) !== 0,
        };
      }
      case 'float':
        return { kind, name, size };
      case 'pointer':
      case 'volatile':
      case 'const':
      case 'restrict':
        return { kind, target };
      case 'typedef':
      case 'typeTag':
      case 'declarationTag':
      case 'function':
      case 'variable':
        return { kind, name, target };
      case 'array':
        return { kind, element: u32(extra), length: u32(extra + 8) };
      case 'struct':
      case 'union': {
        const members = each(12, (member): BtfMember => {
          const place = u32(member + 8);
          return {
            name: this.#string(u32(member)),
            type: u32(member + 4),
            bitOffset: flag ? place & 0xffffff : place,
            bitSize: flag ? place >>> 24 : 0,
          };
        });
        return { kind, name, size, members };
      }
      case 'enum': {
        const values = each(8, (value) => ({
          name: this.#string(u32(value)),
          value: BigInt(flag ? this.#view.getInt32(value + 4, true) : u32(value + 4)),
        }));
        return { kind, name, size, values };
      }
      case 'enum64': {
        const values = each(12, (value) => ({
          name: this.#string(u32(value)),
          value: (BigInt(flag ? this.#view.getInt32(value + 8, true) : u32(value + 8)) << 32n) | BigInt(u32(value + 4)),
        }));
        return { kind, name, size, values };
      }
      case 'forward':
        return { kind, name };
      case 'prototype': {
        const parameters = each(8, (parameter) => ({ name: this.#string(u32(parameter)), type: u32(parameter + 4) }));
        return { kind, returns: target, parameters };
      }
      case 'dataSection': {
        const variables = each(12, (variable) => ({
          type: u32(variable),
          offset: u32(variable + 4),
          size: u32(variable + 8),
        }));
        return { kind, name, size, variables };
      }
      default:
        throw malformed(`type ${id} is of kind ${kind}`);
    }
  }

  /** First type of the kind that bears the name. A search through all types: remember the answer. */
  find<K extends BtfKind>(kind: K, name: string): OfKind<K> | undefined {
    const wanted = Buffer.from(name, 'latin1');
    const view = this.#view;
    for (let id = 1; id < this.typeCount; id++) {
      const at = this.#offsets[id];
      if (((view.getUint32(at + 4, true) >>> 24) & 31) !== KIND_NUMBER[kind]) continue;
      if (this.#stringIs(view.getUint32(at, true), wanted)) return this.type(id) as OfKind<K>;
    }
    return undefined;
  }

  #stringIs(offset: number, wanted: Uint8Array): boolean {
    const start = this.#stringsStart + offset;
    if (start + wanted.length >= this.#stringsEnd) return false;
    for (let i = 0; i < wanted.length; i++) if (this.#view.getUint8(start + i) !== wanted[i]) return false;
    return this.#view.getUint8(start + wanted.length) === 0;
  }

  /** The type behind typedefs, qualifiers and tags. */
  resolve(id: BtfTypeId): BtfType {
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const type = this.type(id);
      if (!MODIFIERS.has(type.kind) || !('target' in type)) return type;
      id = type.target;
    }
    throw malformed(`type ${id} is a chain of more than ${MAX_DEPTH} typedefs and qualifiers`);
  }

  /** Bytes that a value of the type takes; 0 for `void` and for what has no size. */
  sizeOf(id: BtfTypeId): number {
    let count = 1;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const type = this.resolve(id);
      if (type.kind === 'pointer') return count * 8;
      if (type.kind === 'array') {
        count *= type.length;
        id = type.element;
      } else if (type.kind === 'variable') {
        id = type.target;
      } else {
        return 'size' in type ? count * type.size : 0;
      }
    }
    throw malformed(`type ${id} nests more than ${MAX_DEPTH} arrays`);
  }

  /** All types, in the order of their ids. */
  *types(): IterableIterator<BtfType> {
    for (let id = 1; id < this.typeCount; id++) yield this.type(id);
  }

  /** Kernel functions among `names` that are present (kfuncs and others), in one pass. */
  functionsAmong(names: readonly string[]): Set<string> {
    const wanted = names.map((name) => [name, Buffer.from(name, 'latin1')] as const);
    const found = new Set<string>();
    for (let id = 1; id < this.typeCount && found.size < wanted.length; id++) {
      if (this.#kindNumber(id) !== KIND_NUMBER.function) continue;
      const offset = this.#view.getUint32(this.#offsets[id], true);
      for (const [name, bytes] of wanted) if (this.#stringIs(offset, bytes)) found.add(name);
    }
    return found;
  }
}

const MODIFIERS: ReadonlySet<BtfKind> = new Set(['typedef', 'volatile', 'const', 'restrict', 'typeTag']);
