// SPDX-License-Identifier: GPL-2.0-only
/* Fills a ring buffer on command, and shows that globals and maps are where user space put them. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_SIZE 1024

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} programs SEC(".maps");

enum flavour { PLAIN = 1, SPICY = 7 };

const volatile __u32 answer = 1;
const volatile bool flag = false;
const volatile __s8 negative = -1;
const volatile enum flavour flavour = PLAIN;
const volatile char label[8] = "none";
__u64 sequence = 0;
__u64 dropped = 0;
__u32 level = 5;

struct record {
	__u64 sequence;
	__u64 size;
	char rest[MAX_SIZE];
};
struct record scratch;

/* Arguments: number of records; size of the first, which grows by 8 a record and wraps at MAX_SIZE; flags of bpf_ringbuf_output. */
SEC("raw_tp")
int produce(struct bpf_raw_tracepoint_args *arguments)
{
	__u64 count = arguments->args[0], size = arguments->args[1], flags = arguments->args[2];

	for (int i = 0; i < 512; i++) {
		if (i >= count)
			break;
		__u64 length = 16 + ((size + i * 8) & (MAX_SIZE - 1));
		scratch.sequence = sequence++;
		scratch.size = length;
		if (bpf_ringbuf_output(&ring, &scratch, length, flags))
			dropped++;
	}
	return 0;
}

/* A record that is given up between two that are kept. */
SEC("raw_tp")
int discard(struct bpf_raw_tracepoint_args *arguments)
{
	__u64 *room = bpf_ringbuf_reserve(&ring, 64, 0);

	if (room)
		bpf_ringbuf_discard(room, 0);
	return 0;
}

SEC("raw_tp")
int read_globals(struct bpf_raw_tracepoint_args *arguments)
{
	return answer + (flag ? 100 : 0) + negative + flavour * 1000 + label[0] * 10000 + level * 10000000;
}

SEC("perf_event")
int count_hits(struct bpf_perf_event_data *data)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&hits, &key);

	if (value)
		(*value)++;
	return 0;
}

/* Needs a helper that no kernel has: only loads if it is left out. */
SEC("raw_tp")
int from_the_future(void *context)
{
	long (*helper)(void) = (void *)9999;

	return helper();
}

char _license[] SEC("license") = "GPL";
