/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One step of a native walk: from a frame to its caller.
 *
 * A frame is (pc, sp, bp). The mapping of pc names a segment; its row names a rule; the rule gives the CFA (the value of
 * sp before the call) and where the caller's pc and bp were saved. System V ABI, AMD64 supplement, 3.4.1 and 3.7;
 * DWARF 5, 6.4. The other callee-saved registers are not read at every step: only the place where each was last saved is
 * remembered, and it is read when a rule asks for the register.
 */
#ifndef PLUMBLINE_UNWIND_NATIVE_H
#define PLUMBLINE_UNWIND_NATIVE_H

#include "live_mappings.bpf.h"
#include "checkpoint.bpf.h"

/* Makes w->mapping the mapping of address, and w->segment its segment. The last frame's mapping is tried first. */
static __always_inline bool find_mapping(struct walk *w, __u64 address)
{
	struct mapping *m;

	if (mapping_contains(&w->mapping, address))
		return true;
	m = find_in_run(w->process.first, w->process.count, address);
	w->mapping_is_live = !m;
	if (m)
		w->mapping = *m;
	else if (!find_live_mapping(w->index, address))
		return false;
	if (w->mapping.kind == MAPPING_TABLE) {
		__u32 key = w->mapping.segment;
		struct unwind_segment *segment = bpf_map_lookup_elem(&segments, &key);
		if (!segment)
			return false;
		w->segment = *segment;
	}
	return true;
}

/* A pointer to size bytes at offset in the shard; NULL where they do not lie inside it. */
#define SHARD_AT(shard, offset, size) ((offset) <= SHARD_SIZE - (size) ? (void *)(shard) + (offset) : NULL)

/* The rule for address in w->segment. */
static __always_inline const struct unwind_rule *find_rule(struct walk *w, __u64 address)
{
	__u64 offset = address - w->mapping.base;
	__u32 block = offset >> UNWIND_BLOCK_SHIFT;
	__u32 zero = 0, shard_number = w->segment.shard;
	void *inner = bpf_map_lookup_elem(&shards, &shard_number);
	void *shard;

	if (!inner || block >= w->segment.blocks)
		return NULL;
	shard = bpf_map_lookup_elem(inner, &zero);
	if (!shard)
		return NULL;

	__u64 at = (__u64)w->segment.index_offset + 4 * (__u64)block;
	__u32 *index = SHARD_AT(shard, at, 8);
	if (!index)
		return NULL;
	__u32 first = index[0], last = index[1];

	/* The last row of the block that starts at or before the address; none: the row before the block's first. */
	__u32 inside = offset & (UNWIND_BLOCK - 1);
	for (int i = 0; i < UNWIND_BLOCK_SHIFT + 1; i++) {
		__u32 middle = (first + last) / 2;

		if (first >= last)
			break;
		at = (__u64)w->segment.rows_offset + 4 * (__u64)middle;
		__u32 *row = SHARD_AT(shard, at, 4);
		if (!row)
			return NULL;
		if (*row >> 16 <= inside)
			first = middle + 1;
		else
			last = middle;
	}
	if (first == 0)
		return NULL;
	at = (__u64)w->segment.rows_offset + 4 * (__u64)(first - 1);
	__u32 *row = SHARD_AT(shard, at, 4);
	if (!row)
		return NULL;
	at = (__u64)w->segment.rules_offset + sizeof(struct unwind_rule) * (__u64)(*row & 0xffff);
	return SHARD_AT(shard, at, sizeof(struct unwind_rule));
}

/* The caller's frame is (ra, cfa, bp). */
static __always_inline int arrive(struct walk *w, __u64 ra, __u64 cfa, __u64 bp)
{
	w->pc = ra;
	w->sp = cfa;
	w->bp = bp;
	w->exact = 0;
	return GO_ON;
}

