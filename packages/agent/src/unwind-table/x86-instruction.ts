// SPDX-License-Identifier: Apache-2.0

/**
 * Decoder of x86-64 machine code, as far as following the stack needs it: the length of each instruction, what it does to
 * rsp, where control goes, which general registers it writes, and moves between registers and the stack. Instructions
 * that it does not know are refused, never guessed.
 * Source: Intel SDM volume 2, appendix A (opcode maps); AMD APM volume 3 for XOP.
 */

/** What an instruction does, as far as the stack is concerned. */
export const OP_OTHER = 0; // nothing but writing `writes`
export const OP_PUSH = 1; // pushes register `reg`, or something else (reg -1)
export const OP_POP = 2; // pops into register `reg`, or elsewhere (reg -1)
export const OP_ADD_RSP = 3; // rsp += immediate
export const OP_LEA = 4; // reg = base + displacement (base -1: not of that form)
export const OP_MOVE = 5; // reg = rm, both registers, 64 bits
export const OP_LOAD = 6; // reg = 64 bits at base + displacement
export const OP_STORE = 7; // 64 bits at base + displacement = reg
export const OP_LEAVE = 8;
export const OP_RET = 9; // `immediate` more bytes are popped
export const OP_CALL = 10; // of `target`
export const OP_JUMP = 11; // to `target`
export const OP_BRANCH = 12; // conditional, to `target`
export const OP_STOP = 13; // hlt, ud2, int3: control does not go on
export const OP_ENTER = 14;
export const OP_SYSCALL = 15;
export const OP_ZERO = 16; // reg = 0, by xor or sub with itself

const MODRM = 0x10;
const INVALID = 0x80;
const PREFIX = 0x40;
// Kinds of immediate operands.
const IB = 1;
const IZ = 2; // 4 bytes, 2 with an operand-size prefix
const IW = 3;
const IV = 4; // as IZ, 8 with REX.W
const MOFFS = 5; // 8 bytes, 4 with an address-size prefix
const IWIB = 6;
const REL8 = 7;
const REL32 = 8;

/** Per opcode: MODRM | kind of immediate. */
const ONE_BYTE = new Uint8Array(256);
const TWO_BYTE = new Uint8Array(256).fill(MODRM);
/** Which operand an instruction with ModRM writes; 0: none. */
const WRITES_REG = 1;
const WRITES_RM = 2;
const WRITES_BOTH = 3;
const ONE_BYTE_WRITES = new Uint8Array(256);
/** One-byte opcodes with ModRM whose operands are bytes. */
const BYTE_OPERANDS = new Uint8Array(256);
const TWO_BYTE_WRITES = new Uint8Array(256);

