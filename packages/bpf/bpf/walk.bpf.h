/* SPDX-License-Identifier: GPL-2.0-only */
/* The state of one walk, and reading the user's stack in windows. */
#ifndef PLUMBLINE_WALK_H
#define PLUMBLINE_WALK_H

#include "abi.h"

/* Bytes of user stack read at once; a power of two. Measured: docs/performance.md. */
#define WINDOW 1024
/* The same where it is known that so much of it will be used: checkpoint.bpf.h. */
#define SPLICE_WINDOW 4096
#define PAGE_SIZE 4096

/* The slots of saved[]: rbx, r12 to r15. */
#define SAVED_REGISTERS 5

#define GO_ON (-1) /* the result of a turn of a walk that goes on; else an enum reason */

/* What a turn of a walk does. */
#define WALK_STEPS 0
#define WALK_SPLICES 1
#define WALK_REMEMBERS 2

#define CANDIDATE_UNKNOWN ~0U
#define SLOT_NONE 127
#define REMEMBERED_SLOT_SHIFT 57

struct trail_frame {
	__u64 sp; /* and above REMEMBERED_SLOT_SHIFT the slot of bp: see bp_slot of struct walk */
	__u64 bp;
};

/* What a record does not have of the frames of the walk in progress. */
struct trail {
	struct trail_frame frames[MAX_USER_FRAMES];
};

/*
 * The outer frames of a whole walk of a thread, leaf first. The root is at ROOT_PLACE whatever their number, so that what is
 * kept of them stays where it is; behind it is room for a turn that looks no further than its own length.
 */
#define ROOT_PLACE (MAX_USER_FRAMES - 1)
#define MEMORY_PLACES (MAX_USER_FRAMES + SPLICED_PER_TURN)

struct memory {
	__u32 tid;
	__u32 version; /* of the process's mappings */
	__u32 count;
	__u32 reason;  /* how the walk ended */
	__u64 pc[MEMORY_PLACES]; /* with FRAME_BY_POINTER */
	__u64 sp[MEMORY_PLACES]; /* as in trail_frame */
	__u64 bp[MEMORY_PLACES];
	__u64 hash[MEMORY_PLACES]; /* of this frame and those beyond */
};

struct walk {
	__u32 index;   /* of itself in the map walks */
	__u32 samples; /* that it serves */
	__u32 claimed; /* strategy deferred: in use */

	/* The frame that the walk has reached. */
	__u64 pc;
	__u64 sp; /* also the CFA of the frame below */
	__u64 bp;
	__u32 exact;      /* pc is the address of an interrupted instruction */
	__u32 by_pointer; /* the frame was found by a frame pointer */

	/* Where by_pointer: the frame from which it was found. */
	__u64 before_pc;
	__u64 before_sp;
	__u64 before_bp;
	__u64 before_exact;

	/* Registers at the last exact frame, and where the frames since have saved those of saved[] (0: not saved, 1: lost). */
	__u64 regs[REG_COUNT];
	__u64 saved_at[SAVED_REGISTERS];

	/* Strategy deferred: those of the leaf. */
	__u64 leaf_pc;
	__u64 leaf_regs[REG_COUNT];

	/* The mapping and segment of the last frame. */
	struct mapping mapping;
	struct unwind_segment segment;

	struct process process; /* count 0: not known */
	/* Memory: see checkpoint.bpf.h. */
	__u64 candidate_sp;     /* sp of the next remembered frame; ~0: there is none */
	__u64 hash_before;      /* the sample's, before the frame from which on frames are spliced */
	__u64 power;            /* when it remembers: hash_power() of the frames that it has so far, */
	__u64 tail_hash;        /* and their hash */
	__u32 phase;            /* WALK_* */
	__u32 candidate;        /* the next remembered frame: how many there are from it on; CANDIDATE_UNKNOWN; when it remembers: how many it has */
	__u32 spliced_from;     /* of the user frames, the first that was spliced, */
	__u32 spliced_at;       /* and how many remembered ones are beyond it */
	__u32 trail_from;       /* of the user frames, the first from which on all may be remembered */
	__u32 remembered_from;  /* of the user frames, the next to be remembered */
	__u32 bp_slot;          /* words from where bp was saved to the CFA; 0: not saved; SLOT_NONE: not so simple */
	__u32 mapping_is_live;  /* the mapping is known from the kernel's list alone */
	int ended;              /* how the walk that is being remembered ended */
	__u32 in_exec;          /* the task is replacing its program */
	__u32 max_frames;       /* kept */
	__u32 ring;             /* of user frames, the first that is overwritten when there are more */
	__u32 next;             /* where the next one goes */
	__u32 last;             /* where the last one is */
	__u32 policy_flags;
	__u32 window_reads;
	__u32 frame_pointer_steps;

	/* Where memory could not be read, and how far; fault 0: all could. */
	__u64 fault;
	__u64 fault_end;

	__u64 window_start;
	__u64 window_length;
	__u8 window[SPLICE_WINDOW + 8];

	/* The record, as it goes into the ring. */
	struct sample sample;
	__u64 frames[MAX_KERNEL_FRAMES + MAX_USER_FRAMES + SPLICED_PER_TURN];
};

/*
 * The hash of a stack is a polynomial in HASH_BASE, modulo 2^64, of what its frames are scrambled to; the leaf has the highest
 * power. So a stack's hash follows from those of its inner and of its outer frames.
 */
#define HASH_BASE 0x9e3779b97f4a7c15ULL

static __always_inline __u64 scramble(__u64 frame)
{
	frame *= 0xff51afd7ed558ccdULL;
	return frame ^ frame >> 32;
}

/* The hash of a stack with one more frame. */
static __always_inline __u64 hash_frame(__u64 hash, __u64 frame)
{
	return hash * HASH_BASE + scramble(frame);
}

/* What a hash is to be multiplied by to make room for so many frames (less than 2^13). */
static __always_inline __u64 hash_power(__u32 frames)
{
	__u64 power = 1, square = HASH_BASE;

	for (int bit = 0; bit < 13; bit++) {
		if (frames >> bit & 1)
			power *= square;
		square *= square;
	}
	return power;
}

/*
 * Puts the frame into the record. Of a stack with more frames than are to be kept, both ends are: the first half stays, the
 * second is a ring.
 */
static __always_inline int push_frame(struct walk *w, __u64 pc)
{
	__u32 at = (__u32)w->sample.kernel_frames + w->next;
	__u64 frame = pc & FRAME_ADDRESS;

	if (at >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
		return REASON_internal_error;
	if (w->exact)
		frame |= FRAME_EXACT;
	if (w->by_pointer)
		frame |= FRAME_BY_POINTER;
	w->frames[at] = frame;
	w->last = w->next;
	if (++w->next >= w->max_frames)
		w->next = w->ring;
	if (w->sample.user_frames < w->max_frames)
		w->sample.user_frames++;
	else
		w->sample.elided++;
	w->sample.stack_hash = hash_frame(w->sample.stack_hash, frame);
	return GO_ON;
}

#endif
