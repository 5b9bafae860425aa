/* SPDX-License-Identifier: BSD-3-Clause */
/* Quality of service at one queue: how much is popped, and when the driver is called. */
#include "base/notify.h"
#include "env/env.h"
#include "virtio/ring.h"

/* ---- limits ---- */

/* Headers, sense data and the like are less than a sector: whole sectors are the payload. */
#define SECTOR UINT64_C(512)

static uint64_t payload(const struct virtq_req *req)
{
	uint64_t longer = req->out_len > req->in_len ? req->out_len : req->in_len;

	return longer / SECTOR * SECTOR;
}

static unsigned int smaller(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

void virtq_set_meter(struct virtq *vq, struct virtq_meter *meter)
{
	vq->meter = meter;
}

/* Rounded up: what is left goes round, too. */
static uint64_t part_of(uint64_t n, unsigned int parts)
{
	return n / parts + (n % parts > 0);
}

static void charge(struct virtq_meter *meter, unsigned int requests, uint64_t bytes)
{
	meter->requests -= requests;
	meter->popped += requests;
	meter->popped_bytes += bytes;
	if (meter->bytes != UINT64_MAX) {
		meter->bytes -= bytes < meter->bytes ? bytes : meter->bytes;
	}
}

unsigned int virtq_pop_metered(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	struct virtq_meter *meter = vq->meter;
	unsigned int most = smaller(max, (unsigned int)part_of(meter->requests, meter->parts));
	uint64_t most_bytes = part_of(meter->bytes, meter->parts);
	/* What a request asks for is known when it has been fetched. */
	unsigned int step = meter->bytes == UINT64_MAX ? most : 1;
	uint64_t bytes = 0;
	unsigned int n = 0;

	while (n < most && bytes < most_bytes) {
		unsigned int want = smaller(step, most - n);
		unsigned int got = virtq_pop_format(vq, reqs + n, want);
		unsigned int i;

		for (i = n; i < n + got; i++) {
			bytes += payload(reqs[i]);
		}
		n += got;
		if (got < want) {
			break;
		}
	}
	charge(meter, n, bytes);
	return n;
}

/* ---- coalescing ---- */

static void call_now(struct virtq *vq)
{
	vq->call_due = false;
	notify_eventfd(vq->call_fd);
	virtq_count(&vq->stats.calls, 1);
}

void virtq_call_later(struct virtq *vq)
{
	uint64_t now = env_ticks();

	if (vq->call_due && now < vq->call_at) {
		virtq_count(&vq->stats.suppressed_calls, 1); /* one call tells it of both */
	} else if (now < vq->call_at) {
		vq->call_due = true;
	} else {
		vq->call_at = now + vq->call_gap;
		call_now(vq);
	}
}

void virtq_set_call_gap(struct virtq *vq, uint64_t ticks)
{
	uint64_t latest = env_ticks() + ticks;

	vq->call_gap = ticks;
	/* A shorter one holds for the call that waits, too. */
	if (vq->call_at > latest) {
		vq->call_at = latest;
	}
	if (ticks == 0 && vq->call_due) {
		call_now(vq);
	}
}

void virtq_call_if_due(struct virtq *vq, uint64_t now)
{
	if (vq->call_due && now >= vq->call_at) {
		vq->call_at = now + vq->call_gap;
		call_now(vq);
	}
}

uint64_t virtq_call_time(const struct virtq *vq)
{
	return vq->call_due ? vq->call_at : UINT64_MAX;
}
