/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spilling: where a walk has to stop although the agent could go on, the frame's registers and the stack above it are copied
 * into the ring, and the agent finishes the walk. The record comes before the sample that it belongs to, which says so
 * (SAMPLE_SPILLED); without that flag the sample stands as it is.
 *
 * Slow paths as functions of their own (not static), which the verifier walks once; see search_mappings.bpf.h.
 */
#ifndef PLUMBLINE_SPILL_H
#define PLUMBLINE_SPILL_H

#include "live_mappings.bpf.h"

#define WALK_VERIFY (1U << 31) /* in policy_flags of a walk: this one is to be verified */

/* What may lie below rsp and still be in use: System V ABI, AMD64 supplement, 3.2.2. */
#define RED_ZONE 128

/* A reservation's size is a constant: the smallest of these and MAX_SPILL that holds the stack. */
#define SMALL_SPILL (4 << 10)
#define MEDIUM_SPILL (16 << 10)

/* Has the process spilled less than its policy allows? If so, this one is counted. */
static __always_inline bool within_rate(const struct walk *w)
{
	__u32 policy_number = w->sample.policy;
	struct policy *policy = bpf_map_lookup_elem(&policies, &policy_number);
	__u32 at = (w->sample.tgid * 0x9e3779b1U) >> (32 - SPILL_BUCKETS_SHIFT);
	__u64 *bucket = bpf_map_lookup_elem(&spill_buckets, &at);
	__u64 interval, next;

	if (!policy || !bucket)
		return false;
	interval = 1000ULL * policy->spill_interval;
	next = *bucket;
	if (next < w->sample.time)
		next = w->sample.time;
	next += interval;
	if (next - w->sample.time > interval * policy->spill_burst)
		return false;
	*bucket = next;
	return true;
}

/* Writes the record of the frame at hand, except where its stack lies, into the window. */
__noinline int describe_spill(__u32 cpu, int reason, __u32 frame)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	struct spill *s;

	if (!w)
		return 0;
	s = (struct spill *)w->window;
	s->type = RECORD_SPILL;
	s->reason = reason;
	s->flags = (w->exact ? SPILL_EXACT : 0) | (reason < 0 ? SPILL_VERIFY : 0);
	s->time = w->sample.time;
	s->tgid = w->sample.tgid;
	s->tid = w->sample.tid;
	s->generation = w->sample.generation;
	s->max_frames = w->max_frames;
	s->pc = w->pc;
	if (!w->exact || bpf_probe_read_user(&s->code, sizeof(s->code), (void *)w->pc))
		s->code = 0;
	s->frame = frame;
	s->known = (1 << REG_COUNT) - 1; /* those without a rule are taken for unchanged; see read_register */
	__builtin_memcpy(s->registers, w->regs, sizeof(s->registers));
	s->registers[REG_RSP] = w->sp;
	s->registers[REG_RBP] = w->bp;
#pragma unroll
	for (int i = 0; i < SAVED_REGISTERS; i++) {
		__u32 reg = i == 0 ? REG_RBX : REG_R12 + i - 1;
		__u64 at = w->saved_at[i];

		if (at == 1 || (at && bpf_probe_read_user(&s->registers[reg], 8, (void *)at)))
			s->known &= ~(1 << reg);
	}
	return 1;
}

/*
 * Sends what describe_spill wrote with length bytes of stack from start, in a record with room for size. Where a page is not
 * there, with what lies before it. 0: sent; else which counter to raise.
 */
