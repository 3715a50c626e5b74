/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that crosses the line between the kernel and the agent: structures, enumerations, limits.
 * The TypeScript side (src/layout.gen.ts) is generated from the BTF of the compiled object, never typed by hand.
 * All integers are little endian; all structures are free of padding.
 */
#ifndef PLUMBLINE_ABI_H
#define PLUMBLINE_ABI_H

#include "reasons.h"

/* ---- Unwind tables ------------------------------------------------------------------------------------------
 *
 * A file's text is covered by segments. A segment holds, in one shard (an array map of one value):
 *
 *   index  u32[blocks + 1]  for each block of UNWIND_BLOCK bytes of text, the number of rows that start before the block
 *   rows   u32[]            offset inside the block << 16 | rule number; sorted by address
 *   rules  struct unwind_rule[]
 *
 * The rule of an address is that of the last row that starts at or before it. The first row of a segment starts at
 * its first byte; bytes without unwind information are covered by rows of kind RULE_NONE.
 */
#define UNWIND_BLOCK_SHIFT 7
#define UNWIND_BLOCK (1 << UNWIND_BLOCK_SHIFT)
#define SHARD_SIZE (4 << 20) /* bytes; an array map's value may not exceed 4 MiB (KMALLOC_MAX_SIZE) */
#define MAX_SHARDS 256

enum rule_kind {
	RULE_NONE = 0,        /* no information: try the frame pointer, under sanity checks */
	RULE_ROOT = 1,        /* the return address is undefined: the walk is complete */
	RULE_CFA = 2,         /* CFA = base + cfa_offset; saved registers relative to the CFA */
	RULE_CFA_DEREF = 3,   /* CFA = *(base + cfa_offset [+ 8 * index register]) + addend; see DEREF_* for aux */
	RULE_PLT = 4,         /* CFA = rsp + cfa_offset + ((pc & 15) >= aux ? 8 : 0) */
	RULE_SIGNAL = 5,      /* a signal frame: ucontext at rsp + cfa_offset holds all registers of the interrupted frame */
	RULE_RA_REGISTER = 6, /* CFA = base + cfa_offset; the return address is in register aux (vfork) */
	RULE_FRAME_POINTER = 7, /* code that keeps rbp frames by convention: CFA = rbp + 16 */
	RULE_UNSUPPORTED = 8, /* there is information, but not of a form that the kernel side can evaluate */
	RULE_ENTRY = 9,       /* entry code known by symbol or ELF entry point: a root, whatever its return address */
	RULE_GO_SWITCH = 10,  /* Go code that runs on another stack (systemstack, asmcgocall, cgocallback, nanotime1): rbp points
	                         into its frame on the stack it came from, CFA = rbp + 16, above or below this one */
};

/* DWARF register numbers of x86-64 (System V ABI, figure 3.36). */
enum reg {
	REG_RAX = 0, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	REG_COUNT,
};

#define SAVED_LOST (-128) /* in saved[]: the caller's value cannot be told */
#define RBP_SAVED 1       /* bit of rbp_offset: rbp is saved, at (rbp_offset & ~1) bytes; without it rbp is unchanged */
#define RBP_LOST (-0x7fff) /* rbp_offset: the caller's value cannot be told */

/* aux of RULE_CFA_DEREF: what is added to the word read (even), whether saved registers are relative to base (frames
 * realigned by GCC) or to the CFA (OpenSSL), and the index register plus one (0: none). */
#define DEREF_ADDEND 0xfe
#define DEREF_SAVED_FROM_BASE 1
#define DEREF_INDEX_SHIFT 8

struct unwind_rule {
	__s32 cfa_offset; /* bytes */
	__u8 kind;        /* enum rule_kind */
	__u8 base;        /* enum reg */
	__s16 rbp_offset; /* bytes from the CFA (DEREF_SAVED_FROM_BASE: from base), | RBP_SAVED; 0: unchanged */
	__s8 saved[5];    /* rbx, r12, r13, r14, r15: words of 8 bytes from the CFA (DEREF_SAVED_FROM_BASE: from base); 0: unchanged */
	__s8 ra_offset;   /* words from the CFA, normally -1 */
	__s16 aux;        /* see rule_kind */
};

struct unwind_segment {
	__u32 shard;
	__u32 index_offset; /* bytes inside the shard */
	__u32 rows_offset;
	__u32 rules_offset;
	__u32 blocks;
	__u32 rows;
	__u32 rules;
	__u32 reserved;
};

#define MAX_SEGMENTS (1 << 14)

/* ---- Processes and their mappings ---------------------------------------------------------------------------*/

