/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps. Who writes: agent, unless said otherwise. Sizes marked "set at load" are changed by the agent before loading. */
#ifndef PLUMBLINE_MAPS_H
#define PLUMBLINE_MAPS_H

#include "abi.h"
#include "walk.bpf.h"

/* Samples and process events. Written by the programs; size set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* One walk in progress per CPU. A plain array, for a per-CPU value may not exceed 32 KiB. Size set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* By the index of walks, for those on a CPU. Sizes set at load. Written by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct trail);
} trails SEC(".maps");

/* memories_per_cpu for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct memory);
} memories SEC(".maps");

/* Written by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* By tgid. The programs copy an entry at fork and delete it at exit; after exec its generation does not fit any more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

/* Generation of each process image that began while the profiler runs, by tgid. Written by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, __u32);
	__type(value, __u32);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FILES);
	__type(key, struct file_key);
	__type(value, struct file_tables);
} files SEC(".maps");

/* Mappings of all processes; each process has a run of them, sorted by address. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_MAPPINGS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mapping);
} mappings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SEGMENTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct unwind_segment);
} segments SEC(".maps");

/* A shard holds the indexes, rows and rules of many segments. Shards are made as they are needed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_SHARDS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__uint(map_flags, BPF_F_MMAPABLE);
		__uint(key_size, 4);
		__uint(value_size, SHARD_SIZE);
	});
} shards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_POLICIES);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

/*
 * Which stacks have been sent, direct mapped by hash: the upper 56 bits of the hash and the epoch in which it was
 * sent. A collision only sends a stack again. No locks, so it is safe in any context. Written by the programs.
 */
#define SEEN_STACKS (1 << 15)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN_STACKS);
	__type(key, __u32);
	__type(value, __u64);
} seen_stacks SEC(".maps");

/* Which unknown addresses have been reported, and when; direct mapped like seen_stacks. Written by the programs. */
struct report {
	__u64 key;
	__u64 time;
};
#define REPORTS (1 << 12)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REPORTS);
	__type(key, __u32);
	__type(value, struct report);
} reports SEC(".maps");

/*
 * When a process may spill next if it is to keep its average (ns, CLOCK_MONOTONIC), by a hash of its tgid; processes of the
 * same hash share it. Written by the programs, without locks: two at once may let one too many through.
 */
#define SPILL_BUCKETS_SHIFT 12
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SPILL_BUCKETS_SHIFT);
	__type(key, __u32);
	__type(value, __u64);
} spill_buckets SEC(".maps");

/* The program that strategy tailCall calls again and again. Filled at load. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} tail_calls SEC(".maps");

#endif
