// SPDX-License-Identifier: Apache-2.0

/**
 * Decoder of x86-64 machine code, as far as following the stack needs it: the length of each instruction, what it does to
 * rsp, where control goes, which general registers it writes, and moves between registers and the stack. Instructions
 * that it does not know are refused, never guessed.
 * Source: Intel SDM volume 2, chapter 2 and appendix A; AMD APM volume 3 for XOP.
 */
import { i32 } from '../elf/little-endian.ts';
import {
  DWARF,
  IB,
  IMMEDIATE,
  INVALID,
  IWIB,
  immediateSize,
  MODRM,
  ONE_BYTE,
  OP_ADD_RSP,
  OP_BRANCH,
  OP_CALL,
  OP_JUMP,
  OP_LEA,
  OP_LOAD,
  OP_MOVE,
  OP_OTHER,
  OP_PUSH,
  OP_STORE,
  OP_ZERO,
  PREFIX,
  REL8,
  REL32,
  TWO_BYTE,
  WRITES_REG,
  WRITES_RM,
} from './x86-opcodes.ts';

const RSP = 7; // in DWARF numbers, as everywhere here
const RAX_RDX = 0b11;

export class Instruction {
  /** Bytes; 0 if the bytes are no known instruction or leave the range. */
  length = 0;
  op = OP_OTHER;
  /** Registers are DWARF numbers; -1: none. */
  reg = -1;
  /** The other register of OP_MOVE. */
  source = -1;
  /** Base of a memory operand without index; -1: another form. */
  base = -1;
  displacement = 0;
  immediate = 0;
  /** Offset of the target in the same bytes, or outside of them; NaN: indirect. */
  target = Number.NaN;
  /** Memory operand of an indirect jump that is relative to rip (a slot of the GOT). */
  isRipRelative = false;
  /** Loads from a table: a 32-bit offset or an address to jump to, by index. */
  isTableLoad = false;
  /** Fills the space between functions: a nop or int3. */
  isPadding = false;
  /** Bit set of the registers that are written, rsp by push, pop, call and the like left out. */
  writes = 0;

  // ModRM and its companions.
  #mod = 0;
  #regField = 0;
  #rm = 0;
  #rex = 0;
  #hasIndex = false;
  #isByte = false; // operands are bytes: without REX, registers 4 to 7 are ah, ch, dh, bh

