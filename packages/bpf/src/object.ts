// SPDX-License-Identifier: Apache-2.0
/**
 * A compiled BPF file: opened, changed, loaded, then handed out piece by piece.
 *
 * ```ts
 * const object = BpfObject.open('profiler.bpf.o');
 * object.setRodata({ frames_per_program: 16 });
 * object.setMaxEntries('events', 8 << 20);
 * object.load();
 * const link = object.program('sample_loop').attachPerfEvent(event);
 * ```
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type BtfType, parseBtf } from './btf.ts';
import { BpfError } from './errors.ts';
import { BpfMap, encodeInteger } from './map.ts';
import { native, type ObjectHandle, type ProgramInfo } from './native.ts';
import { BpfProgram } from './program.ts';

export interface OpenOptions {
  /** Names internal maps and messages; default: of the file. */
  name?: string;
  /** BTF of the running kernel, for kernels that do not offer their own at /sys/kernel/btf/vmlinux. */
  btfPath?: string;
  /** 0 (default): a log is made only of a program that is refused. 1, 2: also of accepted ones, see `verifierLog`. */
  verifierLogLevel?: 0 | 1 | 2 | 4;
}

/** Integers as numbers, booleans, 64-bit ones as bigint; anything else as its bytes. */
export type GlobalValue = number | bigint | boolean | Uint8Array;

interface Variable {
  /** Section, which is also the name of its map. */
  map: string;
  offset: number;
  size: number;
  type: BtfType;
}

export class BpfObject {
  readonly name: string;
  /** In the order of the file. */
  readonly programNames: readonly string[];
  readonly mapNames: readonly string[];
  /** Of the last program that was loaded, where `verifierLogLevel` asked for it. */
  verifierLog = '';
  #state: 'open' | 'loaded' | 'closed' = 'open';
  readonly #handle: ObjectHandle;
  readonly #variables: Map<string, Variable>;
  readonly #programs = new Map<string, BpfProgram>();
  readonly #maps = new Map<string, BpfMap>();

  private constructor(handle: ObjectHandle, name: string) {
    this.#handle = handle;
    this.name = name;
    this.programNames = native()
      .objectPrograms(handle)
      .map(([program]) => program);
    this.mapNames = native()
      .objectMaps(handle)
      .map(([map]) => map);
    this.#variables = readVariables(native().objectBtf(handle));
  }

  /**
   * @param source path of an object file, or its bytes
   * @throws BpfError if it cannot be read, is not a BPF object, or has no BTF
   */
  static open(source: string | Uint8Array, options: OpenOptions = {}): BpfObject {
    const { btfPath = null, verifierLogLevel = 0 } = options;
    const name = options.name ?? (typeof source === 'string' ? basename(source).replace(/\.bpf\.o$|\.o$/, '') : 'bpf');
    if (typeof source !== 'string' && !(source instanceof Uint8Array))
      throw new TypeError('source must be a path or bytes');
    let file: Uint8Array;
    try {
      file = typeof source === 'string' ? readFileSync(source) : source;
    } catch (error) {
      throw new BpfError({
        operation: `open object ${source}`,
        errno: Math.abs((error as NodeJS.ErrnoException).errno ?? 0),
      });
    }
    const handle = native().objectOpen(file, name, btfPath, verifierLogLevel);
    try {
      return new BpfObject(handle, name);
    } catch (error) {
      native().close(handle);
      throw error;
    }
  }

  get state(): 'open' | 'loaded' | 'closed' {
    return this.#state;
  }

