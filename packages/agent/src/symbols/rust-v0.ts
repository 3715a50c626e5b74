// SPDX-License-Identifier: Apache-2.0

/** Limits against names made to be expensive: nesting, characters written, and steps (back references repeat work). */
const MAX_DEPTH = 200;
const MAX_OUTPUT = 16 << 10;
const MAX_STEPS = 50_000;

const BASIC_TYPES: Readonly<Record<string, string>> = {
  a: 'i8',
  b: 'bool',
  c: 'char',
  d: 'f64',
  e: 'str',
  f: 'f32',
  h: 'u8',
  i: 'isize',
  j: 'usize',
  l: 'i32',
  m: 'u32',
  n: 'i128',
  o: 'u128',
  p: '_',
  s: 'i16',
  t: 'u16',
  u: '()',
  v: '...',
  x: 'i64',
  y: 'u64',
  z: '!',
};

/** Ends the attempt: the name does not follow the grammar, or exceeds a limit. */
class Invalid extends Error {}

/**
 * Readable form of a name mangled in Rust's v0 scheme, `_RNvCs1234_7mycrate3foo`: crate hashes and the types of constants
 * are left out. Undefined for anything else.
 * Source: Rust RFC 2603 and its later additions (doc.rust-lang.org/rustc/symbol-mangling/v0.html).
 */
export function demangleRustV0(name: string): string | undefined {
  const match = /^_{0,2}R([A-Z][0-9A-Za-z_]*)(?:\..*)?$/s.exec(name);
  if (!match) return undefined;
  try {
    return new Demangler(match[1]).demangle();
  } catch (error) {
    if (error instanceof Invalid) return undefined;
    throw error;
  }
}

class Demangler {
  readonly #input: string;
  #at = 0;
  #output = '';
  #depth = 0;
  #steps = 0;
  /** Lifetimes bound by the `for<…>` around the current position. */
  #bound = 0;
  /** Above 0, what is read is not written. */
  #silent = 0;

  constructor(input: string) {
    this.#input = input;
  }

  demangle(): string {
    this.#path(true);
    if (this.#at < this.#input.length) {
      this.#quietly(() => this.#path(false)); // the crate that instantiated it
      if (this.#at < this.#input.length) throw new Invalid();
    }
    return this.#output;
  }

  #write(text: string): void {
    if (this.#silent > 0) return;
    this.#output += text;
    if (this.#output.length > MAX_OUTPUT) throw new Invalid();
  }

  #quietly(read: () => void): void {
    this.#silent++;
    read();
    this.#silent--;
  }

  #nested(read: () => void): void {
    if (++this.#depth > MAX_DEPTH) throw new Invalid();
    read();
    this.#depth--;
  }

  #peek(): string {
    return this.#input[this.#at] ?? '';
  }

  #next(): string {
    if (++this.#steps > MAX_STEPS || this.#at >= this.#input.length) throw new Invalid();
    return this.#input[this.#at++];
  }

