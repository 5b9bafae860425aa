/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's side of a packed ring: virtio 1.2, 2.8. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring_driver.h"

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

static unsigned int pos_at(uint16_t pos)
{
	return pos & ~(unsigned int)RD_WRAP;
}

static uint16_t avail_bits(uint16_t pos)
{
	return (pos & RD_WRAP) != 0 ? RD_F_AVAIL : RD_F_USED;
}

static uint16_t used_bits(uint16_t pos)
{
	return (pos & RD_WRAP) != 0 ? RD_F_AVAIL | RD_F_USED : 0;
}

uint16_t rd_packed_advance(const struct ring_driver *rd, uint16_t pos, unsigned int n)
{
	unsigned int at = pos_at(pos) + n;
	unsigned int wrap = pos & RD_WRAP;

	if (at >= rd->size) {
		at -= rd->size;
		wrap ^= RD_WRAP;
	}
	return (uint16_t)(at | wrap);
}

/* The ring as it is when all that came before has been used. */
void rd_packed_layout(struct ring_driver *rd, uint16_t start)
{
	unsigned int i;

	rd->packed = (struct rd_packed_desc *)rd->desc;
	rd->driver_event = rd_ptr(rd, rd->avail_gpa);
	rd->device_event = rd_ptr(rd, rd->used_gpa);
	rd->next_avail = rd->next_used = start ^ RD_WRAP;
	for (i = 0; i < rd->size; i++) {
		uint16_t round = i < pos_at(start) ? start ^ RD_WRAP : start;

		rd->packed[i].flags = htole16(used_bits(round));
	}
}

int rd_packed_build(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n)
{
	uint16_t id = rd->free_head;
	uint16_t pos = rd->next_avail;
	unsigned int i;

	rd->free_head = rd->free_next[id];
	rd->free_n = (uint16_t)(rd->free_n - n);
	rd->chain_n[id] = (uint16_t)n;
	for (i = 0; i < n; i++) {
		struct rd_packed_desc *desc = &rd->packed[pos_at(pos)];
		uint16_t flags = (uint16_t)(avail_bits(pos) | (bufs[i].write ? RD_F_WRITE : 0) |
					    (i + 1 < n ? RD_F_NEXT : 0));

		desc->addr = htole64(bufs[i].gpa);
		desc->len = htole32(bufs[i].len);
		/* Only that of the last one counts. */
		desc->id = htole16(i + 1 < n ? 0xdead : id);
		if (i == 0) {
			rd->pending = desc;
			rd->pending_flags = flags;
		} else {
			desc->flags = htole16(flags);
		}
		pos = rd_packed_advance(rd, pos, 1);
	}
	rd->next_avail = pos;
	return id;
}

void rd_packed_offer(struct ring_driver *rd)
{
	/* All else is visible before the flags of the first descriptor. */
	__atomic_store_n(&rd->pending->flags, htole16(rd->pending_flags), __ATOMIC_RELEASE);
}

void rd_packed_fill_table(struct ring_driver *rd, uint64_t table, const struct rd_buf *bufs,
			  unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		/* All but the write flag is reserved, and ignored: virtio 1.2, 2.8.7. */
		struct rd_packed_desc desc = {
			.addr = htole64(bufs[i].gpa),
			.len = htole32(bufs[i].len),
			.id = htole16(0xdead),
			.flags = htole16((uint16_t)((bufs[i].write ? RD_F_WRITE : 0) |
						    (i % 2 == 0 ? RD_F_INDIRECT | RD_F_USED :
								  RD_F_NEXT | RD_F_AVAIL))),
		};

		memcpy(rd_ptr(rd, table + i * sizeof(desc)), &desc, sizeof(desc));
	}
}

/* Is the descriptor at `event` one of those from `from` up to `to`? */
static bool passes(const struct ring_driver *rd, uint16_t event, uint16_t from, uint16_t to)
{
	for (; from != to; from = rd_packed_advance(rd, from, 1)) {
		if (from == event) {
			return true;
		}
	}
	return false;
}

bool rd_packed_wants_kick(const struct ring_driver *rd, uint16_t old)
{
	uint16_t flags = le16toh(__atomic_load_n(&rd->device_event->flags, __ATOMIC_RELAXED));

	if (flags != RD_EVENT_DESC) {
		return flags == RD_EVENT_ENABLE;
	}
	must((rd->features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0,
	     "the device asks for one descriptor, which was not negotiated");
	return passes(rd, le16toh(__atomic_load_n(&rd->device_event->off_wrap, __ATOMIC_RELAXED)),
		      old, rd->next_avail);
}

bool rd_packed_reap(struct ring_driver *rd, uint16_t *ret_id, uint32_t *ret_len)
{
	const struct rd_packed_desc *desc = &rd->packed[pos_at(rd->next_used)];
	/* The flags are loaded before all else. */
	uint16_t flags = le16toh(__atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE));
	uint16_t id;

	if ((flags & (RD_F_AVAIL | RD_F_USED)) != used_bits(rd->next_used) ||
	    rd->free_n == rd->size) {
		return false;
	}
	id = le16toh(desc->id);
	must(id < rd->size, "rd_reap: the device returned an id out of range");
	must(rd->chain_n[id] > 0, "rd_reap: the device returned an id that is not out");
	must(((flags & RD_F_WRITE) != 0) == (desc->len != 0),
	     "rd_reap: the write flag does not say whether something was written");
	*ret_id = id;
	*ret_len = le32toh(desc->len);
	rd->next_used = rd_packed_advance(rd, rd->next_used, rd->chain_n[id]);
	rd->free_n = (uint16_t)(rd->free_n + rd->chain_n[id]);
	rd->chain_n[id] = 0;
	rd->free_next[id] = rd->free_head;
	rd->free_head = id;
	return true;
}
