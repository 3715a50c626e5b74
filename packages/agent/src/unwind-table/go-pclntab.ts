// SPDX-License-Identifier: Apache-2.0

/**
 * Rules for Go code, from the function table that every Go program carries: for each program counter it gives the depth
 * of the stack (`pcsp`), so that CFA = rsp + depth + 8.
 *
 * Frames keep rbp (Go 1.7 and later on amd64): saved right below the return address, by `push rbp` (Go 1.21 and later),
 * before by `sub $n,rsp; mov rbp,n-8(rsp)`. Sources: src/cmd/internal/obj/x86/obj6.go (preprocess), src/runtime/asm_amd64.s,
 * src/runtime/sys_linux_amd64.s, src/runtime/traceback.go.
 *
 * Assembly may change stacks, which `pcsp` cannot express; its code is analysed. Between goroutine and system stack:
 *   systemstack, asmcgocall, cgocallback, nanotime1, ...  RULE_GO_SWITCH: rbp still points into the frame on the old stack
 *                                                         (before Go 1.21 the first two have no frame of their own: the
 *                                                         one that called them is left out)
 *   mcall, morestack, gogo, clone (child)                 RULE_ENTRY once switched: the runtime keeps no way back on the
 *                                                         stack ("the traceback routines see morestack on a g0 as being
 *                                                         the top of a stack"); mcall clears rbp
 *   goexit, mstart, rt0_go                                RULE_ENTRY: top frames of goroutines and threads
 *   sigreturn                                             RULE_SIGNAL
 */
import { addressToOffset, type ElfFile, loadSegmentAt } from '../elf/file.ts';
import { FUNC_FLAG_ASM, type GoPclntab } from '../elf/go-pclntab.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import type { RuleSink } from './cfa-program.ts';
import { CodeAnalysis } from './code-analysis.ts';
import type { Layer } from './layers.ts';
import * as row from './row.ts';
import { Instruction } from './x86-instruction.ts';
import { OP_LOAD, OP_MOVE } from './x86-opcodes.ts';

/** Nothing calls these. */
const ENTRIES = new Set([
  'runtime.goexit',
  'runtime.mstart',
  'runtime.rt0_go',
  '_rt0_amd64',
  '_rt0_amd64_linux',
  '_rt0_amd64_lib_go',
  'main',
]);
/** Once these have left the stack that they were called on, there is no way back. */
const LEAVE_STACK = new Set([
  'runtime.mcall',
  'runtime.morestack',
  'runtime.gogo',
  'gogo',
  'runtime.clone',
  'runtime.switchToCrashStack0',
]);
/** These call on another stack and return; before Go 1.21 some had no frame of their own. */
const SWITCH_STACK = new Set([
  'runtime.systemstack',
  'runtime.asmcgocall',
  'runtime.asmcgocall_no_g',
  'runtime.cgocallback',
  'runtime.nanotime1',
  'runtime.walltime',
  'runtime.walltime1',
  'time.now',
  'runtime.sigfwd',
]);
const SIGNAL_RETURNS = new Set(['runtime.sigreturn', 'runtime.sigreturn__sigaction']);

const MAX_ASSEMBLY_SIZE = 1 << 16;
/** Rows of all functions together; the largest programs known have some six million. */
const MAX_STEPS = 1 << 26;
/** Bytes between functions up to this many have no rules of their own. */
const MAX_PADDING = 64;
const SAVED_RBP = -16; // of a frame: right below the return address, from the CFA

/**
 * Passes on what lies in [from, to) of the rules of one function after the other, the last one a step late, so that a
 * function can begin one byte before its entry.
 */
class HeldSink implements RuleSink {
  from = 0;
  to = 0;
  /** End of what was added. */
  covered = 0;
  readonly #sink: RuleSink;
  #start = 0;
  #end = 0;
  #rule = -1;

  constructor(sink: RuleSink) {
    this.#sink = sink;
  }

  add(start: number, end: number, rule: number): void {
    const a = Math.max(start, this.from, this.covered);
    const b = Math.min(end, this.to);
    if (a >= b) return;
    this.flush();
    this.#start = a;
    this.#end = b;
    this.#rule = rule;
    this.covered = b;
  }

