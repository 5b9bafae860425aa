/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring, driver side: virtio 1.2, 2.8. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The two bits that say "available" in a round with this wrap counter. */
static uint16_t avail_bits(bool wrap)
{
	return wrap ? VFE_DESC_AVAIL : VFE_DESC_USED;
}

static void advance(const struct vfe_queue *queue, uint16_t *pos, bool *wrap, unsigned int n)
{
	unsigned int sum = *pos + n;

	if (sum >= queue->size) {
		sum -= queue->size;
		*wrap = !*wrap;
	}
	*pos = (uint16_t)sum;
}

int vfe_packed_init(struct vfe_queue *queue)
{
	struct vfe_packed *ring = &queue->packed;
	struct vfe_memory *memory = queue->session->memory;

	ring->ring = vfe_memory_alloc(memory, queue->size * sizeof(*ring->ring), VFE_CACHE_LINE);
	ring->driver = vfe_memory_alloc(memory, sizeof(*ring->driver), VFE_CACHE_LINE);
	ring->device = vfe_memory_alloc(memory, sizeof(*ring->device), VFE_CACHE_LINE);
	ring->ids = calloc(queue->size, sizeof(*ring->ids));
	if (ring->ring == NULL || ring->driver == NULL || ring->device == NULL ||
	    ring->ids == NULL) {
		return vfe_fail(queue->session, -ENOMEM, "no room for the ring");
	}
	return 0;
}

void vfe_packed_reset(struct vfe_queue *queue)
{
	struct vfe_packed *ring = &queue->packed;
	unsigned int i;

	memset(ring->ring, 0, queue->size * sizeof(*ring->ring));
	memset(ring->driver, 0, sizeof(*ring->driver));
	memset(ring->device, 0, sizeof(*ring->device));
	for (i = 0; i < queue->size; i++) {
		ring->ids[i] = (uint16_t)(queue->size - 1 - i);
	}
	ring->id_n = queue->size;
	ring->avail_pos = ring->used_pos = 0;
	ring->avail_wrap = ring->used_wrap = true;
	ring->pending_n = 0;
}

/*
 * Descriptors become the device's when their flags say so, in order. Of all that have been added since the last
 * publish the first one's flags are held back, so that none of them counts before the publish.
 */
static void put(struct vfe_queue *queue, const struct vfe_seg *seg, uint16_t id, uint16_t flags)
{
	struct vfe_packed *ring = &queue->packed;
	struct vfe_packed_desc *desc = &ring->ring[ring->avail_pos];

	desc->addr = seg->gpa;
	desc->len = seg->len;
	desc->id = id;
	flags |= avail_bits(ring->avail_wrap);
	if (ring->pending_n == 0) {
		ring->pending_pos = ring->avail_pos;
		ring->pending_wrap = ring->avail_wrap;
		ring->pending_flags = flags;
	} else {
		vfe_store16(&desc->flags, flags);
	}
	ring->pending_n++;
	advance(queue, &ring->avail_pos, &ring->avail_wrap, 1);
}

static struct vfe_seg fill_table(struct vfe_queue *queue, const struct vfe_seg *segs,
				 unsigned int out_n, unsigned int n, uint16_t id)
{
	size_t at = (size_t)id * queue->segments;
	struct vfe_packed_desc *table = (struct vfe_packed_desc *)(queue->tables + at);
	unsigned int i;

	/* virtio 1.2, 2.8.7: only the write flag counts in a table, its length says where it ends. */
	for (i = 0; i < n; i++) {
		table[i] = (struct vfe_packed_desc){
			.addr = segs[i].gpa,
			.len = segs[i].len,
			.flags = i >= out_n ? VFE_DESC_WRITE : 0,
		};
	}
	return (struct vfe_seg){ queue->tables_gpa + at * sizeof(*table),
				 (uint32_t)(n * sizeof(*table)) };
}

int vfe_packed_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		   unsigned int in_n, void *cookie)
{
	struct vfe_packed *ring = &queue->packed;
	unsigned int n = out_n + in_n;
	bool indirect = queue->indirect && n > 1;
	unsigned int taken = indirect ? 1 : n;
	unsigned int i;
	uint16_t id;

	if (n > queue->segments || n == 0) {
		return n == 0 ? -EINVAL : -E2BIG;
	}
	if (queue->free_n < taken || ring->id_n == 0) {
		return taken > queue->size ? -E2BIG : -ENOSPC;
	}
	id = ring->ids[--ring->id_n];
	if (indirect) {
		struct vfe_seg table = fill_table(queue, segs, out_n, n, id);

		put(queue, &table, id, VFE_DESC_INDIRECT);
	} else {
		for (i = 0; i < n; i++) {
			put(queue, &segs[i], id,
			    (uint16_t)((i >= out_n ? VFE_DESC_WRITE : 0) |
				       (i + 1 < n ? VFE_DESC_NEXT : 0)));
		}
	}
	queue->free_n -= taken;
	queue->entries[id] = (struct vfe_entry){ .cookie = cookie, .n = (uint16_t)taken };
	return 0;
}