#define SPILL_REFUSED 1
#define SPILL_UNREAD 2
static __always_inline int send_spill(struct walk *w, __u64 start, __u64 length, const __u32 size)
{
	struct spill *s = bpf_ringbuf_reserve(&events, sizeof(*s) + size, 0);
	__u64 done = 0;

	if (!s)
		return SPILL_REFUSED;
	__builtin_memcpy(s, w->window, sizeof(*s));
	if (length > size)
		length = size;
	if (bpf_probe_read_user(s + 1, length, (void *)start) == 0) {
		done = length;
	} else {
		for (int page = 0; page <= size / PAGE_SIZE; page++) {
			__u64 part = PAGE_SIZE - ((start + done) & (PAGE_SIZE - 1));

			if (done + part > length || part > PAGE_SIZE || done > size - PAGE_SIZE)
				break;
			if (bpf_probe_read_user((void *)(s + 1) + done, part, (void *)(start + done)))
				break;
			done += part;
		}
	}
	if (done == 0) {
		bpf_ringbuf_discard(s, BPF_RB_NO_WAKEUP);
		return SPILL_UNREAD;
	}
	s->start = start;
	s->length = done;
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}

__noinline int send_large_spill(__u32 cpu, __u64 start, __u64 length)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? send_spill(w, start, length, MAX_SPILL) : SPILL_UNREAD;
}

/* As many records of the largest size as the stack takes, up to MAX_SPILLS. */
__noinline int send_spills(__u32 cpu, __u64 start, __u64 length)
{
	int result = send_large_spill(cpu, start, length);

	for (int i = 1; i < MAX_SPILLS && result == 0; i++) {
		__u64 done = (__u64)i * MAX_SPILL;

		/* Without one that follows, those before are of use all the same. */
		if (done >= length || send_large_spill(cpu, start + done, length - done))
			break;
	}
	return result;
}

__noinline int send_medium_spill(__u32 cpu, __u64 start, __u64 length)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? send_spill(w, start, length, MEDIUM_SPILL) : SPILL_UNREAD;
}

__noinline int send_small_spill(__u32 cpu, __u64 start, __u64 length)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? send_spill(w, start, length, SMALL_SPILL) : SPILL_UNREAD;
}

/* Spills the frame that the walk has reached; reason -1: at its leaf, to verify it. Returns whether it was sent. */
__noinline int spill(__u32 cpu, int reason)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	struct vm_area_struct *vma;
	__u64 below, length;
	__u32 frame;
	int result;

	if (!w || !c)
		return 0;
	/* Samples come first: a spill takes no room that they may need. */
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2) {
		__sync_fetch_and_add(&c->spills_refused, 1);
		return 0;
	}
	if (reason >= 0 && !within_rate(w)) {
		__sync_fetch_and_add(&c->spills_limited, 1);
		return 0;
	}
	/* A walk that stops between two steps has not put its frame into the record yet. */
	frame = w->sample.user_frames + w->sample.elided;
	if (frame && (w->by_pointer || (reason != REASON_tail_call_limit && reason != REASON_step_limit)))
		frame--;
	if (w->by_pointer) {
		/* Nothing is known where this frame pointer led: go on from the frame before, which is in the record. */
		w->pc = w->before_pc;
		w->sp = w->before_sp;
		w->bp = w->before_bp;
		w->exact = w->before_exact;
	}
	below = w->exact ? RED_ZONE : 0;
	vma = (void *)find_vma(cpu, w->sp);
	if (!vma || !describe_spill(cpu, reason, frame)) {
		__sync_fetch_and_add(&c->spills_unread, 1);
		return 0;
	}
	length = BPF_CORE_READ(vma, vm_end) - w->sp + below;
	if (length <= SMALL_SPILL)
		result = send_small_spill(cpu, w->sp - below, length);
	else if (length <= MEDIUM_SPILL)
		result = send_medium_spill(cpu, w->sp - below, length);
	else
		result = send_spills(cpu, w->sp - below, length);
	w->window_length = 0;
	if (result == 0)
		__sync_fetch_and_add(&c->spills_sent, 1);
	else if (result == SPILL_REFUSED)
		__sync_fetch_and_add(&c->spills_refused, 1);
	else
		__sync_fetch_and_add(&c->spills_unread, 1);
	return result == 0;
}

#endif