/* The value of a register in the present frame; false: it is not known. */
static __always_inline bool read_register(struct walk *w, __u32 reg, __u64 *value)
{
	if (reg == REG_RSP) {
		*value = w->sp;
		return true;
	}
	if (reg == REG_RBP) {
		*value = w->bp;
		return true;
	}
	__u32 slot = reg == REG_RBX ? 0 : reg - REG_R12 + 1;
	if (slot < SAVED_REGISTERS) {
		__u64 at = w->saved_at[slot];
		if (at == 1)
			return false;
		if (at)
			return read_word(w, at, value);
	}
	/* Caller-saved ones too, in outer frames: a CFA that depends on one at a call (OpenSSL's AES-GCM: rax) is that of
	 * assembly whose callees are known to keep it. */
	*value = w->regs[reg & (REG_COUNT - 1)];
	return true;
}

/* Notes where rbx and r12 to r15 were saved, relative to origin. */
static __always_inline void note_saved(struct walk *w, const struct unwind_rule *rule, __u64 origin)
{
#pragma unroll
	for (int i = 0; i < SAVED_REGISTERS; i++) {
		__s8 words = rule->saved[i];
		if (words)
			w->saved_at[i] = words == SAVED_LOST ? 1 : origin + 8 * (__s64)words;
	}
}

/*
 * The step of code without unwind information, or that keeps rbp frames by convention. An interrupted instruction of a
 * prologue or an epilogue is recognised by its bytes, for there the frame is not complete. The caller must lie in
 * known executable memory: arrival there is checked by the next step (by_pointer). Returns refused where the frame
 * pointer cannot be one.
 */
__noinline int step_frame_pointer(__u32 cpu, int refused)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	__u64 ra, bp, cfa;

	if (!w)
		return REASON_internal_error;
	bp = w->bp;
	w->frame_pointer_steps++;
	if (!w->exact && !w->mapping_is_live && refused != REASON_stack_switched)
		w->bp_slot = 2;
	if (w->exact) {
		__u64 code = 0;

		if (bpf_probe_read_user(&code, sizeof(code), (void *)w->pc) == 0) {
			if ((__u32)code == 0xfa1e0ff3) /* endbr64 */
				code >>= 32;
			if ((__u8)code == 0x55 || (__u8)code == 0xc3 || (__u8)code == 0xc2) { /* push rbp; ret */
				if (!read_word(w, w->sp, &ra))
					return REASON_read_fault;
				cfa = w->sp + 8;
				goto arrived;
			}
			if ((code & 0xffffff) == 0xe58948 || (code & 0xffffff) == 0xec8b48 || (__u8)code == 0x5d) { /* mov rbp,rsp; pop rbp */
				if (!read_word(w, w->sp, &bp) || !read_word(w, w->sp + 8, &ra))
					return REASON_read_fault;
				cfa = w->sp + 16;
				goto arrived;
			}
		}
	}
	/* After a switch of stacks (RULE_GO_SWITCH) the frame lies on another stack, above or below. */
	if ((bp < w->sp && refused != REASON_stack_switched) || bp & 7)
		return refused;
	cfa = bp + 16;
	if (!read_word(w, w->bp, &bp) || !read_word(w, w->bp + 8, &ra))
		return refused;
arrived:
	if (ra == 0)
		return refused;
	w->by_pointer = 1;
	w->before_pc = w->pc;
	w->before_sp = w->sp;
	w->before_bp = w->bp;
	w->before_exact = w->exact;
	return arrive(w, ra, cfa, bp);
}

/* Offsets in the ucontext of a signal frame: arch/x86/include/uapi/asm/{ucontext,sigcontext}.h. */
#define UCONTEXT_GREGS 40
#define GREGS 17 /* r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip */

