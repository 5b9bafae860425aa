/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop that measures. */
#include "clock.h"
#include "load_private.h"

static int send_due(struct load_run *run)
{
	struct load *load = run->load;
	double now = (double)clock_ticks();
	unsigned int i;
	int r;

	while (run->due <= now) {
		struct load_lane *lane = &load->lanes[run->lane];

		if (lane->inflight == load->config.depth) {
			break; /* it stays due, and its latency grows */
		}
		r = load_send(load, lane, (uint64_t)run->due);
		if (r < 0) {
			return r;
		}
		run->due += run->step;
		run->lane = (run->lane + 1) % load->lane_n;
	}
	for (i = 0; i < load->lane_n; i++) {
		vfe_queue_publish(load->lanes[i].queue);
	}
	return 0;
}

static int turn_fixed_rate(struct load_run *run, bool stopping)
{
	struct load *load = run->load;
	unsigned int i;
	int sum = 0;
	int r;

	for (i = 0; i < load->lane_n; i++) {
		r = load_reap(run, &load->lanes[i]);
		if (r < 0) {
			return r;
		}
		load_account(run);
		sum += r;
	}
	r = stopping ? 0 : send_due(run);
	return r < 0 ? r : sum;
}

/* Until `end`, then until nothing is in flight. */
static int loop(struct load_run *run, uint64_t end)
{
	struct load *load = run->load;
	bool stopping = false;
	int r;

	while (!stopping || load_inflight(load) > 0) {
		r = run->step > 0 ? turn_fixed_rate(run, stopping) : load_turn(run, stopping);
		if (r == 0) {
			r = load_idle(run);
		}
		if (r < 0) {
			return r;
		}
		if (!stopping && run->now >= end) {
			stopping = true;
			run->counted = run->requests;
			run->ended = run->now;
		}
	}
	return 0;
}

int load_run(struct load *load, uint64_t ns, struct histogram *latency,
	     struct load_result *ret_result)
{
	struct load_result result = { 0 };
	uint64_t begin = clock_ticks();
	uint64_t end = begin + clock_to_ticks(ns);
	struct load_run run = {
		.load = load,
		.latency = latency,
		.now = begin,
		.busy_at = begin,
		.ns_per_tick = 1.0 / clock_ticks_per_ns,
		.due = (double)begin,
		.step = load->config.rate > 0 ? 1e9 / load->config.rate * clock_ticks_per_ns : 0,
	};
	int r;

	load->why = NULL;
	load_add_counters(load, -1, &result);
	r = run.step > 0 ? 0 : load_fill(load);
	if (r == 0) {
		r = loop(&run, end);
	}
	if (r < 0) {
		return r;
	}
	load_add_counters(load, 1, &result);
	result.requests = run.counted;
	result.errors = run.errors;
	result.ns = clock_to_ns(run.ended - begin);
	if (run.step > 0 && run.due < (double)run.ended) {
		result.missed = (uint64_t)(((double)run.ended - run.due) / run.step) + 1;
	}
	*ret_result = result;
	return 0;
}