  /** Consumes a character if it is the next one. */
  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#next();
    return true;
  }

  /** Digits of base 62 up to `_`: nothing is 0, otherwise the value plus 1. */
  #base62(): number {
    if (this.#take('_')) return 0;
    let value = 0;
    for (let c = this.#next(); c !== '_'; c = this.#next()) {
      const digit = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'.indexOf(c);
      if (digit < 0) throw new Invalid();
      value = value * 62 + digit; // not exact above 2^53: hashes of crates, which are not written
    }
    return value + 1;
  }

  /** A number behind a tag: 0 without the tag. */
  #tagged(tag: string): number {
    return this.#take(tag) ? this.#base62() + 1 : 0;
  }

  #decimal(): number {
    const digits = /^(?:0|[1-9][0-9]{0,8})/.exec(this.#input.slice(this.#at, this.#at + 9))?.[0];
    if (digits === undefined) throw new Invalid();
    this.#at += digits.length;
    return Number(digits);
  }

  #identifier(): string {
    const isPunycode = this.#take('u');
    const length = this.#decimal();
    this.#take('_');
    const bytes = this.#input.slice(this.#at, this.#at + length);
    if (bytes.length !== length) throw new Invalid();
    this.#at += length;
    this.#steps++;
    return isPunycode ? decodePunycode(bytes) : bytes;
  }

  /** Reads at the position that a back reference names. */
  #backReference(read: () => void): void {
    const start = this.#at - 1;
    const target = this.#base62();
    if (target >= start) throw new Invalid();
    if (this.#silent > 0) return; // nothing to write, and what it refers to was read before
    const here = this.#at;
    this.#at = target;
    this.#nested(read);
    this.#at = here;
  }

  /** @param inValue a path of values writes its generics as `::<T>`, one of types as `<T>`. */
  #path(inValue: boolean): void {
    this.#nested(() => {
      const tag = this.#next();
      switch (tag) {
        case 'C':
          this.#tagged('s');
          this.#write(this.#identifier());
          return;
        case 'N':
          this.#nestedPath(inValue);
          return;
        case 'M':
        case 'X':
          this.#tagged('s');
          this.#quietly(() => this.#path(false)); // where the impl block is
          this.#qualified(tag === 'X');
          return;
        case 'Y':
          this.#qualified(true);
          return;
        case 'I':
          this.#path(inValue);
          this.#write(inValue ? '::<' : '<');
          this.#list(', ', () => this.#genericArgument());
          this.#write('>');
          return;
        case 'B':
          this.#backReference(() => this.#path(inValue));
          return;
        default:
          throw new Invalid();
      }
    });
  }

  /** `<Type>` or `<Type as Trait>`. */
  #qualified(hasTrait: boolean): void {
    this.#write('<');
    this.#type();
    if (hasTrait) {
      this.#write(' as ');
      this.#path(false);
    }
    this.#write('>');
  }

  #nestedPath(inValue: boolean): void {
    const namespace = this.#next();
    if (!/[A-Za-z]/.test(namespace)) throw new Invalid();
    this.#path(inValue);
    const disambiguator = this.#tagged('s');
    const name = this.#identifier();
    if (namespace >= 'A' && namespace <= 'Z') {
      const kind = namespace === 'C' ? 'closure' : namespace === 'S' ? 'shim' : namespace;
      this.#write(`::{${kind}${name === '' ? '' : `:${name}`}#${disambiguator}}`);
    } else if (name !== '') {
      this.#write(`::${name}`);
    }
  }

  /** Elements up to `E`. */
  #list(separator: string, element: () => void): number {
    let count = 0;
    while (!this.#take('E')) {
      if (count > 0) this.#write(separator);
      element();
      count++;
    }
    return count;
  }

  #genericArgument(): void {
    if (this.#take('L')) this.#lifetime(this.#base62());
    else if (this.#take('K')) this.#constant(false);
    else this.#type();
  }

  /** 0 is the erased lifetime; the others count outwards from the innermost binder. */
  #lifetime(index: number): void {
    if (index === 0) {
      this.#write("'_");
      return;
    }
    const depth = this.#bound - index;
    if (depth < 0) throw new Invalid();
    this.#write(depth < 26 ? `'${String.fromCharCode(97 + depth)}` : `'_${depth}`);
  }

  /** A `for<…>` around what `read` reads. */
  #binder(read: () => void): void {
    const count = this.#tagged('G');
    if (count > 1000) throw new Invalid();
    if (count > 0) {
      this.#write('for<');
      for (let i = 0; i < count; i++) {
        this.#bound++;
        if (i > 0) this.#write(', ');
        this.#lifetime(1);
      }
      this.#write('> ');
    }
    read();
    this.#bound -= count;
  }

  #type(): void {
    this.#nested(() => {
      const tag = this.#next();
      const basic = BASIC_TYPES[tag];
      if (basic !== undefined) {
        this.#write(basic);
        return;
      }
      switch (tag) {
        case 'R':
        case 'Q':
          this.#write('&');
          if (this.#take('L')) {
            const lifetime = this.#base62();
            if (lifetime !== 0) {
              this.#lifetime(lifetime);
              this.#write(' ');
            }
          }
          if (tag === 'Q') this.#write('mut ');
          this.#type();
          return;
        case 'P':
        case 'O':
          this.#write(tag === 'P' ? '*const ' : '*mut ');
          this.#type();
          return;
        case 'A':
        case 'S':
          this.#write('[');
          this.#type();
          if (tag === 'A') {
            this.#write('; ');
            this.#constant(true);
          }
          this.#write(']');
          return;
        case 'T': {
          this.#write('(');
          const count = this.#list(', ', () => this.#type());
          this.#write(count === 1 ? ',)' : ')');
          return;
        }
        case 'F':
          this.#binder(() => this.#function());
          return;
        case 'D':
          this.#write('dyn ');
          this.#binder(() => this.#list(' + ', () => this.#dynTrait()));
          if (!this.#take('L')) throw new Invalid();
          {
            const lifetime = this.#base62();
            if (lifetime !== 0) {
              this.#write(' + ');
              this.#lifetime(lifetime);
            }
          }
          return;
        case 'B':
          this.#backReference(() => this.#type());
          return;
        default:
          this.#at--;
          this.#path(false);
      }
    });
  }

  #function(): void {
    if (this.#take('U')) this.#write('unsafe ');
    if (this.#take('K')) {
      const abi = this.#take('C') ? 'C' : this.#identifier().replaceAll('_', '-');
      this.#write(`extern "${abi}" `);
    }
    this.#write('fn(');
    this.#list(', ', () => this.#type());
    this.#write(')');
    if (this.#take('u')) return; // returns ()
    this.#write(' -> ');
    this.#type();
  }

  /** A trait with its associated types among its generics: `Iterator<Item = u8>`. */
  #dynTrait(): void {
    let isOpen = this.#openPath();
    while (this.#take('p')) {
      this.#write(isOpen ? ', ' : '<');
      isOpen = true;
      this.#write(`${this.#identifier()} = `);
      this.#type();
    }
    if (isOpen) this.#write('>');
  }

  /** A path whose last generics, if it has any, are not closed yet. */
  #openPath(): boolean {
    if (this.#take('B')) {
      let isOpen = false;
      this.#backReference(() => {
        isOpen = this.#openPath();
      });
      return isOpen;
    }
    if (this.#take('I')) {
      this.#path(false);
      this.#write('<');
      this.#list(', ', () => this.#genericArgument());
      return true;
    }
    this.#path(false);
    return false;
  }

  /** @param inType constants in types are written plainly, others in braces where they are not literals. */
  #constant(inType: boolean): void {
    this.#nested(() => {
      const tag = this.#next();
      switch (tag) {
        case 'p':
          this.#write('_');
          return;
        case 'B':
          this.#backReference(() => this.#constant(inType));
          return;
        case 'b': {
          const value = this.#hexadecimal();
          if (value !== 0n && value !== 1n) throw new Invalid();
          this.#write(value === 1n ? 'true' : 'false');
          return;
        }
        case 'c':
          this.#write(quoteCharacter(Number(this.#hexadecimal())));
          return;
        case 'a':
        case 's':
        case 'l':
        case 'x':
        case 'n':
        case 'i':
          if (this.#take('n')) this.#write('-');
          this.#write(this.#hexadecimal().toString());
          return;
        case 'h':
        case 't':
        case 'm':
        case 'y':
        case 'o':
        case 'j':
          this.#write(this.#hexadecimal().toString());
          return;
        default:
          this.#structuredConstant(tag, inType);
      }
    });
  }

  /** Constants of other types than numbers (feature adt_const_params). */
  #structuredConstant(tag: string, inType: boolean): void {
    const isReferenceToText = tag === 'R' && this.#peek() === 'e';
    if (!inType && !isReferenceToText) this.#write('{');
    switch (tag) {
      case 'e':
        this.#write(`*${this.#text()}`);
        break;
      case 'R':
      case 'Q':
        if (isReferenceToText) {
          this.#next();
          this.#write(this.#text());
        } else {
          this.#write(tag === 'Q' ? '&mut ' : '&');
          this.#constant(true);
        }
        break;
      case 'A':
        this.#write('[');
        this.#list(', ', () => this.#constant(true));
        this.#write(']');
        break;
      case 'T': {
        this.#write('(');
        const count = this.#list(', ', () => this.#constant(true));
        this.#write(count === 1 ? ',)' : ')');
        break;
      }
      case 'V':
        this.#adt();
        break;
      default:
        throw new Invalid();
    }
    if (!inType && !isReferenceToText) this.#write('}');
  }

  #adt(): void {
    this.#path(true);
    switch (this.#next()) {
      case 'U':
        return;
      case 'T':
        this.#write('(');
        this.#list(', ', () => this.#constant(true));
        this.#write(')');
        return;
      case 'S':
        this.#write(' { ');
        this.#list(', ', () => {
          this.#tagged('s');
          this.#write(`${this.#identifier()}: `);
          this.#constant(true);
        });
        this.#write(' }');
        return;
      default:
        throw new Invalid();
    }
  }

  #hexDigits(): string {
    const start = this.#at;
    for (let c = this.#next(); c !== '_'; c = this.#next()) if (!/[0-9a-f]/.test(c)) throw new Invalid();
    return this.#input.slice(start, this.#at - 1);
  }

  #hexadecimal(): bigint {
    const digits = this.#hexDigits();
    if (digits.length > 32) throw new Invalid();
    return BigInt(`0x${digits || '0'}`);
  }

  /** A string, written as its UTF-8 bytes in hexadecimal. */
  #text(): string {
    const digits = this.#hexDigits();
    if (digits.length % 2 !== 0) throw new Invalid();
    const text = new TextDecoder().decode(Buffer.from(digits, 'hex'));
    return JSON.stringify(text);
  }
}