enum mapping_kind {
	MAPPING_FREE = 0,
	MAPPING_TABLE = 1,    /* segment says how to unwind */
	MAPPING_PENDING = 2,  /* the table is being built */
	MAPPING_NO_TABLE = 3, /* a file without any unwind information: frame pointers only */
	MAPPING_ANONYMOUS = 4, /* executable memory without a file (JIT): frame pointers only */
	MAPPING_FAILED = 5,   /* the file could not be read or its table could not be built: frame pointers only */
};

struct mapping {
	__u64 start; /* runtime address, inclusive */
	__u64 end;   /* exclusive */
	__u64 base;  /* runtime address of the first byte that the segment covers */
	__u32 segment;
	__u32 kind; /* enum mapping_kind */
};

#define MAX_MAPPINGS (1 << 17) /* of all processes together */
#define MAPPING_SEARCH_STEPS 17
_Static_assert((1 << MAPPING_SEARCH_STEPS) >= MAX_MAPPINGS, "a search may need one step per doubling");

struct process {
	__u32 first;      /* index of the first of its mappings, sorted by start */
	__u32 count;
	__u32 generation; /* of the image that the mappings belong to; see generations */
	__u32 version;    /* of the mappings: no two runs have the same */
	__u16 policy;     /* index into policies; 0: not selected */
	__u16 flags;
};

#define MAX_PROCESSES (1 << 15)

/*
 * Generations: the kernel side numbers the images of processes, counting up at each fork and exec, so that an entry that
 * the agent wrote for an image that is gone (exec, or a pid used again) is never walked with. Processes that were there
 * before the profiler have generation 0.
 */

/*
 * Files whose tables are in the kernel, so that a process that the agent does not know yet, or a mapping that is new, can
 * be walked by the kernel's own list of mappings. Its run of mappings is in file offsets in place of addresses.
 */
struct file_key {
	__u64 inode;
	__u32 device; /* major << 20 | minor; all zero: the vDSO */
	__u32 inode_generation;
};

struct file_tables {
	__u32 first;
	__u32 count;
};

#define MAX_FILES (1 << 13)

#define POLICY_KERNEL_STACK 1
#define POLICY_SPILL 2 /* walks that the agent can finish are spilled */
#define MAX_POLICIES 64

struct policy {
	__u32 max_frames;
	__u32 flags;      /* POLICY_* */
	__u32 keep;       /* of each 2^32 samples, how many are kept; 0 keeps all */
	__u32 verify;     /* of each 2^32 walks, how many the agent walks again from the leaf on; ~0: all */
	__u32 spill_interval; /* us between two spills of a process, on average */
	__u32 spill_burst; /* how many may come at once */
};

/* ---- Records of the ring buffer -----------------------------------------------------------------------------*/

enum record_type {
	RECORD_SAMPLE = 1,    /* struct sample, then its frames */
	RECORD_SAMPLE_REF = 2, /* struct sample without frames: the same stack was sent before, under the same stack_hash */
	RECORD_FORK = 3,      /* struct process_event */
	RECORD_EXEC = 4,
	RECORD_EXIT = 5,
	RECORD_UNKNOWN = 6,   /* struct process_event: the process or the address is not known; the agent should look */
	RECORD_SPILL = 7,     /* struct spill, then stack bytes */
};

enum strategy {
	STRATEGY_TAIL_CALL = 1,
	STRATEGY_LOOP = 2,
	STRATEGY_DEFERRED = 3,
};

#define FRAME_EXACT (1ULL << 63)         /* the address of an instruction that was interrupted, not a return address */
#define FRAME_BY_POINTER (1ULL << 62)    /* this frame was found by a frame pointer, not by a table */
#define FRAME_ADDRESS ((1ULL << 57) - 1) /* user addresses have at most 57 bits (5-level paging) */

#define MAX_KERNEL_FRAMES 127 /* PERF_MAX_STACK_DEPTH */
#define MAX_USER_FRAMES 4096 /* in a record */
#define MAX_STEPS (4 * MAX_USER_FRAMES) /* of a walk */
#define SPLICED_PER_TURN 64 /* frames that a turn of a walk takes from memory: checkpoint.bpf.h */

#define SAMPLE_IN_KERNEL 1        /* the sample landed in kernel mode */
#define SAMPLE_KERNEL_CLIPPED 2   /* the kernel stack has more frames than MAX_KERNEL_FRAMES */
#define SAMPLE_SPILLED 4          /* a RECORD_SPILL of the same thread and time came before it */
#define SAMPLE_KERNEL_PART 8      /* all but the user frames: these come with the user part of the same tid and walk */
#define SAMPLE_USER_PART 16       /* of all samples whose kernel part has the same tid and walk */

