// SPDX-License-Identifier: Apache-2.0
/** Interpreters, each in a recursion of its own language: deep stacks of the interpreter's native functions. */
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Program } from './workload.ts';

/** A program that one interpreter runs for as long as the workload lasts. */
function interpreter(name: string, about: string, command: string, source: string): Program {
  const executable = command.split(' ')[0];
  return {
    name,
    about,
    needs: [executable],
    comm: basename(executable),
    prepare(directory) {
      const file = join(directory, 'program');
      writeFileSync(file, source);
      return { script: `exec ${command} ${file}` };
    },
  };
}

/** The shell calls itself 120 functions deep, a dozen native frames each. */
export const bash = interpreter(
  'bash',
  'shell functions 120 deep',
  '/bin/bash',
  `
deadline=$(( $(date +%s) + SECONDS ))
walk() {
  local depth=$1 i
  if (( depth > 0 )); then
    if [[ $depth == *5 ]]; then walk $((depth - 1)); else { walk $((depth - 1)); }; fi
  else
    for (( i = 0; i < 3000; i++ )); do text="\${i/1/one}\${#i}"; [[ $text =~ ^[0-9]+one ]]; done
  fi
}
while (( $(date +%s) < deadline )); do walk 120; done
`,
);

export const python = interpreter(
  'python',
  'recursion through sorted(), __repr__ and json: native frames between the interpreter\u2019s',
  '/usr/bin/python3',
  `
import functools, json, os, re, sys, time
sys.setrecursionlimit(20000)
deadline = time.time() + float(os.environ["SECONDS"])

class Node:
    def __init__(self, child): self.child = child
    def __repr__(self): return "N(" + repr(self.child) + ")"
    def __lt__(self, other): return self.child < other.child

def descend(depth):
    if depth == 0:
        nested = None
        for _ in range(150): nested = Node(nested)
        return len(repr(nested)) + len(json.dumps([[1, 2.5, "x"] * 50] * 20)) + len(re.findall("(a|b)+c", "ababc" * 300))
    return sorted([depth, depth + 1], key=lambda n: descend(depth - 1) + n)[0]

while time.time() < deadline:
    descend(6)
    functools.reduce(lambda a, b: a + b, map(lambda n: n * n, range(1000)))
`,
);

export const perl = interpreter(
  'perl',
  'subroutines, sort callbacks, regular expressions with code',
  '/usr/bin/perl',
  `
use strict; use warnings; no warnings 'recursion';
my $deadline = time + $ENV{SECONDS};
sub leaf { my $text = join '', map { chr(97 + $_ % 26) } 1 .. 400; my $n = 0; $n++ while $text =~ /(?:(a.*?z)|[m-p]{2,}?)+/g; return $n }
sub compare { my $depth = shift; return leaf() if $depth == 0; my @sorted = sort { compare($depth - 1); $a <=> $b } 2, 1; return $sorted[0] }
sub descend { my $depth = shift; return $depth ? descend($depth - 1) + 1 : compare(12) }
while (time < $deadline) { descend(300) }
`,
);

/** Without PCRE's own just-in-time compiler, whose code has neither unwind information nor frame pointers. */
export const php = interpreter(
  'php',
  'closures through array_map and usort',
  '/usr/bin/php -d pcre.jit=0',
  `<?php
$deadline = time() + (int) getenv('SECONDS');
function leaf(): int {
  $words = [];
  for ($i = 0; $i < 300; $i++) $words[] = md5((string) $i);
  return strlen(preg_replace_callback('/[a-f]+/', fn($m) => strtoupper($m[0]), implode(' ', $words)));
}
function descend(int $depth): int {
  if ($depth === 0) return leaf();
  $result = array_map(fn($n) => descend($depth - 1) + $n, [$depth]);
  usort($result, fn($a, $b) => $a <=> $b);
  return $result[0];
}
while (time() < $deadline) descend(60);
`,
);

/** Native code below, generated code above: built-ins, the collector, regular expressions, JSON, compression. */
export const node = interpreter(
  'node',
  'generated code, built-ins, garbage collection, JSON, compression',
  '/usr/bin/node',
  `
const { gzipSync } = require('node:zlib');
const deadline = Date.now() + Number(process.env.SECONDS) * 1000;
function descend(depth) {
  if (depth === 0) {
    const value = JSON.parse(JSON.stringify(Array.from({ length: 300 }, (_, i) => ({ i, text: 'x'.repeat(i % 50) }))));
    return value.map((item) => item.text.replace(/x+/g, (match) => match.length)).join('').length;
  }
  return [1, 2].sort((a, b) => descend(depth - 1) && a - b).length;
}
while (Date.now() < deadline) { descend(8); gzipSync(Buffer.alloc(100000, 'plumb')); }
`,
);
