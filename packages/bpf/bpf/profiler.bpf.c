// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sampler: one program per strategy, fired by a perf event on each CPU. A sample is begun (who, where, kernel
 * stack), walked (unwind_native.bpf.h), and finished: every path ends in finish(), which counts its one outcome and
 * sends the record.
 */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "kernel_types.h"
#include "config.bpf.h"
#include "unwind_native.bpf.h"
#include "spill.bpf.h"
#include "process_events.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Has this stack been sent in this epoch? If not, it is taken to be from now on; send_failed() takes that back. */
static __always_inline bool seen_before(__u64 hash, __u64 **entry)
{
	__u32 at = hash & (SEEN_STACKS - 1);
	__u64 mark = (hash & ~0xffULL) | (stack_epoch & 0xff);

	*entry = bpf_map_lookup_elem(&seen_stacks, &at);
	if (!*entry)
		return false;
	if (**entry == mark)
		return true;
	**entry = mark;
	return false;
}

static __always_inline __u64 wakeup_flag(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* The one end of every sample that was begun: counts its outcome and sends it. */
static __always_inline int finish(struct walk *w, int reason)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct sample *s = &w->sample;
	__u64 *seen = NULL;
	__u64 size;

	if (!c)
		return 0;
	if (reason < 0 || reason >= REASON_MAX)
		reason = REASON_internal_error;
	if (reason <= REASON_root_entry)
		s->failing_pc = 0;
	else if (reason < REASON_ring_full && w->in_exec)
		reason = REASON_exec_in_progress;
	s->reason = reason;
	if (w->policy_flags & POLICY_SPILL && SPILL_REASONS >> reason & 1 && !(s->flags & SAMPLE_SPILLED) &&
	    spill(s->cpu, reason))
		s->flags |= SAMPLE_SPILLED;
	s->stack_hash = (s->stack_hash ^ ((__u64)reason << 32 | s->generation)) * 0x9e3779b97f4a7c15ULL;
	s->stack_hash ^= s->stack_hash >> 29 ^ ((__u64)s->tgid << 24);
	c->steps += s->steps;
	c->user_frames += s->user_frames;
	c->tail_calls += s->tail_calls;
	c->window_reads += w->window_reads;
	c->frame_pointer_steps += w->frame_pointer_steps;

	if (seen_before(s->stack_hash, &seen)) {
		s->type = RECORD_SAMPLE_REF;
		size = sizeof(*s);
	} else {
		s->type = RECORD_SAMPLE;
		size = sizeof(*s) + 8 * ((__u64)s->kernel_frames + s->user_frames);
		if (size > sizeof(*s) + sizeof(w->frames))
			size = sizeof(*s) + sizeof(w->frames);
	}
	if (bpf_ringbuf_output(&events, s, size, wakeup_flag())) {
		if (s->type == RECORD_SAMPLE && seen)
			*seen = 0;
		reason = REASON_ring_full;
	} else if (s->type == RECORD_SAMPLE) {
		c->stacks_sent++;
	}
	if (reason == REASON_process_unknown)
		report_unknown(s->tgid, 0, 0);
	else if (reason == REASON_no_mapping || reason == REASON_unknown_jit || (reason == REASON_no_unwind_info && s->failing_pc))
		report_unknown(s->tgid, s->generation, s->failing_pc);
	c->by_reason[reason]++;
	return 0;
}

