// SPDX-License-Identifier: Apache-2.0

/**
 * Opcode maps of x86-64, as far as the decoder in x86-instruction.ts needs them.
 * Source: Intel SDM volume 2, appendix A.
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

/** The form of an opcode: bits of MODRM (a ModRM byte follows), or PREFIX or INVALID; and a kind of immediate operand. */
export const MODRM = 0x10;
export const PREFIX = 0x40;
export const INVALID = 0x80;
export const IMMEDIATE = 0x0f; // mask of the kinds
export const IB = 1; // a byte
const IZ = 2; // 4 bytes, 2 with an operand-size prefix
const IW = 3; // 2 bytes
const IV = 4; // as IZ, 8 with REX.W
const MOFFS = 5; // an address: 8 bytes, 4 with an address-size prefix
export const IWIB = 6; // 2 bytes and one
export const REL8 = 7;
export const REL32 = 8;
/** Operands that an instruction with ModRM writes. */
export const WRITES_REG = 1;
export const WRITES_RM = 2;

/** Registers by their number in DWARF; sets of them are bits. */
const RAX = 1 << 0;
const RDX = 1 << 1;
const RCX = 1 << 2;
const RBX = 1 << 3;
const RSI = 1 << 4;
const RDI = 1 << 5;
const RBP = 1 << 6;
const R11 = 1 << 11;

/** DWARF number of each register by its number in machine code. */
export const DWARF = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

/** What is known of the opcodes of a map. */
export interface OpcodeMap {
  readonly form: Uint8Array;
  /** WRITES_*, if there is a ModRM byte. */
  readonly writes: Uint8Array;
  /** Registers that are written whatever the operands are. */
  readonly implicit: Uint16Array;
  /** OP_* of opcodes that are the same in all forms. */
  readonly op: Uint8Array;
  /** 1: the operands of the ModRM byte are bytes. */
  readonly isByte: Uint8Array;
}

function opcodeMap(): OpcodeMap {
  const bytes = () => new Uint8Array(256);
  return { form: bytes(), writes: bytes(), implicit: new Uint16Array(256), op: bytes(), isByte: bytes() };
}

/** Sets entries of a table, named as in `68 70-7f`. */
function set(table: Uint8Array | Uint16Array, opcodes: string, value: number): void {
  for (const range of opcodes.split(' ')) {
    const [first, last = first] = range.split('-').map((hex) => Number.parseInt(hex, 16));
    table.fill(value, first, last + 1);
  }
}