  #expect(state: 'open' | 'loaded', operation: string): void {
    if (this.#state === state) return;
    if (this.#state === 'closed')
      throw new BpfError({ operation, code: 'CLOSED', detail: `object ${this.name} is closed` });
    throw new TypeError(
      `${operation}: object ${this.name} is ${this.#state === 'open' ? 'not loaded yet' : 'loaded already'}`,
    );
  }

  /** Sets `const volatile` variables, which the verifier then takes for constants. Before `load`. */
  setRodata(values: Record<string, GlobalValue>): void {
    for (const [name, value] of Object.entries(values)) {
      this.#expect('open', `set ${name}`);
      const { map } = this.#variable(name);
      if (!map.startsWith('.rodata')) throw new TypeError(`${name} is not in rodata but in ${map}: use setGlobal`);
      this.setGlobal(name, value);
    }
  }

  /** Sets a global variable: its initial value before `load`, the living one after it. */
  setGlobal(name: string, value: GlobalValue): void {
    const variable = this.#variable(name);
    const bytes = encodeVariable(name, variable, value);
    if (this.#state === 'open') {
      native().objectWriteInitial(this.#handle, variable.map, variable.offset, bytes);
      return;
    }
    this.#expect('loaded', `set ${name}`);
    if (variable.map.startsWith('.rodata')) throw new TypeError(`${name} is in rodata, which cannot change after load`);
    this.map(variable.map).write(variable.offset, bytes);
  }

  /** Integers of up to 4 bytes as number, of 8 as bigint, `bool` as boolean, anything else as a copy of its bytes. */
  readGlobal(name: string): number | bigint | boolean | Buffer {
    const { map, offset, size, type } = this.#variable(name);
    let bytes: Buffer = Buffer.alloc(size);
    if (this.#state === 'open') {
      native().objectReadInitial(this.#handle, map, offset, bytes);
    } else {
      this.#expect('loaded', `read ${name}`);
      bytes = this.map(map)
        .lookup(0)!
        .subarray(offset, offset + size);
    }
    if (type.kind !== 'int' && type.kind !== 'enum') return bytes;
    if (type.kind === 'int' && type.bool) return bytes[0] !== 0;
    const signed = type.kind === 'int' && type.signed;
    if (size === 8) return signed ? bytes.readBigInt64LE() : bytes.readBigUInt64LE();
    return signed ? bytes.readIntLE(0, size) : bytes.readUIntLE(0, size);
  }

  /** Names of the global variables. */
  get globalNames(): string[] {
    return [...this.#variables.keys()];
  }

  #variable(name: string): Variable {
    const variable = this.#variables.get(name);
    if (!variable)
      throw new TypeError(
        `object ${this.name} has no variable ${name}; it has ${this.globalNames.join(', ') || 'none'}`,
      );
    return variable;
  }

  /** Whether `load` loads the program. A program left out may use what this kernel lacks. */
  setAutoload(program: string, load: boolean): void {
    this.#expect('open', `set autoload of ${program}`);
    this.#knownProgram(program);
    native().objectSetAutoload(this.#handle, program, load);
  }

  setMaxEntries(map: string, entries: number): void {
    this.#expect('open', `set size of map ${map}`);
    if (!Number.isInteger(entries) || entries < 1 || entries > 0xffffffff)
      throw new RangeError(`size of map ${map} cannot be ${entries}`);
    native().objectSetMaxEntries(this.#handle, map, entries);
  }

  /**
   * Creates the maps and loads the programs. Once only: after a failure open the object again.
   * @throws BpfError with the verifier's log if a program is refused
   */
  load(): void {
    this.#expect('open', 'load');
    try {
      this.verifierLog = native().objectLoad(this.#handle);
      this.#state = 'loaded';
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #knownProgram(name: string): void {
    if (!this.programNames.includes(name)) {
      throw new TypeError(
        `object ${this.name} has no program ${name}; it has ${this.programNames.join(', ') || 'none'}`,
      );
    }
  }

  /** The same object each time; closed with this one. @throws BpfError `EBADF` for a program that was not loaded */
  program(name: string): BpfProgram {
    this.#expect('loaded', `take program ${name}`);
    this.#knownProgram(name);
    let program = this.#programs.get(name);
    if (!program) {
      program = new BpfProgram(name, native().objectProgram(this.#handle, name));
      this.#programs.set(name, program);
    }
    return program;
  }

  /**
   * The same object each time; closed with this one. Sections of variables are maps too: `.rodata`, `.data`, `.bss`.
   */
  map(name: string): BpfMap {
    this.#expect('loaded', `take map ${name}`);
    let map = this.#maps.get(name);
    if (!map) {
      map = new BpfMap(native().objectMap(this.#handle, name));
      this.#maps.set(name, map);
    }
    return map;
  }

  /** What the kernel says of each loaded program, by name. Run times need `enableRunTimeStatistics`. */
  stats(): Map<string, ProgramInfo> {
    const stats = new Map<string, ProgramInfo>();
    for (const name of this.programNames) {
      try {
        stats.set(name, this.program(name).info());
      } catch (error) {
        if (!(error instanceof BpfError && error.code === 'EBADF')) throw error; // left out by setAutoload
      }
    }
    return stats;
  }

  /** Closes the maps and programs taken from it too. What is attached stays attached until its link is closed. */
  close(): void {
    for (const part of [...this.#programs.values(), ...this.#maps.values()]) part.close();
    native().close(this.#handle);
    this.#state = 'closed';
  }
}

/** Places of all variables of .rodata, .data and .bss (and of sections whose names start so). */
function readVariables(bytes: Uint8Array): Map<string, Variable> {
  const btf = parseBtf(bytes);
  const variables = new Map<string, Variable>();
  for (const section of btf.types()) {
    if (section.kind !== 'dataSection' || !/^\.(rodata|data|bss)/.test(section.name)) continue;
    for (const { type: id, offset, size } of section.variables) {
      const variable = btf.type(id);
      if (variable.kind !== 'variable') continue;
      variables.set(variable.name, { map: section.name, offset, size, type: btf.resolve(variable.target) });
    }
  }
  return variables;
}

function encodeVariable(name: string, { size, type }: Variable, value: GlobalValue): Uint8Array {
  if (value instanceof Uint8Array) {
    if (value.length !== size) throw new RangeError(`${name} is ${size} bytes long, not ${value.length}`);
    return value;
  }
  if (type.kind !== 'int' && type.kind !== 'enum')
    throw new TypeError(`${name} is of kind ${type.kind}: give its bytes`);
  if (typeof value === 'boolean') return encodeInteger(name, value ? 1 : 0, size);
  if (typeof value !== 'number' && typeof value !== 'bigint')
    throw new TypeError(`${name} must be a number, a boolean or bytes`);
  if (type.kind === 'int' && type.bool && value !== 0 && value !== 1)
    throw new RangeError(`${name} is a boolean, not ${value}`);
  return encodeInteger(name, value, size);
}
