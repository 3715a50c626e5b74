// SPDX-License-Identifier: Apache-2.0
/** The names of addresses, for the pipeline: of files, of the kernel, and of memory without a file. */
import { closeSync, readFileSync } from 'node:fs';
import { demangle } from '@plumbline/bpf';
import { readDebugLink } from '../elf/debug-link.ts';
import { parseElf } from '../elf/file.ts';
import { fileSource } from '../processes/file-source.ts';
import { openDebugFile } from './debug-files.ts';
import { type CxxDemangler, demangleSymbol } from './demangle.ts';
import { type ElfSymbols, ElfSymbolTable, lacksSymbols } from './elf-symbols.ts';
import { GoSymbols } from './go-symbols.ts';
import { KernelSymbols } from './kernel-symbols.ts';
import { PerfMapReader } from './perf-map-reader.ts';
import { isLargeSymbolTable, readSymbolFiles, type SymbolRequest, sourceOf } from './symbol-files.ts';

/** A file whose addresses are symbolized; the object itself is the key. */
export interface SymbolizedFile {
  readonly path: string;
  readonly fd: number;
  readonly bytes?: Uint8Array | undefined;
  readonly buildIds: { readonly gnu: string; readonly go: string };
}

/** A process whose addresses are symbolized; the object itself is the key. */
export interface SymbolizedProcess {
  readonly tgid: number;
  readonly mappings: readonly { readonly executable: SymbolizedFile | undefined }[];
}

export interface SymbolLine {
  readonly name: string;
  readonly systemName?: string;
  readonly file?: string;
  readonly line?: number;
}

/** Lines: innermost inlined function first; empty where only the address is known. */
export interface SymbolizedAddress {
  readonly kind: 'native' | 'kernel' | 'go' | 'rust';
  readonly lines: readonly SymbolLine[];
}

export interface SymbolizerOptions {
  /** Memory that symbol tables may take: bytes. Those not used longest are forgotten first. Default 48 MiB. */
  readonly maxBytes?: number;
  readonly demangleCxx?: CxxDemangler;
  /** Reads symbol tables that would hold up the main thread. Default: in place. */
  readonly readLarge?: (request: SymbolRequest) => Promise<ElfSymbols>;
  readonly procFolder?: string;
}

/** What was done so far, for metrics. */
export interface SymbolizerStatistics {
  /** Files whose symbols are held, and the bytes that they take. */
  files: number;
  bytes: number;
  /** Files that could not be read, all in all. */
  failures: number;
  evictions: number;
}

const UNKNOWN: SymbolizedAddress = { kind: 'native', lines: [] };
const MAX_CACHED_ADDRESSES = 32_768;
/** How often modules that were loaded, and perf maps that appeared, are looked for: ms. */
const KERNEL_REFRESH_MS = 10_000;
const PERF_MAP_RETRY_MS = 10_000;

interface FileEntry {
  symbols: ElfSymbolTable | undefined;
  go: GoSymbols | undefined;
  debugFd: number | undefined;
  bytes: number;
  usedAt: number;
}

export class FrameSymbolizer {
  readonly #options: Required<SymbolizerOptions>;
  /** Oldest use first. */
  readonly #files = new Map<SymbolizedFile, FileEntry>();
  readonly #loading = new Map<SymbolizedFile, Promise<void>>();
  #addresses = new Map<SymbolizedFile, Map<number, SymbolizedAddress>>();
  #addressCount = 0;
  readonly #perfMaps = new WeakMap<SymbolizedProcess, { reader: PerfMapReader | undefined; triedAt: number }>();
  #kernel: KernelSymbols | undefined;
  #modules = '';
  #kernelReadAt = Number.NEGATIVE_INFINITY;
  #uses = 0;
  #failures = 0;
  #evictions = 0;