  /**
   * Adds a function that is found by an address one below its entry, for its address is a return address that no call
   * has pushed: the kernel returns from a signal handler to it.
   */
  addEarly(start: number, end: number, rule: number): void {
    if (this.#rule >= 0 && this.covered === start && this.#start < start - 1) {
      this.#end--;
      this.covered--;
    }
    if (this.from === start && this.covered < start) this.from--;
    this.add(start - 1, end, rule);
  }

  flush(): void {
    if (this.#rule >= 0) this.#sink.add(this.#start, this.#end, this.#rule);
    this.#rule = -1;
  }
}

export class GoLayer implements Layer {
  readonly table: GoPclntab;
  readonly #file: ElfFile;
  readonly #source: ByteSource;
  readonly #rules: row.RuleSet;
  readonly #analysis: CodeAnalysis;
  readonly #instruction = new Instruction();
  #steps = 0;
  readonly #entry: number;
  readonly #switch: number;
  readonly #signal: number;

  constructor(table: GoPclntab, file: ElfFile, source: ByteSource, rules: row.RuleSet) {
    this.table = table;
    this.#file = file;
    this.#source = source;
    this.#rules = rules;
    this.#analysis = new CodeAnalysis(rules);
    this.#entry = rules.internRule(row.ruleOfKind(row.RULE_ENTRY));
    this.#switch = rules.internRule(row.ruleOfKind(row.RULE_GO_SWITCH));
    this.#signal = rules.internRule({ ...row.ruleOfKind(row.RULE_SIGNAL), base: row.REG_RSP });
  }

