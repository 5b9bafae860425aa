/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens on lanes: requests are made, sent, taken back, waited for. */
#include <errno.h>

#include "clock.h"
#include "load_private.h"
#include "random.h"
#include "vhost_frontend/fetch.h"

#define STALLED_NS 10000000000u
/* How long to sleep for a call, or to poll in vain, before looking whether the target is still there. */
#define LOOK_NS 100000000
/* Looks at the rings before a look at the clock: some microseconds. */
#define SPIN_ROUNDS 32

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
	uint8_t *cdb = slot->scsi->request.cdb;
	uint32_t blocks = load->block_units;
	enum load_cdb made = in ? LOAD_CDB_READ_10 : LOAD_CDB_WRITE_10;
	size_t len = 10;

	/* As the Linux driver chooses. */
	if (lba + blocks <= UINT32_MAX && blocks <= UINT16_MAX) {
		if (slot->made == made) {
			vfe_cdb_seek10(cdb, (uint32_t)lba);
		} else if (in) {
			vfe_cdb_read10(cdb, (uint32_t)lba, (uint16_t)blocks);
		} else {
			vfe_cdb_write10(cdb, (uint32_t)lba, (uint16_t)blocks);
		}
		slot->made = made;
	} else {
		slot->made = LOAD_CDB_OTHER;
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

static inline unsigned int next_in_ring(const struct load_lane *lane, unsigned int at)
{
	return at + 1 == lane->slot_n ? 0 : at + 1;
}

int load_reap(struct load_run *run, struct load_lane *lane)
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

		/* The answer's line; a later request will be written there. */
		vfe_fetch_to_write(slot->frame);
		run->taken[i].slot = slot;
		run->taken[i].ticks = now > slot->start ? now - slot->start : 0;
		lane->buffers[lane->buffer_n++] = slot->data;
		lane->idle[lane->idle_end] = slot;
		lane->idle_end = next_in_ring(lane, lane->idle_end);
	}
	lane->inflight -= (unsigned int)n;
	run->taken_n = (unsigned int)n;
	run->requests += (unsigned int)n;
	run->busy_at = run->now = now;
	return n;
}

void load_account(struct load_run *run)
{
	unsigned int i;

	for (i = 0; i < run->taken_n; i++) {
		run->errors += failed(run->load, run->taken[i].slot);
		if (run->latency != NULL) {
			histogram_add(run->latency,
				      (uint64_t)((double)run->taken[i].ticks * run->ns_per_tick));
		}
	}
	run->taken_n = 0;
}

int load_send(struct load *load, struct load_lane *lane, uint64_t start)
{
	struct load_slot *slot = lane->idle[lane->idle_first];
	int r;

	slot->data = lane->buffers[lane->buffer_n - 1];
	slot->start = start;
	r = add(load, lane, slot);
	if (r == 0) {
		lane->buffer_n--;
		lane->idle_first = next_in_ring(lane, lane->idle_first);
		lane->inflight++;
	}
	return r;
}

int load_refill(struct load *load, struct load_lane *lane, unsigned int max, uint64_t now)
{
	int r;

	for (; lane->inflight < load->config.depth && max > 0; max--) {
		r = load_send(load, lane, now);
		if (r < 0) {
			return r;
		}
	}
	vfe_queue_publish(lane->queue);
	return 0;
}

unsigned int load_inflight(const struct load *load)
{
	unsigned int sum = 0;
	unsigned int i;

	for (i = 0; i < load->lane_n; i++) {
		sum += load->lanes[i].inflight;
	}
	return sum;
}

int load_turn(struct load_run *run, bool stopping)
{
	struct load *load = run->load;
	unsigned int i;
	int sum = 0;
	int n, r;

	for (i = 0; i < load->lane_n; i++) {
		struct load_lane *lane = &load->lanes[i];

		n = load_reap(run, lane);
		if (n < 0) {
			return n;
		}
		if (n > 0 && !stopping) {
			r = load_refill(load, lane, (unsigned int)n, run->busy_at);
			if (r < 0) {
				return r;
			}
		}
		/* While the target has something to do. */
		load_account(run);
		sum += n;
	}
	return sum;
}

int load_fill(struct load *load)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < load->lane_n && r == 0; i++) {
		while (load->lanes[i].inflight < load->config.depth && r == 0) {
			r = load_refill(load, &load->lanes[i], load->config.batch, clock_ticks());
		}
	}
	return r;
}

/* Until something comes back, but not for long: there is a clock to be looked at. */
static void spin(const struct load *load)
{
	unsigned int round, i;

	for (round = 0; round < SPIN_ROUNDS; round++) {
		for (i = 0; i < load->lane_n; i++) {
			if (vfe_queue_ready(load->queues[i])) {
				return;
			}
		}
		clock_relax();
	}
}

int load_idle(struct load_run *run)
{
	struct load *load = run->load;
	unsigned int i;
	uint64_t now;
	int r;

	if (load->config.event) {
		r = vfe_queues_wait(load->queues, load->lane_n, LOOK_NS / 1000000);
		if (r < 0 && r != -ETIMEDOUT) {
			return r;
		}
	} else if (run->step == 0) {
		spin(load);
	} else {
		clock_relax();
	}
	now = run->now = clock_ticks();
	if (now < run->look_at) {
		return 0;
	}
	run->look_at = now + clock_to_ticks(LOOK_NS);
	if (!vfe_alive(load->session)) {
		load->why = "the target closed the connection";
		return -ECONNRESET;
	}
	for (i = 0; i < load->lane_n; i++) {
		if (vfe_queue_failed(load->queues[i])) {
			load->why = "the target has given a ring up";
			return -EREMOTEIO;
		}
	}
	if (load_inflight(load) > 0 && now > run->busy_at + clock_to_ticks(STALLED_NS)) {
		load->why = "a request has not come back for ten seconds";
		return -ETIMEDOUT;
	}
	return 0;
}

void load_add_counters(struct load *load, int sign, struct load_result *result)
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
