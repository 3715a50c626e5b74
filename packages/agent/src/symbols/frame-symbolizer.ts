// SPDX-License-Identifier: Apache-2.0
/** The names of addresses, for the pipeline: of files, of the kernel, and of memory without a file. */
import { parseElf } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { readSymbols, symbolName, symbolOrder } from '../elf/symbols.ts';
import type { Executable } from '../processes/executable.ts';
import { fileSource } from '../processes/file-source.ts';

export function createSymbolizer() {
  const tables = new Map<Executable, { find(address: number): string | undefined }>();
  const load = (executable: Executable) => {
    try {
      const source = executable.bytes ? bytesSource(executable.bytes) : fileSource(executable.fd);
      const file = parseElf(source);
      let table = readSymbols(file, source, 'symtab');
      if (table.count === 0) table = readSymbols(file, source, 'dynsym');
      const order = symbolOrder(table);
      return {
        find(address: number) {
          let low = 0;
          let high = order.length;
          while (low < high) {
            const middle = (low + high) >>> 1;
            if (table.addresses[order[middle]] <= address) low = middle + 1;
            else high = middle;
          }
          return low > 0 ? symbolName(table, order[low - 1]) : undefined;
        },
      };
    } catch {
      return { find: () => undefined };
    }
  };
  return {
    async prepare() {},
    inFile(executable: Executable, address: number) {
      let table = tables.get(executable);
      if (!table) {
        table = load(executable);
        tables.set(executable, table);
      }
      const name = table.find(address);
      return { kind: 'native' as const, lines: name === undefined ? [] : [{ name }] };
    },
    inMemory: () => ({ kind: 'native' as const, lines: [] }),
    inKernel: (_address: bigint) => ({ kind: 'kernel' as const, lines: [] }),
    async close() {},
  };
}
