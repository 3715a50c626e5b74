// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { missingTools } from '../../test/required-tool.ts';
import { demangleSymbol } from './demangle.ts';
import { demangleRustLegacy } from './rust-legacy.ts';
import { demangleRustV0 } from './rust-v0.ts';

const legacy: [string, string | undefined][] = [
  ['_ZN4core3fmt5write17h0123456789abcdefE', 'core::fmt::write'],
  ['_ZN4core3fmt5write17h0123456789abcdefE.llvm.9876543210', 'core::fmt::write'],
  [
    '_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE',
    "<Test + 'static as foo::Bar<Test>>::bar",
  ],
  ['_ZN12test$BP$test4foob17h0123456789abcdefE', 'test*test::foob'],
  ['_ZN4core3fmt5writeEv', undefined], // C++
  ['_ZN4core3fmt99write17h0123456789abcdefE', undefined],
  ['_ZN17h0123456789abcdefE', undefined],
  ['main', undefined],
];
for (const [mangled, readable] of legacy) {
  test(`legacy: ${mangled}`, () => assert.equal(demangleRustLegacy(mangled), readable));
}

// From the Rust reference of the scheme, and its tests.
const v0: [string, string | undefined][] = [
  ['_RNvCs1234_7mycrate3foo', 'mycrate::foo'],
  ['_RNvC6_123foo3bar', '123foo::bar'],
  ['_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_', 'cc::spawn::{closure#0}::{closure#0}'],
  ['_RNvMNtCs1234_7mycrate3fooNtB2_3Bar3new', '<mycrate::foo::Bar>::new'],
  ['_RNvXCs1234_7mycrateNtB2_3FooNtB2_3Bar3baz', '<mycrate::Foo as mycrate::Bar>::baz'],
  ['_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y', 'utf8_idents::საჭმელად_გემრიელი_სადილი'],
  ['_RINvCs7QNrV6zCpJh_1a3gen' + 'FEuEB2_', 'a::gen::<fn()>'],
  ['_RINvCs7QNrV6zCpJh_1a3genFUKCRhEiEB2_', 'a::gen::<unsafe extern "C" fn(&u8) -> isize>'],
  ['_RINvCs7QNrV6zCpJh_1a3genFG_RL0_hEuEB2_', "a::gen::<for<'a> fn(&'a u8)>"],
  ['_RINvCs7QNrV6zCpJh_1a3genDNtB2_1TEL_EB2_', 'a::gen::<dyn a::T>'],
  ['_RINvCs7QNrV6zCpJh_1a3genDINtB2_1TiEp4ItemjEL_EB2_', 'a::gen::<dyn a::T<isize, Item = usize>>'],
  ['_RINvCs7QNrV6zCpJh_1a3genTEThEThjEE', 'a::gen::<(), (u8,), (u8, usize)>'],
  ['_RINvCs7QNrV6zCpJh_1a3genAhj3_ShOxPyE', 'a::gen::<[u8; 3], [u8], *mut i64, *const u64>'],
  ['_RINvCs7QNrV6zCpJh_1a3genKj1f_Kin1_Kb1_Kc61_KpE', "a::gen::<31, -1, true, 'a', _>"],
  ['_RINvCs7QNrV6zCpJh_1a3genKRe616263_E', 'a::gen::<"abc">'],
  ['_RINvCs7QNrV6zCpJh_1a3genKAh1_h2_EE', 'a::gen::<{[1, 2]}>'],
  ['_RNvCs1234_7mycrate3foo.llvm.123', 'mycrate::foo'],
  ['_RNvCs1234_7mycrate3fo', undefined],
  ['_RB_', undefined],
  ['_RMC0', undefined],
];
for (const [mangled, readable] of v0) {
  test(`v0: ${mangled}`, () => assert.equal(demangleRustV0(mangled), readable));
}

test('no name makes it fail, hang or write without end', () => {
  const seeds = v0.map(([mangled]) => mangled);
  const letters = fc.array(fc.constantFrom(...'_0123sCMXYNIBLKTEFGDRQPOAShijuvpeVUW'), { maxLength: 60 });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fc.nat(), letters, (seed, at, inserted) => {
      const cut = 2 + (at % seed.length);
      for (const name of [seed.slice(0, cut) + inserted.join('') + seed.slice(cut), `_R${inserted.join('')}`]) {
        const readable = demangleRustV0(name);
        assert.ok(readable === undefined || readable.length <= 1 << 15);
      }
    }),
    { numRuns: 2_000 },
  );
  // Each back reference doubles what is written; deep nesting.
  const bomb = `_RIC1a${'TBn_Bn_E'.repeat(30)}E`;
  demangleRustV0(bomb);
  assert.equal(demangleRustV0(`_RIC1a${'R'.repeat(5_000)}hE`), undefined);
});

