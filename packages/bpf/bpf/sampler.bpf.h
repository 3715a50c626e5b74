/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all strategies share: a sample is begun (who, where, kernel stack), walked (unwind_native.bpf.h), and finished. Every
 * path ends in finish(), which counts its one outcome and sends the record.
 */
#ifndef PLUMBLINE_SAMPLER_H
#define PLUMBLINE_SAMPLER_H

#include "kernel_types.h"
#include "config.bpf.h"
#include "unwind_native.bpf.h"
#include "spill.bpf.h"
#include "process_events.bpf.h"

/* Counters are raised where an interrupt may come between reading and writing them. */
static __always_inline void add(__u64 *counter, __u64 count)
{
	__sync_fetch_and_add(counter, count);
}

static __always_inline __u64 wakeup_flag(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/*
 * Sends the walk's sample, with its frames unless the same stack was sent in this epoch. It counts as sent once it is in the
 * ring, so that no other sample can name it before. False: the ring is full.
 */
static __always_inline bool send_sample(struct walk *w, struct counters *c)
{
	struct sample *s = &w->sample;
	__u64 size = sizeof(*s), mark, *seen;
	__u32 at;

	s->stack_hash = (s->stack_hash ^ ((__u64)s->reason << 32 | s->generation)) * 0x9e3779b97f4a7c15ULL;
	s->stack_hash ^= s->stack_hash >> 29 ^ ((__u64)s->tgid << 24);
	at = s->stack_hash & (SEEN_STACKS - 1);
	mark = (s->stack_hash & ~0xffULL) | (stack_epoch & 0xff);
	seen = bpf_map_lookup_elem(&seen_stacks, &at);
	if (seen && *seen == mark) {
		s->type = RECORD_SAMPLE_REF;
		return bpf_ringbuf_output(&events, s, size, wakeup_flag()) == 0;
	}
	s->type = RECORD_SAMPLE;
	size += 8 * ((__u64)s->kernel_frames + s->user_frames);
	if (size > sizeof(*s) + sizeof(w->frames))
		size = sizeof(*s) + sizeof(w->frames);
	if (bpf_ringbuf_output(&events, s, size, wakeup_flag()))
		return false;
	if (seen)
		*seen = mark;
	add(&c->stacks_sent, 1);
	return true;
}

/* The one end of every sample that was begun: counts its outcome and sends it. */
static __always_inline int finish(struct walk *w, int reason)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct sample *s = &w->sample;

	if (!c)
		return 0;
	if (reason < 0 || reason >= REASON_MAX)
		reason = REASON_internal_error;
	if (reason <= REASON_root_entry) {
		s->failing_pc = 0;
		if (s->elided)
			reason = REASON_frame_limit;
	} else if (reason < REASON_ring_full && w->in_exec) {
		reason = REASON_exec_in_progress;
	}
	s->reason = reason;
	if (w->policy_flags & POLICY_SPILL && SPILL_REASONS >> reason & 1 && !(s->flags & SAMPLE_SPILLED) &&
	    spill(w->index, reason))
		s->flags |= SAMPLE_SPILLED;
	add(&c->steps, s->steps);
	add(&c->user_frames, s->user_frames + s->elided);
	add(&c->tail_calls, s->tail_calls);
	add(&c->window_reads, w->window_reads);
	add(&c->frame_pointer_steps, w->frame_pointer_steps);
	if (s->spliced) {
		add(&c->spliced_walks, 1);
		add(&c->spliced_frames, s->spliced);
	}

	if (!send_sample(w, c))
		reason = REASON_ring_full;
	if (reason == REASON_process_unknown)
		report_unknown(s->tgid, 0, 0);
	else if (reason == REASON_no_mapping || reason == REASON_unknown_jit || (reason == REASON_no_unwind_info && s->failing_pc))
		report_unknown(s->tgid, s->generation, s->failing_pc);
	add(&c->by_reason[reason], w->samples);
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
		w->sample.stack_hash = hash_frame(w->sample.stack_hash, w->frames[i]);
	}
}

