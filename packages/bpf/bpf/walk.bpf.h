/* SPDX-License-Identifier: GPL-2.0-only */
/* The state of one walk, and reading the user's stack in windows. */
#ifndef PLUMBLINE_WALK_H
#define PLUMBLINE_WALK_H

#include "abi.h"

/* Bytes of user stack read at once; a power of two. Measured: docs/performance.md. */
#define WINDOW 1024
#define PAGE_SIZE 4096

/* The slots of saved[]: rbx, r12 to r15. */
#define SAVED_REGISTERS 5

struct walk {
	__u32 index;   /* of itself in the map walks */
	__u32 samples; /* that it serves */

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

	/* The mapping and segment of the last frame. */
	struct mapping mapping;
	struct unwind_segment segment;

	struct process process; /* count 0: not known */
	__u32 in_exec;          /* the task is replacing its program */
	__u32 max_frames;       /* kept */
	__u32 ring;             /* of user frames, the first that is overwritten when there are more */
	__u32 next;             /* where the next one goes */
	__u32 last;             /* where the last one is */
	__u32 policy_flags;
	__u32 window_reads;
	__u32 frame_pointer_steps;

	__u64 window_start;
	__u64 window_length;
	__u8 window[WINDOW + 8];

	/* The record, as it goes into the ring. */
	struct sample sample;
	__u64 frames[MAX_KERNEL_FRAMES + MAX_USER_FRAMES];
};

#endif
