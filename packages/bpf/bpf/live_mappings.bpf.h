/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own list of a process's mappings, for what the agent has not told yet: processes that have just begun, and
 * libraries that were just loaded. bpf_find_vma serves only one lookup in an interrupt (its lock is given back by deferred
 * work), so the tree is walked here: the maple tree since 6.1 (kernel commit 524e00b36e8c), the red-black tree before.
 * Nothing is locked. What is read may be changing, but can only lead to a mapping that passes the checks below or to none:
 * the address lies in it, and its file is one whose table is known.
 */
#ifndef PLUMBLINE_LIVE_MAPPINGS_H
#define PLUMBLINE_LIVE_MAPPINGS_H

#include "search_mappings.bpf.h"

/* include/linux/maple_tree.h: nodes of 256 bytes, aligned to that, so that the low bits of a pointer hold its type. */
#define MAPLE_NODE_SIZE 256
#define MAPLE_NODE_MASK 255UL
#define MAPLE_LEAF_64 1
#define MAPLE_ARANGE_64 3
#define MAPLE_RANGE64_SLOTS 16
#define MAPLE_ARANGE64_SLOTS 10
#define MAPLE_MAX_HEIGHT 6
#define RB_MAX_HEIGHT 24

/* The first word of a node is its parent; then come pivots (the last index of each slot), then slots. */
static __noinline struct vm_area_struct *maple_find(struct walk *w, void *root, __u64 address)
{
	__u64 *node = (__u64 *)w->window; /* the window serves as room for a node */
	__u64 entry = (__u64)root;

	w->window_length = 0;
	if ((entry & 3) != 2 || entry < 4096)
		return NULL; /* a tree of one entry, or none; only the pointer to the root is marked so */
	for (int height = 0; height < MAPLE_MAX_HEIGHT; height++) {
		__u32 type = (entry >> 3) & 15;
		__u32 slots = type == MAPLE_ARANGE_64 ? MAPLE_ARANGE64_SLOTS : MAPLE_RANGE64_SLOTS;
		__u32 slot;

		if (bpf_probe_read_kernel(node, MAPLE_NODE_SIZE, (void *)(entry & ~MAPLE_NODE_MASK)))
			return NULL;
		for (slot = 0; slot < MAPLE_RANGE64_SLOTS - 1; slot++) {
			if (slot >= slots - 1)
				break;
			__u64 pivot = node[1 + slot];
			if (pivot == 0 || pivot >= address) /* zero: the last slot in use */
				break;
		}
		__u32 at = slots + slot; /* 1 parent and slots - 1 pivots come before */
		entry = node[at & 31];
		if (type == MAPLE_LEAF_64)
			return (void *)entry;
	}
	return NULL;
}

static __noinline struct vm_area_struct *rb_find(struct rb_node *node, __u64 address)
{
	for (int height = 0; height < RB_MAX_HEIGHT; height++) {
		if (!node)
			return NULL;
		struct vm_area_struct *vma = (void *)node - bpf_core_field_offset(struct vm_area_struct, vm_rb);
		if (address < BPF_CORE_READ(vma, vm_start))
			node = BPF_CORE_READ(node, rb_left);
		else if (address >= BPF_CORE_READ(vma, vm_end))
			node = BPF_CORE_READ(node, rb_right);
		else
			return vma;
	}
	return NULL;
}

/* Address of the task's vm_area_struct that holds an address; 0: there is none. */
__noinline __u64 find_vma(__u32 cpu, __u64 address)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct vm_area_struct *vma;

	if (!w || !mm)
		return 0;
	if (bpf_core_field_exists(mm->mm_mt))
		vma = maple_find(w, BPF_CORE_READ(mm, mm_mt.ma_root), address);
	else
		vma = rb_find(BPF_CORE_READ(mm, mm_rb.rb_node), address);
	if (!vma || address < BPF_CORE_READ(vma, vm_start) || address >= BPF_CORE_READ(vma, vm_end))
		return 0;
	return (__u64)vma;
}

/* Makes w->mapping the mapping of address as the kernel has it; 0: there is none, or its file is not known. */
__noinline int find_live_mapping(__u32 cpu, __u64 address)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct vm_area_struct *vma = (void *)find_vma(cpu, address);
	struct file_key key = {};
	struct file_tables *tables;
	struct mapping *m;

	if (!w || !vma)
		return 0;

	__u64 start = BPF_CORE_READ(vma, vm_start), end = BPF_CORE_READ(vma, vm_end);
	struct file *file = BPF_CORE_READ(vma, vm_file);
	__u64 offset = address - start; /* in the file */
	if (address < start || address >= end)
		return 0;
	if (file) {
		struct inode *inode = BPF_CORE_READ(file, f_inode);

		key.inode = BPF_CORE_READ(inode, i_ino);
		key.device = BPF_CORE_READ(inode, i_sb, s_dev);
		key.inode_generation = BPF_CORE_READ(inode, i_generation);
		offset += BPF_CORE_READ(vma, vm_pgoff) * PAGE_SIZE;
	} else if (start != (__u64)BPF_CORE_READ(mm, context.vdso)) {
		if (!(BPF_CORE_READ(vma, vm_flags) & VM_EXEC))
			return 0;
		w->mapping.start = start;
		w->mapping.end = end;
		w->mapping.kind = MAPPING_ANONYMOUS;
		return 1;
	}
	tables = bpf_map_lookup_elem(&files, &key);
	if (!tables)
		return 0;

	m = find_in_run(tables->first, tables->count, offset);
	if (!m)
		return 0;
	/* From file offsets to addresses; the mapping may hold only a part of what the table covers. */
	__u64 bias = address - offset;
	w->mapping = *m;
	w->mapping.start = m->start + bias > start ? m->start + bias : start;
	w->mapping.end = m->end + bias < end ? m->end + bias : end;
	w->mapping.base = m->base + bias;
	return 1;
}

#endif
