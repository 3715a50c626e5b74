// SPDX-License-Identifier: GPL-2.0-only
/* The verifier refuses it: memory is read beyond the end of a map's value. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} small SEC(".maps");

SEC("raw_tp")
int overread(void *context)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&small, &key);

	return value ? value[1] : 0;
}

char _license[] SEC("license") = "GPL";
