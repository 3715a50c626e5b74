/* SPDX-License-Identifier: GPL-2.0-only */
/* Words of the user's stack, served from a window that is read in one go: a read of 8 bytes costs as much as one of 1,024. */
#ifndef PLUMBLINE_STACK_WINDOW_H
#define PLUMBLINE_STACK_WINDOW_H

#include "walk.bpf.h"

#define PAGE_SIZE 4096

/* Moves the window to address. A read that crosses into an unmapped page fails as a whole: then read what is left of the page. */
static __noinline bool window_move(struct walk *w, __u64 address)
{
	w->window_reads++;
	w->window_start = address;
	w->window_length = WINDOW;
	if (bpf_probe_read_user(w->window, WINDOW, (void *)address) == 0)
		return true;
	__u32 length = PAGE_SIZE - (address & (PAGE_SIZE - 1));
	if (length < 8)
		length = 8; /* the word itself crosses the page */
	if (length > WINDOW) {
		w->window_length = 0;
		return false;
	}
	w->window_length = length;
	if (bpf_probe_read_user(w->window, length, (void *)address) == 0)
		return true;
	w->window_length = 0;
	return false;
}

/* Reads the word at address; false: it cannot be read. */
static __always_inline bool read_word(struct walk *w, __u64 address, __u64 *word)
{
	__u64 offset = address - w->window_start;

	if (offset + 8 > w->window_length || offset > WINDOW - 8) {
		if (!window_move(w, address))
			return false;
		offset = 0;
	}
	*word = *(__u64 *)(w->window + (offset & (WINDOW - 1)));
	return true;
}

#endif
