/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and their answers, whatever the device. */
#include "guest.h"

#include <string.h>

#include "../must.h"
#include "base/fd.h"

static bool can_drive(const struct guest *g)
{
	return guest_connected(g) && !g->parted && !g->hostile;
}

static void claims_end(struct guest *g, const struct request *r, bool done)
{
	unsigned int i;

	for (i = 0; i < r->range_n; i++) {
		if (r->effect == EFFECT_WRITE) {
			disk_write_done(g->disk, r->ranges[i].offset, r->ranges[i].len, done);
		} else {
			disk_read_done(g->disk, r->ranges[i].offset, r->ranges[i].len);
		}
	}
}

void guest_request(struct guest *g, struct bytes_reader *in)
{
	struct ring *ring = &g->rings[bytes_get_u8(in) % g->driver->rings];
	uint8_t how = bytes_get_u8(in);
	struct request *r = ring_free_slot(ring);

	if (!can_drive(g) || g->remapping > 0 || r == NULL || !g->driver->make(g, ring, r, in)) {
		return;
	}
	r->log_epoch = g->log.on ? g->log.epoch : 0;
	r->ring_logged = ring->logs;
	r->failures = g->disk->failures;
	r->refusals = g->disk->refusals;
	r->changes = g->changes;
	/* Queues of a block device find out one by one. */
	r->sure = g->changes == 0 ||
		  (g->driver == &scsi_driver && g->has_disk && !LIST_EMPTY(&g->disk->channels) &&
		   g->disk->bdev.leaving == 0);
	if (!ring_submit(ring, r, 1 + (how & 7), 1 + (how >> 3 & 7), (how & 0x40) != 0)) {
		claims_end(g, r, false);
		return;
	}
	if ((how & 0x80) == 0) {
		ring_kick(ring, false);
	}
}

/* Whoever copies memory must hear of what was written: the answer, and that there is one. */
static void check_log(struct guest *g, const struct ring *ring, const struct request *r,
		      uint32_t len)
{
	const struct ring_area used = ring_used_area(ring);
	uint64_t ring_at = ring->index * RING_BYTES;
	uint64_t in = ring_in_offset(ring, r);

	if (!g->log.on || r->log_epoch != g->log.epoch) {
		return;
	}
	log_expect(&g->log, in, len);
	/* The status of a block request is its last byte; a SCSI response its first ones. */
	log_expect(&g->log, in + (g->driver == &blk_driver ? r->in_len - 1 : 0), 1);
	if (ring->packed || r->ring_logged) {
		log_expect(&g->log, ring_at + used.offset, 1);
	}
}

void guest_reap(struct guest *g, struct ring *ring)
{
	struct request *r;
	uint32_t len;

	if (ring_used_idx(ring) == ring->next_used) {
		return;
	}
	if (ring->call_fd >= 0) {
		eventfd_drain(ring->call_fd);
	}
	if (ring->next_call_fd >= 0) {
		eventfd_drain(ring->next_call_fd);
	}
	while ((r = ring_reap(ring, &len)) != NULL) {
		check_log(g, ring, r, len);
		claims_end(g, r, g->driver->check(g, ring, r, len));
		ring_free(ring, r);
	}
	if (guest_outstanding(g) == 0) {
		log_at_rest(&g->log);
	}
	ring_want_calls(ring, ring->wants_calls);
}

unsigned int guest_outstanding(const struct guest *g)
{
	unsigned int n = 0;
	unsigned int i;

	for (i = 0; i < g->driver->rings; i++) {
		n += g->rings[i].outstanding;
	}
	return n;
}

void guest_reap_all(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < g->driver->rings; i++) {
		guest_reap(g, &g->rings[i]);
	}
}

bool guest_ring_runs(const struct guest *g, const struct ring *ring)
{
	return g->mem_set && g->features_set && ring->has_size && ring->has_addr &&
	       ring->has_kick && ring->enabled;
}