  /** Decodes the instruction at `at`; it must end by `end`. False (and length 0) if it cannot. */
  decode(bytes: Uint8Array, at: number, end: number): boolean {
    this.length = 0;
    this.op = OP_OTHER;
    this.reg = -1;
    this.source = -1;
    this.base = -1;
    this.displacement = 0;
    this.immediate = 0;
    this.target = Number.NaN;
    this.isRipRelative = false;
    this.isPadding = false;
    this.isTableLoad = false;
    this.writes = 0;
    this.#rex = 0;
    this.#isByte = false;
    const start = at;
    let operandSize = false;
    let addressSize = false;
    let byte = 0;
    for (; ; at++) {
      if (at >= end || at - start > 14) return false;
      byte = bytes[at];
      if (ONE_BYTE.form[byte] !== PREFIX) break;
      if (byte >= 0x40 && byte <= 0x4f) {
        this.#rex = byte; // counts only right before the opcode
        continue;
      }
      this.#rex = 0;
      if (byte === 0x66) operandSize = true;
      else if (byte === 0x67) addressSize = true;
    }
    at++;
    if (byte === 0xc4 || byte === 0xc5 || byte === 0x62 || (byte === 0x8f && at < end && (bytes[at] & 0x1f) >= 8)) {
      return this.#vector(bytes, start, at, end, byte);
    }
    const isTwoByte = byte === 0x0f;
    if (isTwoByte) {
      byte = bytes[at++];
      if (at > end) return false;
      if (byte === 0x38 || byte === 0x3a) return this.#threeByte(bytes, start, at, end, byte === 0x3a);
    }
    const map = isTwoByte ? TWO_BYTE : ONE_BYTE;
    const form = map.form[byte];
    if (form === INVALID) return false;
    const isWide = (this.#rex & 8) !== 0;
    let kind = form & IMMEDIATE;
    this.op = map.op[byte];
    this.writes = map.implicit[byte];
    this.#isByte = map.isByte[byte] === 1;
    if ((form & MODRM) !== 0) {
      const isTest = !isTwoByte && (byte === 0xf6 || byte === 0xf7) && at < end && (bytes[at] & 0x30) === 0;
      if (isTest) kind = ONE_BYTE.form[0xa8 + (byte & 1)] & IMMEDIATE;
      at = this.#modrm(bytes, at, end, immediateSize(kind, operandSize, addressSize, isWide));
      if (at < 0) return false;
      const writes = isTest ? 0 : map.writes[byte];
      if ((writes & WRITES_REG) !== 0) this.writes |= 1 << this.#register();
      if ((writes & WRITES_RM) !== 0) this.#writesRm();
    }
    const size = immediateSize(kind, operandSize, addressSize, isWide);
    if (at + size > end) return false;
    if (size === 1) this.immediate = (bytes[at] << 24) >> 24;
    else if (size === 2 || kind === IWIB) this.immediate = bytes[at] | (bytes[at + 1] << 8);
    else if (size === 4) this.immediate = i32(bytes, at);
    at += size;
    if (isTwoByte) this.#refineTwoByte(byte);
    else if (!this.#refine(byte, isWide, operandSize)) return false;
    const isTransaction = !isTwoByte && byte === 0xc7 && this.op === OP_BRANCH;
    if (kind === REL8 || kind === REL32 || isTransaction) this.target = at + this.immediate;
    return this.#done(start, at, end);
  }

  #done(start: number, at: number, end: number): boolean {
    if (at > end || at - start > 15) return false;
    this.length = at - start;
    return true;
  }

  /** Reads ModRM, SIB and displacement; returns the position behind them, or -1. */
  #modrm(bytes: Uint8Array, at: number, end: number, immediate: number): number {
    if (at >= end) return -1;
    const modrm = bytes[at++];
    const mod = modrm >> 6;
    this.#mod = mod;
    this.#regField = (modrm >> 3) & 7;
    this.#rm = modrm & 7;
    this.#hasIndex = false;
    if (mod === 3) return at + immediate <= end ? at : -1;
    let base = this.#rm | ((this.#rex & 1) << 3);
    let hasIndex = false;
    if (this.#rm === 4) {
      if (at >= end) return -1;
      const sib = bytes[at++];
      base = (sib & 7) | ((this.#rex & 1) << 3);
      hasIndex = ((sib >> 3) & 7) !== 4 || (this.#rex & 2) !== 0;
      if ((sib & 7) === 5 && mod === 0) base = -1;
    } else if (this.#rm === 5 && mod === 0) {
      base = -1;
      this.isRipRelative = true;
    }
    let displacement = 0;
    if (mod === 1) {
      displacement = (bytes[at] << 24) >> 24;
      at += 1;
    } else if (mod === 2 || base === -1) {
      displacement = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      at += 4;
    }
    if (at + immediate > end) return -1;
    this.#hasIndex = hasIndex;
    this.base = hasIndex || base < 0 ? -1 : DWARF[base];
    this.displacement = displacement;
    return at;
  }

  /** DWARF number of the register in the reg field. */
  #register(): number {
    if (this.#isByte && this.#rex === 0) return DWARF[this.#regField & 3];
    return DWARF[this.#regField | ((this.#rex & 4) << 1)];
  }

  /** DWARF number of the register in the r/m field (if mod is 3). */
  #rmRegister(): number {
    if (this.#isByte && this.#rex === 0) return DWARF[this.#rm & 3];
    return DWARF[this.#rm | ((this.#rex & 1) << 3)];
  }

  #writesRm(): void {
    if (this.#mod === 3) this.writes |= 1 << this.#rmRegister();
  }

  /** What the maps do not say of one-byte opcodes. False: not valid after all. */
  #refine(byte: number, isWide: boolean, operandSize: boolean): boolean {
    const isRegister = this.#mod === 3; // means something only where there is a ModRM byte
    const inOpcode = DWARF[(byte & 7) | ((this.#rex & 1) << 3)];
    switch (byte >> 3) {
      case 0x50 >> 3:
      case 0x58 >> 3:
        this.reg = inOpcode;
        if (byte >= 0x58) this.writes = 1 << inOpcode;
        return !operandSize; // 16-bit pushes do not occur in compiled code
      case 0x90 >> 3: // xchg with rax
        if (byte === 0x90 && inOpcode === 0) this.isPadding = true;
        else this.writes = 1 | (1 << inOpcode);
        return true;
      case 0xb0 >> 3:
        this.writes = 1 << (this.#rex === 0 ? DWARF[byte & 3] : inOpcode);
        return true;
      case 0xb8 >> 3:
        this.writes = 1 << inOpcode;
        return true;
    }
    switch (byte) {
      case 0x29: // sub and xor
      case 0x2b:
      case 0x31:
      case 0x33:
        if (!isRegister || this.#register() !== this.#rmRegister()) return true;
        this.op = OP_ZERO;
        this.reg = this.#register();
        return true;
      case 0x63: // movsxd
        this.isTableLoad = !isRegister && this.#hasIndex;
        return true;
      case 0x80: // arithmetic with an immediate
      case 0x81:
      case 0x83:
        if (this.#regField === 7) this.writes = 0; // cmp
        if (byte === 0x80 || !isRegister || !isWide || this.#rmRegister() !== RSP) return true;
        if (this.#regField !== 0 && this.#regField !== 5) return true;
        this.op = OP_ADD_RSP;
        this.writes = 0;
        if (this.#regField === 5) this.immediate = -this.immediate;
        return true;
      case 0x89: // mov
        if (!isWide) return true;
        this.op = isRegister ? OP_MOVE : OP_STORE;
        this.reg = isRegister ? this.#rmRegister() : this.#register();
        if (isRegister) this.source = this.#register();
        return true;
      case 0x8b:
        if (!isWide) return true;
        this.op = isRegister ? OP_MOVE : OP_LOAD;
        this.reg = this.#register();
        if (isRegister) this.source = this.#rmRegister();
        return true;
      case 0x8d: // lea
        if (isWide) this.op = OP_LEA;
        if (isWide) this.reg = this.#register();
        return !isRegister;
      case 0x8f: // pop
        if (isRegister) this.reg = this.#rmRegister();
        return this.#regField === 0;
      case 0xc6:
      case 0xc7: {
        const isTransaction = isRegister && this.#regField === 7 && this.#rm === 0; // xabort, xbegin
        if (isTransaction && byte === 0xc7) this.op = OP_BRANCH;
        return this.#regField === 0 || isTransaction;
      }
      case 0xcc:
        this.isPadding = true;
        return true;
      case 0xf6:
      case 0xf7:
        if (this.#regField >= 4) this.writes = RAX_RDX; // mul, imul, div, idiv
        return true;
      case 0xfe:
        return this.#regField < 2;
      case 0xff:
        return this.#group5();
      default:
        return true;
    }
  }

  #group5(): boolean {
    switch (this.#regField) {
      case 0: // inc
      case 1: // dec
        this.#writesRm();
        return true;
      case 2:
        this.op = OP_CALL;
        return true;
      case 4:
        this.op = OP_JUMP;
        this.isTableLoad = this.#mod !== 3 && this.#hasIndex;
        return true;
      case 6:
        this.op = OP_PUSH;
        if (this.#mod === 3) this.reg = this.#rmRegister();
        return true;
      default:
        return false;
    }
  }

  /** What the maps do not say of opcodes behind 0f. */
  #refineTwoByte(byte: number): void {
    if (byte === 0x1f) this.isPadding = true;
    else if (byte >= 0xc8 && byte <= 0xcf) this.writes = 1 << DWARF[(byte & 7) | ((this.#rex & 1) << 3)]; // bswap
  }

  /** Opcodes behind 0f 38 and 0f 3a. */
  #threeByte(bytes: Uint8Array, start: number, at: number, end: number, hasImmediate: boolean): boolean {
    const opcode = bytes[at++];
    at = this.#modrm(bytes, at, end, hasImmediate ? 1 : 0);
    if (at < 0) return false;
    if (hasImmediate) {
      at++;
      if (opcode >= 0x14 && opcode <= 0x17) this.#writesRm(); // pextr
    } else if (opcode === 0xf0 || opcode === 0xf1 || opcode === 0xf6) {
      this.writes |= 1 << this.#register(); // movbe, crc32, adcx, adox
    }
    return this.#done(start, at, end);
  }

  /** VEX, EVEX and XOP encodings. They leave the stack alone; a few write general registers. */
  #vector(bytes: Uint8Array, start: number, at: number, end: number, prefix: number): boolean {
    if (at + (prefix === 0xc5 ? 1 : prefix === 0x62 ? 3 : 2) >= end) return false;
    const p0 = bytes[at];
    let map = 1;
    let vvvv: number;
    if (prefix === 0xc5) {
      this.#rex = p0 & 0x80 ? 0 : 4;
      vvvv = (~p0 >> 3) & 15;
      at += 1;
    } else {
      map = p0 & (prefix === 0x62 ? 7 : 0x1f);
      this.#rex = (p0 & 0x80 ? 0 : 4) | (p0 & 0x40 ? 0 : 2) | (p0 & 0x20 ? 0 : 1);
      vvvv = (~bytes[at + 1] >> 3) & 15;
      at += prefix === 0x62 ? 3 : 2;
    }
    const isXop = prefix === 0x8f;
    const known = isXop
      ? map >= 8 && map <= 10
      : prefix === 0x62
        ? map !== 0 && map !== 4 && map !== 7
        : map >= 1 && map <= 3;
    if (!known) return false;
    const opcode = bytes[at++];
    if (!isXop && map === 1 && opcode === 0x77) return this.#done(start, at, end); // vzeroupper
    let immediate = map === 3 || map === 8 ? 1 : 0;
    if (map === 10) immediate = 4;
    if (map === 1 && (TWO_BYTE.form[opcode] & IMMEDIATE) === IB) immediate = 1;
    at = this.#modrm(bytes, at, end, immediate);
    if (at < 0) return false;
    at += immediate;
    const general =
      (map === 1 && (TWO_BYTE.writes[opcode] === WRITES_REG || opcode === 0x92 || opcode === 0x93)) ||
      (map === 2 && opcode >= 0xf0) ||
      (map === 3 && opcode >= 0xf0) ||
      map >= 9;
    if (general) {
      this.writes |= 1 << this.#register();
      if (map === 2 || map >= 9) this.writes |= 1 << DWARF[vvvv];
    }
    if ((map === 1 && opcode === 0x7e) || (map === 3 && opcode >= 0x14 && opcode <= 0x17)) this.#writesRm();
    return this.#done(start, at, end);
  }
}
