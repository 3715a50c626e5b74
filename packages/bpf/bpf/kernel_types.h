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

struct super_block {
	unsigned int s_dev; /* major << 20 | minor */
};

struct inode {
	unsigned long i_ino;
	unsigned int i_generation;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct rb_node {
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
	struct rb_node vm_rb; /* before 6.1 */
};

struct maple_tree {
	void *ma_root;
};

typedef struct {
	void *vdso;
} mm_context_t;

struct mm_struct {
	struct maple_tree mm_mt; /* since 6.1 */
	struct rb_root mm_rb;    /* before 6.1 */
	mm_context_t context;
};

struct task_struct {
	unsigned int flags;
	unsigned int in_execve : 1;
	void *stack;
	struct mm_struct *mm;
	unsigned long long start_time;
	int pid;
	int tgid;
	char comm[16];
	struct signal_struct *signal;
};

#pragma clang attribute pop

/* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010
#define PF_EXITING 0x00000004
#define PF_USER_WORKER 0x00004000 /* since 6.4; something else before */
#define PF_KTHREAD 0x00200000

/* include/linux/mm.h */
#define VM_EXEC 0x00000004

/* arch/x86/include/asm/segment.h: code segments of user mode */
#define USER32_CS 0x23
#define USER_CS 0x33

#endif
