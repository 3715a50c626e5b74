// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy deferred: the interrupt notes what is gone after it (kernel stack, time) and leaves the walk to the task itself, on
 * its way back to user space. There the walk takes no time of an interrupt, and may wait for pages that are not in memory.
 * All samples between two moments of user space have the same user stack: they share one walk.
 *
 * To ask a task costs about as much as to walk some 30 frames (in a virtual machine more: docs/performance.md), so a walk
 * that reaches its root within frames_in_interrupt is done at once. Whatever else becomes of it there, the task walks again.
 *
 * The task is asked by bpf_task_work_schedule_resume (7.0; 6.18 has it as ..._impl with one argument more, kernel commit
 * 38aa7003e369): it comes by on its own, and system calls are not interrupted, as they are by ..._schedule_signal. Where the
 * task cannot be asked the walk is done in the interrupt.
 *
 * The kernel part of a sample and the user part that it shares are joined by the agent (samples/joiner.ts).
 */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "sampler.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Kernel's name and size; what is in it is the kernel's. */
struct bpf_task_work {
	__u64 opaque;
} __attribute__((aligned(8)));

/* Defined, for libbpf compares the kinds of types; whatever is in it. */
struct bpf_map {
	int unused;
};

typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);

#ifdef TASK_WORK_IMPL
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *work, void *map__map,
					      bpf_task_work_callback_t callback, void *aux__prog) __ksym;
#define schedule(task, work, map, callback) bpf_task_work_schedule_resume_impl(task, work, map, callback, NULL)
#else
extern int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *work, void *map__map,
					 bpf_task_work_callback_t callback) __ksym;
#define schedule(task, work, map, callback) bpf_task_work_schedule_resume(task, work, map, callback)
#endif

struct deferred_walk {
	struct bpf_task_work work;
	struct noted_walk noted;
};
_Static_assert(offsetof(struct deferred_walk, noted) == NOTED_WALK_OFFSET, "the agent reads it there");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << DEFERRED_WALKS_SHIFT);
	__type(key, __u32);
	__type(value, struct deferred_walk);
} deferred_walks SEC(".maps");

/* Frames that the interrupt walks before it leaves the walk to the task; 0: it leaves all. */
const volatile __u32 frames_in_interrupt = 32;

/* In the map walks, those behind the CPUs' own are taken for the time of one walk. */
#define MAX_SHARED_WALKS 256
const volatile __u32 first_shared_walk = 1;
const volatile __u32 shared_walks = 1;

/* Room that a walk has been using may be given to another process after this time; see GRACE_MS of session/tables.ts. */
#define MAX_WALK_NS 1000000000ULL
#define MAX_ATTEMPTS 3
/* Pages that one walk may wait for. */
#define MAX_FAULTS 256

/* A task that has not come by for so long is not waited for with more samples. */
#define MAX_WAIT_NS 1000000000ULL

/* Set when sampling has ended: walks that come later are not counted. */
__u32 walks_closed = 0;

static __always_inline struct walk *claim_walk(void)
{
	__u32 start = bpf_get_prandom_u32();

	for (__u32 i = 0; i < MAX_SHARED_WALKS; i++) {
		__u32 index = first_shared_walk + (start + i) % shared_walks;
		struct walk *w;

		if (i >= shared_walks)
			break;
		w = bpf_map_lookup_elem(&walks, &index);
		if (!w)
			break;
		if (__sync_val_compare_and_swap(&w->claimed, 0, 1) == 0) {
			w->index = index;
			return w;
		}
	}
	return NULL;
}

static __always_inline void give_back(struct walk *w)
{
	__sync_val_compare_and_swap(&w->claimed, 1, 0);
}

/* Brings the memory that a step could not read into memory. */
static __always_inline bool bring_in(struct walk *w)
{
	__u8 room[8];
	__u64 first = w->fault, last = w->fault_end - sizeof(room);

	if (!first || bpf_copy_from_user(room, sizeof(room), (void *)first))
		return false;
	return last == first || bpf_copy_from_user(room, sizeof(room), (void *)last) == 0;
}

struct deferred_loop {
	struct walk *walk;
	int result;
	__u32 faults;
};

