// SPDX-License-Identifier: Apache-2.0

/**
 * An unwind rule: how to get from the registers of a frame to those of its caller. The numbers are those of
 * `enum rule_kind` and `struct unwind_rule` in the kernel side's abi.h (a test compares them with the generated layout).
 */
export const RULE_NONE = 0; // no information
export const RULE_ROOT = 1; // the return address is undefined: no caller
export const RULE_CFA = 2; // CFA = base + cfaOffset
export const RULE_CFA_DEREF = 3; // CFA = *(base + cfaOffset [+ 8 * index]) + addend; aux: DEREF_*
export const RULE_PLT = 4; // CFA = rsp + cfaOffset + ((pc & 15) >= aux ? 8 : 0)
export const RULE_SIGNAL = 5; // all registers are in the ucontext at rsp + cfaOffset
export const RULE_RA_REGISTER = 6; // CFA = base + cfaOffset, return address in register aux
export const RULE_FRAME_POINTER = 7; // CFA = rbp + 16, return address and rbp just below
export const RULE_UNSUPPORTED = 8; // information of a form that has no rule; aux: UNSUPPORTED_*
export const RULE_ENTRY = 9; // entry code: no caller, whatever its return address
export const RULE_GO_SWITCH = 10; // Go code on another stack: go on at the saved rbp frame

/** Why a rule is RULE_UNSUPPORTED (its `aux`). */
export const UNSUPPORTED_CFA_EXPRESSION = 1;
export const UNSUPPORTED_CFA_REGISTER = 2;
export const UNSUPPORTED_RETURN_ADDRESS = 3;
export const UNSUPPORTED_RBP = 4;
export const UNSUPPORTED_RSP = 5;
export const UNSUPPORTED_SIGNAL_FRAME = 6;
export const UNSUPPORTED_RANGE = 7; // an offset does not fit its field
export const UNSUPPORTED_PROGRAM = 8; // the call frame program is malformed

/** DWARF register numbers of x86-64 (System V ABI, figure 3.36). */
export const REG_RAX = 0;
export const REG_RDX = 1;
export const REG_RCX = 2;
export const REG_RBX = 3;
export const REG_RSI = 4;
export const REG_RDI = 5;
export const REG_RBP = 6;
export const REG_RSP = 7;
export const REG_R8 = 8;
export const REG_R10 = 10;
export const REG_R12 = 12;
export const REG_R13 = 13;
export const REG_R14 = 14;
export const REG_R15 = 15;
export const REG_COUNT = 16;
export const REG_RA = 16; // the column of the return address

/** Registers of `saved`, in its order. */
export const SAVED_REGISTERS = [REG_RBX, REG_R12, REG_R13, REG_R14, REG_R15] as const;
export const SAVED_LOST = -128;
export const RBP_SAVED = 1;
/** `rbpOffset` when the caller's rbp cannot be told: saved at an offset that does not exist. */
export const RBP_LOST = -0x7fff;

/**
 * `aux` of RULE_CFA_DEREF: what is added to the word read (even); whether saved registers are relative to the base
 * register (frames realigned by GCC) or to the CFA (OpenSSL); an index register plus one, 0: none.
 */
export const DEREF_ADDEND = 0xfe;
export const DEREF_SAVED_FROM_BASE = 1;
export const DEREF_INDEX_SHIFT = 8;

export const RULE_SIZE = 16; // bytes of struct unwind_rule
const WORDS = RULE_SIZE / 4;

/** A rule with named fields, for people and tests; tables hold packed ones. Units as in struct unwind_rule. */
export interface UnwindRule {
  kind: number;
  base: number;
  cfaOffset: number;
  rbpOffset: number;
  saved: number[];
  raOffset: number;
  aux: number;
}

/** A rule that is nothing but its kind. */
export function ruleOfKind(kind: number, aux = 0): UnwindRule {
  return { kind, base: 0, cfaOffset: 0, rbpOffset: 0, saved: [0, 0, 0, 0, 0], raOffset: 0, aux };
}

/** Packs words of struct unwind_rule: `kind | base << 8 | rbpOffset << 16`, the second of the four. */
export function packHead(kind: number, base: number, rbpOffset: number): number {
  return (kind & 0xff) | ((base & 0xff) << 8) | (rbpOffset << 16);
}