  cover(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void {
    const { table } = this;
    const first = table.entryOf(0);
    const last = table.textEnd;
    if (to <= first || from >= last) {
      gap(from, to);
      return;
    }
    let at = from;
    if (at < first) {
      gap(at, first);
      at = first;
    }
    const end = Math.min(to, last);
    const held = new HeldSink(sink);
    for (let i = table.indexAt(at); i < table.count && at < end; i++) {
      table.select(i);
      const functionEnd = Math.min(table.end, end);
      // Entries ascend: only the first function may have begun before. Each costs as many steps as it has rows.
      if (functionEnd <= at || (table.entry < at && at > from)) continue;
      if (this.#steps > MAX_STEPS) break;
      held.from = at;
      held.to = functionEnd;
      this.#cover(held);
      const uncovered = Math.max(held.covered, at);
      if (functionEnd - uncovered > MAX_PADDING) {
        held.flush();
        gap(uncovered, functionEnd);
      }
      at = functionEnd;
    }
    held.flush();
    if (at < to) gap(at, to);
  }

  gaps(from: number, to: number, gap: (from: number, to: number) => void): void {
    const first = Math.min(to, Math.max(from, this.table.entryOf(0)));
    const last = Math.max(from, Math.min(to, this.table.textEnd));
    if (first >= last) gap(from, to);
    else {
      if (from < first) gap(from, first);
      if (last < to) gap(last, to);
    }
  }

  /** Rules of the function that the table has selected. */
  #cover(sink: HeldSink): void {
    const { table } = this;
    if (table.hasFlags && (table.flag & FUNC_FLAG_ASM) === 0) {
      this.#coverByTable(sink);
      return;
    }
    const name = table.name().replace(/\.abi(0|internal)$/, '');
    if (ENTRIES.has(name)) sink.add(table.entry, table.end, this.#entry);
    else if (SIGNAL_RETURNS.has(name)) sink.addEarly(table.entry, table.end, this.#signal);
    else if (table.hasFlags || LEAVE_STACK.has(name) || SWITCH_STACK.has(name)) this.#coverAssembly(name, sink);
    else this.#coverByTable(sink);
  }

  #coverByTable(sink: RuleSink): void {
    const { table } = this;
    let isFirst = true;
    let savesRbp = false;
    table.eachValue(table.pcsp, (start, end, depth) => {
      this.#steps++;
      if (depth > 0 && isFirst) {
        isFirst = false;
        if (depth === 8) {
          savesRbp = true; // push rbp
        } else {
          const length = this.#lengthOfSave(start, depth);
          savesRbp = length > 0;
          if (length > 0 && length < end - start) {
            sink.add(start, start + length, this.#frameRule(depth + 8, 0));
            start += length;
          }
        }
      }
      const rbpOffset = savesRbp && depth >= 8 ? SAVED_RBP | row.RBP_SAVED : 0;
      sink.add(start, end, this.#frameRule(depth + 8, rbpOffset));
    });
  }

  /** Bytes of `mov %rbp,depth-8(%rsp)` if that is the instruction at an address; else 0. */
  #lengthOfSave(address: number, depth: number): number {
    const code = this.#read(address, address + 8);
    if (code === undefined || code[0] !== 0x48 || code[1] !== 0x89) return 0;
    const view = new DataView(code.buffer, code.byteOffset, code.length);
    if (code[2] === 0x6c && code[3] === 0x24) return view.getInt8(4) === depth - 8 ? 5 : 0;
    if (code[2] === 0xac && code[3] === 0x24) return view.getInt32(4, true) === depth - 8 ? 8 : 0;
    return 0;
  }

  /** Assembly: by analysis of the code, and where that does not know, by the table. */
  #coverAssembly(name: string, sink: RuleSink): void {
    const { table } = this;
    const { entry, end } = table;
    const code = end - entry <= MAX_ASSEMBLY_SIZE ? this.#read(entry, end) : undefined;
    if (code === undefined) {
      this.#coverByTable(sink);
      return;
    }
    const rows: number[] = [];
    const unknown = (a: number, b: number) => void rows.push(a, b, -1);
    const result = this.#analysis.analyze(
      code,
      entry,
      { entries: [0] },
      { add: (a, b, rule) => void rows.push(a, b, rule) },
      unknown,
    );
    const leaves = LEAVE_STACK.has(name);
    const onOtherStack = leaves ? this.#entry : SWITCH_STACK.has(name) ? this.#switch : -1;
    let hasSwitched = false; // in a frame of its own, that rbp leads back to
    for (let r = 0; r < rows.length; r += 3) {
      const [a, b, rule] = [rows[r], rows[r + 1], rows[r + 2]];
      const base = rule < 0 ? -1 : this.#rules.base(rule);
      if (base === row.REG_RSP) {
        sink.add(a, b, rule);
      } else if (base === row.REG_RBP && !leaves) {
        hasSwitched = true;
        sink.add(a, b, this.#switch);
      } else {
        const until =
          result.isBroken || onOtherStack < 0 || hasSwitched ? a : this.#endOfSwitch(code, a, b, onOtherStack);
        if (until > a) sink.add(a, until, onOtherStack);
        if (until < b) this.#addByTable(until, b, sink);
      }
    }
  }

  /**
   * Of [from, to), where the depth is unknown because another stack is in use: where the first stack is back, by the
   * last instruction that sets rsp. Where there is no way back, `to`.
   */
  #endOfSwitch(code: Uint8Array, from: number, to: number, rule: number): number {
    if (rule === this.#entry) return to;
    const { entry } = this.table;
    let result = to;
    for (let at = from - entry; at < to - entry; at += this.#instruction.length) {
      if (!this.#instruction.decode(code, at, code.length)) break;
      const { op, reg, length } = this.#instruction;
      if ((op === OP_LOAD || op === OP_MOVE) && reg === row.REG_RSP) result = entry + at + length;
    }
    return result;
  }

  /** Rules of [from, to) in the selected function by its table; rbp is taken for saved where there is a frame. */
  #addByTable(from: number, to: number, sink: RuleSink): void {
    this.#coverByTable({
      add(start, end, rule) {
        const a = Math.max(start, from);
        const b = Math.min(end, to);
        if (a < b) sink.add(a, b, rule);
      },
    });
  }

  #frameRule(cfaOffset: number, rbpOffset: number): number {
    return this.#rules.intern(cfaOffset, row.packHead(row.RULE_CFA, row.REG_RSP, rbpOffset), 0, 0xff00);
  }

  #read(from: number, to: number): Uint8Array | undefined {
    const segment = loadSegmentAt(this.#file, from);
    if (segment === undefined || to > segment.address + segment.fileSize) return undefined;
    return readBytes(this.#source, addressToOffset(this.#file, from), to - from, 'text');
  }
}
