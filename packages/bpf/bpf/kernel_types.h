/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel types that the programs look into. Field offsets are relocated at load against the running
 * kernel's BTF (CO-RE), so only names and types of the fields used are given here.
 */
#ifndef PLUMBLINE_KERNEL_TYPES_H
#define PLUMBLINE_KERNEL_TYPES_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads of the group that have not exited */
};

struct mm_struct;

struct task_struct {
	unsigned int flags;
	void *stack;
	struct mm_struct *mm;
	int pid;
	int tgid;
	char comm[16];
	struct signal_struct *signal;
};

#pragma clang attribute pop

/* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

/* arch/x86/include/asm/segment.h: code segments of user mode */
#define USER32_CS 0x23
#define USER_CS 0x33

#endif
