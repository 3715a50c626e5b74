// SPDX-License-Identifier: Apache-2.0
/** An explanation for people: lines of text, for a terminal or a page. Pure. */
import type { Cause, CauseFile, Explanation } from './explanation.ts';

export type Emphasis = 'bold' | 'red' | 'green' | 'yellow' | 'dim';
/** Marks text; by default it is left as it is. */
export type Emphasize = (emphasis: Emphasis, text: string) => string;

const plain: Emphasize = (_, text) => text;

/** Below this share a cause is only named. */
const MINOR = 0.0005;

/** @param what the samples are of: `all processes`, `shop/api` */
export function explanationLines(explanation: Explanation, what: string, emphasize = plain): string[] {
  const { samples, truncated, recovered, truncatedRatio, causes, lost, strategy, kernel } = explanation;
  if (samples === 0) return [`No user stacks of ${what} were sampled.`, ...lostLines(explanation)];
  const head =
    `${emphasize('bold', what)}: ${grouped(truncated)} of ${grouped(samples)} user stacks are cut ` +
    `(${emphasize(truncated === 0 ? 'green' : truncatedRatio > 0.01 ? 'red' : 'yellow', percent(truncatedRatio))})` +
    `${recovered > 0 ? `, ${grouped(recovered)} were finished by the agent` : ''}; strategy ${strategy}, Linux ${kernel}`;
  const lines = [head];
  const minor = causes.filter(({ share }) => share < MINOR && causes.length > 1);
  const major = causes.filter((cause) => !minor.includes(cause));
  for (const [index, cause] of major.entries()) lines.push('', ...causeLines(cause, index + 1, emphasize));
  if (minor.length > 0)
    lines.push('', `Rarely also: ${minor.map(({ reason, samples: n }) => `${reason} (${grouped(n)})`).join(', ')}.`);
  if (truncated === 0 && lost.length === 0) lines.push('Nothing to do: every stack reaches its root.');
  return [...lines, ...lostLines(explanation)];
}

/** The most frequent cause in one line: for heads of pages and status messages. Undefined where nothing is cut. */
export function explanationSummary({ causes, truncatedRatio }: Explanation): string | undefined {
  const [first] = causes;
  if (!first) return undefined;
  const [file] = first.files;
  const where = first.concern === 'file' && file ? ` in ${fileName(file)}` : '';
  const also = causes.length > 1 ? `, and ${causes.length - 1} more reason${causes.length > 2 ? 's' : ''}` : '';
  return `${percent(truncatedRatio)} of user stacks are cut, mostly for ${first.reason}${where}${also}: ${adviceOf(first)}`;
}

function causeLines(cause: Cause, number: number, emphasize: Emphasize): string[] {
  const { reason, samples, share, meaning } = cause;
  const lines = [
    `${number}. ${emphasize('bold', reason)}: ${samplesText(samples)}, ${percent(share)} of all. ${sentence(meaningAlone(meaning))}`,
    `   ${emphasize('green', '→')} ${sentence(adviceOf(cause))}`,
  ];
  for (const limit of cause.newerKernel)
    lines.push(
      `   ${emphasize('green', '→')} Linux ${limit.since} or newer lifts it (this kernel lacks ${limit.feature}).`,
    );
  // Where a limit or the kernel cuts, it cuts anywhere.
  if (cause.concern === 'file' || cause.concern === 'defect')
    for (const file of cause.files) lines.push(`   ${fileLine(file, emphasize)}`);
  lines.push(...processLines(cause, emphasize));
  return lines;
}

/** The advice of a cause, with the limit in force where a limit cuts; without a full stop. */
export function adviceOf({ reason, advice, policies, newerKernel }: Cause): string {
  const [policy] = policies;
  if (reason === 'frame_limit' && policy) {
    if (policy.name === '') return `raise --max-frames, which is ${policy.maxFrames} (at most 4096)`;
    return `raise spec.unwinding.maxFrames of ${policies.map(({ name, maxFrames }) => `policy ${name} (${maxFrames})`).join(', ')}; at most 4096`;
  }
  // The kernel has what it takes, so somebody has asked for less.
  if (reason === 'tail_call_limit' && newerKernel.length === 0)
    return 'set spec.unwinding.strategy to Auto: this kernel walks without tail calls';
  if (/spill to Auto/.test(advice)) {
    const never = policies.filter(({ spill }) => spill === 'Never').map(({ name }) => name);
    if (never.length > 0) return `${advice}; now Never in ${never.join(', ')}`;
    if (newerKernel.length > 0)
      return 'upgrade the kernel of the node; the agent could not finish these from copies of their stacks';
    return 'nothing to set: the agent could not finish these from copies of their stacks, see plumbline_recoveries_total for why';
  }
  return advice || 'report it, with the output of plumbline doctor';
}

function fileLine(file: CauseFile, emphasize: Emphasize): string {
  const details = [
    file.pages.length > 0 ? `page${file.pages.length > 1 ? 's' : ''} ${file.pages.join(', ')}` : '',
    file.functions.length > 0 ? `in ${file.functions.slice(0, 3).join(', ')}` : '',
  ].filter(Boolean);
  return `${fileName(file)}: ${samplesText(file.samples)}${emphasize('dim', details.map((text) => `; ${text}`).join(''))}`;
}

function fileName({ path, buildId }: CauseFile): string {
  return `${path} (${buildId === '' ? 'no build id' : `build id ${buildId}`})`;
}

function processLines({ processes, concern }: Cause, emphasize: Emphasize): string[] {
  if (processes.length === 0) return [];
  const shown = concern === 'process' ? processes : processes.slice(0, 3);
  const text = shown
    .map(({ workload, program, pid, samples }) => {
      const name = workload === program ? program : `${workload}: ${program}`;
      return `${name} (pid ${pid}, ${grouped(samples)})`;
    })
    .join('; ');
  return [`   ${concern === 'process' ? text : emphasize('dim', `by ${text}`)}`];
}

function lostLines({ lost }: Explanation): string[] {
  return lost.map(({ reason, samples, advice }) => `Lost: ${samplesText(samples)} for ${reason}. ${sentence(advice)}`);
}

/** Some reasons come with advice, which is said apart. */
function meaningAlone(meaning: string): string {
  return meaning.split('; ')[0];
}

function samplesText(count: number): string {
  return `${grouped(count)} sample${count === 1 ? '' : 's'}`;
}

function sentence(text: string): string {
  return text === '' ? '' : `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function percent(share: number): string {
  if (share > 0 && share < 0.0005) return '<0.1 %';
  return `${(share * 100).toFixed(1)} %`;
}

function grouped(count: number): string {
  return String(count).replace(/\B(?=([0-9]{3})+(?![0-9]))/g, ',');
}
