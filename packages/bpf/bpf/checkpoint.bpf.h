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

#define REMEMBERED_PER_TURN 32

static __always_inline struct memory *memory_of(const struct walk *w)
{
	__u32 at = w->index * memories_per_cpu + w->sample.tid % memories_per_cpu;

	return bpf_map_lookup_elem(&memories, &at);
}

/* Where the frame is from which on there are so many. */
static __always_inline __u32 place_of(__u32 count)
{
	return (MAX_USER_FRAMES - count) & (MAX_USER_FRAMES - 1);
}

static __always_inline __u64 remembered_sp(const struct memory *m, __u32 count)
{
	return m->sp[place_of(count)] & FRAME_ADDRESS;
}

/* The lowest address that the step to a remembered frame reads; the highest lies right below its sp. */
static __always_inline __u64 lowest_word(__u64 sp_and_slot)
{
	__u64 slot = sp_and_slot >> REMEMBERED_SLOT_SHIFT;

	return (sp_and_slot & FRAME_ADDRESS) - 8 * (slot ? slot : 1);
}

/* Turns to the remembered frame at or next beyond the walk's. Returns 1 where the walk is at it, and may be finished from it. */
__noinline int recall(__u32 index)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &index);
	struct memory *m = w ? memory_of(w) : NULL;

	if (!w || !m)
		return 0;
	w->candidate_sp = ~0ULL;
	if (w->candidate == CANDIDATE_UNKNOWN) {
		__u32 low = 0, high = m->count; /* the root has the highest sp */

		w->candidate = 0;
		if (m->tid != w->sample.tid || m->version != w->process.version || !m->version)
			return 0;
		for (int i = 0; i < 13; i++) {
			__u32 middle = (low + high) / 2;

			if (low >= high)
				break;
			if (remembered_sp(m, middle + 1) >= w->sp)
				low = middle + 1;
			else
				high = middle;
		}
		w->candidate = low;
	}
	for (int i = 0; i < 8; i++) {
		__u32 place = place_of(w->candidate);
		__u64 sp = m->sp[place] & FRAME_ADDRESS;

		if (w->candidate == 0)
			return 0;
		if (sp > w->sp)
			break;
		if (sp == w->sp && w->pc <= FRAME_ADDRESS && m->bp[place] == w->bp && !w->exact &&
		    m->pc[place] == (w->pc | (w->by_pointer ? FRAME_BY_POINTER : 0)) &&
		    w->sample.user_frames + w->candidate <= w->max_frames) {
			w->phase = WALK_SPLICES;
			w->spliced_from = w->sample.user_frames;
			w->candidate--; /* this one is in the walk; it remains to verify the others */
			w->spliced_at = w->candidate;
			w->hash_before = w->sample.stack_hash;
			return push_frame(w, w->pc) == GO_ON;
		}
		w->candidate--;
	}
	w->candidate_sp = w->candidate ? remembered_sp(m, w->candidate) : ~0ULL;
	return 0;
}

/*
 * Puts remembered frames into the record as far as they are verified: those of one turn whose words lie in one window. The
 * words that the step to a frame reads lie between the sp of the frame before and its own: remember() sees to it.
 */
static __noinline int splice(struct walk *w, struct memory *m)
{
	__u32 count = w->candidate, first = MAX_USER_FRAMES - count, done = 0;
	__u32 at = (__u32)w->sample.kernel_frames + w->spliced_from + 1 + w->spliced_at - count;
	__u64 start, length, sp = 0;

	opaque(at);
	opaque(first);
	if (at >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES || first > MAX_USER_FRAMES)
		return REASON_internal_error;
	if (count > SPLICED_PER_TURN)
		count = SPLICED_PER_TURN;
	if (count) {
		start = lowest_word(m->sp[first]);
		length = (m->sp[first + (count - 1 & (SPLICED_PER_TURN - 1))] & FRAME_ADDRESS) - start;
		if (length > SPLICE_WINDOW)
			length = SPLICE_WINDOW;
		w->window_reads++;
		w->window_start = start;
		if (bpf_probe_read_user(w->window, length, (void *)start))
			length = 0;
		w->window_length = length;
	}
	/* No calls in here: what it needs stays in registers. */
	for (; done < SPLICED_PER_TURN; done++) {
		if (done >= count)
			break;
		__u64 remembered = m->sp[first + done], slot = remembered >> REMEMBERED_SLOT_SHIFT;

		sp = remembered & FRAME_ADDRESS;
		if (sp - start > length)
			break;
		if (window_word(w, sp - 8 - start, SPLICE_WINDOW) != (m->pc[first + done] & FRAME_ADDRESS))
			goto other;
		if (slot && window_word(w, sp - 8 * slot - start, SPLICE_WINDOW) != m->bp[first + done])
			goto other;
	}
	if (done == 0 && count)
		goto other; /* it cannot be read, or reaches too far */
	bpf_probe_read_kernel(&w->frames[at], 8 * (done & (2 * SPLICED_PER_TURN - 1)), &m->pc[first]);
	w->candidate -= done;
	if (w->candidate)
		return GO_ON;
	if (w->spliced_at)
		w->sample.stack_hash = w->sample.stack_hash * hash_power(w->spliced_at) + m->hash[place_of(w->spliced_at)];
	w->sample.user_frames += w->spliced_at;
	w->sample.spliced = w->spliced_at + 1;
	w->phase = WALK_STEPS;
	return m->reason;
other:
	/* Another path: the walk goes on by steps from where it is, and may meet memory again beyond. */
	w->sample.user_frames = w->spliced_from;
	w->sample.stack_hash = w->hash_before;
	w->next = w->spliced_from;
	w->candidate -= done;
	w->candidate_sp = sp;
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
		__u32 from = w->remembered_from, count = w->candidate, frame = (__u32)w->sample.kernel_frames + from;
		__u32 place = ROOT_PLACE - count;

		opaque(from);
		opaque(place);
		opaque(frame);
		if (from < w->trail_from || from >= MAX_USER_FRAMES || place > ROOT_PLACE ||
		    frame >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
			return w->ended;
		__u64 pc = w->frames[frame], sp = trail->frames[from].sp;

		/* What leads to the frame beyond has to lie beyond this one: see splice(). */
		if (count && (sp & FRAME_ADDRESS) > lowest_word(m->sp[place + 1]))
			return w->ended;
		w->tail_hash += scramble(pc) * w->power;
		w->power *= HASH_BASE;
		m->pc[place] = pc;
		m->sp[place] = sp;
		m->bp[place] = trail->frames[from].bp;
		m->hash[place] = w->tail_hash;
		m->count = count + 1;
		w->candidate = count + 1;
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
		w->power = hash_power(w->spliced_at);
		w->tail_hash = w->spliced_at ? m->hash[place_of(w->spliced_at)] : 0;
		if (w->remembered_from < w->trail_from)
			return reason;
	} else {
		w->remembered_from = w->sample.user_frames - 1;
		w->candidate = 0;
		w->power = 1;
		w->tail_hash = 0;
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
