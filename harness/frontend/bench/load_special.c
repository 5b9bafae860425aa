/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads that do not measure time: the driver side alone, and batches one by one for counting. */
#include <errno.h>

#include "clock.h"
#include "load_private.h"
#include "vhost_frontend/frontend_raw.h"

/* The other side of the ring, played as cheaply as can be. */
static void load_mirror(struct load *load)
{
	struct load_lane *lane = &load->lanes[0];
	struct vfe_raw_view view;
	uint16_t end;

	vfe_raw_view(lane->queue, &view);
	end = view.avail->idx;
	for (; lane->mirrored != end; lane->mirrored++) {
		uint16_t at = lane->mirrored & (uint16_t)(view.size - 1);

		view.used->ring[at] =
			(struct vfe_used_elem){ .id = view.avail->ring[at], .len = 1 };
	}
	__atomic_store_n(&view.used->idx, end, __ATOMIC_RELEASE);
	*view.avail_event = (uint16_t)(end - 1); /* no kicks */
}

int load_run_mirrored(struct load *load, uint64_t ns, double *ret_rate)
{
	static struct histogram latency;
	struct load_run run = { .load = load,
				.latency = &latency,
				.ns_per_tick = 1.0 / clock_ticks_per_ns };
	uint64_t end = clock_ticks() + clock_to_ticks(ns);
	uint64_t driver = 0;
	uint64_t before, after;
	int r;

	histogram_reset(&latency);
	r = load_fill(load);
	do {
		load_mirror(load);
		before = clock_ticks();
		r = load_turn(&run, false);
		after = clock_ticks();
		driver += after - before;
	} while (r >= 0 && after < end);
	if (r < 0) {
		return r;
	}
	*ret_rate = (double)run.requests * 1e9 / (double)clock_to_ns(driver);
	return 0;
}

static int run_batch(struct load_run *run, struct load_lane *lane, unsigned int n)
{
	int r;

	run->busy_at = clock_ticks();
	r = load_refill(run->load, lane, n, run->busy_at);
	while (r >= 0 && load_inflight(run->load) > 0) {
		r = load_reap(run, lane);
		load_account(run);
		if (r == 0) {
			r = load_idle(run);
		}
	}
	return r;
}

int load_run_batches(struct load *load, uint64_t requests, int (*ready)(void *arg), void *arg,
		     struct load_result *ret_result)
{
	struct load_result result = { 0 };
	struct load_run run = { .load = load };
	uint64_t begin = clock_ns();
	int r = 0;

	load->why = NULL;
	load_add_counters(load, -1, &result);
	while (r >= 0 && run.requests < requests) {
		uint64_t left = requests - run.requests;
		unsigned int n = load->config.batch;

		r = ready(arg);
		if (r == 0) {
			r = run_batch(&run, &load->lanes[0], left < n ? (unsigned int)left : n);
		}
	}
	if (r < 0) {
		return r;
	}
	load_add_counters(load, 1, &result);
	result.requests = run.requests;
	result.errors = run.errors;
	result.ns = clock_ns() - begin;
	*ret_result = result;
	return 0;
}

static int at_once(void *arg)
{
	return 0;
}

int load_prefill(struct load *load)
{
	const struct load_config config = load->config;
	struct load_result result;
	int r;

	load->config.random = false;
	load->config.read_percent = 0;
	load->position = 0;
	r = load_run_batches(load, load->blocks, at_once, NULL, &result);
	load->config = config;
	load->position = 0;
	if (r == 0 && result.errors > 0) {
		load->why = "the disk cannot be written";
		r = -EIO;
	}
	return r;
}

bool load_target_is_armed(const struct load *load)
{
	struct vfe_raw_view view;
	struct vfe_queue *queue = load->lanes[0].queue;

	vfe_raw_view(queue, &view);
	if (view.packed != NULL) {
		return __atomic_load_n(&view.device_event->flags, __ATOMIC_RELAXED) !=
		       VFE_EVENT_DISABLE;
	}
	if (load_has_event_idx(load)) {
		return __atomic_load_n(view.avail_event, __ATOMIC_RELAXED) == view.avail->idx;
	}
	return (__atomic_load_n(&view.used->flags, __ATOMIC_RELAXED) & VFE_USED_NO_NOTIFY) == 0;
}
