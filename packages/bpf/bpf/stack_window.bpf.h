/* SPDX-License-Identifier: GPL-2.0-only */
/* Words of the user's stack, served from a window that is read in one go: a read of 8 bytes costs as much as one of 1,024. */
#ifndef PLUMBLINE_STACK_WINDOW_H
#define PLUMBLINE_STACK_WINDOW_H

#include "maps.bpf.h"

/* Moves the window to address. A read that crosses into an unmapped page fails as a whole: then read what is left of the page. */
__noinline int window_move(__u32 cpu, __u64 address)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	if (!w)
		return 0;
	w->window_reads++;
	w->window_start = address;
	w->window_length = WINDOW;
	if (bpf_probe_read_user(w->window, WINDOW, (void *)address) == 0)
		return 1;
	__u32 length = PAGE_SIZE - (address & (PAGE_SIZE - 1));
	if (length < 8)
		length = 8; /* the word itself crosses the page */
	w->fault = address;
	w->fault_end = address + 8;
	if (length > WINDOW) {
		w->window_length = 0;
		return 0;
	}
	w->window_length = length;
	if (bpf_probe_read_user(w->window, length, (void *)address) == 0) {
		w->fault = 0;
		return 1;
	}
	w->window_length = 0;
	return 0;
}

/* The word at an offset in the window, of which so much may have been read (a power of two). */
static __always_inline __u64 window_word(const struct walk *w, __u64 offset, const __u32 size)
{
	return *(__u64 *)(w->window + (offset & (size - 1)));
}

/* Reads the word at address; false: it cannot be read. */
static __always_inline bool read_word(struct walk *w, __u64 address, __u64 *word)
{
	__u64 offset = address - w->window_start;

	if (offset + 8 > w->window_length || offset > WINDOW - 8) {
		if (!window_move(w->index, address))
			return false;
		offset = 0;
	}
	*word = window_word(w, offset, WINDOW);
	return true;
}

#endif
