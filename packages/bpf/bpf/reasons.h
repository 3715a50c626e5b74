/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * THE list of what can become of a sample. Each sample that fires gets exactly one of these.
 *
 * This list feeds the BPF enum, the reason in every sample, the counters, metric labels, exported sample
 * attributes and docs/reasons.md (generated; `make check` fails on drift).
 *
 * REASON(number, name, outcome, sentence)
 *   number    stable, never reused: recorded profiles outlive a version
 *   name      snake_case, the label everywhere
 *   outcome   one of OUTCOMES below
 *   sentence  what it means to the person who reads it
 */
#ifndef PLUMBLINE_REASONS_H
#define PLUMBLINE_REASONS_H

/* OUTCOME(number, name, sentence) */
#define OUTCOMES(OUTCOME) \
	OUTCOME(0, complete, "the walk ended at a verified root") \
	OUTCOME(1, truncated, "the walk stopped before the root; the reason says why") \
	OUTCOME(2, recovered, "cut in the kernel, finished in user space") \
	OUTCOME(3, dropped, "no record of the sample reached the agent") \
	OUTCOME(4, filtered, "no policy selects the process") \
	OUTCOME(5, kernel_only, "there is no user stack to walk")

#define REASONS(REASON) \
	REASON(0, root_undefined_ra, complete, "the return address is undefined by the call frame information: a thread or process entry") \
	REASON(1, root_zero_ra, complete, "the return address is zero in a function known as a thread or process entry") \
	REASON(2, root_entry, complete, "the frame lies in the entry code of its executable, which has no caller") \
	REASON(3, recovered, recovered, "the rest of the stack was walked by the agent from a copy of the stack") \
	REASON(10, tail_call_limit, truncated, "the kernel allows no more chained tail calls; a newer kernel or the loop strategy lifts this") \
	REASON(11, frame_limit, truncated, "the stack is deeper than the policy's maxFrames: its middle was left out; raise spec.unwinding.maxFrames") \
	REASON(12, step_limit, truncated, "the stack is deeper than the kernel side walks") \
	REASON(13, no_mapping, truncated, "the address lies in no executable mapping known for the process") \
	REASON(14, process_unknown, truncated, "the process was not known yet when the sample fired") \
	REASON(15, unwind_info_pending, truncated, "the unwind table of the file was still being built") \
	REASON(16, no_unwind_info, truncated, "the file has no unwind information for the address, and its frame pointer is not usable") \
	REASON(17, unsupported_rule, truncated, "the unwind rule at the address needs an expression or a register that cannot be evaluated in the kernel") \
	REASON(18, read_fault, truncated, "stack memory could not be read: it is paged out or not mapped") \
	REASON(19, bad_frame, truncated, "the frame address does not advance towards the root") \
	REASON(20, unknown_jit, truncated, "the address lies in anonymous executable memory, and its frame pointer is not usable") \
	REASON(21, compat_32bit, truncated, "the process runs 32-bit code") \
	REASON(22, no_user_registers, truncated, "the user registers of the task could not be read") \
	REASON(23, zero_ra, truncated, "the return address is zero in a function that is not known as a root") \
	REASON(24, no_unwind_table, truncated, "the file could not be read, is malformed, or its table did not fit") \
	REASON(25, stack_switched, truncated, "the code switched stacks in a way that leaves no path to the caller") \
	REASON(26, walk_lost, truncated, "the walk was left to the task, which did not come back to user space: it ended, or still waited in a system call at the end") \
	REASON(27, internal_error, truncated, "a table in the kernel is inconsistent; please report this") \
	REASON(28, stack_body_lost, truncated, "the frames of a repeated stack are not known to the agent any more") \
	REASON(29, no_walk_room, truncated, "too many tasks were walking their stacks at once") \
	REASON(30, walk_outdated, truncated, "the task was kept from its CPU or its memory while it walked its stack, longer than tables are kept") \
	REASON(40, ring_full, dropped, "the ring buffer was full; raise its size or lower the frequency") \
	REASON(41, rate_limited, dropped, "the policy's rate limit was reached") \
	REASON(42, over_budget, dropped, "the agent was over its overhead budget") \
	REASON(43, queue_full, dropped, "the agent's export queue was full") \
	REASON(50, not_selected, filtered, "no policy selects the process") \
	REASON(51, own_process, filtered, "the sample fell into the agent itself, which is left out unless asked for") \
	REASON(52, decimated, filtered, "the policy samples less often than the node does") \
	REASON(60, kernel_thread, kernel_only, "a kernel thread") \
	REASON(61, no_user_memory, kernel_only, "a task without user memory: exiting, or a worker of the kernel's") \
	REASON(62, exec_in_progress, kernel_only, "the program is being replaced: the old stack is gone and the new program has not run yet")

#define REASON_MAX 64 /* size of the counters; every number above is below it */

/*
 * After these the agent knows more than the kernel side, or may go on where that may not: the walk is finished there, from a
 * copy of the stack (spill.bpf.h).
 */
#define SPILL_REASONS \
	(1ULL << REASON_tail_call_limit | 1ULL << REASON_step_limit | 1ULL << REASON_no_mapping | \
	 1ULL << REASON_process_unknown | 1ULL << REASON_unwind_info_pending | 1ULL << REASON_no_unwind_info | \
	 1ULL << REASON_walk_lost | 1ULL << REASON_unsupported_rule | 1ULL << REASON_bad_frame | 1ULL << REASON_no_unwind_table | \
	 1ULL << REASON_internal_error)

enum outcome {
#define OUTCOME_ENUM(number, name, sentence) OUTCOME_##name = number,
	OUTCOMES(OUTCOME_ENUM)
#undef OUTCOME_ENUM
};

enum reason {
#define REASON_ENUM(number, name, outcome, sentence) REASON_##name = number,
	REASONS(REASON_ENUM)
#undef REASON_ENUM
};

#endif
