/* SPDX-License-Identifier: BSD-3-Clause */
/* The queues of the fake back-end: a disk, the in-flight area, and the places to die at. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_private.h"
#include "random.h"
#include "vhost_frontend/blk.h"

/* The compiler keeps the order of what it is about; the processor's does not matter for a process that dies. */
#define BARRIER() __asm__ volatile("" : : : "memory")

#define AREA_ALIGN 64

uint64_t fake_inflight_size(uint16_t queue_size)
{
	uint64_t split =
		sizeof(struct fake_split_area) + queue_size * sizeof(struct fake_split_entry);
	uint64_t packed = sizeof(struct fake_packed_area) +
			  queue_size * sizeof(((struct fake_packed_area *)NULL)->entries[0]);
	uint64_t size = split > packed ? split : packed;

	return (size + AREA_ALIGN - 1) / AREA_ALIGN * AREA_ALIGN;
}

/* Dies by SIGKILL if this is the place, and enough has been done. */
static void maybe_die(const struct fake *f, enum fake_death where)
{
	if (f->config.death == where && f->served >= f->config.death_after) {
		kill(getpid(), SIGKILL);
	}
}

/* ---- the in-flight area ---- */

static void mark(struct fake_queue *queue, const struct model_chain *chain)
{
	if (queue->area == NULL) {
		return;
	}
	if (queue->model.packed) {
		struct fake_packed_area *area = queue->area;

		area->entries[chain->id].chain = *chain;
		BARRIER();
		area->entries[chain->id].counter = ++area->counter;
	} else {
		struct fake_split_area *area = queue->area;

		area->entries[chain->id].counter = queue->counter++;
		BARRIER();
		area->entries[chain->id].inflight = 1;
	}
}

static void publish_split(struct fake *f, struct fake_queue *queue,
			  const struct model_chain *chains, const uint32_t *written, unsigned int n)
{
	struct fake_split_area *area = queue->area;
	unsigned int i;

	for (i = 0; i < n && area != NULL; i++) {
		area->entries[chains[i].id].next = area->last_batch_head;
		area->last_batch_head = chains[i].id;
	}
	/* All elements, then one index (the model's push moves it one by one). */
	for (i = 0; i < n; i++) {
		struct vfe_used *used = queue->model.view.used;

		used->ring[(uint16_t)(queue->model.used_pos + i) % queue->model.view.size] =
			(struct vfe_used_elem){ chains[i].id, written[i] };
	}
	queue->model.used_pos = (uint16_t)(queue->model.used_pos + n);
	__atomic_store_n(&queue->model.view.used->idx, queue->model.used_pos, __ATOMIC_RELEASE);
	maybe_die(f, FAKE_PUBLISHED);
	for (i = 0; i < n && area != NULL; i++) {
		area->entries[chains[i].id].inflight = 0;
	}
	BARRIER();
	if (area != NULL) {
		area->used_idx = queue->model.used_pos;
	}
}

static void publish_packed(struct fake *f, struct fake_queue *queue,
			   const struct model_chain *chains, const uint32_t *written,
			   unsigned int n)
{
	struct fake_packed_area *area = queue->area;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (area != NULL) {
			area->publishing = (uint16_t)(chains[i].id + 1);
			BARRIER();
		}
		model_push(&queue->model, &chains[i], written[i]);
		maybe_die(f, FAKE_PUBLISHED);
		if (area != NULL) {
			area->entries[chains[i].id].counter = 0;
			area->used_pos = queue->model.used_pos;
			area->used_wrap = queue->model.used_wrap;
			BARRIER();
			area->publishing = 0;
		}
		maybe_die(f, FAKE_HALF);
	}
}

/* ---- taking over from a predecessor ---- */

static int by_counter(const void *a, const void *b, void *arg)
{
	const struct fake_split_area *area = arg;
	uint64_t x = area->entries[((const struct model_chain *)a)->id].counter;
	uint64_t y = area->entries[((const struct model_chain *)b)->id].counter;

	return (x > y) - (x < y);
}