/**
 * Distinct rules, each under a number given in order of arrival. Rules are kept packed, four 32-bit words each, as the
 * kernel reads them; looking one up allocates nothing.
 */
export class RuleSet {
  #count = 0;
  #words = new Int32Array(256 * WORDS);
  #slots = new Int32Array(1024).fill(-1); // open addressing: rule number or -1

  get count(): number {
    return this.#count;
  }

  /** The number of the rule with these words, new or old. */
  intern(w0: number, w1: number, w2: number, w3: number): number {
    const words = this.#words;
    const mask = this.#slots.length - 1;
    let hash =
      Math.imul(w0, 0x9e3779b1) ^ Math.imul(w1, 0x85ebca6b) ^ Math.imul(w2, 0xc2b2ae35) ^ Math.imul(w3, 0x27d4eb2f);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const number = this.#slots[slot];
      if (number < 0) return this.#add(slot, w0, w1, w2, w3);
      const at = number * WORDS;
      if (
        words[at] === (w0 | 0) &&
        words[at + 1] === (w1 | 0) &&
        words[at + 2] === (w2 | 0) &&
        words[at + 3] === (w3 | 0)
      ) {
        return number;
      }
    }
  }

  internRule(rule: UnwindRule): number {
    const saved = rule.saved;
    return this.intern(
      rule.cfaOffset,
      packHead(rule.kind, rule.base, rule.rbpOffset),
      (saved[0] & 0xff) | ((saved[1] & 0xff) << 8) | ((saved[2] & 0xff) << 16) | (saved[3] << 24),
      (saved[4] & 0xff) | ((rule.raOffset & 0xff) << 8) | (rule.aux << 16),
    );
  }

  kind(number: number): number {
    return this.#words[number * WORDS + 1] & 0xff;
  }

  base(number: number): number {
    return (this.#words[number * WORDS + 1] >> 8) & 0xff;
  }

  /** Copies the packed rule to words of another array. */
  copyTo(number: number, target: Int32Array, word: number): void {
    for (let i = 0; i < WORDS; i++) target[word + i] = this.#words[number * WORDS + i];
  }

  rule(number: number): UnwindRule {
    return unpackRule(new Uint8Array(this.#words.buffer), number);
  }

  #add(slot: number, w0: number, w1: number, w2: number, w3: number): number {
    const number = this.#count++;
    const at = number * WORDS;
    if (at === this.#words.length) {
      const words = new Int32Array(at * 2);
      words.set(this.#words);
      this.#words = words;
    }
    this.#words[at] = w0;
    this.#words[at + 1] = w1;
    this.#words[at + 2] = w2;
    this.#words[at + 3] = w3;
    this.#slots[slot] = number;
    if (this.#count * 2 > this.#slots.length) this.#rehash();
    return number;
  }

  #rehash(): void {
    const count = this.#count;
    this.#slots = new Int32Array(this.#slots.length * 2).fill(-1);
    const words = this.#words;
    const mask = this.#slots.length - 1;
    for (let number = 0; number < count; number++) {
      const at = number * WORDS;
      let hash =
        Math.imul(words[at], 0x9e3779b1) ^
        Math.imul(words[at + 1], 0x85ebca6b) ^
        Math.imul(words[at + 2], 0xc2b2ae35) ^
        Math.imul(words[at + 3], 0x27d4eb2f);
      hash ^= hash >>> 15;
      let slot = hash & mask;
      while (this.#slots[slot] >= 0) slot = (slot + 1) & mask;
      this.#slots[slot] = number;
    }
  }
}

/** Rule `number` of packed rules (16 bytes each, little endian). */
export function unpackRule(rules: Uint8Array, number: number): UnwindRule {
  const view = new DataView(rules.buffer, rules.byteOffset + number * RULE_SIZE, RULE_SIZE);
  return {
    kind: view.getUint8(4),
    base: view.getUint8(5),
    cfaOffset: view.getInt32(0, true),
    rbpOffset: view.getInt16(6, true),
    saved: [8, 9, 10, 11, 12].map((at) => view.getInt8(at)),
    raOffset: view.getInt8(13),
    aux: view.getInt16(14, true),
  };
}
