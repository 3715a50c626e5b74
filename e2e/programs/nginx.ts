// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../cluster/free-port.ts';
import { waitUntil } from '../cluster/wait-until.ts';
import { type Program, spawnBound, WORKLOAD_SECONDS } from './workload.ts';

export const nginx: Program = {
  name: 'nginx',
  about: 'two workers that compress, rewrite and proxy, under load',
  needs: ['nginx', 'wrk'],
  comm: 'nginx',
  async prepare(directory) {
    const [port, backend] = await freePorts(2);
    chmodSync(directory, 0o755);
    mkdirSync(join(directory, 'html'));
    writeFileSync(join(directory, 'html/page.html'), `<p>${randomBytes(6000).toString('hex')}</p>`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const configuration = `
daemon off; worker_processes 2; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off; types { text/html html; }
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')}
  gzip on; gzip_comp_level 4; gzip_types text/html; gzip_proxied any;
  server {
    listen 127.0.0.1:${port};
    location ~ ^/v[0-9]+/(.*)$ { proxy_pass http://127.0.0.1:${backend}/$1; proxy_http_version 1.1; }
  }
  server { listen 127.0.0.1:${backend}; root ${directory}/html; sub_filter '<p>' '<p class="x">'; }
}
`;
    writeFileSync(join(directory, 'nginx.conf'), configuration);
    const url = `http://127.0.0.1:${port}/v1/page.html`;
    return {
      script: `exec nginx -p ${directory} -c ${directory}/nginx.conf`,
      endSignal: 'SIGTERM',
      load: async () => {
        await waitUntil('nginx to answer', async () => (await fetch(url)).ok);
        const options = ['-t1', '-c8', `-d${WORKLOAD_SECONDS}s`, '-H', 'Accept-Encoding: gzip'];
        return [spawnBound(['wrk', ...options, url], { cwd: directory })];
      },
    };
  },
};
