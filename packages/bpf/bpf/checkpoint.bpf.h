/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checkpoints: the outer frames of a thread's last whole walk are remembered, and a walk that arrives at one of them is
 * finished from memory, once every word is verified that its steps would read.
 *
 * Sound by induction: the step from a frame is a function of the frame (pc, sp, bp), of the tables (which are the same while
 * the process's run of mappings is), and of the words that it reads. So where a walk arrives at a remembered frame and the
 * words that its step read are what they were, the next frame is the remembered one, and so on to the root. One word in so
 * many would not do: a path main → a → y → x and a path main → b → y → x agree at x, y and main.
 *
 * Remembered are only steps that read no more than the return address, which lies below the CFA, and bp. Where another is
 * taken (of an interrupted instruction, by a signal frame, another register, a mapping that only the kernel knows) what is
 * remembered begins anew after it. It always reaches to the root, so what a walk keeps of callee-saved registers is of no use
 * after it.
 *
 * A memory belongs to one CPU, so that no other program uses it meanwhile. Which thread it is of decides only what is found.
 */
#ifndef PLUMBLINE_CHECKPOINT_H
#define PLUMBLINE_CHECKPOINT_H

#include "stack_window.bpf.h"

/* Frames from the leaf on that are not looked up, and not remembered: they change, and shallow stacks cost nothing. */
#define RECALL_FROM 12
#define REMEMBER_FROM 16
#define REMEMBER_LEAST 8

/* Keeps the compiler from making pointers of an index that the verifier could not follow. */
#define opaque(index) __asm__ volatile("" : "+r"(index))

/* What is done in one turn of a walk. */
#define SPLICED_PER_TURN 64
#define REMEMBERED_PER_TURN 32

static __always_inline struct memory *memory_of(const struct walk *w)
{
	__u32 at = w->index * memories_per_cpu + w->sample.tid % memories_per_cpu;

	return bpf_map_lookup_elem(&memories, &at);
}

static __always_inline __u64 remembered_sp(const struct remembered_frame *f)
{
	return f->sp & FRAME_ADDRESS;
}

/* The lowest address that the step to a remembered frame reads; the highest lies right below its sp. */
static __always_inline __u64 lowest_word(const struct remembered_frame *f)
{
	__u64 slot = f->sp >> REMEMBERED_SLOT_SHIFT;

	return remembered_sp(f) - 8 * (slot ? slot : 1);
}

/* Turns to the remembered frame at or next beyond the walk's. Returns 1 where the walk is at it, and may be finished from it. */
__noinline int recall(__u32 index)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &index);
	struct memory *m = w ? memory_of(w) : NULL;
	const struct remembered_frame *f;

	if (!w || !m)
		return 0;
	w->candidate_sp = ~0ULL;
	if (w->candidate == CANDIDATE_UNKNOWN) {
		__u32 low = 0, high = m->count; /* the root is the first, with the highest sp */

		w->candidate = 0;
		if (m->tid != w->sample.tid || m->version != w->process.version || !m->version)
			return 0;
		for (int i = 0; i < 13; i++) {
			__u32 middle = (low + high) / 2;

			if (low >= high)
				break;
			if (remembered_sp(&m->frames[middle & (MAX_USER_FRAMES - 1)]) >= w->sp)
				low = middle + 1;
			else
				high = middle;
		}
		w->candidate = low; /* one more than its index */
	}
	for (int i = 0; i < 8; i++) {
		if (w->candidate == 0)
			return 0;
		f = &m->frames[(w->candidate - 1) & (MAX_USER_FRAMES - 1)];
		if (remembered_sp(f) > w->sp)
			break;
		if (remembered_sp(f) == w->sp && w->pc <= FRAME_ADDRESS && f->bp == w->bp && !w->exact &&
		    f->pc == (w->pc | (w->by_pointer ? FRAME_BY_POINTER : 0)) &&
		    w->sample.user_frames + w->candidate <= w->max_frames) {
			w->phase = WALK_SPLICES;
			w->spliced_from = w->sample.user_frames;
			w->spliced_at = w->candidate - 1;
			w->hash_before = w->sample.stack_hash;
			w->candidate--; /* this one is in the walk; it remains to verify the others */
			return push_frame(w, w->pc) == GO_ON;
		}
		w->candidate--;
	}
	w->candidate_sp = w->candidate ? remembered_sp(&m->frames[(w->candidate - 1) & (MAX_USER_FRAMES - 1)]) : ~0ULL;
	return 0;
}

/* Reads what the steps to the remembered frame and to those beyond it read. Returns how much was read, from where on. */
static __always_inline __u64 read_ahead(struct walk *w, const struct memory *m, const struct remembered_frame *f)
{
	__u64 start = lowest_word(f), length = remembered_sp(&m->frames[0]) - start;

	if (length > SPLICE_WINDOW)
		length = SPLICE_WINDOW;
	w->window_reads++;
	w->window_start = start;
	w->window_length = bpf_probe_read_user(w->window, length, (void *)start) == 0 ? length : 0;
	return w->window_length;
}