/* The frame interrupted by a signal: all its registers lie in the ucontext. */
__noinline int step_signal(__u32 cpu, __u64 ucontext)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	__u64 *g;
	__u32 at;

	if (!w)
		return REASON_internal_error;
	/* No call has left the trampoline's address: it is that of the trampoline's first instruction. */
	at = (__u32)w->sample.kernel_frames + w->last;
	if (at < MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
		w->frames[at] |= FRAME_EXACT;
	g = (__u64 *)w->window;
	w->window_length = 0; /* the window serves as room for the registers */
	if (bpf_probe_read_user(g, 8 * GREGS, (void *)ucontext + UCONTEXT_GREGS)) {
		w->fault = ucontext + UCONTEXT_GREGS;
		w->fault_end = w->fault + 8 * GREGS;
		return REASON_read_fault;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		w->regs[REG_R8 + i] = g[i];
	w->regs[REG_RDI] = g[8];
	w->regs[REG_RSI] = g[9];
	w->regs[REG_RBP] = g[10];
	w->regs[REG_RBX] = g[11];
	w->regs[REG_RDX] = g[12];
	w->regs[REG_RAX] = g[13];
	w->regs[REG_RCX] = g[14];
	w->regs[REG_RSP] = g[15];
	__builtin_memset(w->saved_at, 0, sizeof(w->saved_at));
	w->pc = g[16];
	w->sp = g[15];
	w->bp = g[10];
	w->exact = 1;
	return GO_ON;
}

/*
 * A thread at its first instruction, to which clone() has returned 0 (see is_newborn()): the system call has left its own
 * return address in rcx. So have others that return 0, but these have a caller.
 */
static __always_inline bool may_be_newborn(const struct walk *w)
{
	return w->exact && w->sample.user_frames == 1 && w->regs[REG_RAX] == 0 && w->regs[REG_RCX] == w->pc;
}

/* From the present frame to its caller. Returns GO_ON, or the reason why the walk has ended. */
static __always_inline int step(struct walk *w)
{
	/* A return address may be the first byte after its function: look up the call before it. */
	__u64 address = w->exact ? w->pc : w->pc - 1;
	__u32 by_pointer = w->by_pointer;
	int pushed;

	if (memories_per_cpu) {
		note_arrival(w);
		if (w->sample.user_frames >= RECALL_FROM &&
		    (w->candidate == CANDIDATE_UNKNOWN || w->sp >= w->candidate_sp) && recall(w->index))
			return GO_ON;
		w->bp_slot = SLOT_NONE;
	}
	w->sample.steps++;
	if (!find_mapping(w, address)) {
		w->sample.failing_pc = w->pc;
		if (by_pointer)
			return w->mapping.kind == MAPPING_ANONYMOUS ? REASON_unknown_jit : REASON_no_unwind_info;
		pushed = push_frame(w, w->pc);
		if (pushed != GO_ON)
			return pushed;
		return w->process.count ? REASON_no_mapping : REASON_process_unknown;
	}
	w->sample.failing_pc = w->pc;
	pushed = push_frame(w, w->pc);
	if (pushed != GO_ON)
		return pushed;
	w->by_pointer = 0;

	switch (w->mapping.kind) {
	case MAPPING_TABLE:
		break;
	case MAPPING_PENDING:
		return REASON_unwind_info_pending;
	case MAPPING_ANONYMOUS:
		return step_frame_pointer(w->index, REASON_unknown_jit);
	case MAPPING_FAILED:
		return step_frame_pointer(w->index, REASON_no_unwind_table);
	default:
		return step_frame_pointer(w->index, REASON_no_unwind_info);
	}

	const struct unwind_rule *rule = find_rule(w, address);
	if (!rule)
		return REASON_internal_error;

	__u64 origin, base, cfa, ra, bp = w->bp;
	__u32 kind = rule->kind;

	if (kind == RULE_CFA && rule->base == REG_RSP) {
		base = w->sp; /* by far the most frequent */
	} else {
		switch (kind) {
		case RULE_ROOT:
			return REASON_root_undefined_ra;
		case RULE_ENTRY:
			return REASON_root_entry;
		case RULE_NONE:
			return step_frame_pointer(w->index, REASON_no_unwind_info);
		case RULE_FRAME_POINTER:
			return step_frame_pointer(w->index, REASON_bad_frame);
		case RULE_UNSUPPORTED:
			return REASON_unsupported_rule;
		case RULE_SIGNAL:
			return step_signal(w->index, w->sp + (__s64)rule->cfa_offset);
		case RULE_GO_SWITCH:
			return step_frame_pointer(w->index, REASON_stack_switched);
		case RULE_PLT:
			base = w->sp;
			break;
		default:
			if (!read_register(w, rule->base, &base))
				return REASON_unsupported_rule;
		}
	}

	cfa = base + (__s64)rule->cfa_offset;
	origin = cfa;
	if (kind != RULE_CFA) {
		if (kind == RULE_PLT) {
			if ((w->pc & 15) >= rule->aux)
				cfa += 8;
			origin = cfa;
		} else if (kind == RULE_CFA_DEREF) {
			__u64 index = 0;
			if (rule->aux >> DEREF_INDEX_SHIFT && !read_register(w, (rule->aux >> DEREF_INDEX_SHIFT) - 1, &index))
				return REASON_unsupported_rule;
			if (!read_word(w, cfa + 8 * index, &cfa))
				return REASON_read_fault;
			cfa += rule->aux & DEREF_ADDEND;
			origin = rule->aux & DEREF_SAVED_FROM_BASE ? base : cfa;
		}
	}
	if (cfa <= w->sp && !(w->exact && cfa == w->sp))
		return REASON_bad_frame;

	if (rule->rbp_offset == RBP_LOST) {
		bp = 0; /* a rule that needs it ends at bad_frame */
	} else if (rule->rbp_offset & RBP_SAVED) {
		if (!read_word(w, origin + (__s64)(rule->rbp_offset & ~RBP_SAVED), &bp))
			return REASON_read_fault;
	}
	if (kind == RULE_RA_REGISTER) {
		if (!read_register(w, rule->aux, &ra))
			return REASON_unsupported_rule;
	} else if (!read_word(w, cfa + 8 * (__s64)rule->ra_offset, &ra)) {
		return may_be_newborn(w) ? REASON_root_entry : REASON_read_fault;
	}
	note_saved(w, rule, origin);
	if (memories_per_cpu && !w->exact && !w->mapping_is_live && rule->ra_offset == -1 &&
	    (kind == RULE_PLT || (kind == RULE_CFA && (rule->base == REG_RSP || rule->base == REG_RBP)))) {
		__u32 slot = rule->rbp_offset & RBP_SAVED && rule->rbp_offset != RBP_LOST ? -(rule->rbp_offset & ~RBP_SAVED) : 0;

		if (!(slot & 7) && slot / 8 < SLOT_NONE)
			w->bp_slot = slot / 8;
	}
	if (ra == 0)
		return may_be_newborn(w) ? REASON_root_entry : REASON_zero_ra;
	return arrive(w, ra, cfa, bp);
}

/* One turn of a walk. Returns GO_ON, or how it has ended. */
static __always_inline int turn(struct walk *w)
{
	int result;

	if (memories_per_cpu && w->phase == WALK_REMEMBERS)
		return use_memory(w->index);
	result = memories_per_cpu && w->phase ? use_memory(w->index) : step(w);
	if (memories_per_cpu && result >= 0 && result <= REASON_root_entry && !w->sample.elided &&
	    w->sample.user_frames > REMEMBER_FROM)
		return begin_to_remember(w->index, result);
	return result;
}

/* How a walk ends that has no turns left: one that was being remembered had come to its root. */
static __always_inline int end_at_limit(struct walk *w, int limit)
{
	if (w->ended != GO_ON)
		return w->ended;
	w->sample.failing_pc = w->pc;
	return limit;
}

#endif