struct sample {
	__u16 type;   /* enum record_type */
	__u8 reason;  /* enum reason */
	__u8 strategy;
	__u32 flags;  /* SAMPLE_* */
	__u64 time;   /* ns, CLOCK_MONOTONIC */
	__u64 stack_hash; /* of process, reason and all frames */
	__u64 cgroup;
	__u64 failing_pc; /* truncated samples: the address at which the walk stopped */
	__u64 walk; /* SAMPLE_KERNEL_PART, SAMPLE_USER_PART: time of the first sample that the walk serves */
	__u32 tgid;
	__u32 tid;
	__u32 generation; /* of the process image */
	__u32 cpu;
	__u16 kernel_frames;
	__u16 policy;
	__u32 user_frames;
	__u32 steps;      /* unwind steps taken */
	__u32 tail_calls; /* used */
	char comm[16];    /* of the thread */
	__u32 elided;     /* user frames left out of the middle */
	__u32 spliced;    /* user frames that were verified against the last walk, and not walked */
	/*
	 * Then u64[kernel_frames] (leaf first), then u64[user_frames] (leaf first, with FRAME_* bits). Where frames were left
	 * out, the last user_frames / 2 are a ring in which the walk went around: the first of them in order is the one at
	 * elided % (user_frames / 2), and the frames left out lie before it.
	 */
};

#define SPILL_EXACT 1  /* pc is the address of an interrupted instruction */
#define SPILL_VERIFY 2 /* from the leaf on, to be compared with what the kernel side finds */

#define MAX_SPILL (64 << 10) /* bytes of stack in one record */
#define MAX_SPILLS 4 /* records of one frame: equal but for start, length and stack, which goes on where the last one's ended */

/* A frame from which the agent walks on: its registers and the stack. Never leaves the node. */
struct spill {
	__u16 type;
	__u8 reason; /* enum reason: why the walk stopped here; unless SPILL_VERIFY */
	__u8 flags;  /* SPILL_* */
	__u32 known; /* for each bit, whether that register is known */
	__u64 time;  /* of the sample */
	__u32 tgid;
	__u32 tid;
	__u32 generation;
	__u32 frame; /* of the user frames, those left out included, the index of this one */
	__u32 max_frames; /* of the sample */
	__u32 length; /* bytes of stack; the record may be longer */
	__u64 pc;
	__u64 code;  /* SPILL_EXACT: the 8 bytes at pc; 0: they cannot be read */
	__u64 start; /* address of the first byte of stack */
	__u64 registers[REG_COUNT];
};

/*
 * Strategy deferred: a walk that a task has been asked for. In the map deferred_walks by a hash of the tid, in one of the
 * places behind it. A task that waits in a system call keeps its place until it wakes.
 */
#define DEFERRED_WALKS_SHIFT 14
#define DEFERRED_PROBES 8
#define NOTED_WALK_OFFSET 8 /* in the map's value */

struct noted_walk {
	__u64 task_start;   /* start_time of the task */
	__u64 time;         /* of the first sample; with tid the name of the walk */
	__u32 tid;          /* 0: free */
	__u32 samples;      /* that wait for it; 0: no more may join */
	__u32 generation;   /* of the process image */
	__u32 policy;
	__u64 pc;           /* where the task left user space, with all registers: there it comes back */
	__u64 registers[REG_COUNT];
};

struct process_event {
	__u16 type;
	__u16 reserved;
	__u32 tgid;
	__u32 parent; /* RECORD_FORK: the tgid of the parent */
	__u32 generation; /* of the process image; RECORD_FORK: of the child's */
	__u64 time;
	__u64 address; /* RECORD_UNKNOWN: the address without mapping; 0: the process itself is unknown */
	char comm[16];
};

/* Counters, one array per CPU: fired, then by reason. */
struct counters {
	__u64 fired;
	__u64 steps;
	__u64 user_frames;
	__u64 tail_calls;
	__u64 stacks_sent;   /* samples whose frames went over the ring */
	__u64 events_lost;   /* process events that did not fit the ring */
	__u64 window_reads;
	__u64 frame_pointer_steps;
	__u64 spliced_walks;
	__u64 spliced_frames;
	__u64 spills_sent;
	__u64 spills_limited;  /* not sent: the process's rate was reached */
	__u64 spills_refused;  /* not sent: the ring was more than half full */
	__u64 spills_unread;   /* not sent: the stack could not be read */
	__u64 deferred_samples;       /* left to the task that was sampled */
	__u64 deferred_samples_ended; /* of these, how many have come to their end */
	__u64 deferred_walks;         /* walks that served them */
	__u64 deferred_refused;       /* walked in the interrupt: the task could not be asked */
	__u64 deferred_ns;            /* in these walks, waiting for memory or a CPU included */
	__u64 by_reason[REASON_MAX];
};

#endif
