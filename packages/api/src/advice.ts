// SPDX-License-Identifier: Apache-2.0
/**
 * What to do about each reason for which stacks are cut or lost. What a reason means stands in packages/bpf/bpf/reasons.h; a
 * test of the agent holds the two lists together. Used by conditions, `plumbline explain` and the agent's page.
 */

/** Where the cause lies, and so what to name: the file, the process, a policy's limit, the kernel, the node, or a defect. */
export type Concern = 'file' | 'process' | 'policy' | 'kernel' | 'node' | 'defect';

export interface Advice {
  readonly concern: Concern;
  /** In the imperative, for people, without a full stop. */
  readonly todo: string;
  /** Names of kernel features (packages/bpf/src/features.ts) any of which lifts it where the kernel lacks them. */
  readonly features?: readonly string[];
}

export const ADVICE: Readonly<Record<string, Advice>> = {
  tail_call_limit: {
    concern: 'kernel',
    todo: 'set spec.unwinding.strategy to Auto, and spill to Auto, so that the agent finishes what the kernel may not walk',
    features: ['loop'],
  },
  frame_limit: {
    concern: 'policy',
    todo: 'raise spec.unwinding.maxFrames of the policy (at most 4096)',
  },
  step_limit: { concern: 'policy', todo: 'set spec.unwinding.spill to Auto, so that the agent walks the rest' },
  no_mapping: {
    concern: 'process',
    todo: 'look at what the process maps and unmaps: code that it runs was unmapped, or is hidden from the agent',
    features: ['findVma'],
  },
  process_unknown: {
    concern: 'process',
    todo: 'nothing, where processes are short-lived; else look for lost process events (plumbline_process_events_lost_total)',
  },
  unwind_info_pending: {
    concern: 'file',
    todo: 'wait: it ends when the table of the file is built; see plumbline_unwind_table_build_seconds where it lasts',
  },
  no_unwind_info: {
    concern: 'file',
    todo: 'build the file with -fasynchronous-unwind-tables, or with -fno-omit-frame-pointer, and do not strip .eh_frame',
  },
  unsupported_rule: {
    concern: 'file',
    todo: 'set spec.unwinding.spill to Auto, so that the agent evaluates the rule from a copy of the stack',
  },
  read_fault: {
    concern: 'process',
    todo: 'give the workload memory enough that its stacks are not paged out',
    features: ['taskWork'],
  },
  bad_frame: {
    concern: 'file',
    todo: 'build the file with -fasynchronous-unwind-tables: its unwind information or frame pointers lead nowhere',
  },
  unknown_jit: {
    concern: 'process',
    todo: 'let the runtime keep frame pointers (JVM: -XX:+PreserveFramePointer; Node.js does by itself); one that cannot, such as QEMU, is not walked',
  },
  compat_32bit: { concern: 'process', todo: 'run a 64-bit build of the program: 32-bit stacks are not walked' },
  no_user_registers: {
    concern: 'kernel',
    todo: 'upgrade the kernel of the node',
    features: ['taskPtRegs'],
  },
  zero_ra: {
    concern: 'file',
    todo: 'report the function if it is where threads of the program begin; else the stack was overwritten',
  },
  no_unwind_table: {
    concern: 'file',
    todo: 'read in the agent’s log why the file has no table: not readable, malformed, or no room (plumbline_table_entries)',
  },
  stack_switched: {
    concern: 'file',
    todo: 'annotate the code that switches stacks with call frame information that leads to the caller',
  },
  walk_lost: { concern: 'process', todo: 'nothing: the task ended before its stack could be walked' },
  no_walk_room: { concern: 'node', todo: 'lower the memory pressure: walks wait for stacks to be paged in' },
  walk_outdated: {
    concern: 'node',
    todo: 'lower the pressure on CPU or memory: tasks are kept from walking their stacks',
  },
  internal_error: { concern: 'defect', todo: 'report it, with the output of plumbline doctor' },
  stack_body_lost: {
    concern: 'node',
    todo: 'report it where it lasts; it may happen once when the agent was restarted',
  },
  ring_full: { concern: 'node', todo: 'lower spec.sampling.frequencyHz, or give the agent more CPU time' },
  rate_limited: { concern: 'policy', todo: 'raise the rate limit of the policy' },
  over_budget: { concern: 'policy', todo: 'raise spec.budget.cpuPercentOfNode, or lower spec.sampling.frequencyHz' },
  queue_full: { concern: 'node', todo: 'look at the receiver of the profiles: it takes them too slowly' },
};