/* Where the user registers of a task lie that was interrupted in the kernel. */
static __always_inline void *user_registers(struct task_struct *task)
{
	if (has_task_pt_regs)
		return (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
	void *stack = BPF_CORE_READ(task, stack);
	return stack ? stack + kernel_stack_size - sizeof(struct pt_regs) : NULL;
}

/* Starts the walk at these registers. */
static __always_inline void take_registers(struct walk *w, const struct pt_regs *regs)
{
	w->regs[REG_RAX] = regs->rax;
	w->regs[REG_RDX] = regs->rdx;
	w->regs[REG_RCX] = regs->rcx;
	w->regs[REG_RBX] = regs->rbx;
	w->regs[REG_RSI] = regs->rsi;
	w->regs[REG_RDI] = regs->rdi;
	w->regs[REG_RBP] = regs->rbp;
	w->regs[REG_RSP] = regs->rsp;
	w->regs[REG_R8] = regs->r8;
	w->regs[REG_R9] = regs->r9;
	w->regs[REG_R10] = regs->r10;
	w->regs[REG_R11] = regs->r11;
	w->regs[REG_R12] = regs->r12;
	w->regs[REG_R13] = regs->r13;
	w->regs[REG_R14] = regs->r14;
	w->regs[REG_R15] = regs->r15;
	w->pc = regs->rip;
	w->sp = regs->rsp;
	w->bp = regs->rbp;
}

/* The kernel part of the stack, leaf first. */
static __always_inline void take_kernel_stack(struct bpf_perf_event_data *ctx, struct walk *w)
{
	long bytes = bpf_get_stack(ctx, w->frames, 8 * MAX_KERNEL_FRAMES, 0);

	if (bytes <= 0)
		return;
	__u32 frames = bytes / 8;
	if (frames > MAX_KERNEL_FRAMES)
		frames = MAX_KERNEL_FRAMES;
	w->sample.kernel_frames = frames;
	if (frames == MAX_KERNEL_FRAMES)
		w->sample.flags |= SAMPLE_KERNEL_CLIPPED;
	for (__u32 i = 0; i < MAX_KERNEL_FRAMES; i++) {
		if (i >= frames)
			break;
		w->sample.stack_hash = (w->sample.stack_hash ^ w->frames[i]) * 0x9e3779b97f4a7c15ULL;
		w->sample.stack_hash ^= w->sample.stack_hash >> 32;
	}
}

/*
 * Selects the sample and counts it as fired: what is not selected costs one lookup. Returns the walk, clean, or NULL
 * where the sample has already come to its end.
 */
static __always_inline struct walk *begin(__u8 strategy, struct process **process)
{
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32, *generation;

	if (!c)
		return NULL;
	c->fired++;
	if (!w) {
		c->by_reason[REASON_internal_error]++;
		return NULL;
	}
	*process = bpf_map_lookup_elem(&processes, &tgid);
	__u32 policy_number = *process ? (*process)->policy : default_policy;
	struct policy *policy = policy_number ? bpf_map_lookup_elem(&policies, &policy_number) : NULL;
	if (!policy) {
		c->by_reason[REASON_not_selected]++;
		return NULL;
	}
	if (policy->keep && bpf_get_prandom_u32() >= policy->keep) {
		c->by_reason[REASON_decimated]++;
		return NULL;
	}

	struct sample *s = &w->sample;
	s->strategy = strategy;
	s->flags = 0;
	s->time = bpf_ktime_get_ns();
	s->stack_hash = 0;
	s->cgroup = bpf_get_current_cgroup_id();
	s->failing_pc = 0;
	s->tgid = tgid;
	s->tid = (__u32)id;
	s->cpu = cpu;
	s->kernel_frames = 0;
	s->policy = policy_number;
	s->user_frames = 0;
	s->steps = 0;
	s->tail_calls = 0;
	generation = bpf_map_lookup_elem(&generations, &tgid);
	s->generation = generation ? *generation : 0;
	bpf_get_current_comm(s->comm, sizeof(s->comm));
	w->max_frames = policy->max_frames;
	w->policy_flags = policy->flags;
	if (policy->verify && bpf_get_prandom_u32() <= policy->verify)
		w->policy_flags |= WALK_VERIFY;
	w->window_reads = 0;
	w->frame_pointer_steps = 0;
	w->window_length = 0;
	w->mapping.start = 1;
	w->mapping.end = 0;
	w->mapping.kind = MAPPING_FREE;
	w->exact = 1;
	w->by_pointer = 0;
	w->in_exec = 0;
	__builtin_memset(w->saved_at, 0, sizeof(w->saved_at));
	return w;
}

/* Collects what the walk starts from: kernel stack, user registers, process. Returns GO_ON, or the reason why there is nothing to walk. */
static __always_inline int prepare(struct bpf_perf_event_data *ctx, struct walk *w, struct process *process)
{
	struct pt_regs *regs = (void *)w->window; /* the window serves as room for the registers */

	if ((ctx->regs.cs & 3) == 3) {
		/* Word by word at constant offsets: the verifier lets nothing else be done with the context. */
#pragma unroll
		for (int i = 0; i < sizeof(*regs) / 8; i++)
			((__u64 *)regs)[i] = ((volatile __u64 *)&ctx->regs)[i];
	} else {
		struct task_struct *task = (void *)bpf_get_current_task();
		__u32 flags = BPF_CORE_READ(task, flags);

		w->in_exec = BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
		w->sample.flags |= SAMPLE_IN_KERNEL;
		if (w->policy_flags & POLICY_KERNEL_STACK)
			take_kernel_stack(ctx, w);
		if (flags & PF_KTHREAD)
			return REASON_kernel_thread;
		if (flags & PF_IO_WORKER || !BPF_CORE_READ(task, mm))
			return REASON_no_user_memory;
		if (bpf_probe_read_kernel(regs, sizeof(*regs), user_registers(task)) || (regs->cs & 3) != 3)
			return REASON_no_user_registers;
	}
	take_registers(w, regs);
	w->sample.failing_pc = w->pc;
	if (regs->cs == USER32_CS)
		return REASON_compat_32bit;
	/* A process that is not known yet, or whose entry is of an image that is gone, is walked by the kernel's own mappings. */
	if (process && process->generation == w->sample.generation)
		w->process = *process;
	else
		w->process.count = 0;
	if (w->policy_flags & WALK_VERIFY && spill(w->sample.cpu, -1))
		w->sample.flags |= SAMPLE_SPILLED;
	return GO_ON;
}

/*
 * Strategy tailCall: walks frames_per_program frames, then calls itself until the kernel's limit. Needs 5.10.
 *
 * The step is a function of its own (not static), so that the verifier walks it once for all arguments and not once per
 * frame: a program's frames are then bounded by the length of the loop alone. Such a function takes only numbers on 5.10.
 */
#define MAX_FRAMES_PER_PROGRAM 256

__noinline int step_of_cpu(__u32 cpu)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? step(w) : REASON_internal_error;
}

