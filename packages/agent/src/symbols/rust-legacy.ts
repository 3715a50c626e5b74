// SPDX-License-Identifier: Apache-2.0

/** `$name$` in an identifier stands for a character that linkers may not like. */
const ESCAPES: Readonly<Record<string, string>> = {
  SP: '@',
  BP: '*',
  RF: '&',
  LT: '<',
  GT: '>',
  LP: '(',
  RP: ')',
  C: ',',
};

/**
 * Readable form of a name mangled in Rust's legacy scheme, `_ZN4core3fmt5write17h0123456789abcdefE`: the form of the
 * Itanium C++ ABI with a hash as the last part, which is left out. Undefined for anything else.
 * Source: rust-lang/rustc-demangle, legacy.rs.
 */
export function demangleRustLegacy(name: string): string | undefined {
  const match = /^_?_ZN((?:.+?)17h[0-9a-f]{16})E(?:\.[\w.@$]*)?$/.exec(name);
  if (!match) return undefined;
  const parts: string[] = [];
  for (let rest = match[1]; rest !== ''; ) {
    const digits = /^[1-9][0-9]{0,3}/.exec(rest)?.[0];
    if (digits === undefined) return undefined;
    const end = digits.length + Number(digits);
    if (end > rest.length) return undefined;
    parts.push(rest.slice(digits.length, end));
    rest = rest.slice(end);
  }
  parts.pop(); // the hash
  return parts.length === 0 ? undefined : parts.map(unescapeIdentifier).join('::');
}

function unescapeIdentifier(identifier: string): string {
  const text = identifier.startsWith('_$') ? identifier.slice(1) : identifier;
  return text.replaceAll(/\.\.|\$([A-Z]{1,2}|u[0-9a-f]{1,6})\$/g, (whole, letters: string | undefined) => {
    if (letters === undefined) return '::';
    const code = letters.startsWith('u') ? Number.parseInt(letters.slice(1), 16) : -1;
    if (code < 0) return ESCAPES[letters] ?? whole;
    const isPrintable = code >= 0x20 && code !== 0x7f && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
    return isPrintable ? String.fromCodePoint(code) : whole;
  });
}
