// SPDX-License-Identifier: Apache-2.0
import type { Program } from './workload.ts';

/** Hand-written assembler with unwind information by expression, on registers other than rsp and rbp, or in AVX frames. */
export const openssl: Program = {
  name: 'openssl',
  about: 'ciphers, hashes, elliptic curves and RSA in hand-written assembler',
  needs: ['openssl'],
  comm: 'openssl',
  prepare() {
    const algorithms =
      'aes-128-gcm aes-256-cbc chacha20-poly1305 sha1 sha256 sha512 ecdsap256 ecdhx25519 rsa2048 ghash';
    const round = algorithms
      .split(' ')
      .map((name) => `openssl speed -seconds 1 -bytes 4096 -evp ${name} || openssl speed -seconds 1 ${name}`);
    return {
      script: `end=$(( $(date +%s) + SECONDS )); while [ "$(date +%s)" -lt "$end" ]; do ${round.join('; ')}; done`,
    };
  },
};
