// SPDX-License-Identifier: Apache-2.0
/** The entry point, and the only reader of the command line, the environment and the standard streams. */
import process from 'node:process';
import { runCommandLine } from './cli/run.ts';

process.exitCode = await runCommandLine({
  argv: process.argv.slice(2),
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
});
