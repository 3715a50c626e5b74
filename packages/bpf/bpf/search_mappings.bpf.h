/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PLUMBLINE_SEARCH_MAPPINGS_H
#define PLUMBLINE_SEARCH_MAPPINGS_H

#include "maps.bpf.h"

static __always_inline bool mapping_contains(const struct mapping *m, __u64 address)
{
	return address >= m->start && address < m->end;
}

/*
 * The mapping of address in a run of mappings sorted by start: its index, plus one; 0: none. Not static: the verifier walks
 * it once, for all arguments, and not again at each call.
 */
__noinline __u32 search_mappings(__u32 first, __u32 count, __u64 address)
{
	__u32 low = first, high = first + count;
	struct mapping *m;

	for (int i = 0; i < MAPPING_SEARCH_STEPS + 1; i++) {
		__u32 middle = (low + high) / 2;

		if (low >= high)
			break;
		m = bpf_map_lookup_elem(&mappings, &middle);
		if (!m)
			return 0;
		if (m->start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == first)
		return 0;
	high = low - 1;
	m = bpf_map_lookup_elem(&mappings, &high);
	return m && mapping_contains(m, address) ? low : 0;
}

static __always_inline struct mapping *find_in_run(__u32 first, __u32 count, __u64 address)
{
	__u32 index = search_mappings(first, count, address);

	if (index == 0)
		return NULL;
	index--;
	return bpf_map_lookup_elem(&mappings, &index);
}

#endif
