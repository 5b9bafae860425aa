/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring, driver side: virtio 1.2, 2.7. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int vfe_split_init(struct vfe_queue *queue)
{
	struct vfe_split *ring = &queue->split;
	struct vfe_memory *memory = queue->session->memory;
	size_t n = queue->size;

	/* Each part begins a cache line, so that what the two sides write does not share one. */
	ring->desc = vfe_memory_alloc(memory, n * sizeof(*ring->desc), VFE_CACHE_LINE);
	ring->avail = vfe_memory_alloc(memory, sizeof(*ring->avail) + (n + 1) * sizeof(uint16_t),
				       VFE_CACHE_LINE);
	ring->used = vfe_memory_alloc(
		memory, sizeof(*ring->used) + n * sizeof(ring->used->ring[0]) + sizeof(uint16_t),
		VFE_CACHE_LINE);
	ring->next = calloc(n, sizeof(*ring->next));
	if (ring->desc == NULL || ring->avail == NULL || ring->used == NULL || ring->next == NULL) {
		return vfe_fail(queue->session, -ENOMEM, "no room for the ring");
	}
	ring->used_event = &ring->avail->ring[n];
	ring->avail_event = (uint16_t *)&ring->used->ring[n];
	ring->mask = (uint16_t)(n - 1);
	return 0;
}

void vfe_split_reset(struct vfe_queue *queue)
{
	struct vfe_split *ring = &queue->split;
	unsigned int i;

	memset(ring->desc, 0, queue->size * sizeof(*ring->desc));
	memset(ring->avail, 0, sizeof(*ring->avail) + (queue->size + 1u) * sizeof(uint16_t));
	memset(ring->used, 0,
	       sizeof(*ring->used) + queue->size * sizeof(ring->used->ring[0]) + sizeof(uint16_t));
	for (i = 0; i < queue->size; i++) {
		ring->next[i] = (uint16_t)(i + 1);
	}
	ring->free_head = 0;
	ring->avail_idx = ring->shown_idx = ring->used_idx = 0;
}

static void fill_table(struct vfe_desc *table, const struct vfe_seg *segs, unsigned int out_n,
		       unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		table[i] = (struct vfe_desc){
			.addr = segs[i].gpa,
			.len = segs[i].len,
			.flags = (uint16_t)((i >= out_n ? VFE_DESC_WRITE : 0) |
					    (i + 1 < n ? VFE_DESC_NEXT : 0)),
			.next = (uint16_t)(i + 1),
		};
	}
}

int vfe_split_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		  unsigned int in_n, void *cookie)
{
	struct vfe_split *ring = &queue->split;
	unsigned int n = out_n + in_n;
	uint16_t head = ring->free_head;
	uint16_t last = head;
	uint16_t taken = 1;
	unsigned int i;

	if (n > queue->segments || n == 0) {
		return n == 0 ? -EINVAL : -E2BIG;
	}
	if (queue->indirect && n > 1) {
		size_t at = (size_t)head * queue->segments;

		if (queue->free_n < 1) {
			return -ENOSPC;
		}
		fill_table(queue->tables + at, segs, out_n, n);
		ring->desc[head] = (struct vfe_desc){
			.addr = queue->tables_gpa + at * sizeof(struct vfe_desc),
			.len = (uint32_t)(n * sizeof(struct vfe_desc)),
			.flags = VFE_DESC_INDIRECT,
		};
	} else {
		if (queue->free_n < n) {
			return n > queue->size ? -E2BIG : -ENOSPC;
		}
		for (i = 0;; i++) {
			struct vfe_desc *desc = &ring->desc[last];
			bool more = i + 1 < n;

			desc->addr = segs[i].gpa;
			desc->len = segs[i].len;
			desc->flags = (uint16_t)((i >= out_n ? VFE_DESC_WRITE : 0) |
						 (more ? VFE_DESC_NEXT : 0));
			desc->next = ring->next[last];
			if (!more) {
				break;
			}
			last = ring->next[last];
		}
		taken = (uint16_t)n;
	}
	ring->free_head = ring->next[last];
	queue->free_n -= taken;
	queue->entries[head] = (struct vfe_entry){ .cookie = cookie, .last = last, .n = taken };
	vfe_store16(&ring->avail->ring[ring->avail_idx & ring->mask], head);
	ring->avail_idx++;
	return 0;
}

