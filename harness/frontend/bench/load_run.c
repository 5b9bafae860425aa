/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop that measures. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "load_private.h"
#include "random.h"
#include "vhost_frontend/frontend_raw.h"

#define STALLED_NS 10000000000u
/* How long to sleep for a call, or to poll in vain, before looking whether the target is still there. */
#define LOOK_MS 100

/* The state of one call of load_run; times are in ticks. */
struct run {
	struct load *load;
	struct histogram *latency;
	uint64_t requests;
	uint64_t errors;
	uint64_t counted; /* requests that had come back when the time was over, */
	uint64_t ended;	  /* and when that was */
	uint64_t busy_at; /* when something came back last */
	uint64_t look_at; /* when to look at the target if nothing comes back */
	double ns_per_tick;
	/* Fixed rate: when the next request is due; both with a fraction, for exact rates. */
	double due;
	double step;
	unsigned int lane; /* lanes take turns */
};

static uint64_t next_block(struct load *load)
{
	if (load->config.random) {
		return random_below(&load->random, load->blocks);
	}
	if (load->position == load->blocks) {
		load->position = 0;
	}
	return load->position++;
}

static bool next_is_read(struct load *load)
{
	unsigned int percent = load->config.read_percent;

	return percent == 100 || (percent > 0 && random_below(&load->random, 100) < percent);
}

static int add_scsi(struct load *load, struct load_lane *lane, struct load_slot *slot, bool in,
		    uint64_t lba, const struct vfe_seg *data)
{
	uint8_t cdb[VFE_CDB_MAX];
	uint32_t blocks = load->block_units;
	size_t len;

	/* As the Linux driver chooses. */
	if (lba + blocks <= UINT32_MAX && blocks <= UINT16_MAX) {
		len = in ? vfe_cdb_read10(cdb, (uint32_t)lba, (uint16_t)blocks) :
			   vfe_cdb_write10(cdb, (uint32_t)lba, (uint16_t)blocks);
	} else {
		len = in ? vfe_cdb_read16(cdb, lba, blocks) : vfe_cdb_write16(cdb, lba, blocks);
	}
	return vfe_scsi_add(lane->queue, slot->scsi, load->address, cdb, len, in, data, 1, slot);
}

static int add(struct load *load, struct load_lane *lane, struct load_slot *slot)
{
	const struct vfe_seg data = { slot->data, load->config.block };
	bool in = next_is_read(load);
	uint64_t at = next_block(load) * load->block_units;

	if (load->config.scsi) {
		return add_scsi(load, lane, slot, in, at, &data);
	}
	return vfe_blk_add(lane->queue, slot->blk, in ? VFE_BLK_IN : VFE_BLK_OUT, at, &data, 1,
			   slot);
}

static inline bool failed(const struct load *load, const struct load_slot *slot)
{
	return (load->config.scsi ? vfe_scsi_result(slot->scsi) : vfe_blk_result(slot->blk)) != 0;
}

/* Takes up to a batch from one lane into its idle slots; returns how many, or an error. busy_at is the time. */
static int reap(struct run *run, struct load_lane *lane)
{
	struct vfe_done done[LOAD_BATCH_MAX];
	int n = vfe_queue_reap(lane->queue, done, run->load->config.batch);
	uint64_t now;
	int i;

	if (n <= 0) {
		return n;
	}
	now = clock_ticks();
	for (i = 0; i < n; i++) {
		struct load_slot *slot = done[i].cookie;

		run->errors += failed(run->load, slot);
		if (run->latency != NULL) {
			uint64_t ticks = now > slot->start ? now - slot->start : 0;

			histogram_add(run->latency, (uint64_t)((double)ticks * run->ns_per_tick));
		}
		lane->idle[lane->idle_n++] = slot;
	}
	run->requests += (unsigned int)n;
	run->busy_at = now;
	return n;
}