static void resume_split(struct fake_queue *queue)
{
	struct fake_split_area *area = queue->area;
	struct model_ring *ring = &queue->model;
	uint16_t n;
	unsigned int i;

	ring->used_pos = ring->signalled = ring->view.used->idx;
	ring->avail_pos = (uint16_t)queue->base;
	if (area == NULL) {
		return;
	}
	if (area->version == 0) {
		area->version = 1;
		area->desc_num = (uint16_t)ring->view.size;
		area->used_idx = ring->used_pos;
	}
	/* The last batch was published and perhaps not unmarked. */
	for (n = (uint16_t)(ring->used_pos - area->used_idx); n > 0; n--) {
		area->entries[area->last_batch_head].inflight = 0;
		area->last_batch_head = area->entries[area->last_batch_head].next;
	}
	area->used_idx = ring->used_pos;
	for (i = 0; i < ring->view.size; i++) {
		if (area->entries[i].inflight != 0) {
			model_read_head(ring, (uint16_t)i, &queue->open[queue->open_n++]);
			if (area->entries[i].counter >= queue->counter) {
				queue->counter = area->entries[i].counter + 1;
			}
		}
	}
	qsort_r(queue->open, queue->open_n, sizeof(queue->open[0]), by_counter, area);
	ring->avail_pos = (uint16_t)(queue->base + queue->open_n);
}

static void set_pos(uint32_t half, uint16_t *pos, bool *wrap)
{
	*pos = half & 0x7fff;
	*wrap = (half >> 15 & 1) != 0;
}

/*
 * Was the used descriptor of the publication under way written? Then it is finished, else it did not happen. The
 * driver may have taken it since, and made its slot available in the next round: so the question is whether the slot
 * is still available in this one.
 */
static void settle_publication(struct fake_queue *queue, struct fake_packed_area *area)
{
	struct model_ring *ring = &queue->model;
	uint16_t flags = ring->view.packed[area->used_pos].flags;
	unsigned int id = area->publishing - 1u;
	bool written = ((flags & VFE_DESC_AVAIL) != 0) != (area->used_wrap != 0) ||
		       ((flags & VFE_DESC_USED) != 0) == (area->used_wrap != 0);

	if (written) {
		uint16_t pos = area->used_pos;
		unsigned int n = area->entries[id].chain.slots;

		if (pos + n >= ring->view.size) {
			area->used_wrap = !area->used_wrap;
		}
		area->used_pos = (uint16_t)((pos + n) % ring->view.size);
		area->entries[id].counter = 0;
	}
	area->publishing = 0;
}

static void resume_packed(struct fake_queue *queue)
{
	struct fake_packed_area *area = queue->area;
	struct model_ring *ring = &queue->model;
	unsigned int i, slots = 0;
	uint64_t next;

	set_pos(queue->base, &ring->avail_pos, &ring->avail_wrap);
	set_pos(queue->base >> 16, &ring->used_pos, &ring->used_wrap);
	if (area == NULL) {
		return;
	}
	if (area->version == 0) {
		area->version = 1;
		area->used_pos = ring->used_pos;
		area->used_wrap = ring->used_wrap;
	}
	if (area->publishing != 0) {
		settle_publication(queue, area);
	}
	/* Both sides must have come to the same place. */
	if (area->used_pos != ring->used_pos || (area->used_wrap != 0) != ring->used_wrap) {
		abort();
	}
	for (next = 1; next <= area->counter; next++) {
		for (i = 0; i < ring->view.size; i++) {
			if (area->entries[i].counter == next) {
				queue->open[queue->open_n++] = area->entries[i].chain;
				slots += area->entries[i].chain.slots;
			}
		}
	}
	/* Behind what is in flight. */
	if (ring->avail_pos + slots >= ring->view.size) {
		ring->avail_wrap = !ring->avail_wrap;
	}
	ring->avail_pos = (uint16_t)((ring->avail_pos + slots) % ring->view.size);
}

