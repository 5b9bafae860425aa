/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: positions and descriptors of a packed ring (virtio 1.2, 2.8), for packed.c and packed_inflight.c.
 *   position  an index and the wrap counter of its round. The bits that show a descriptor as available or used
 *             depend on that counter, so here it is kept as those bits.
 *   words     a descriptor in three loads.
 */
#ifndef VHT_VIRTIO_PACKED_RING_H
#define VHT_VIRTIO_PACKED_RING_H

#include "virtio/ring.h"

struct packed_words {
	uint64_t addr;
	uint32_t len;
	uint32_t rest; /* id, flags << 16 */
};

#define FLAG(flag)	((uint32_t)(flag) << 16)
#define AVAIL_AND_USED	FLAG(PACKED_DESC_F_AVAIL | PACKED_DESC_F_USED)
#define FLAG_NEXT	FLAG(VRING_DESC_F_NEXT)
#define FLAG_WRITE	FLAG(VRING_DESC_F_WRITE)
#define FLAG_INDIRECT	FLAG(VRING_DESC_F_INDIRECT)
#define WRAP_IN_BASE	0x8000u
#define POSITION_MASK	0x7fffu
#define USED_BASE_SHIFT 16

static inline uint32_t shared_get32(const uint32_t *p)
{
	return le32toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline void shared_put32(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, htole32(v), __ATOMIC_RELAXED);
}

/* virtio 1.2, 2.8.1: an available descriptor has its AVAIL bit equal to the wrap counter and USED unequal,
 * a used one both equal. */
static inline uint32_t packed_avail_bits(bool wrap)
{
	return FLAG(wrap ? PACKED_DESC_F_AVAIL : PACKED_DESC_F_USED);
}

static inline uint32_t packed_used_bits(bool wrap)
{
	return wrap ? AVAIL_AND_USED : 0;
}

static inline bool pos_wrap(const struct packed_pos *pos)
{
	return (pos->bits & FLAG(PACKED_DESC_F_AVAIL)) != 0;
}

static inline uint16_t pos_off_wrap(const struct packed_pos *pos)
{
	return (uint16_t)(pos->at | (pos_wrap(pos) ? WRAP_IN_BASE : 0));
}

static inline void pos_advance(struct packed_pos *pos, unsigned int n, unsigned int size)
{
	pos->at += n;
	if (pos->at >= size) {
		pos->at -= size;
		pos->bits ^= AVAIL_AND_USED;
	}
}

static inline void pos_retreat(struct packed_pos *pos, unsigned int n, unsigned int size)
{
	if (pos->at < n) {
		pos->at += size;
		pos->bits ^= AVAIL_AND_USED;
	}
	pos->at -= n;
}

#endif