function fill(table: Uint8Array, opcodes: number[], value: number): void {
  for (const opcode of opcodes) table[opcode] = value;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

for (let op = 0; op < 0x40; op += 8) {
  fill(ONE_BYTE, range(op, op + 3), MODRM);
  ONE_BYTE[op + 4] = IB;
  ONE_BYTE[op + 5] = IZ;
  fill(ONE_BYTE, [op + 6, op + 7], INVALID);
  fill(BYTE_OPERANDS, [op, op + 2], 1);
  if (op === 0x38) continue; // cmp writes nothing
  fill(ONE_BYTE_WRITES, [op, op + 1], WRITES_RM);
  fill(ONE_BYTE_WRITES, [op + 2, op + 3], WRITES_REG);
}
fill(ONE_BYTE, [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, ...range(0x40, 0x4f)], PREFIX);
fill(ONE_BYTE, [0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea], INVALID);
fill(
  ONE_BYTE,
  [0x63, 0x84, 0x85, 0x86, 0x87, ...range(0x88, 0x8f), ...range(0xd0, 0xd3), ...range(0xd8, 0xdf), 0xfe, 0xff],
  MODRM,
);
fill(ONE_BYTE, [0x68, 0xa9], IZ);
fill(ONE_BYTE, [0x69, 0x81, 0xc7], MODRM | IZ);
fill(ONE_BYTE, [0x6b, 0x80, 0x83, 0xc0, 0xc1, 0xc6], MODRM | IB);
fill(ONE_BYTE, [0x6a, 0xa8, 0xcd, ...range(0xb0, 0xb7), ...range(0xe4, 0xe7)], IB);
fill(ONE_BYTE, [...range(0x70, 0x7f), ...range(0xe0, 0xe3), 0xeb], REL8);
fill(ONE_BYTE, range(0xa0, 0xa3), MOFFS);
fill(ONE_BYTE, range(0xb8, 0xbf), IV);
fill(ONE_BYTE, [0xc2, 0xca], IW);
ONE_BYTE[0xc8] = IWIB;
fill(ONE_BYTE, [0xe8, 0xe9], REL32);
fill(ONE_BYTE, [0xf6, 0xf7], MODRM); // test, the first two of the group, has an immediate besides
fill(BYTE_OPERANDS, [0x80, 0x84, 0x86, 0x88, 0x8a, 0xc0, 0xc6, 0xd0, 0xd2, 0xf6, 0xfe], 1);
fill(ONE_BYTE_WRITES, [0x63, 0x69, 0x6b, 0x8a, 0x8b, 0x8d], WRITES_REG);
fill(
  ONE_BYTE_WRITES,
  [0x80, 0x81, 0x83, 0x88, 0x89, 0x8c, 0x8f, 0xc0, 0xc1, 0xc6, 0xc7, ...range(0xd0, 0xd3), 0xf6, 0xf7, 0xfe],
  WRITES_RM,
);
fill(ONE_BYTE_WRITES, [0x86, 0x87], WRITES_BOTH);

fill(
  TWO_BYTE,
  [
    0x05,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0b,
    0x0e,
    ...range(0x30, 0x37),
    0x77,
    0xa0,
    0xa1,
    0xa2,
    0xa8,
    0xa9,
    0xaa,
    ...range(0xc8, 0xcf),
  ],
  0,
);
fill(
  TWO_BYTE,
  [0x04, 0x0a, 0x0c, 0x24, 0x25, 0x26, 0x27, 0x36, 0x39, ...range(0x3b, 0x3f), 0x7a, 0x7b, 0xa6, 0xa7],
  INVALID,
);
fill(TWO_BYTE, [0x0f, 0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6], MODRM | IB);
fill(TWO_BYTE, range(0x80, 0x8f), REL32);
fill(
  TWO_BYTE_WRITES,
  [
    0x02,
    0x03,
    0x2c,
    0x2d,
    ...range(0x40, 0x4f),
    0x50,
    0xaf,
    0xb2,
    0xb4,
    0xb5,
    0xb6,
    0xb7,
    0xb8,
    ...range(0xbc, 0xbf),
    0xc5,
    0xd7,
  ],
  WRITES_REG,
);
fill(
  TWO_BYTE_WRITES,
  [
    0x00,
    0x01,
    0x20,
    0x21,
    0x7e,
    ...range(0x90, 0x9f),
    0xa4,
    0xa5,
    0xab,
    0xac,
    0xad,
    0xae,
    0xb0,
    0xb1,
    0xb3,
    0xba,
    0xbb,
    0xc7,
  ],
  WRITES_RM,
);
fill(TWO_BYTE_WRITES, [0xc0, 0xc1], WRITES_BOTH);

const RAX = 1 << 0;
const RCX = 1 << 2;
const RDX = 1 << 1;
const RBX = 1 << 3;
const RSI = 1 << 4;
const RDI = 1 << 5;
const RSP = 7;
const RBP = 6;

/** DWARF number of each register by its number in machine code. */
const DWARF = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

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
      if (ONE_BYTE[byte] !== PREFIX) break;
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
    let shape: number;
    let writes: number;
    if (isTwoByte) {
      byte = bytes[at++];
      if (at > end) return false;
      if (byte === 0x38 || byte === 0x3a) {
        const hasImmediate = byte === 0x3a;
        const opcode = bytes[at++];
        at = this.#modrm(bytes, at, end, hasImmediate ? 1 : 0);
        if (at < 0) return false;
        if (hasImmediate) {
          at++;
          if (opcode >= 0x14 && opcode <= 0x17) this.#writesRm();
        } else if (opcode === 0xf0 || opcode === 0xf1 || opcode === 0xf6) {
          this.writes |= 1 << this.#register(); // movbe, crc32, adcx, adox
        }
        return this.#done(start, at, end);
      }
      shape = TWO_BYTE[byte];
      writes = TWO_BYTE_WRITES[byte];
      this.#isByte = (byte & 0xf0) === 0x90 || byte === 0xb0 || byte === 0xc0;
    } else {
      shape = ONE_BYTE[byte];
      writes = ONE_BYTE_WRITES[byte];
      this.#isByte = (shape & MODRM) !== 0 && (byte & 1) === 0 && BYTE_OPERANDS[byte] === 1;
    }
    if (shape === INVALID) return false;
    let kind = shape & 15;
    if ((shape & MODRM) !== 0) {
      const testImmediate = !isTwoByte && (byte === 0xf6 || byte === 0xf7) && at < end && (bytes[at] & 0x30) === 0;
      if (testImmediate) kind = byte === 0xf6 ? IB : IZ;
      at = this.#modrm(bytes, at, end, immediateSize(kind, operandSize, addressSize, this.#rex));
      if (at < 0) return false;
      if ((writes & WRITES_REG) !== 0) this.writes |= 1 << this.#register();
      if ((writes & WRITES_RM) !== 0 && !testImmediate) this.#writesRm();
    }
    const size = immediateSize(kind, operandSize, addressSize, this.#rex);
    if (at + size > end) return false;
    if (kind === IB || kind === REL8) this.immediate = (bytes[at] << 24) >> 24;
    else if (size === 2 || kind === IWIB) this.immediate = bytes[at] | (bytes[at + 1] << 8);
    else if (size === 4)
      this.immediate = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    at += size;
    if (isTwoByte) this.#classifyTwoByte(byte);
    else if (!this.#classify(byte, operandSize)) return false;
    if (kind === REL8 || kind === REL32 || (byte === 0xc7 && this.op === OP_BRANCH)) this.target = at + this.immediate;
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

  /** One-byte opcodes. False: not valid after all. */
  #classify(byte: number, operandSize: boolean): boolean {
    const wide = (this.#rex & 8) !== 0;
    if (byte >= 0x50 && byte <= 0x5f) {
      if (operandSize) return false; // 16-bit pushes do not occur in compiled code
      this.op = byte < 0x58 ? OP_PUSH : OP_POP;
      this.reg = DWARF[(byte & 7) | ((this.#rex & 1) << 3)];
      if (byte >= 0x58) this.writes = 1 << this.reg;
      return true;
    }
    if (byte >= 0x70 && byte <= 0x7f) {
      this.op = OP_BRANCH;
      return true;
    }
    if (byte >= 0xb0 && byte <= 0xb7 && this.#rex === 0) {
      this.writes = 1 << DWARF[byte & 3];
      return true;
    }
    if (byte >= 0xb0 && byte <= 0xbf) {
      this.writes = 1 << DWARF[(byte & 7) | ((this.#rex & 1) << 3)];
      return true;
    }
    if (byte < 0x40 && (byte & 7) >= 4) {
      if (byte >> 3 !== 7) this.writes = RAX;
      return true;
    }
    switch (byte) {
      case 0x29:
      case 0x2b:
      case 0x31:
      case 0x33:
        if (this.#mod === 3 && this.#register() === this.#rmRegister()) {
          this.op = OP_ZERO;
          this.reg = this.#register();
        }
        return true;
      case 0x63:
        this.isTableLoad = this.#mod !== 3 && this.#hasIndex;
        return true;
      case 0x68:
      case 0x6a:
      case 0x9c:
        this.op = OP_PUSH;
        return true;
      case 0x9d:
        this.op = OP_POP;
        return true;
      case 0x6c:
      case 0x6d:
      case 0x6e:
      case 0x6f:
        this.writes = RCX | RSI | RDI;
        return true;
      case 0x81:
      case 0x83: {
        const isRsp = this.#mod === 3 && this.#rmRegister() === RSP;
        if (this.#regField === 7) this.writes = 0; // cmp
        if (isRsp && wide && (this.#regField === 0 || this.#regField === 5)) {
          this.op = OP_ADD_RSP;
          if (this.#regField === 5) this.immediate = -this.immediate;
          this.writes = 0;
        }
        return true;
      }
      case 0x80:
        if (this.#regField === 7) this.writes = 0;
        return true;
      case 0x89:
        if (this.#mod === 3 && wide) {
          this.op = OP_MOVE;
          this.reg = this.#rmRegister();
          this.source = this.#register();
        } else if (this.#mod !== 3 && wide) {
          this.op = OP_STORE;
          this.reg = this.#register();
        }
        return true;
      case 0x8b:
        if (wide) {
          this.op = this.#mod === 3 ? OP_MOVE : OP_LOAD;
          this.reg = this.#register();
          if (this.#mod === 3) this.source = this.#rmRegister();
        }
        return true;
      case 0x8d:
        if (this.#mod === 3) return false;
        if (wide) {
          this.op = OP_LEA;
          this.reg = this.#register();
        }
        return true;
      case 0x8f:
        if (this.#regField !== 0) return false;
        this.op = OP_POP;
        if (this.#mod === 3) this.reg = this.#rmRegister();
        return true;
      case 0x90:
      case 0x91:
      case 0x92:
      case 0x93:
      case 0x94:
      case 0x95:
      case 0x96:
      case 0x97: {
        const other = (byte & 7) | ((this.#rex & 1) << 3);
        this.isPadding = other === 0;
        if (other !== 0) this.writes = RAX | (1 << DWARF[other]);
        return true;
      }
      case 0x98:
      case 0x9f:
      case 0xa0:
      case 0xa1:
      case 0xd7:
      case 0xe4:
      case 0xe5:
      case 0xec:
      case 0xed:
        this.writes = RAX;
        return true;
      case 0x99:
        this.writes = RDX;
        return true;
      case 0xa4:
      case 0xa5:
      case 0xa6:
      case 0xa7:
      case 0xaa:
      case 0xab:
      case 0xac:
      case 0xad:
      case 0xae:
      case 0xaf:
        this.writes = RSI | RDI | RCX | (byte >= 0xac && byte <= 0xad ? RAX : 0);
        return true;
      case 0xc2:
      case 0xc3:
        this.op = OP_RET;
        return true;
      case 0xc7:
      case 0xc6: {
        const isTransaction = this.#mod === 3 && this.#regField === 7 && this.#rm === 0; // xbegin, xabort
        if (isTransaction && byte === 0xc7) this.op = OP_BRANCH;
        return this.#regField === 0 || isTransaction;
      }
      case 0xc8:
        this.op = OP_ENTER;
        this.writes = 1 << RBP;
        return true;
      case 0xc9:
        this.op = OP_LEAVE;
        this.writes = 1 << RBP;
        return true;
      case 0xca:
      case 0xcb:
      case 0xcf:
        return false; // far returns do not occur in user code
      case 0xcc:
      case 0xf4:
        this.isPadding = byte === 0xcc;
        this.op = OP_STOP;
        return true;
      case 0xe0:
      case 0xe1:
      case 0xe2:
        this.writes = RCX;
        this.op = OP_BRANCH;
        return true;
      case 0xe3:
        this.op = OP_BRANCH;
        return true;
      case 0xe8:
        this.op = OP_CALL;
        return true;
      case 0xe9:
      case 0xeb:
        this.op = OP_JUMP;
        return true;
      case 0xf6:
      case 0xf7:
        if (this.#regField < 2) this.writes = 0;
        else if (this.#regField >= 4) this.writes = RAX | RDX; // mul, imul, div, idiv
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
      case 0:
      case 1:
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

  #classifyTwoByte(byte: number): void {
    if (byte >= 0x80 && byte <= 0x8f) {
      this.op = OP_BRANCH;
      return;
    }
    if (byte >= 0xc8 && byte <= 0xcf) {
      this.writes = 1 << DWARF[(byte & 7) | ((this.#rex & 1) << 3)];
      return;
    }
    switch (byte) {
      case 0x1f:
        this.isPadding = true;
        break;
      case 0x05:
        this.op = OP_SYSCALL;
        this.writes = RAX | RCX | (1 << 11);
        break;
      case 0x0b:
      case 0xb9:
      case 0xff:
        this.op = OP_STOP;
        break;
      case 0x01:
      case 0x31:
      case 0x32:
      case 0x33:
        this.writes |= RAX | RDX | RCX;
        break;
      case 0xa2:
        this.writes = RAX | RBX | RCX | RDX;
        break;
      case 0xa0:
      case 0xa8:
        this.op = OP_PUSH;
        break;
      case 0xa1:
      case 0xa9:
        this.op = OP_POP;
        break;
      case 0xb0:
      case 0xb1:
        this.writes |= RAX;
        break;
      case 0xc7:
        this.writes |= RAX | RDX;
        break;
    }
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
    if (map === 1 && (TWO_BYTE[opcode] & 15) === IB) immediate = 1;
    at = this.#modrm(bytes, at, end, immediate);
    if (at < 0) return false;
    at += immediate;
    const general =
      (map === 1 && (TWO_BYTE_WRITES[opcode] === WRITES_REG || opcode === 0x92 || opcode === 0x93)) ||
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

function immediateSize(kind: number, operandSize: boolean, addressSize: boolean, rex: number): number {
  switch (kind) {
    case IB:
    case REL8:
      return 1;
    case IW:
      return 2;
    case IZ:
      return operandSize && (rex & 8) === 0 ? 2 : 4;
    case IV:
      return (rex & 8) !== 0 ? 8 : operandSize ? 2 : 4;
    case MOFFS:
      return addressSize ? 4 : 8;
    case IWIB:
      return 3;
    case REL32:
      return 4;
    default:
      return 0;
  }
}
