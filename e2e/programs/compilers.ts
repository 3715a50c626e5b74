// SPDX-License-Identifier: Apache-2.0
/** Compilers on deeply nested input, and short-lived processes all around them. */
import { cpSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Program } from './workload.ts';

const UNTIL_THE_END = 'end=$(( $(date +%s) + SECONDS )); while [ "$(date +%s)" -lt "$end" ]; do';

/** Templates that instantiate one another 400 deep, and an expression with 600 levels of parentheses. */
function nestedCxx(): string {
  const expression = `${'(1+'.repeat(600)}x${')'.repeat(600)}`;
  return `
template <int N> struct Tower : Tower<N - 1> { static constexpr long height = Tower<N - 1>::height + N; };
template <> struct Tower<0> { static constexpr long height = 0; };
template <class T, int N> struct Nest { using type = typename Nest<Nest<T, N - 1>, N - 1>::type; };
template <class T> struct Nest<T, 0> { using type = T; };
constexpr long fold(int n) { return n == 0 ? 0 : n + fold(n - 1); }
static_assert(fold(400) == 80200);
long height() { return Tower<400>::height + sizeof(typename Nest<int, 8>::type); }
long nested(long x) { return ${expression}; }
`;
}

export const cxxCompiler: Program = {
  name: 'cc1plus',
  about: 'g++ on nested templates and expressions, one process after the other',
  needs: ['g++'],
  comm: 'cc1plus',
  prepare(directory) {
    writeFileSync(join(directory, 'nested.cc'), nestedCxx());
    return { script: `${UNTIL_THE_END} g++ -O1 -ftemplate-depth=2000 -c nested.cc -o nested.o; done` };
  },
};

/** The Go compiler on its own standard library's parser and type checker, with a cache of its own. */
export const goCompiler: Program = {
  name: 'go-compile',
  about: 'the Go compiler, a Go program, on a package of its standard library',
  needs: ['go'],
  comm: 'compile',
  prepare(directory) {
    // The build cache would end the work after the first round.
    const build = 'GOCACHE="$PWD/cache" GOFLAGS=-mod=mod go build -a -p 2 go/types encoding/json; rm -rf cache';
    return { script: `${UNTIL_THE_END} ${build}; done`, env: { HOME: directory, GOPATH: join(directory, 'go') } };
  },
};

/** The Rust compiler: deep recursion in Rust and in LLVM's C++. */
export const rustCompiler: Program = {
  name: 'rustc',
  about: 'the Rust compiler and LLVM on a fixture of this repository',
  needs: ['rustc'],
  comm: 'rustc',
  prepare(directory) {
    cpSync(resolve(import.meta.dirname, '../fixtures/src/tree.rs'), join(directory, 'tree.rs'));
    return { script: `${UNTIL_THE_END} rustc --edition=2021 -Copt-level=3 tree.rs -o tree; done` };
  },
};