/* Does the stretch from `pos` (in round `wrap`), n descriptors long, hold the one that is asked for? */
static bool kick_wanted(const struct vfe_queue *queue, unsigned int pos, bool wrap, unsigned int n)
{
	const struct vfe_packed_event *device = queue->packed.device;
	uint16_t flags = vfe_load16(&device->flags);
	uint16_t off_wrap;
	unsigned int event;

	if (flags != VFE_EVENT_DESC || !queue->event_idx) {
		return flags != VFE_EVENT_DISABLE;
	}
	/* The flags before the position that they make valid. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	off_wrap = vfe_load16(&device->off_wrap);
	event = off_wrap & 0x7fff;
	if ((off_wrap >> 15 != 0) != wrap) {
		event += queue->size; /* in the next round */
	}
	return event >= pos && event < pos + n;
}

bool vfe_packed_publish(struct vfe_queue *queue)
{
	struct vfe_packed *ring = &queue->packed;
	unsigned int n = ring->pending_n;

	if (n == 0) {
		return false;
	}
	/* All other fields of all descriptors before the flags that show the first. */
	__atomic_store_n(&ring->ring[ring->pending_pos].flags, ring->pending_flags,
			 __ATOMIC_RELEASE);
	ring->pending_n = 0;
	queue->stats.published++;
	/* The store of the flags before the load of what the device wishes: it does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return kick_wanted(queue, ring->pending_pos, ring->pending_wrap, n);
}

static bool is_used(const struct vfe_packed *ring, unsigned int pos, bool wrap)
{
	/* The flags before the id and length that they show. */
	uint16_t flags = __atomic_load_n(&ring->ring[pos].flags, __ATOMIC_ACQUIRE);

	return ((flags & VFE_DESC_AVAIL) != 0) == wrap && ((flags & VFE_DESC_USED) != 0) == wrap;
}

bool vfe_packed_ready(const struct vfe_queue *queue)
{
	return is_used(&queue->packed, queue->packed.used_pos, queue->packed.used_wrap);
}

int vfe_packed_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max)
{
	struct vfe_packed *ring = &queue->packed;
	unsigned int n;

	for (n = 0; n < max && is_used(ring, ring->used_pos, ring->used_wrap); n++) {
		const struct vfe_packed_desc *desc = &ring->ring[ring->used_pos];
		uint16_t id = desc->id;
		struct vfe_entry *entry;

		if (id >= queue->size || queue->entries[id].n == 0) {
			return vfe_fail(
				queue->session, -EPROTO,
				"ring %u: the device returned buffer %u, which it does not have",
				queue->index, id);
		}
		entry = &queue->entries[id];
		done[n].cookie = entry->cookie;
		done[n].written = desc->len;
		ring->ids[ring->id_n++] = id;
		queue->free_n += entry->n;
		advance(queue, &ring->used_pos, &ring->used_wrap, entry->n);
		entry->n = 0;
	}
	return (int)n;
}

bool vfe_packed_arm(struct vfe_queue *queue)
{
	struct vfe_packed *ring = &queue->packed;

	queue->calls_on = true;
	if (queue->event_idx) {
		vfe_store16(&ring->driver->off_wrap,
			    (uint16_t)(ring->used_pos | (ring->used_wrap ? 1u << 15 : 0)));
		/* The position before the flags that make it valid. */
		__atomic_store_n(&ring->driver->flags, VFE_EVENT_DESC, __ATOMIC_RELEASE);
	} else {
		vfe_store16(&ring->driver->flags, VFE_EVENT_ENABLE);
	}
	/* The wish for a call before the look at the ring: the device does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !is_used(ring, ring->used_pos, ring->used_wrap);
}

void vfe_packed_disarm(struct vfe_queue *queue)
{
	queue->calls_on = false;
	vfe_store16(&queue->packed.driver->flags, VFE_EVENT_DISABLE);
}

/*
 * Where a successor begins: behind the last descriptor that its predecessor wrote, for both halves; it adds what
 * the in-flight area says was fetched and not finished.
 */
uint32_t vfe_packed_crash_base(const struct vfe_queue *queue)
{
	const struct vfe_packed *ring = &queue->packed;
	uint16_t pos = ring->used_pos;
	bool wrap = ring->used_wrap;
	unsigned int left = queue->inflight;
	uint32_t half;

	for (; left > 0 && is_used(ring, pos, wrap); left--) {
		uint16_t id = ring->ring[pos].id;

		if (id >= queue->size || queue->entries[id].n == 0) {
			break;
		}
		advance(queue, &pos, &wrap, queue->entries[id].n);
	}
	half = pos | (wrap ? 1u << 15 : 0);
	return half | half << 16;
}