export const ONE_BYTE = opcodeMap();
// Arithmetic: eight operations of eight opcodes each; the last, cmp, writes nothing.
for (let op = 0; op < 0x40; op += 8) {
  ONE_BYTE.form.set([MODRM, MODRM, MODRM, MODRM, IB, IZ, INVALID, INVALID], op);
  ONE_BYTE.isByte.set([1, 0, 1, 0], op);
  if (op < 0x38) ONE_BYTE.writes.set([WRITES_RM, WRITES_RM, WRITES_REG, WRITES_REG], op);
  if (op < 0x38) ONE_BYTE.implicit.set([RAX, RAX], op + 4);
}
set(ONE_BYTE.form, '26 2e 36 3e 40-4f 64-67 f0 f2 f3', PREFIX);
set(ONE_BYTE.form, '60 61 82 9a ca cb ce cf d4-d6 ea', INVALID); // far returns do not occur in user code
set(ONE_BYTE.form, '63 84-8f d0-d3 d8-df f6 f7 fe ff', MODRM); // test, of f6 and f7, has an immediate besides
set(ONE_BYTE.form, '69 81 c7', MODRM | IZ);
set(ONE_BYTE.form, '6b 80 83 c0 c1 c6', MODRM | IB);
set(ONE_BYTE.form, '68 a9', IZ);
set(ONE_BYTE.form, '6a a8 b0-b7 cd e4-e7', IB);
set(ONE_BYTE.form, '70-7f e0-e3 eb', REL8);
set(ONE_BYTE.form, 'e8 e9', REL32);
set(ONE_BYTE.form, 'a0-a3', MOFFS);
set(ONE_BYTE.form, 'b8-bf', IV);
set(ONE_BYTE.form, 'c2', IW);
set(ONE_BYTE.form, 'c8', IWIB);
set(ONE_BYTE.writes, '63 69 6b 8a 8b 8d', WRITES_REG);
set(ONE_BYTE.writes, '80 81 83 88 89 8c 8f c0 c1 c6 c7 d0-d3 f6 f7 fe', WRITES_RM);
set(ONE_BYTE.writes, '86 87', WRITES_REG | WRITES_RM);
set(ONE_BYTE.implicit, '98 9f a0 a1 d7 e4 e5 ec ed', RAX);
set(ONE_BYTE.implicit, '99', RDX);
set(ONE_BYTE.implicit, '6c-6f a4-a7 aa ab ae af', RCX | RSI | RDI);
set(ONE_BYTE.implicit, 'ac ad', RAX | RCX | RSI | RDI);
set(ONE_BYTE.implicit, 'c8 c9', RBP);
set(ONE_BYTE.implicit, 'e0-e2', RCX);
set(ONE_BYTE.op, '50-57 68 6a 9c', OP_PUSH);
set(ONE_BYTE.op, '58-5f 8f 9d', OP_POP);
set(ONE_BYTE.op, '70-7f e0-e3', OP_BRANCH);
set(ONE_BYTE.op, 'c2 c3', OP_RET);
set(ONE_BYTE.op, 'c8', OP_ENTER);
set(ONE_BYTE.op, 'c9', OP_LEAVE);
set(ONE_BYTE.op, 'cc f4', OP_STOP);
set(ONE_BYTE.op, 'e8', OP_CALL);
set(ONE_BYTE.op, 'e9 eb', OP_JUMP);
set(ONE_BYTE.isByte, '80 84 86 88 8a c0 c6 d0 d2 f6 fe', 1);

/** Opcodes behind 0f. */
export const TWO_BYTE = opcodeMap();
TWO_BYTE.form.fill(MODRM);
set(TWO_BYTE.form, '05-09 0b 0e 30-37 77 a0-a2 a8-aa c8-cf', 0);
set(TWO_BYTE.form, '04 0a 0c 24-27 36 39 3b-3f 7a 7b a6 a7', INVALID);
set(TWO_BYTE.form, '0f 70-73 a4 ac ba c2 c4-c6', MODRM | IB);
set(TWO_BYTE.form, '80-8f', REL32);
set(TWO_BYTE.writes, '02 03 2c 2d 40-50 af b2 b4-b8 bc-bf c5 d7', WRITES_REG);
set(TWO_BYTE.writes, '00 01 20 21 7e 90-9f a4 a5 ab-ae b0 b1 b3 ba bb c7', WRITES_RM);
set(TWO_BYTE.writes, 'c0 c1', WRITES_REG | WRITES_RM);
set(TWO_BYTE.implicit, '01 31-33', RAX | RCX | RDX);
set(TWO_BYTE.implicit, '05', RAX | RCX | R11);
set(TWO_BYTE.implicit, 'a2', RAX | RBX | RCX | RDX);
set(TWO_BYTE.implicit, 'b0 b1', RAX);
set(TWO_BYTE.implicit, 'c7', RAX | RDX);
set(TWO_BYTE.op, '05', OP_SYSCALL);
set(TWO_BYTE.op, '0b b9 ff', OP_STOP);
set(TWO_BYTE.op, '80-8f', OP_BRANCH);
set(TWO_BYTE.op, 'a0 a8', OP_PUSH);
set(TWO_BYTE.op, 'a1 a9', OP_POP);
set(TWO_BYTE.isByte, '90-9f b0 c0', 1);

/** Bytes of an immediate operand. */
export function immediateSize(kind: number, operandSize: boolean, addressSize: boolean, isWide: boolean): number {
  switch (kind) {
    case IB:
    case REL8:
      return 1;
    case IW:
      return 2;
    case IZ:
      return operandSize && !isWide ? 2 : 4;
    case IV:
      return isWide ? 8 : operandSize ? 2 : 4;
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