/* Sends up to `max` idle slots again. */
static int refill(struct load *load, struct load_lane *lane, unsigned int max, uint64_t now)
{
	int r;

	for (; lane->idle_n > 0 && max > 0; max--) {
		struct load_slot *slot = lane->idle[lane->idle_n - 1];

		slot->start = now;
		r = add(load, lane, slot);
		if (r < 0) {
			return r;
		}
		lane->idle_n--;
	}
	vfe_queue_publish(lane->queue);
	return 0;
}

static unsigned int inflight(const struct load *load)
{
	unsigned int sum = 0;
	unsigned int i;

	for (i = 0; i < load->lane_n; i++) {
		sum += load->config.depth - load->lanes[i].idle_n;
	}
	return sum;
}

/* One turn over all lanes; returns how many requests came back. */
static int turn_fixed_depth(struct run *run, bool stopping)
{
	struct load *load = run->load;
	unsigned int i;
	int sum = 0;
	int n, r;

	for (i = 0; i < load->lane_n; i++) {
		struct load_lane *lane = &load->lanes[i];

		n = reap(run, lane);
		if (n < 0) {
			return n;
		}
		if (n > 0 && !stopping) {
			r = refill(load, lane, (unsigned int)n, run->busy_at);
			if (r < 0) {
				return r;
			}
		}
		sum += n;
	}
	return sum;
}

static int send_due(struct run *run)
{
	struct load *load = run->load;
	double now = (double)clock_ticks();
	unsigned int i;
	int r;

	while (run->due <= now) {
		struct load_lane *lane = &load->lanes[run->lane];
		struct load_slot *slot;

		if (lane->idle_n == 0) {
			break; /* it stays due, and its latency grows */
		}
		slot = lane->idle[lane->idle_n - 1];
		slot->start = (uint64_t)run->due;
		r = add(load, lane, slot);
		if (r < 0) {
			return r;
		}
		lane->idle_n--;
		run->due += run->step;
		run->lane = (run->lane + 1) % load->lane_n;
	}
	for (i = 0; i < load->lane_n; i++) {
		vfe_queue_publish(load->lanes[i].queue);
	}
	return 0;
}

static int turn_fixed_rate(struct run *run, bool stopping)
{
	struct load *load = run->load;
	unsigned int i;
	int sum = 0;
	int r;

	for (i = 0; i < load->lane_n; i++) {
		r = reap(run, &load->lanes[i]);
		if (r < 0) {
			return r;
		}
		sum += r;
	}
	r = stopping ? 0 : send_due(run);
	return r < 0 ? r : sum;
}

/* Nothing came back: sleep if that is the mode, and see now and then whether the target is still there. */
static int idle(struct run *run)
{
	struct load *load = run->load;
	uint64_t now;
	int r;

	if (load->config.event) {
		r = vfe_queues_wait(load->queues, load->lane_n, LOOK_MS);
		if (r < 0 && r != -ETIMEDOUT) {
			load->why = "the target closed the connection";
			return r;
		}
	} else {
		clock_relax();
	}
	now = clock_ticks();
	if (now < run->look_at) {
		return 0;
	}
	run->look_at = now + clock_to_ticks(LOOK_MS * 1000000u);
	if (!vfe_alive(load->session)) {
		load->why = "the target closed the connection";
		return -ECONNRESET;
	}
	if (inflight(load) > 0 && now > run->busy_at + clock_to_ticks(STALLED_NS)) {
		load->why = "a request has not come back for ten seconds";
		return -ETIMEDOUT;
	}
	return 0;
}

/* Until `end`, then until nothing is in flight. */
static int loop(struct run *run, uint64_t end)
{
	struct load *load = run->load;
	bool stopping = false;
	uint64_t now;
	int r;

	while (!stopping || inflight(load) > 0) {
		r = run->step > 0 ? turn_fixed_rate(run, stopping) :
				    turn_fixed_depth(run, stopping);
		if (r == 0) {
			r = idle(run);
		}
		if (r < 0) {
			return r;
		}
		now = clock_ticks();
		if (!stopping && now >= end) {
			stopping = true;
			run->counted = run->requests;
			run->ended = now;
		}
	}
	return 0;
}