/* Puts remembered frames into the record as far as they are verified: those whose words lie in one window. */
static __noinline int splice(struct walk *w, struct memory *m)
{
	__u32 at = (__u32)w->sample.kernel_frames + w->next, candidate = w->candidate;
	__u64 hash = w->sample.stack_hash, start, length;
	const struct remembered_frame *f = &m->frames[(candidate - 1) & (MAX_USER_FRAMES - 1)];
	int i = 0;

	if (candidate) {
		length = read_ahead(w, m, f);
		start = w->window_start;
	}
	/* No calls in here: what it needs stays in registers. */
	for (; i < SPLICED_PER_TURN && candidate; i++) {
		f = &m->frames[(candidate - 1) & (MAX_USER_FRAMES - 1)];
		__u64 sp = remembered_sp(f), slot = f->sp >> REMEMBERED_SLOT_SHIFT, pc = f->pc;

		if (lowest_word(f) < start || sp - start > length)
			break;
		if (slot && window_word(w, sp - 8 * slot - start, SPLICE_WINDOW) != f->bp)
			goto other;
		if (window_word(w, sp - 8 - start, SPLICE_WINDOW) != (pc & FRAME_ADDRESS))
			goto other;
		opaque(at);
		if (at >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
			return REASON_internal_error;
		w->frames[at++] = pc;
		hash = hash_frame(hash, pc);
		candidate--;
	}
	if (i == 0 && candidate)
		goto other; /* it cannot be read, or reaches too far */
	w->sample.stack_hash = hash;
	w->candidate = candidate;
	w->next = at - w->sample.kernel_frames;
	w->last = w->next - 1;
	w->sample.user_frames = w->next;
	w->sample.spliced = w->next - w->spliced_from;
	if (candidate)
		return GO_ON;
	w->phase = WALK_STEPS;
	return m->reason;
other:
	/* Another path: the walk goes on by steps from where it is, and may meet memory again beyond. */
	w->sample.user_frames = w->spliced_from;
	w->sample.spliced = 0;
	w->sample.stack_hash = w->hash_before;
	w->next = w->spliced_from;
	w->candidate = candidate;
	w->candidate_sp = remembered_sp(f);
	w->phase = WALK_STEPS;
	return GO_ON;
}

/* Remembers the frames that were walked, from the outermost in; at any time what is counted is whole. */
static __noinline int remember(struct walk *w, struct memory *m)
{
	struct trail *trail = bpf_map_lookup_elem(&trails, &w->index);

	if (!trail)
		return w->ended;
	for (int i = 0; i < REMEMBERED_PER_TURN; i++) {
		__u32 from = w->remembered_from, at = w->candidate, frame = (__u32)w->sample.kernel_frames + from;

		opaque(from);
		opaque(at);
		opaque(frame);
		if (from < w->trail_from || from >= MAX_USER_FRAMES || at >= MAX_USER_FRAMES ||
		    frame >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
			return w->ended;
		m->frames[at].pc = w->frames[frame];
		m->frames[at].sp = trail->frames[from].sp;
		m->frames[at].bp = trail->frames[from].bp;
		m->count = at + 1;
		w->candidate = at + 1;
		w->remembered_from = from - 1;
	}
	return GO_ON;
}

/* A turn of a walk that does not step. */
__noinline int use_memory(__u32 index)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &index);
	struct memory *m = w ? memory_of(w) : NULL;

	if (!w || !m)
		return REASON_internal_error;
	return w->phase == WALK_SPLICES ? splice(w, m) : remember(w, m);
}

/* A walk has come to its root: is there something to remember? Returns GO_ON then, else the reason. */
__noinline int begin_to_remember(__u32 index, int reason)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &index);
	struct memory *m = w ? memory_of(w) : NULL;

	if (!w || !m)
		return reason;
	w->ended = reason;
	if (w->sample.spliced) {
		w->remembered_from = w->spliced_from;
		w->candidate = w->spliced_at;
		if (w->remembered_from < w->trail_from)
			return reason;
	} else {
		w->remembered_from = w->sample.user_frames - 1;
		w->candidate = 0;
		if (w->mapping_is_live || !w->process.version || w->sample.user_frames < w->trail_from + REMEMBER_LEAST)
			return reason;
		m->tid = w->sample.tid;
		m->version = w->process.version;
		m->reason = reason;
		m->count = 0;
	}
	w->phase = WALK_REMEMBERS;
	return GO_ON;
}

/* Notes the frame that the walk has arrived at, to be remembered. */
static __always_inline void note_arrival(struct walk *w)
{
	__u32 at = w->sample.user_frames;
	struct trail *trail;

	if (w->exact)
		w->trail_from = at + 1;
	else if (w->bp_slot == SLOT_NONE)
		w->trail_from = at;
	if (at < REMEMBER_FROM)
		return;
	trail = bpf_map_lookup_elem(&trails, &w->index);
	if (!trail)
		return;
	trail->frames[at & (MAX_USER_FRAMES - 1)].sp = w->sp | (__u64)w->bp_slot << REMEMBERED_SLOT_SHIFT;
	trail->frames[at & (MAX_USER_FRAMES - 1)].bp = w->bp;
}

#endif