/* One step. Where it fails for memory that is not there, the frame is taken back and the step repeated. */
static long deferred_step(__u32 index, struct deferred_loop *loop)
{
	struct walk *w = loop->walk;
	__u64 hash = w->sample.stack_hash;
	__u32 frames = w->sample.user_frames, elided = w->sample.elided, next = w->next, by_pointer = w->by_pointer;

	w->fault = 0;
	loop->result = step(w);
	if (loop->result == GO_ON)
		return 0;
	if (!w->fault || loop->faults >= MAX_FAULTS || !bring_in(w))
		return 1;
	loop->faults++;
	loop->result = GO_ON;
	w->sample.steps--;
	w->sample.stack_hash = hash;
	w->sample.user_frames = frames;
	w->sample.elided = elided;
	w->next = next;
	w->by_pointer = by_pointer;
	return 0;
}

/* Walks the stack of the current task from its user registers on. Returns the reason why the walk ended. */
static __always_inline int walk_current(struct walk *w)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pt_regs *regs = (void *)w->window; /* the window serves as room for the registers */
	struct deferred_loop loop = { .walk = w, .result = GO_ON };
	int started;

	if (bpf_probe_read_kernel(regs, sizeof(*regs), user_registers(task)) || (regs->cs & 3) != 3)
		return REASON_no_user_registers;
	started = start_at(w, regs);
	if (started != GO_ON)
		return started;
	start_walk(w);
	bpf_loop(MAX_STEPS + MAX_FAULTS, deferred_step, &loop, 0);
	return loop.result == GO_ON ? end_at_limit(w, REASON_step_limit) : loop.result;
}

/* Makes w the walk that was asked for. */
static __always_inline bool take_over(struct walk *w, const struct noted_walk *d)
{
	__u32 policy_number = d->policy;
	struct policy *policy = bpf_map_lookup_elem(&policies, &policy_number);

	if (!policy)
		return false;
	reset_walk(w, STRATEGY_DEFERRED, policy_number, policy);
	w->sample.time = d->time;
	w->sample.walk = d->time;
	w->sample.flags = SAMPLE_USER_PART;
	return true;
}

/* Where there is no walk: only why. */
static __always_inline void finish_without_walk(struct counters *c, const struct noted_walk *d, __u32 samples, int reason)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct sample s = {
		.type = RECORD_SAMPLE,
		.reason = reason,
		.strategy = STRATEGY_DEFERRED,
		.flags = SAMPLE_USER_PART,
		.time = d->time,
		.walk = d->time,
		.cgroup = bpf_get_current_cgroup_id(),
		.tgid = id >> 32,
		.tid = (__u32)id,
		.generation = d->generation,
		.policy = d->policy,
		.stack_hash = id ^ (__u64)reason << 56 ^ d->generation,
	};

	if (bpf_ringbuf_output(&events, &s, sizeof(s), wakeup_flag()))
		reason = REASON_ring_full;
	add(&c->by_reason[reason], samples);
}

/* In the task, on its way to user space. */
static int run_deferred_walk(struct bpf_map *map, void *key, void *value)
{
	struct noted_walk *d = &((struct deferred_walk *)value)->noted;
	__u64 begun = bpf_ktime_get_ns();
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 zero = 0, samples;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct walk *w = NULL;
	int result = REASON_walk_lost;

	if (c && d->samples && !walks_closed) {
		if (BPF_CORE_READ(task, mm) && !(BPF_CORE_READ(task, flags) & PF_EXITING)) {
			w = claim_walk();
			result = REASON_no_walk_room;
		}
		if (w && !take_over(w, d)) {
			give_back(w);
			w = NULL;
			result = REASON_internal_error;
		}
		if (w) {
			for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
				__u64 attempted = bpf_ktime_get_ns();

				if (w->sample.generation != d->generation) {
					result = REASON_exec_in_progress; /* another program than the one that was sampled */
					break;
				}
				result = walk_current(w);
				if (bpf_ktime_get_ns() - attempted < MAX_WALK_NS)
					break;
				result = REASON_walk_outdated;
				take_over(w, d);
			}
		}
		if (walks_closed)
			goto out;
		/* Samples that fire from here on do not join. */
		samples = __sync_lock_test_and_set(&d->samples, 0);
		add(&c->deferred_walks, 1);
		if (w) {
			w->samples = samples;
			finish(w, result);
		} else {
			finish_without_walk(c, d, samples, result);
		}
		add(&c->deferred_samples_ended, samples);
		add(&c->deferred_ns, bpf_ktime_get_ns() - begun);
	}