/* Makes the walk a new one, of the current task and by a policy. */
static __always_inline void reset_walk(struct walk *w, __u8 strategy, __u32 policy_number, const struct policy *policy)
{
	struct sample *s = &w->sample;
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32;
	__u32 *generation = bpf_map_lookup_elem(&generations, &tgid);

	s->strategy = strategy;
	s->flags = 0;
	s->time = bpf_ktime_get_ns();
	s->stack_hash = 0;
	s->cgroup = bpf_get_current_cgroup_id();
	s->failing_pc = 0;
	s->walk = 0;
	s->tgid = tgid;
	s->tid = (__u32)id;
	s->generation = generation ? *generation : 0;
	s->cpu = bpf_get_smp_processor_id();
	s->kernel_frames = 0;
	s->policy = policy_number;
	s->user_frames = 0;
	s->steps = 0;
	s->tail_calls = 0;
	s->elided = 0;
	s->spliced = 0;
	bpf_get_current_comm(s->comm, sizeof(s->comm));
	w->samples = 1;
	w->max_frames = policy->max_frames < MAX_USER_FRAMES ? policy->max_frames : MAX_USER_FRAMES;
	w->ring = w->max_frames - w->max_frames / 2;
	w->next = 0;
	w->policy_flags = policy->flags;
	if (policy->verify && bpf_get_prandom_u32() <= policy->verify)
		w->policy_flags |= WALK_VERIFY;
	w->window_reads = 0;
	w->frame_pointer_steps = 0;
	w->candidate = CANDIDATE_UNKNOWN;
	w->candidate_sp = ~0ULL;
	w->phase = WALK_STEPS;
	w->trail_from = REMEMBER_FROM;
	w->bp_slot = 0;
	w->mapping_is_live = 0;
	w->ended = GO_ON;
	w->window_length = 0;
	w->mapping.start = 1;
	w->mapping.end = 0;
	w->mapping.kind = MAPPING_FREE;
	w->exact = 1;
	w->by_pointer = 0;
	w->in_exec = 0;
	__builtin_memset(w->saved_at, 0, sizeof(w->saved_at));
}

/*
 * Selects the sample and counts it as fired: what is not selected costs one lookup. Returns the walk, clean, or NULL
 * where the sample has already come to its end.
 */
static __always_inline struct walk *begin(__u8 strategy)
{
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *process;

	if (!c)
		return NULL;
	add(&c->fired, 1);
	if (!w) {
		add(&c->by_reason[REASON_internal_error], 1);
		return NULL;
	}
	process = bpf_map_lookup_elem(&processes, &tgid);
	__u32 policy_number = process ? process->policy : default_policy;
	struct policy *policy = policy_number ? bpf_map_lookup_elem(&policies, &policy_number) : NULL;
	if (!policy) {
		add(&c->by_reason[REASON_not_selected], 1);
		return NULL;
	}
	if (policy->keep && bpf_get_prandom_u32() >= policy->keep) {
		add(&c->by_reason[REASON_decimated], 1);
		return NULL;
	}
	w->index = cpu;
	reset_walk(w, strategy, policy_number, policy);
	return w;
}

/* System calls of x86-64, and where struct clone_args (linux/sched.h) has the address of the stack. */
#define CLONE 56
#define CLONE3 435
#define CLONE_ARGS_STACK 40

/*
 * Has this thread not run yet? clone() and clone3() return to it with 0, on the stack that it was given, where there is no
 * return address: it ends at the frame that made the call. (A process of its own has a copy of its parent's stack.)
 */
static __always_inline bool is_newborn(const struct pt_regs *regs)
{
	__u64 stack = 0;

	if (regs->rax != 0)
		return false;
	if (regs->orig_rax == CLONE)
		return regs->rsi != 0;
	if (regs->orig_rax != CLONE3)
		return false;
	return bpf_probe_read_user(&stack, sizeof(stack), (void *)regs->rdi + CLONE_ARGS_STACK) == 0 && stack != 0;
}

/* The frame that the walk has reached is the only one. */
static __always_inline int push_root(struct walk *w)
{
	int pushed = push_frame(w, w->pc);

	return pushed == GO_ON ? REASON_root_entry : pushed;
}

/* Puts the walk at the user's registers. Returns GO_ON, or how it ends there. */
static __always_inline int start_at(struct walk *w, const struct pt_regs *regs)
{
	take_registers(w, regs);
	w->sample.failing_pc = w->pc;
	if (regs->cs == USER32_CS)
		return REASON_compat_32bit;
	return is_newborn(regs) ? push_root(w) : GO_ON;
}

/* Collects what is gone after the interrupt: kernel stack, user registers. Returns GO_ON, or the reason why there is nothing to walk. */
static __always_inline int prepare(struct bpf_perf_event_data *ctx, struct walk *w)
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
	return start_at(w, regs);
}

/* What comes between prepare() and the first step. */
static __always_inline void start_walk(struct walk *w)
{
	__u32 tgid = w->sample.tgid;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);

	/* A process that is not known yet, or whose entry is of an image that is gone, is walked by the kernel's own mappings. */
	if (process && process->generation == w->sample.generation)
		w->process = *process;
	else
		w->process.count = 0;
	if (w->policy_flags & WALK_VERIFY && spill(w->index, -1))
		w->sample.flags |= SAMPLE_SPILLED;
}

/* Walks so many frames in one bpf_loop (5.17, kernel commit e6f2dd0f8067); GO_ON: there are more. */
struct loop {
	struct walk *walk;
	int result;
};

static long loop_step(__u32 index, struct loop *loop)
{
	loop->result = turn(loop->walk);
	return loop->result != GO_ON;
}

static __always_inline int walk_frames(struct walk *w, __u32 frames)
{
	struct loop loop = { .walk = w, .result = GO_ON };

	bpf_loop(frames, loop_step, &loop, 0);
	return loop.result;
}

#endif
