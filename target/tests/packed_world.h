/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: a packed ring and its in-flight area, which outlive those who serve them; for unit tests. */
#ifndef VHT_TESTS_PACKED_WORLD_H
#define VHT_TESTS_PACKED_WORLD_H

#include <sys/mman.h>
#include <unistd.h>

#include "virtio/packed_inflight.h"
#include <virtq_fixture.h>

#define WORLD_AREA_MAX (2u << 20)

struct world {
	struct ring_driver rd;
	int fd;
	uint8_t *area_bytes; /* the front-end's mapping */
	struct inflight_area *area;
};

/* area_size: entries that the area has room for. */
static inline void world_open(struct world *w, const struct rd_options *options, uint16_t area_size)
{
	struct inflight_shape shape = { .queue_n = 1, .queue_size = area_size, .packed = true };

	rd_open(&w->rd, options);
	shape.size = inflight_area_bytes(&shape);
	assert_int_equal(inflight_area_make(&shape, &w->fd), 0);
	assert_int_equal(inflight_area_map(&shape, w->fd, &w->area), 0);
	w->area_bytes = mmap(NULL, WORLD_AREA_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	assert_ptr_not_equal(w->area_bytes, MAP_FAILED);
}

static inline void world_close(struct world *w)
{
	munmap(w->area_bytes, WORLD_AREA_MAX);
	close(w->fd);
	inflight_area_unref(w->area);
	rd_close(&w->rd);
}

static inline struct inflight_packed_region *world_region(const struct world *w)
{
	return (struct inflight_packed_region *)w->area_bytes;
}

static inline struct virtq *world_start(struct world *w, uint32_t base)
{
	struct virtq_config config = rd_config(&w->rd, sizeof(struct virtq_req));
	struct virtq *vq;

	config.base = base;
	config.inflight = w->area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	return vq;
}

/* The base when nothing is in flight, as the driver sees it. */
static inline uint32_t world_base(const struct world *w)
{
	return w->rd.next_used | (uint32_t)w->rd.next_used << 16;
}

/* Offers n descriptors of `len` bytes each; returns the buffer id. */
static inline uint16_t world_add(struct world *w, unsigned int n, uint32_t len, bool indirect)
{
	struct rd_buf bufs[8];
	unsigned int i;
	int id;

	for (i = 0; i < n; i++) {
		bufs[i] = (struct rd_buf){ rd_alloc(&w->rd, len, 16), len, true };
	}
	id = indirect ? rd_add_indirect(&w->rd, bufs, n) : rd_add(&w->rd, bufs, n);
	assert_true(id >= 0);
	return (uint16_t)id;
}

#endif
