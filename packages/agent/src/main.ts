// SPDX-License-Identifier: Apache-2.0
/** The entry point, and the only reader of the command line, the environment and the standard streams. */
import process from 'node:process';
import { reportError, runCommandLine } from './cli/run.ts';

const line = { argv: process.argv.slice(2), env: process.env, stdout: process.stdout, stderr: process.stderr };

// A defect ends the program with one line, not with a page of its sources.
process.on('uncaughtException', (error) => process.exit(reportError(error, line)));
// Whoever reads our output may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

const code = await runCommandLine(line);
// What was written is handed over before the program ends, and nothing that a command has left behind holds it up.
for (const stream of [process.stdout, process.stderr]) await new Promise((resolve) => stream.write('', resolve));
process.exit(code);
