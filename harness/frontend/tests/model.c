/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <stdlib.h>

void model_init(struct model_ring *ring)
{
	ring->avail_pos = ring->used_pos = ring->signalled = 0;
	ring->avail_wrap = ring->used_wrap = true;
	ring->pushed = 0;
}

static void add_seg(struct model_chain *chain, uint64_t gpa, uint32_t len, uint16_t flags)
{
	if (chain->seg_n == MODEL_SEGS_MAX) {
		abort();
	}
	chain->segs[chain->seg_n++] = (struct model_seg){ gpa, len, (flags & VFE_DESC_WRITE) != 0 };
}

/* ---- split: virtio 1.2, 2.7 ---- */

static void walk_split(struct model_chain *chain, const struct vfe_desc *table, unsigned int i)
{
	for (;;) {
		add_seg(chain, table[i].addr, table[i].len, table[i].flags);
		if ((table[i].flags & VFE_DESC_NEXT) == 0) {
			break;
		}
		i = table[i].next;
	}
}

void model_read_head(const struct model_ring *ring, uint16_t head, struct model_chain *ret_chain)
{
	const struct vfe_desc *desc = &ring->view.desc[head];

	ret_chain->id = head;
	ret_chain->slots = 1;
	ret_chain->seg_n = 0;
	if ((desc->flags & VFE_DESC_INDIRECT) != 0) {
		walk_split(ret_chain, ring->translate(ring->arg, desc->addr), 0);
	} else {
		walk_split(ret_chain, ring->view.desc, head);
	}
}

static bool pop_split(struct model_ring *ring, struct model_chain *chain)
{
	const struct vfe_raw_view *view = &ring->view;

	if (__atomic_load_n(&view->avail->idx, __ATOMIC_ACQUIRE) == ring->avail_pos) {
		return false;
	}
	model_read_head(ring, view->avail->ring[ring->avail_pos % view->size], chain);
	ring->avail_pos++;
	return true;
}

static void push_split(struct model_ring *ring, uint16_t id, uint32_t written)
{
	struct vfe_used *used = ring->view.used;

	used->ring[ring->used_pos % ring->view.size] = (struct vfe_used_elem){ id, written };
	ring->used_pos++;
	__atomic_store_n(&used->idx, ring->used_pos, __ATOMIC_RELEASE);
}

static bool call_wanted_split(struct model_ring *ring)
{
	uint16_t old = ring->signalled;
	uint16_t now = ring->used_pos;

	ring->signalled = now;
	if (!ring->event_idx) {
		return (ring->view.avail->flags & VFE_AVAIL_NO_INTERRUPT) == 0;
	}
	for (; old != now; old++) {
		if (*ring->view.used_event == old) {
			return true;
		}
	}
	return false;
}

/* ---- packed: virtio 1.2, 2.8 ---- */

static void step(const struct model_ring *ring, uint16_t *pos, bool *wrap, unsigned int n)
{
	while (n-- > 0) {
		if (++*pos == ring->view.size) {
			*pos = 0;
			*wrap = !*wrap;
		}
	}
}

static bool pop_packed(struct model_ring *ring, struct model_chain *chain)
{
	struct vfe_packed_desc *desc = &ring->view.packed[ring->avail_pos];
	const struct vfe_packed_desc *table;
	uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);
	unsigned int i;

	if (((flags & VFE_DESC_AVAIL) != 0) != ring->avail_wrap ||
	    ((flags & VFE_DESC_USED) != 0) == ring->avail_wrap) {
		return false;
	}
	chain->slots = 0;
	do {
		desc = &ring->view.packed[ring->avail_pos];
		flags = desc->flags;
		chain->id = desc->id;
		chain->slots++;
		if ((flags & VFE_DESC_INDIRECT) != 0) {
			table = ring->translate(ring->arg, desc->addr);
			for (i = 0; i < desc->len / sizeof(*table); i++) {
				add_seg(chain, table[i].addr, table[i].len, table[i].flags);
			}
		} else {
			add_seg(chain, desc->addr, desc->len, flags);
		}
		step(ring, &ring->avail_pos, &ring->avail_wrap, 1);
	} while ((flags & VFE_DESC_NEXT) != 0);
	return true;
}

static void push_packed(struct model_ring *ring, const struct model_chain *chain, uint32_t written)
{
	struct vfe_packed_desc *desc = &ring->view.packed[ring->used_pos];

	desc->id = chain->id;
	desc->len = written;
	__atomic_store_n(&desc->flags,
			 ring->used_wrap ? (uint16_t)(VFE_DESC_AVAIL | VFE_DESC_USED) : 0,
			 __ATOMIC_RELEASE);
	step(ring, &ring->used_pos, &ring->used_wrap, chain->slots);
	ring->pushed += chain->slots;
}

static bool call_wanted_packed(struct model_ring *ring)
{
	const struct vfe_packed_event *event = ring->view.driver_event;
	uint16_t pos = ring->used_pos;
	bool wrap = ring->used_wrap;
	unsigned int n = ring->pushed;

	ring->pushed = 0;
	if (event->flags != VFE_EVENT_DESC) {
		return event->flags == VFE_EVENT_ENABLE;
	}
	/* Back over what was used: is the descriptor that is asked for among it? */
	for (; n > 0; n--) {
		if (pos == 0) {
			pos = (uint16_t)ring->view.size;
			wrap = !wrap;
		}
		pos--;
		if (event->off_wrap == (uint16_t)(pos | (wrap ? 1u << 15 : 0))) {
			return true;
		}
	}
	return false;
}

/* ---- both ---- */

bool model_pop(struct model_ring *ring, struct model_chain *ret_chain)
{
	ret_chain->seg_n = 0;
	return ring->packed ? pop_packed(ring, ret_chain) : pop_split(ring, ret_chain);
}

void model_push(struct model_ring *ring, const struct model_chain *chain, uint32_t written)
{
	if (ring->packed) {
		push_packed(ring, chain, written);
	} else {
		push_split(ring, chain->id, written);
	}
}

bool model_call_wanted(struct model_ring *ring)
{
	return ring->packed ? call_wanted_packed(ring) : call_wanted_split(ring);
}

void model_arm(struct model_ring *ring)
{
	if (ring->packed) {
		ring->view.device_event->off_wrap =
			(uint16_t)(ring->avail_pos | (ring->avail_wrap ? 1u << 15 : 0));
		__atomic_store_n(&ring->view.device_event->flags,
				 ring->event_idx ? VFE_EVENT_DESC : VFE_EVENT_ENABLE,
				 __ATOMIC_RELEASE);
	} else if (ring->event_idx) {
		__atomic_store_n(ring->view.avail_event, ring->avail_pos, __ATOMIC_RELEASE);
	} else {
		ring->view.used->flags = 0;
	}
	/* The wish before the next look at the ring: the driver does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void model_disarm(struct model_ring *ring)
{
	if (ring->packed) {
		ring->view.device_event->flags = VFE_EVENT_DISABLE;
	} else if (ring->event_idx) {
		*ring->view.avail_event = (uint16_t)(ring->avail_pos - 1);
	} else {
		ring->view.used->flags = VFE_USED_NO_NOTIFY;
	}
}
