// SPDX-License-Identifier: Apache-2.0
/**
 * BPF instructions, the few that probing programs need.
 * Source: RFC 9669 (instruction set); struct bpf_insn of include/uapi/linux/bpf.h.
 */

const CALL = 0x85;
const EXIT = 0x95;
const MOV64_IMMEDIATE = 0xb7;

/** { u8 opcode; u8 source << 4 | destination; s16 offset; s32 immediate } */
function instruction(opcode: number, destination: number, immediate: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = opcode;
  bytes[1] = destination;
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}

/** `return 0` */
export const RETURN_ZERO: Buffer = Buffer.concat([instruction(MOV64_IMMEDIATE, 0, 0), instruction(EXIT, 0, 0)]);

/** Calls a helper without setting up arguments. The verifier refuses it, but says first whether it knows the helper. */
export function callHelper(helper: number): Buffer {
  return Buffer.concat([instruction(CALL, 0, helper), RETURN_ZERO]);
}