bool vfe_split_publish(struct vfe_queue *queue)
{
	struct vfe_split *ring = &queue->split;
	uint16_t old = ring->shown_idx;
	uint16_t now = ring->avail_idx;

	if (now == old) {
		return false;
	}
	/* Descriptors and ring entries before the index that shows them. */
	__atomic_store_n(&ring->avail->idx, now, __ATOMIC_RELEASE);
	ring->shown_idx = now;
	queue->stats.published++;
	/* The store of the index before the load of what the device wishes: it does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->event_idx) {
		return vfe_event_passed(vfe_load16(ring->avail_event), now, old);
	}
	return (vfe_load16(&ring->used->flags) & VFE_USED_NO_NOTIFY) == 0;
}

static int bad_used(struct vfe_queue *queue, uint32_t id)
{
	return vfe_fail(queue->session, -EPROTO,
			"ring %u: the device returned descriptor %u, which it does not have",
			queue->index, id);
}

int vfe_split_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max)
{
	struct vfe_split *ring = &queue->split;
	uint16_t used_idx = ring->used_idx;
	/* The index before the elements that it shows. */
	uint16_t ready = (uint16_t)(__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) - used_idx);
	unsigned int n = ready < max ? ready : max;
	unsigned int i;

	if (ready > queue->size) {
		return vfe_fail(queue->session, -EPROTO, "ring %u: the used index jumped by %u",
				queue->index, ready);
	}
	for (i = 0; i < n; i++) {
		const struct vfe_used_elem *elem = &ring->used->ring[used_idx & ring->mask];
		uint32_t id = __atomic_load_n(&elem->id, __ATOMIC_RELAXED);
		struct vfe_entry *entry;

		if (id >= queue->size || queue->entries[id].n == 0) {
			return bad_used(queue, id);
		}
		entry = &queue->entries[id];
		/* The device has read them; they are written next. */
		vfe_fetch_to_write(&ring->desc[id]);
		vfe_fetch_to_write(&ring->desc[entry->last]);
		done[i].cookie = entry->cookie;
		done[i].written = elem->len;
		ring->next[entry->last] = ring->free_head;
		ring->free_head = (uint16_t)id;
		queue->free_n += entry->n;
		entry->n = 0;
		used_idx++;
	}
	ring->used_idx = used_idx;
	/* Keep used_event behind the index, lest it comes round and is passed. */
	if (queue->event_idx && !queue->calls_on &&
	    (uint16_t)(used_idx - ring->event_at) >= 0x4000) {
		vfe_split_disarm(queue);
	}
	return (int)n;
}

bool vfe_split_ready(const struct vfe_queue *queue)
{
	return vfe_load16(&queue->split.used->idx) != queue->split.used_idx;
}

bool vfe_split_arm(struct vfe_queue *queue)
{
	struct vfe_split *ring = &queue->split;

	queue->calls_on = true;
	if (queue->event_idx) {
		vfe_store16(ring->used_event, ring->used_idx);
	} else {
		vfe_store16(&ring->avail->flags, 0);
	}
	/* The wish for a call before the look at the index: the device does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vfe_load16(&ring->used->idx) == ring->used_idx;
}

void vfe_split_disarm(struct vfe_queue *queue)
{
	struct vfe_split *ring = &queue->split;

	queue->calls_on = false;
	if (queue->event_idx) {
		/* Just passed: reached again only after 65535 more. */
		vfe_store16(ring->used_event, (uint16_t)(ring->used_idx - 1));
		ring->event_at = ring->used_idx;
	} else {
		vfe_store16(&ring->avail->flags, VFE_AVAIL_NO_INTERRUPT);
	}
}

/*
 * Where a successor begins: behind what its predecessor published. It adds what the in-flight area says was
 * fetched and not finished.
 */
uint32_t vfe_split_crash_base(const struct vfe_queue *queue)
{
	return vfe_load16(&queue->split.used->idx);
}