static int fill(struct load *load)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < load->lane_n && r == 0; i++) {
		while (load->lanes[i].idle_n > 0 && r == 0) {
			r = refill(load, &load->lanes[i], load->config.batch, clock_ticks());
		}
	}
	return r;
}

static void add_counters(struct load *load, int sign, struct load_result *result)
{
	unsigned int i;

	for (i = 0; i < load->lane_n; i++) {
		const struct vfe_queue_stats *stats = vfe_queue_stats(load->queues[i]);

		result->kicks += (uint64_t)sign * stats->kicks;
		result->calls += (uint64_t)sign * stats->calls;
		result->batches += (uint64_t)sign * stats->published;
		result->waits += (uint64_t)sign * stats->waits;
	}
}

int load_run(struct load *load, uint64_t ns, struct histogram *latency,
	     struct load_result *ret_result)
{
	struct load_result result = { 0 };
	uint64_t begin = clock_ticks();
	uint64_t end = begin + clock_to_ticks(ns);
	struct run run = {
		.load = load,
		.latency = latency,
		.busy_at = begin,
		.ns_per_tick = 1.0 / clock_ticks_per_ns,
		.due = (double)begin,
		.step = load->config.rate > 0 ? 1e9 / load->config.rate * clock_ticks_per_ns : 0,
	};
	int r;

	load->why = NULL;
	add_counters(load, -1, &result);
	r = run.step > 0 ? 0 : fill(load);
	if (r == 0) {
		r = loop(&run, end);
	}
	if (r < 0) {
		return r;
	}
	add_counters(load, 1, &result);
	result.requests = run.counted;
	result.errors = run.errors;
	result.ns = clock_to_ns(run.ended - begin);
	if (run.step > 0 && run.due < (double)end) {
		result.missed = (uint64_t)(((double)end - run.due) / run.step) + 1;
	}
	*ret_result = result;
	return 0;
}

int load_run_mirrored(struct load *load, uint64_t ns, double *ret_rate)
{
	static struct histogram latency;
	struct run run = { .load = load,
			   .latency = &latency,
			   .ns_per_tick = 1.0 / clock_ticks_per_ns };
	uint64_t end = clock_ticks() + clock_to_ticks(ns);
	uint64_t driver = 0;
	uint64_t before, after;
	int r;

	histogram_reset(&latency);
	r = load->lanes[0].idle_n > 0 ? fill(load) : 0;
	do {
		load_mirror(load);
		before = clock_ticks();
		r = turn_fixed_depth(&run, false);
		after = clock_ticks();
		driver += after - before;
	} while (r >= 0 && after < end);
	if (r < 0) {
		return r;
	}
	*ret_rate = (double)run.requests * 1e9 / (double)clock_to_ns(driver);
	return 0;
}

static int run_batch(struct run *run, struct load_lane *lane, unsigned int n)
{
	int r;

	run->busy_at = clock_ticks();
	r = refill(run->load, lane, n, run->busy_at);
	while (r >= 0 && inflight(run->load) > 0) {
		r = reap(run, lane);
		if (r == 0) {
			r = idle(run);
		}
	}
	return r;
}

int load_run_batches(struct load *load, uint64_t requests, int (*ready)(void *arg), void *arg,
		     struct load_result *ret_result)
{
	struct load_result result = { 0 };
	struct run run = { .load = load };
	uint64_t begin = clock_ns();
	int r = 0;

	load->why = NULL;
	add_counters(load, -1, &result);
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
	add_counters(load, 1, &result);
	result.requests = run.requests;
	result.errors = run.errors;
	result.ns = clock_ns() - begin;
	*ret_result = result;
	return 0;
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
