// SPDX-License-Identifier: Apache-2.0
/**
 * What the runbook says of a reason beyond its sentence (packages/bpf/bpf/reasons.h) and its advice (packages/api): how to
 * see that it is the cause, and what else helps. Markdown.
 */
import type { ReasonName } from '@plumbline/bpf';

export const REASON_NOTES: Readonly<Record<ReasonName, string>> = {
  root_undefined_ra: 'A good end. Nothing to do.',
  root_zero_ra: 'A good end. Nothing to do.',
  root_entry: 'A good end. Nothing to do.',
  recovered:
    'A good end, for a price: the agent walked the rest from a copy of the stack. Where `rate(plumbline_spills_total[5m])` is high, look at the reason that would have been reported without it: `plumbline_recoveries_total` and the strategy of the node.',
  tail_call_limit:
    'Kernels before 5.17 walk stacks in at most 33 chained programs. `plumbline_strategy_info` shows which nodes use `tailCall`, the operator’s `plumbline_nodes` how many there are by kernel. The agent finishes such stacks itself unless the policy says `spill: Never`, as often as the rate of the process allows: `plumbline_spills_total{result="rate_limited"}`.',
  frame_limit:
    'The program is deeper than the policy keeps: both ends of the stack are shown, the middle is not. A depth that grows from day to day may be a recursion that ought not to be there: look at the flame graph first. The depth that would do: `histogram_quantile(0.99, sum by (le) (rate(plumbline_stack_depth_frames_bucket[1h])))` after raising it. Only the node that runs the workload pays for it, and only for stacks that are that deep.',
  step_limit:
    'Thousands of frames, more than the strategy of the node walks in one go. `plumbline_walk_steps` shows how deep walks go; the agent finishes such stacks unless the policy says `spill: Never`.',
  no_mapping:
    'The process runs code whose mapping is not known: unmapped meanwhile, remapped by hand, or new since a moment. A few after each start of a program are normal; a steady share means lost events: see [PlumblineEventsLost.md](PlumblineEventsLost.md).',
  process_unknown:
    'Short-lived processes are sampled before the agent has read what they have mapped. `plumbline_process_ready_seconds` says how long that takes. With `spill: Auto` such walks are finished later.',
  unwind_info_pending:
    'Seen for seconds after a new binary appears on a node. If it stays: `plumbline_unwind_table_age_seconds{state="pending"}` and `plumbline_executables{state="pending"}` say whether the builder is behind; give the agent CPU time.',
  no_unwind_info:
    'The most frequent one: the file was built without tables and without frame pointers, or they were stripped. `plumbline explain` names the file, its build id and the page in it; `readelf --debug-dump=frames FILE` shows what it has. Debian’s and Red Hat’s own packages have tables; the usual suspects are static binaries, vendors’ libraries, and images that ran `strip -R .eh_frame`.',
  unsupported_rule:
    'A DWARF expression or a register that the kernel side does not follow, in hand-written assembly and a few PLTs. The agent evaluates it from a copy of the stack.',
  read_fault:
    'A part of the stack was paged out, or is guarded. Frequent under memory pressure: look at `container_memory_working_set_bytes` against the limit, and at major page faults of the workload. Kernels from 6.18 on walk in task context, where paging in is possible (strategy `deferred`).',
  bad_frame:
    'A frame pointer that is none, or unwind information that does not fit the code. One file of many: that file. Many files of one image: its compiler flags. After a crash handler has run: the stack itself is damaged.',
  unknown_jit:
    'Code that a runtime makes while it runs has no tables. `plumbline_runtime_samples_total` shows which runtime it is. With frame pointers kept, walks pass through.',
  compat_32bit: 'The process is a 32-bit program on a 64-bit kernel. `file $(readlink /proc/PID/exe)` says so.',
  no_user_registers:
    'The sample landed in a system call, and this kernel gives no way to the registers with which it was entered. Seen on kernels before 5.15 only.',
  zero_ra:
    'Looks like a root but is not known as one: a coroutine library’s first frame, or a thread that a runtime starts by itself. `plumbline explain` names the function.',
  no_unwind_table:
    'The log of the agent has a line `no unwind table` for each such file, with the reason. No room: see [PlumblineUnwindTablesNearlyFull.md](PlumblineUnwindTablesNearlyFull.md).',
  stack_switched:
    'Code that changes the stack pointer to another stack (fibers, coroutines, a signal stack of its own) without saying so in its call frame information. `plumbline explain` names the function.',
  walk_lost:
    'Only with strategy `deferred`: the walk was to happen on the way back to user space, and the task did not go back.',
  no_walk_room:
    'Only with strategy `deferred`: each walk in progress takes a buffer, and walks that wait for pages of their stacks keep theirs. Look at `node_vmstat_pgmajfault` and at the memory limits of what runs there.',
  walk_outdated:
    'Only with strategy `deferred`: three times in a row the task was kept for more than a second in the middle of its walk, by a CPU limit (`container_cpu_cfs_throttled_seconds_total`) or by paging.',
  internal_error: 'A defect of Plumbline. The node goes on; the log of the agent may have more.',
  stack_body_lost:
    'The frames of a stack are sent once a minute, repetitions by name. When a record with frames was lost, those that follow cannot be resolved until the next minute: look for `ring_full` at the same time.',
  ring_full: 'The agent did not read in time. See [PlumblineSamplesLost.md](PlumblineSamplesLost.md).',
  rate_limited: 'A limit that the policy itself sets.',
  over_budget: 'See [PlumblineOverheadBudgetExceeded.md](PlumblineOverheadBudgetExceeded.md).',
  queue_full: 'See [PlumblineExportFailing.md](PlumblineExportFailing.md).',
  not_selected:
    'As it should be where no policy means the process. If one ought to: `kubectl get profpol` and its `target`; `kubectl get npc NODE -o yaml` shows the rules that reached the node.',
  own_process: 'As it should be: the agent leaves itself out, unless `agent.profileSelf` is set.',
  decimated:
    'As it should be: the node samples as often as its most frequent policy asks, and leaves out the rest for the others.',
  kernel_thread: 'As it should be: there is no user stack.',
  no_user_memory: 'As it should be: there is no user stack any more.',
  exec_in_progress: 'As it should be: there is no user stack at this moment.',
};
