/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring, driver side: virtio 1.2, 2.8. */
#include <endian.h>
#include <string.h>

#include "../must.h"
#include "ring.h"

#define F_AVAIL (1 << 7)
#define F_USED	(1 << 15)
#define WRAP	0x8000u

#define EVENT_ENABLE  0
#define EVENT_DISABLE 1
#define EVENT_DESC    2

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

struct event {
	uint16_t off_wrap;
	uint16_t flags;
};

/* ---- where things lie ---- */

static struct packed_desc *desc_at(const struct ring *ring, uint16_t pos)
{
	uint8_t *mem = ring->ram->mem + ring->index * RING_BYTES;

	return (struct packed_desc *)mem + (pos & ~WRAP);
}

static struct event *event_at(const struct ring *ring, uint32_t offset)
{
	return (struct event *)(ring->ram->mem + ring->index * RING_BYTES + offset);
}

static uint16_t advance(const struct ring *ring, uint16_t pos, unsigned int n)
{
	unsigned int at = (pos & ~WRAP) + n;
	unsigned int wrap = pos & WRAP;

	if (at >= ring->size) {
		at -= ring->size;
		wrap ^= WRAP;
	}
	return (uint16_t)(at | wrap);
}

/* ---- requests ---- */

/* Nothing is available at the beginning, whatever the wrap counter. */
void packed_reset(struct ring *ring)
{
	uint16_t i;

	for (i = 0; i < ring->size; i++) {
		desc_at(ring, i)->flags =
			htole16((ring->next_avail & WRAP) != 0 ? 0 : F_AVAIL | F_USED);
	}
	event_at(ring, RING_USED)->flags = htole16(EVENT_DISABLE);
}

static struct packed_desc decode(const struct desc *from, uint16_t flags)
{
	return (struct packed_desc){
		.addr = from->addr,
		.len = from->len,
		.id = htole16(0xdead), /* the last one has the id */
		.flags = htole16((uint16_t)(from->flags | flags)),
	};
}

void packed_offer(struct ring *ring, struct request *request)
{
	struct packed_desc *first = desc_at(ring, ring->next_avail);
	struct desc list[PIECES_MAX];
	unsigned int n = ring_cut(ring, request, list);
	uint16_t first_flags = 0;
	unsigned int i;

	if (request->indirect) {
		uint64_t table = ring_table_at(ring, request);

		for (i = 0; i < n; i++) {
			struct packed_desc d = decode(&list[i], 0);

			memcpy(ring->ram->mem + table + i * sizeof(d), &d, sizeof(d));
		}
		list[0] = (struct desc){ htole64(RAM_GPA + table),
					 htole32(n * (uint32_t)sizeof(struct packed_desc)),
					 F_INDIRECT, 0 };
		n = 1;
	}
	for (i = 0; i < n; i++) {
		bool last = i + 1 == n;
		uint16_t bits = (ring->next_avail & WRAP) != 0 ? F_AVAIL : F_USED;
		struct packed_desc d = decode(&list[i], (uint16_t)(bits | (last ? 0 : F_NEXT)));

		d.id = last ? htole16(request->head) : d.id;
		if (i == 0) {
			first_flags = d.flags;
			d.flags = first->flags;
		}
		*desc_at(ring, ring->next_avail) = d;
		ring->next_avail = advance(ring, ring->next_avail, 1);
	}
	ring->unchecked += n;
	first->flags = first_flags;
}

/* ---- notifications ---- */

/* Is it one of the descriptors that were made available since the last look? */
static bool passed(const struct ring *ring, uint16_t event)
{
	uint16_t pos = ring->checked_avail;

	while (pos != ring->next_avail) {
		if (pos == event) {
			return true;
		}
		pos = advance(ring, pos, 1);
	}
	return false;
}

bool packed_kick_needed(const struct ring *ring)
{
	const struct event *device = event_at(ring, RING_USED);
	uint16_t flags = le16toh(device->flags);

	if (flags != EVENT_DESC) {
		return flags == EVENT_ENABLE;
	}
	MUST(ring->event_idx);
	return ring->unchecked >= ring->size || passed(ring, le16toh(device->off_wrap));
}

void packed_want_calls(struct ring *ring, bool want)
{
	uint16_t flags = ring->event_idx ? EVENT_DESC : EVENT_ENABLE;

	*event_at(ring, RING_AVAIL) = (struct event){
		.off_wrap = htole16(ring->next_used),
		.flags = htole16(want ? flags : EVENT_DISABLE),
	};
}

/* ---- used requests ---- */

/* NULL: the descriptor at this position, which belongs to a request, has not been used. */
static const struct request *used_at(const struct ring *ring, uint16_t pos)
{
	const struct packed_desc *desc = desc_at(ring, pos);
	uint16_t bits = (pos & WRAP) != 0 ? F_AVAIL | F_USED : 0;
	unsigned int i;

	if ((le16toh(desc->flags) & (F_AVAIL | F_USED)) != bits) {
		return NULL;
	}
	for (i = 0; i < SLOTS; i++) {
		if (ring->requests[i].used && ring->requests[i].head == le16toh(desc->id)) {
			return &ring->requests[i];
		}
	}
	return NULL;
}

uint16_t packed_used(const struct ring *ring)
{
	const struct request *request;
	uint16_t pos = ring->next_used;
	unsigned int n;

	for (n = 0; n < ring->outstanding && (request = used_at(ring, pos)) != NULL; n++) {
		pos = advance(ring, pos, request->desc_n);
	}
	return pos;
}

bool packed_take(struct ring *ring, uint32_t *ret_id, uint32_t *ret_len)
{
	const struct packed_desc *desc = desc_at(ring, ring->next_used);
	const struct request *request;
	uint16_t flags = le16toh(desc->flags);

	if (ring->outstanding == 0 || (flags & F_AVAIL) << 8 != (flags & F_USED) ||
	    ((flags & F_USED) != 0) != ((ring->next_used & WRAP) != 0)) {
		return false;
	}
	request = used_at(ring, ring->next_used);
	MUST(request != NULL); /* nobody asked for it, or it was returned before */
	*ret_id = request->head;
	*ret_len = le32toh(desc->len);
	MUST(((flags & F_WRITE) != 0) == (*ret_len > 0));
	ring->next_used = advance(ring, ring->next_used, request->desc_n);
	return true;
}
