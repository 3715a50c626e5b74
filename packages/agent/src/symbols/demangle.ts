// SPDX-License-Identifier: Apache-2.0
import { demangleRustLegacy } from './rust-legacy.ts';
import { demangleRustV0 } from './rust-v0.ts';

/** Demangles names of the Itanium C++ ABI; null for what is not one. */
export type CxxDemangler = (names: readonly string[]) => (string | null)[];

export interface Demangled {
  /** For people; the name itself when it is not mangled. */
  name: string;
  language: 'c++' | 'rust' | 'other';
}

/** Readable form of a name from a symbol table: C++, Rust (both schemes), or as it is. */
export function demangleSymbol(name: string, demangleCxx: CxxDemangler): Demangled {
  if (name.endsWith('@plt')) {
    const { name: called, language } = demangleSymbol(name.slice(0, -4), demangleCxx);
    return { name: `${called}@plt`, language };
  }
  // Rust's legacy names are C++ names by form, so they come first.
  const rust = demangleRustLegacy(name) ?? demangleRustV0(name);
  if (rust !== undefined) return { name: rust, language: 'rust' };
  if (name.startsWith('_Z') || name.startsWith('___Z')) {
    const cxx = demangleCxx([name])[0];
    if (cxx !== null && cxx !== undefined) return { name: cxx, language: 'c++' };
  }
  return { name, language: 'other' };
}
