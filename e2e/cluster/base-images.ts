// SPDX-License-Identifier: Apache-2.0
/** The images that every node of the test cluster has: the pods' sandbox and busybox. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeOciImage } from './oci-image.ts';
import { cacheDirectory } from './tools.ts';

/** Archives of the sandbox image and of `localhost/busybox:1`, written once per machine. */
export async function baseImages(busybox: string): Promise<string[]> {
  const directory = join(cacheDirectory, 'images');
  const images = { 'pause:1': ['/bin/sleep', '2147483647'], 'busybox:1': ['/bin/sh'] };
  const archives: string[] = [];
  mkdirSync(directory, { recursive: true });
  for (const [name, entrypoint] of Object.entries(images)) {
    const archive = join(directory, `${name.replace(':', '-')}.tar`);
    archives.push(archive);
    if (existsSync(archive)) continue;
    const rootfs = mkdtempSync(`${archive}.`);
    try {
      for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) mkdirSync(join(rootfs, folder));
      writeFileSync(join(rootfs, 'bin', 'busybox'), readFileSync(busybox), { mode: 0o755 });
      const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');
      for (const applet of applets) if (applet !== 'busybox') symlinkSync('busybox', join(rootfs, 'bin', applet));
      writeFileSync(join(rootfs, 'etc', 'passwd'), 'root:x:0:0::/:/bin/sh\n');
      await writeOciImage({ reference: `localhost/${name}`, rootfs, entrypoint }, archive);
    } finally {
      rmSync(rootfs, { recursive: true });
    }
  }
  return archives;
}
