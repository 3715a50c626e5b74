/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of processes, at once and in the order of the samples: a child is walked with its parent's mappings, and
 * nothing is walked with the mappings of an image that exec has replaced. Raw tracepoints need neither tracefs nor kprobes.
 */
#ifndef PLUMBLINE_PROCESS_EVENTS_H
#define PLUMBLINE_PROCESS_EVENTS_H

#include "maps.bpf.h"

static __always_inline void send_event(__u16 type, __u32 tgid, __u32 parent, __u32 generation, __u64 address, __u64 flags)
{
	struct process_event event = {
		.type = type,
		.tgid = tgid,
		.parent = parent,
		.generation = generation,
		.time = bpf_ktime_get_ns(),
		.address = address,
	};

	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (bpf_ringbuf_output(&events, &event, sizeof(event), flags)) {
		__u32 zero = 0;
		struct counters *c = bpf_map_lookup_elem(&counters, &zero);
		if (c)
			__sync_fetch_and_add(&c->events_lost, 1);
	}
}

/* Asks the agent to look at a process, or at an address of it: at most once in 50 ms for the same page. */
#define REPORT_INTERVAL 50000000ULL
static __always_inline void report_unknown(__u32 tgid, __u32 generation, __u64 address)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 key = ((__u64)tgid << 32 | generation) ^ (address >> 12) * 0x9e3779b97f4a7c15ULL;
	__u32 at = (key ^ key >> 32) & (REPORTS - 1);
	struct report *report = bpf_map_lookup_elem(&reports, &at);

	if (!report || (report->key == key && now - report->time < REPORT_INTERVAL))
		return;
	report->key = key;
	report->time = now;
	send_event(RECORD_UNKNOWN, tgid, 0, generation, address, BPF_RB_FORCE_WAKEUP);
}

__u32 last_generation;

static __always_inline __u32 begin_generation(__u32 tgid)
{
	__u32 generation;

	/*
	 * Added, then read: an atomic addition that answers came with 5.12 (kernel commit 5ca419f2864a). Two processes may so get
	 * the same number; two images of one process cannot, for the second adds after the first has read.
	 */
	__sync_fetch_and_add(&last_generation, 1);
	/* 31 bits: with 22 bits of tgid it makes an exact number in JavaScript. 0 means: older than the profiler. */
	generation = *(volatile __u32 *)&last_generation & 0x7fffffff;
	bpf_map_update_elem(&generations, &tgid, &generation, BPF_ANY);
	return generation;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0];
	struct task_struct *child = (void *)ctx->args[1];
	__u32 tgid = BPF_CORE_READ(child, tgid), parent_tgid = BPF_CORE_READ(parent, tgid);
	struct process *process;
	__u32 *parent_generation, generation;

	if (tgid == parent_tgid)
		return 0; /* a thread */
	generation = begin_generation(tgid);
	process = bpf_map_lookup_elem(&processes, &parent_tgid);
	if (process) {
		struct process copy = *process;

		/* A stale entry of the parent's (generation differs) must not become a fresh one of the child's. */
		parent_generation = bpf_map_lookup_elem(&generations, &parent_tgid);
		if (copy.generation != (parent_generation ? *parent_generation : 0))
			copy.count = 0;
		copy.generation = generation;
		bpf_map_update_elem(&processes, &tgid, &copy, BPF_ANY);
	}
	send_event(RECORD_FORK, tgid, parent_tgid, generation, 0, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	send_event(RECORD_EXEC, tgid, 0, begin_generation(tgid), 0, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0; /* other threads live on */
	bpf_map_delete_elem(&processes, &tgid);
	bpf_map_delete_elem(&generations, &tgid);
	send_event(RECORD_EXIT, tgid, 0, 0, 0, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