out:
	if (w)
		give_back(w);
	d->samples = 0;
	__sync_lock_test_and_set(&d->tid, 0);
	return 0;
}

/* The walk that the task has been asked for already, or a place for a new one (is_new). NULL: there is no place. */
static __always_inline struct deferred_walk *find_deferred_walk(__u32 tid, __u64 task_start, bool *is_new)
{
	__u32 at = (tid * 0x9e3779b1U) >> (32 - DEFERRED_WALKS_SHIFT);
	struct deferred_walk *place = NULL;

	*is_new = false;
	for (int i = 0; i < DEFERRED_PROBES; i++) {
		__u32 index = (at + i) & ((1 << DEFERRED_WALKS_SHIFT) - 1);
		struct deferred_walk *d = bpf_map_lookup_elem(&deferred_walks, &index);

		if (!d)
			return NULL;
		if (d->noted.tid == tid) {
			/* One of a task that is gone was never run. */
			*is_new = d->noted.task_start != task_start;
			return d;
		}
		if (!place && d->noted.tid == 0)
			place = d;
	}
	if (!place || __sync_val_compare_and_swap(&place->noted.tid, 0, tid) != 0)
		return NULL;
	*is_new = true;
	return place;
}

/* Leaves the walk to the task and sends the kernel part. False: it cannot be left. */
static __always_inline bool defer(struct walk *w)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct sample *s = &w->sample;
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	__u64 task_start = task->start_time;
	struct deferred_walk *place;
	struct noted_walk *d;
	bool is_new;

	if (!c || task->flags & (PF_EXITING | PF_USER_WORKER))
		return false;
	place = find_deferred_walk(s->tid, task_start, &is_new);
	if (!place)
		return false;
	d = &place->noted;
	if (is_new) {
		d->task_start = task_start;
		d->time = s->time;
		d->samples = 0;
		d->generation = s->generation;
		d->policy = s->policy;
		d->pc = w->leaf_pc;
		__builtin_memcpy(d->registers, w->leaf_regs, sizeof(d->registers));
		/* It cannot run before this interrupt is over. */
		if (schedule(task, &place->work, &deferred_walks, run_deferred_walk)) {
			__sync_lock_test_and_set(&d->tid, 0);
			return false;
		}
	} else if (!d->samples || s->time - d->time > MAX_WAIT_NS) {
		return false;
	}
	s->walk = d->time;
	s->flags |= SAMPLE_KERNEL_PART;
	s->reason = REASON_walk_lost; /* what it is if the walk never comes */
	if (send_sample(w, c)) {
		d->samples++;
		add(&c->deferred_samples, 1);
	} else {
		add(&c->by_reason[REASON_ring_full], 1);
	}
	return true;
}

SEC("perf_event")
int sample_deferred(struct bpf_perf_event_data *ctx)
{
	__u32 zero = 0, frames, elided;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct walk *w = begin(STRATEGY_DEFERRED);
	bool is_begun = false;
	__u64 kernel_hash, hash;
	int result;

	if (!w || !c)
		return 0;
	result = prepare(ctx, w);
	if (result != GO_ON)
		return finish(w, result);
	kernel_hash = w->sample.stack_hash;
	w->leaf_pc = w->pc;
	__builtin_memcpy(w->leaf_regs, w->regs, sizeof(w->leaf_regs));
	if (frames_in_interrupt && !(w->policy_flags & WALK_VERIFY)) {
		is_begun = true;
		start_walk(w);
		result = walk_frames(w, frames_in_interrupt);
		if (result != GO_ON && result <= REASON_root_entry)
			return finish(w, result);
	}
	/* Without the frames walked so far: they are of the user part. */
	frames = w->sample.user_frames;
	elided = w->sample.elided;
	hash = w->sample.stack_hash;
	w->sample.user_frames = 0;
	w->sample.elided = 0;
	w->sample.stack_hash = kernel_hash;
	if (defer(w))
		return 0;
	add(&c->deferred_refused, 1);
	w->sample.user_frames = frames;
	w->sample.elided = elided;
	w->sample.stack_hash = hash;
	if (!is_begun)
		start_walk(w);
	if (result == GO_ON)
		result = walk_frames(w, MAX_STEPS);
	return finish(w, result == GO_ON ? end_at_limit(w, REASON_step_limit) : result);
}
