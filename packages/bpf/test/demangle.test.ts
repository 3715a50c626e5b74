// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { demangle } from '../src/index.ts';
import { fuzzRounds, fuzzSeed, mutations } from './mutate.ts';

describe('demangle', () => {
  test('names of C++ become readable, others stay null', () => {
    assert.deepEqual(
      demangle(['_ZNSt6vectorIiSaIiEE9push_backERKi', 'main', '_Z3fooILi3EEvv', '_Z', '', '_ZN3fooE', '_ZTV3Foo']),
      [
        'std::vector<int, std::allocator<int> >::push_back(int const&)',
        null,
        'void foo<3>()',
        null,
        null,
        'foo',
        'vtable for Foo',
      ],
    );
    assert.deepEqual(demangle([]), []);
    assert.throws(() => demangle('_Z3foov' as never), { name: 'TypeError' });
    assert.throws(() => demangle([5 as never]), { name: 'TypeError' });
  });

  test('a short name that stands for gigabytes is given up', () => {
    // f(A<int, int>, A<the one before, the one before>, ...): each parameter is twice as long as the one before it.
    const substitution = (n: number) => `S${n.toString(36).toUpperCase()}_`;
    const parameter = (n: number) => `S_I${substitution(n)}${substitution(n)}E`;
    const bomb = (parameters: number) =>
      `_Z1f1AIiiE${Array.from({ length: parameters }, (_, n) => parameter(n)).join('')}`;
    const lengths = [1, 2, 3, 4].map((parameters) => demangle([bomb(parameters)])[0]!.length);
    for (let i = 1; i < lengths.length; i++) assert.ok(lengths[i] > 1.7 * lengths[i - 1]);
    assert.ok(bomb(60).length < 700);
    assert.deepEqual(demangle([bomb(20), bomb(60), '_Z3foov']), [null, null, 'foo()']);
    const long = `_Z${'3foo'.repeat(5000)}v`;
    assert.deepEqual(demangle([long, '_Z3foov']), [null, 'foo()']);
  });

  test(`mutated names end in a name or in null (seed ${fuzzSeed})`, () => {
    const names = [
      '_ZNSt8__detail9_ExecutorIN9__gnu_cxx17__normal_iteratorIPKcNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEESaINS5_9sub_matchISB_EEENS5_12regex_traitsIcEELb1EE6_M_dfsENSH_11_Match_modeEl',
      '_ZZN5boost4asio6detail12task_io_serviceIRKSt4pairIKSsiEEEvvENKUlT_DpT0_E_clIiJdSsEEEDaS6_S8_',
      '_ZNK3fooIXadL_Z3barvEEE4bazzILi12EEEDTcl3quxfp_EERAT__Kc',
    ];
    for (const name of names) {
      for (const mutation of mutations(Buffer.from(name), fuzzRounds(3000))) {
        const [readable] = demangle([mutation.toString('latin1')]);
        assert.ok(readable === null || readable.length <= 16 << 10);
      }
    }
  });
});
