// SPDX-License-Identifier: Apache-2.0
import { freePorts } from '../cluster/free-port.ts';
import { waitUntil } from '../cluster/wait-until.ts';
import { type Program, spawnBound, WORKLOAD_SECONDS } from './workload.ts';

export const redis: Program = {
  name: 'redis',
  about: 'a server that runs commands and Lua scripts from a pipeline',
  needs: ['redis-server', 'redis-benchmark'],
  comm: 'redis-server',
  async prepare(directory) {
    const [port] = await freePorts(1);
    const client = (...args: string[]) =>
      spawnBound(['timeout', `${WORKLOAD_SECONDS}`, 'redis-benchmark', '-p', `${port}`, '-q', ...args], {
        cwd: directory,
      });
    const script = 'local s = 0 for i = 1, 200 do s = s + #redis.call("get", KEYS[1]) end return s';
    return {
      script: `exec redis-server --port ${port} --bind 127.0.0.1 --save "" --appendonly no --dir .`,
      load: async () => {
        await waitUntil('Redis to answer', async () => {
          const probe = spawnBound(['redis-cli', '-p', `${port}`, 'set', 'key', 'a value']);
          return new Promise<boolean>((resolve) => probe.on('exit', (code) => resolve(code === 0)));
        });
        const forever = ['-n', '1000000000'];
        return [
          client(...forever, '-P', '16', '-r', '10000', '-c', '4', 'zadd', 'set', '__rand_int__', 'm__rand_int__'),
          client(...forever, '-c', '4', 'eval', script, '1', 'key'),
        ];
      },
    };
  },
};
