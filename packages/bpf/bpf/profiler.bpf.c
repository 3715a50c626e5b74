// SPDX-License-Identifier: GPL-2.0-only
/* The strategies that walk where the sample fires: tailCall and loop. Fired by a perf event on each CPU. */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "sampler.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/*
 * Strategy tailCall: walks frames_per_program frames, then calls itself until the kernel's limit. Needs 5.10.
 *
 * The step is a function of its own (not static), so that the verifier walks it once for all arguments and not once per
 * frame: a program's frames are then bounded by the length of the loop alone. Such a function takes only numbers on 5.10.
 */
#define MAX_FRAMES_PER_PROGRAM 256

__noinline int step_of_cpu(__u32 cpu)
{
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? turn(w) : REASON_internal_error;
}

static __always_inline int walk_and_call(struct bpf_perf_event_data *ctx, struct walk *w)
{
	for (__u32 i = 0; i < MAX_FRAMES_PER_PROGRAM; i++) {
		int result;

		if (i >= frames_per_program)
			break;
		result = step_of_cpu(w->index);
		if (result != GO_ON)
			return finish(w, result);
	}
	w->sample.tail_calls++;
	bpf_tail_call(ctx, &tail_calls, 0);
	/* Still here: the kernel allows no more calls. A walk that ends with its last call never comes here. */
	w->sample.tail_calls--;
	return finish(w, end_at_limit(w, REASON_tail_call_limit));
}

SEC("perf_event")
int sample_tail_call(struct bpf_perf_event_data *ctx)
{
	struct walk *w = begin(STRATEGY_TAIL_CALL);
	int result;

	if (!w)
		return 0;
	result = prepare(ctx, w);
	if (result == GO_ON) {
		start_walk(w);
		bpf_tail_call(ctx, &tail_calls, 0);
		result = REASON_internal_error;
	}
	return finish(w, result);
}

SEC("perf_event")
int walk_tail_call(struct bpf_perf_event_data *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);

	return w ? walk_and_call(ctx, w) : 0;
}

/* Strategy loop: one bpf_loop over the same step. Needs 5.17. */
SEC("perf_event")
int sample_loop(struct bpf_perf_event_data *ctx)
{
	struct walk *w = begin(STRATEGY_LOOP);
	int result;

	if (!w)
		return 0;
	result = prepare(ctx, w);
	if (result == GO_ON) {
		start_walk(w);
		result = walk_frames(w, MAX_STEPS);
		if (result == GO_ON)
			result = end_at_limit(w, REASON_step_limit);
	}
	return finish(w, result);
}
