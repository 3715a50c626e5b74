// SPDX-License-Identifier: Apache-2.0
import { native } from './native.ts';

/**
 * Gives back to the kernel what this process keeps without using it: free memory between what the C library has handed
 * out, which it returns from the end of its heap alone, and code of files that has been run and may never be again (of
 * Node.js some 30 MiB after its start). Code that is run again comes from the page cache. Takes some milliseconds.
 */
export function releaseMemory(): void {
  native().releaseMemory();
}