const PROGRAM = `
use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};
trait Shape { fn area(&self) -> f64; fn name(&self) -> String { "x".into() } }
struct Square<const N: usize>(f64);
struct Naïve<'a, T>(&'a T);
impl<const N: usize> Shape for Square<N> { #[inline(never)] fn area(&self) -> f64 { self.0 * N as f64 } }
impl<'a, T: Debug> Naïve<'a, T> { #[inline(never)] fn größe<F: Fn(&T) -> usize>(&self, f: F) -> usize { f(self.0) } }
#[inline(never)] fn apply<F, A>(f: F, a: A) -> usize where F: for<'a> Fn(&'a A) -> usize { f(&a) }
#[inline(never)] fn dynamic(x: &dyn Fn(&[u8]) -> usize, y: Box<dyn Iterator<Item = (i32, &'static str)> + Send>) -> usize { x(&[1, 2]) + y.count() }
#[inline(never)] fn constants<const B: bool, const I: i8>() -> String { format!("{}{}", B, I) }
extern "C" fn external(x: i32) -> i32 { x }
#[inline(never)] fn pointers<T>(p: *const T, f: extern "C" fn(i32) -> i32) -> usize { p as usize + f as usize }
#[inline(never)] fn show<T: Display + ?Sized>(t: &T) -> String { format!("{}", t) }
fn main() {
    let mut h: HashMap<String, BTreeMap<u32, Vec<Option<(i8, char)>>>> = HashMap::new();
    h.entry("a".into()).or_default().entry(3).or_default().push(Some((1, 'c')));
    let s: Vec<Box<dyn Shape>> = vec![Box::new(Square::<3>(1.0)), Box::new(Square::<70000>(2.0))];
    println!("{} {}", Naïve(&h).größe(|m| m.len()), s.iter().map(|x| x.area()).sum::<f64>());
    println!("{} {}", s[0].name(), apply(|v: &Vec<u8>| v.len(), vec![1u8]));
    println!("{}", dynamic(&|b| b.len(), Box::new(vec![(1, "x")].into_iter())));
    println!("{} {} {}", constants::<true, -5>(), pointers::<u64>(&1, external), show("abc"));
}
`;

/** What binutils writes beyond the short form: hashes of crates, types of constants, hashes of functions. */
function shortForm(readable: string): string {
  return readable
    .replaceAll(/(?<=\p{ID_Continue})\[[0-9a-f]{1,16}\]/gu, '')
    .replace(/::h[0-9a-f]{16}$/, '')
    .replace(/\.llvm\.\d+$/, '')
    .replaceAll(/(?<=[<, ])(true|false|-?\d+): (bool|[iu](8|16|32|64|size))/g, '$1');
}

test('every symbol of a Rust program is as binutils writes it', {
  skip: missingTools('rustc', 'nm', 'c++filt'),
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-rust-'));
  try {
    const source = join(folder, 'a.rs');
    const program = join(folder, 'a');
    writeFileSync(source, PROGRAM);
    execFileSync('rustc', ['-O', '-C', 'symbol-mangling-version=v0', '-o', program, source], { stdio: 'ignore' });
    const lines = execFileSync('nm', [program], { encoding: 'utf8', maxBuffer: 1 << 28 }).split('\n');
    const all = lines.map((line) => line.slice(line.lastIndexOf(' ') + 1));
    const names = [...new Set(all.filter((name) => /^_R|17h[0-9a-f]{16}E/.test(name)))];
    assert.ok(names.filter((name) => name.startsWith('_R')).length > 50);
    const readable = execFileSync('c++filt', { input: names.join('\n'), encoding: 'utf8', maxBuffer: 1 << 28 }).split(
      '\n',
    );
    for (const [i, name] of names.entries()) {
      assert.equal(demangleRustV0(name) ?? demangleRustLegacy(name), shortForm(readable[i]), name);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a symbol goes to the demangler of its language', () => {
  const asked: string[] = [];
  const demangleCxx = (names: readonly string[]) => {
    asked.push(...names);
    return names.map((name) => (name === '_ZN2ns1fEv' ? 'ns::f()' : null));
  };
  assert.deepEqual(demangleSymbol('_ZN2ns1fEv', demangleCxx), { name: 'ns::f()', language: 'c++' });
  assert.deepEqual(demangleSymbol('_Zbroken', demangleCxx), { name: '_Zbroken', language: 'other' });
  assert.deepEqual(demangleSymbol('_RNvCs1234_7mycrate3foo', demangleCxx), { name: 'mycrate::foo', language: 'rust' });
  assert.deepEqual(demangleSymbol('main', demangleCxx), { name: 'main', language: 'other' });
  assert.deepEqual(demangleSymbol('_ZN2ns1fEv@plt', demangleCxx), { name: 'ns::f()@plt', language: 'c++' });
  assert.deepEqual(asked, ['_ZN2ns1fEv', '_Zbroken', '_ZN2ns1fEv']);
});