  constructor(options: SymbolizerOptions = {}) {
    this.#options = {
      maxBytes: 48 << 20,
      demangleCxx: demangle,
      readLarge: readSymbolFiles,
      procFolder: '/proc',
      ...options,
    };
  }

  get statistics(): SymbolizerStatistics {
    const bytes = [...this.#files.values()].reduce((sum, entry) => sum + entry.bytes, 0);
    return { files: this.#files.size, bytes, failures: this.#failures, evictions: this.#evictions };
  }

  /** Reads what a batch of lookups needs: symbol tables not read yet, new parts of perf maps, the kernel's functions. */
  async prepare(files: Iterable<SymbolizedFile>, processes: Iterable<SymbolizedProcess>): Promise<void> {
    const images = [...processes];
    const wanted = [...files];
    this.#refreshKernel();
    for (const image of images) this.#refreshPerfMap(image);
    const use = ++this.#uses;
    await Promise.all(wanted.filter((file) => !this.#files.has(file)).map((file) => this.#load(file, images)));
    for (const file of wanted) {
      const entry = this.#files.get(file);
      if (!entry) continue;
      entry.usedAt = use;
      this.#files.delete(file);
      this.#files.set(file, entry);
    }
    this.#evict(use);
  }

  /** A file virtual address of a file that was prepared. */
  inFile(file: SymbolizedFile, fileAddress: number): SymbolizedAddress {
    let known = this.#addresses.get(file);
    const cached = known?.get(fileAddress);
    if (cached) return cached;
    const entry = this.#files.get(file);
    if (!entry) return UNKNOWN;
    const result = this.#lookUp(entry, fileAddress);
    if (this.#addressCount++ >= MAX_CACHED_ADDRESSES) {
      this.#addresses = new Map();
      this.#addressCount = 1;
      known = undefined;
    }
    if (!known) {
      known = new Map();
      this.#addresses.set(file, known);
    }
    known.set(fileAddress, result);
    return result;
  }

  /** Executable memory without a file: a JIT's. */
  inMemory(process: SymbolizedProcess, address: number): SymbolizedAddress {
    const name = this.#perfMaps.get(process)?.reader?.map?.nameAt(address);
    return name === undefined ? UNKNOWN : { kind: 'native', lines: [{ name }] };
  }

  inKernel(address: bigint): SymbolizedAddress {
    const name = this.#kernel?.nameAt(address);
    return { kind: 'kernel', lines: name === undefined ? [] : [{ name }] };
  }

  close(): void {
    for (const entry of this.#files.values()) if (entry.debugFd !== undefined) closeSync(entry.debugFd);
    this.#files.clear();
  }

  #lookUp(entry: FileEntry, address: number): SymbolizedAddress {
    try {
      const go = entry.go?.linesAt(address) ?? [];
      if (go.length > 0) return { kind: 'go', lines: go };
      const systemName = entry.symbols?.nameAt(address);
      if (systemName === undefined) return UNKNOWN;
      const { name, language } = demangleSymbol(systemName, this.#options.demangleCxx);
      return {
        kind: language === 'rust' ? 'rust' : 'native',
        lines: [name === systemName ? { name } : { name, systemName }],
      };
    } catch {
      return UNKNOWN; // the file was truncated meanwhile
    }
  }

  #load(file: SymbolizedFile, images: readonly SymbolizedProcess[]): Promise<void> {
    let loading = this.#loading.get(file);
    if (!loading) {
      loading = this.#read(file, images).then((entry) => {
        this.#loading.delete(file);
        this.#files.set(file, entry);
      });
      this.#loading.set(file, loading);
    }
    return loading;
  }

  async #read(file: SymbolizedFile, images: readonly SymbolizedProcess[]): Promise<FileEntry> {
    const entry: FileEntry = { symbols: undefined, go: undefined, debugFd: undefined, bytes: 0, usedAt: this.#uses };
    try {
      const source = sourceOf(file);
      const elf = parseElf(source);
      entry.go = openGo();
      if (lacksSymbols(elf)) {
        const user = images.find(({ mappings }) => mappings.some(({ executable }) => executable === file));
        const roots = user ? [`${this.#options.procFolder}/${user.tgid}/root`, ''] : [''];
        entry.debugFd = openDebugFile(roots, file.path, file.buildIds, readDebugLink(elf, source));
      }
      const request = { fd: file.fd, bytes: file.bytes, debugFd: entry.debugFd };
      const symbols = await (isLargeSymbolTable(elf, entry.debugFd !== undefined)
        ? this.#options.readLarge(request)
        : readSymbolFiles(request));
      const debugFile = entry.debugFd === undefined ? undefined : fileSource(entry.debugFd);
      entry.symbols = new ElfSymbolTable(symbols, { file: source, debugFile });
      entry.bytes = entry.symbols.bytes + (entry.go ? GO_CACHE_BYTES : 0);

      function openGo(): GoSymbols | undefined {
        try {
          return GoSymbols.open(elf, source);
        } catch {
          return undefined; // of a version that is not known: the symbol table serves
        }
      }
    } catch {
      this.#failures++;
    }
    return entry;
  }

  /** Forgets the tables used longest ago, but none of the current batch. */
  #evict(use: number): void {
    let { bytes } = this.statistics;
    for (const [file, entry] of this.#files) {
      if (bytes <= this.#options.maxBytes) return;
      if (entry.usedAt === use) continue;
      this.#files.delete(file);
      this.#addressCount -= this.#addresses.get(file)?.size ?? 0;
      this.#addresses.delete(file);
      if (entry.debugFd !== undefined) closeSync(entry.debugFd);
      bytes -= entry.bytes;
      this.#evictions++;
    }
  }

  #refreshPerfMap(image: SymbolizedProcess): void {
    const known = this.#perfMaps.get(image);
    const now = performance.now();
    if (known?.reader?.map) {
      known.reader.refresh();
    } else if (!known || now - known.triedAt > PERF_MAP_RETRY_MS) {
      const reader = known?.reader ?? PerfMapReader.forProcess(image.tgid, this.#options.procFolder);
      reader?.refresh();
      this.#perfMaps.set(image, { reader, triedAt: now });
    }
  }

  /** Reads the kernel's functions, and again after modules were loaded or removed. */
  #refreshKernel(): void {
    const now = performance.now();
    if (now - this.#kernelReadAt < KERNEL_REFRESH_MS) return;
    this.#kernelReadAt = now;
    const read = (name: string): Buffer | undefined => {
      try {
        return readFileSync(`${this.#options.procFolder}/${name}`);
      } catch {
        return undefined; // a kernel without modules, or without symbols
      }
    };
    // Name and size of each module, without the number of its users, which changes all the time.
    const modules = (read('modules')?.toString('latin1') ?? '').replaceAll(/^(\S+ \d+) .*$/gm, '$1');
    if (this.#kernel && modules === this.#modules) return;
    const text = read('kallsyms');
    if (text) this.#kernel = KernelSymbols.parse(text);
    this.#modules = modules;
  }
}

/** Pages of the function table that a GoSymbols may hold: two caches of PagedBytes. */
const GO_CACHE_BYTES = 4 << 20;

/** The symbolizer of this machine. */
export function createSymbolizer(options: SymbolizerOptions = {}): FrameSymbolizer {
  return new FrameSymbolizer(options);
}