void fake_queue_start(struct fake *f, struct fake_queue *queue)
{
	unsigned int index = (unsigned int)(queue - f->queues);

	queue->open_n = 0;
	queue->area = f->inflight == NULL ?
			      NULL :
			      f->inflight + fake_inflight_size(f->inflight_queue_size) * index;
	if (queue->model.packed) {
		resume_packed(queue);
	} else {
		resume_split(queue);
	}
	queue->running = true;
	model_arm(&queue->model);
}

uint32_t fake_queue_stop(struct fake_queue *queue)
{
	const struct model_ring *ring = &queue->model;

	queue->running = false;
	if (!ring->packed) {
		return ring->avail_pos;
	}
	return (uint32_t)(ring->avail_pos | (ring->avail_wrap ? 1u << 15 : 0)) |
	       (uint32_t)(ring->used_pos | (ring->used_wrap ? 1u << 15 : 0)) << 16;
}

/* ---- the disk ---- */

static uint32_t execute(struct fake *f, const struct model_chain *chain)
{
	const struct vfe_blk_frame *header = fake_from_guest(f, chain->segs[0].gpa);
	const struct model_seg *last = &chain->segs[chain->seg_n - 1];
	uint64_t at = header->sector * 512;
	uint8_t *status = fake_from_guest(f, last->gpa);
	uint32_t written = 1;
	unsigned int i;

	*status = VFE_BLK_OK;
	for (i = 1; i + 1 < chain->seg_n; i++) {
		const struct model_seg *seg = &chain->segs[i];
		uint8_t *data = fake_from_guest(f, seg->gpa);

		if (at + seg->len > f->config.disk_size) {
			*status = VFE_BLK_IOERR;
			break;
		}
		if (header->type == VFE_BLK_IN) {
			memcpy(data, f->config.disk + at, seg->len);
			written += seg->len;
		} else if (header->type == VFE_BLK_OUT) {
			memcpy(f->config.disk + at, data, seg->len);
		} else {
			*status = VFE_BLK_UNSUPP;
		}
		at += seg->len;
	}
	return written;
}

static void call(struct fake_queue *queue)
{
	const uint64_t one = 1;

	if (model_call_wanted(&queue->model) && write(queue->call_fd, &one, sizeof(one)) < 0) {
		abort();
	}
}

/* Some of the open requests, in random order. */
static void complete_batch(struct fake *f, struct fake_queue *queue)
{
	struct model_chain batch[FAKE_BATCH];
	uint32_t written[FAKE_BATCH];
	unsigned int i, n = 0;

	while (queue->open_n > 0 && n < FAKE_BATCH) {
		unsigned int at = (unsigned int)random_below(&f->random, queue->open_n);

		batch[n++] = queue->open[at];
		queue->open[at] = queue->open[--queue->open_n];
	}
	maybe_die(f, FAKE_FETCHED);
	for (i = 0; i < n; i++) {
		written[i] = execute(f, &batch[i]);
	}
	maybe_die(f, FAKE_EXECUTED);
	if (queue->model.packed) {
		publish_packed(f, queue, batch, written, n);
	} else {
		publish_split(f, queue, batch, written, n);
	}
	f->served += n;
	call(queue);
}

void fake_queue_serve(struct fake *f, struct fake_queue *queue)
{
	uint64_t kicks;

	if (read(queue->kick_fd, &kicks, sizeof(kicks)) < 0) {
		kicks = 0; /* somebody else's poll result: look at the ring all the same */
	}
	model_disarm(&queue->model);
	do {
		while (queue->open_n < FAKE_OPEN_MAX &&
		       model_pop(&queue->model, &queue->open[queue->open_n])) {
			mark(queue, &queue->open[queue->open_n]);
			queue->open_n++;
		}
		if (queue->open_n > 0) {
			complete_batch(f, queue);
			continue;
		}
		model_arm(&queue->model);
		if (!model_pop(&queue->model, &queue->open[0])) {
			break;
		}
		mark(queue, &queue->open[0]);
		queue->open_n = 1;
		model_disarm(&queue->model);
	} while (true);
}