function quoteCharacter(code: number): string {
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new Invalid();
  const text = String.fromCodePoint(code);
  if (text === "'") return "'\\''";
  return text === '"' ? `'"'` : `'${JSON.stringify(text).slice(1, -1)}'`;
}

/** RFC 3492 with Rust's change: the last `_`, not `-`, ends the plain part. */
function decodePunycode(encoded: string): string {
  const split = encoded.lastIndexOf('_');
  const output = [...encoded.slice(0, Math.max(0, split))];
  let n = 0x80;
  let i = 0;
  let bias = 72;
  let isFirst = true;
  for (let at = split + 1; at < encoded.length; ) {
    const before = i;
    let weight = 1;
    for (let k = 36; ; k += 36) {
      const digit = 'abcdefghijklmnopqrstuvwxyz0123456789'.indexOf(encoded[at++] ?? '-');
      if (digit < 0) throw new Invalid();
      i += digit * weight;
      const threshold = Math.min(26, Math.max(1, k - bias));
      if (digit < threshold) break;
      weight *= 36 - threshold;
      if (!Number.isSafeInteger(i * 36) || !Number.isSafeInteger(weight * 36)) throw new Invalid();
    }
    const count = output.length + 1;
    let delta = Math.floor((i - before) / (isFirst ? 700 : 2));
    isFirst = false;
    delta += Math.floor(delta / count);
    let k = 0;
    for (; delta > 455; k += 36) delta = Math.floor(delta / 35);
    bias = k + Math.floor((36 * delta) / (delta + 38));
    n += Math.floor(i / count);
    i %= count;
    if (n > 0x10ffff || (n >= 0xd800 && n < 0xe000) || count > 4096) throw new Invalid();
    output.splice(i++, 0, String.fromCodePoint(n));
  }
  return output.join('');
}