static __always_inline int walk_and_call(struct bpf_perf_event_data *ctx, struct walk *w)
{
	for (__u32 i = 0; i < MAX_FRAMES_PER_PROGRAM; i++) {
		int result;

		if (i >= frames_per_program)
			break;
		result = step_of_cpu(w->sample.cpu);
		if (result != GO_ON)
			return finish(w, result);
	}
	w->sample.tail_calls++;
	bpf_tail_call(ctx, &tail_calls, 0);
	/* Still here: the kernel allows no more calls. A walk that ends with its last call never comes here. */
	w->sample.tail_calls--;
	w->sample.failing_pc = w->pc;
	return finish(w, REASON_tail_call_limit);
}

SEC("perf_event")
int sample_tail_call(struct bpf_perf_event_data *ctx)
{
	struct process *process = NULL;
	struct walk *w = begin(STRATEGY_TAIL_CALL, &process);
	int result;

	if (!w)
		return 0;
	result = prepare(ctx, w, process);
	if (result == GO_ON) {
		bpf_tail_call(ctx, &tail_calls, 0);
		result = REASON_internal_error;
	}
	return finish(w, result);
}

SEC("perf_event")
int walk_tail_call(struct bpf_perf_event_data *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? walk_and_call(ctx, w) : 0;
}

/* Strategy loop: one bpf_loop over the same step. Needs 5.17 (kernel commit e6f2dd0f8067). */
struct loop {
	struct walk *walk;
	int result;
};

static long loop_step(__u32 index, struct loop *loop)
{
	loop->result = step(loop->walk);
	return loop->result != GO_ON;
}

SEC("perf_event")
int sample_loop(struct bpf_perf_event_data *ctx)
{
	struct process *process = NULL;
	struct walk *w = begin(STRATEGY_LOOP, &process);
	struct loop loop = { .walk = w };

	if (!w)
		return 0;
	loop.result = prepare(ctx, w, process);
	if (loop.result == GO_ON) {
		bpf_loop(MAX_USER_FRAMES + 1, loop_step, &loop, 0);
		if (loop.result == GO_ON)
			loop.result = REASON_record_full;
	}
	return finish(w, loop.result);
}
