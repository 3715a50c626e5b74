// SPDX-License-Identifier: Apache-2.0
/** `make cluster-down`: removes every trace of `make cluster`, and of tests that were killed. */
import { existsSync } from 'node:fs';
import { removeCluster, removeLeftovers } from './cluster.ts';
import { PLAYGROUND } from './playground.ts';

const found = existsSync(PLAYGROUND.directory);
await removeCluster(PLAYGROUND.directory);
const leftovers = await removeLeftovers();
const removed = [...(found ? [PLAYGROUND.directory] : []), ...leftovers];
process.stderr.write(removed.length > 0 ? `removed ${removed.join(', ')}\n` : 'there was none\n');
