/* SPDX-License-Identifier: GPL-2.0-only */
/* Knobs. Those in rodata are set before loading, so that the verifier drops what they switch off. */
#ifndef PLUMBLINE_CONFIG_H
#define PLUMBLINE_CONFIG_H

/* Strategy tailCall: frames walked by one program; the largest that the kernel's verifier takes, found by loading. */
const volatile __u32 frames_per_program = 16;

/* The kernel has bpf_task_pt_regs (5.15, kernel commit dd6e10fbd9fb). */
const volatile bool has_task_pt_regs = false;

/* Without it: where the user registers lie in a task's kernel stack. THREAD_SIZE less the padding at its top. */
const volatile __u32 kernel_stack_size = 16384;

/* Walks are remembered: checkpoint.bpf.h. How many memories each CPU has; 0: none. */
const volatile __u32 memories_per_cpu = 0;

/* Policy of processes that have no entry; 0: they are not selected. May change while running. */
__u32 default_policy = 0;

/* Names the period in which a stack is sent once. The agent counts it up when it forgets the stacks of before. */
__u32 stack_epoch = 1;

/* Wake the agent when this many bytes wait in the ring. */
__u32 wakeup_bytes = 1 << 20;

#endif
