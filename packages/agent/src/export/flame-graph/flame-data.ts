// SPDX-License-Identifier: Apache-2.0

/**
 * What a flame graph page shows, as JSON: written by `flame-tree.ts`, read by the script in `browser/`.
 * Stacks are trees of frames, one tree per process.
 */
export interface FlameData {
  title: string;
  /** Facts for the head of the page, in order: duration, frequency, host… */
  facts: { name: string; value: string }[];
  /** What the values count: `samples`. */
  unit: string;
  /** Every distinct frame once; column by column. */
  frames: {
    label: string[];
    /** Index into `kinds`. */
    kind: number[];
    /** Index into `modules`: the file that holds the code. */
    module: number[];
    /** Source file, or '' when not known. */
    source: string[];
    /** 1: the compiler copied this function into its caller. */
    inlined: number[];
  };
  kinds: string[];
  modules: string[];
  processes: FlameProcess[];
  outcomes: FlameOutcome[];
}

export interface FlameProcess {
  /** Short name of the program. */
  name: string;
  pid: number | undefined;
  /** Pod and container, or '' outside of containers. */
  container: string;
  total: number;
  /** Of `total`, samples whose stack was cut. */
  truncated: number;
  /** Frames of the deepest stack. */
  deepest: number;
  /** The tree in depth-first order, column by column: depth of each node (outermost frame 0), frame, self value. */
  depths: number[];
  nodes: number[];
  selves: number[];
}

export interface FlameOutcome {
  outcome: string;
  reason: string;
  /** What the reason means to a person; may be ''. */
  sentence: string;
  count: number;
}

/** Kind of the root frame under which cut stacks hang. */
export const TRUNCATED_KIND = 'truncated';
