/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the driver's side of one ring with guest memory in a memfd, for unit tests and fuzzers: split, or
 * packed if that is among its features. It builds what a well-behaved driver builds, and gives access to every
 * field for those who want to lie. Setting up aborts on failure; nothing here needs a test framework.
 *
 * Guest memory is one file cut into equal regions: adjacent in guest addresses (region_n > 1: mapped
 * one by one, so not adjacent in the device's addresses), with a hole after the last. The ring lies in
 * the first region, rd_alloc() hands out the rest.
 */
#ifndef VHT_TESTS_RING_DRIVER_H
#define VHT_TESTS_RING_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/virtqueue.h"

#define RD_GPA UINT64_C(0x100000)
#define RD_UVA UINT64_C(0x7f0000000000)

#define RD_F_NEXT     1
#define RD_F_WRITE    2
#define RD_F_INDIRECT 4

struct rd_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct rd_used_elem {
	uint32_t id;
	uint32_t len;
};

#define RD_F_AVAIL (1 << 7)
#define RD_F_USED  (1 << 15)
#define RD_WRAP	   0x8000 /* in positions of packed rings */

struct rd_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

#define RD_EVENT_ENABLE	 0
#define RD_EVENT_DISABLE 1
#define RD_EVENT_DESC	 2

struct rd_event {
	uint16_t off_wrap;
	uint16_t flags;
};

/* One buffer of a chain. */
struct rd_buf {
	uint64_t gpa;
	uint32_t len;
	bool write; /* device-writable */
};

struct rd_options {
	uint16_t size;	       /* 0: 128 */
	uint64_t features;     /* bits of the ring, as negotiated */
	uint64_t mem_size;     /* 0: 16 MiB */
	unsigned int region_n; /* 0: 1 */
	/* Where the ring begins. Split: avail->idx, used->idx and base. Packed: the position, and RD_WRAP for
	 * a round with wrap counter 0. */
	uint16_t start;
};

struct ring_driver {
	uint16_t size;
	uint64_t features;
	uint64_t mem_size;
	uint8_t *mem; /* the driver's own mapping, contiguous */
	int mem_fd;
	struct guest_mem *guest_mem;
	unsigned int region_n;
	uint64_t region_size;
	uint64_t alloc_start;
	uint64_t alloc_next;

	/* The parts of the ring; everything little-endian as the device sees it. */
	struct rd_desc *desc;
	uint16_t *avail_flags, *avail_idx, *avail_ring, *used_event;
	uint16_t *used_flags, *used_idx, *avail_event;
	struct rd_used_elem *used_ring;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	/* If it is packed, in the same places. */
	bool is_packed;
	struct rd_packed_desc *packed;
	struct rd_event *driver_event, *device_event;
	struct rd_packed_desc
		*pending; /* rd_build: the first descriptor and the flags that it gets last */
	uint16_t pending_flags;

	uint16_t next_avail; /* what a good driver has published; packed: position, RD_WRAP */
	uint16_t next_used;  /* what it has reaped */
	uint16_t *free_next; /* list of free descriptors; packed: of free ids */
	uint16_t free_head;
	uint16_t free_n;   /* descriptors */
	uint16_t *chain_n; /* descriptors of the chain that begins here; packed: that has this id */
	int kick_fd, call_fd, err_fd;
};

void rd_open(struct ring_driver *rd, const struct rd_options *opts); /* NULL: all defaults */
void rd_close(struct ring_driver *rd);

/* A config for virtq_new() with the eventfds of this driver. */
struct virtq_config rd_config(const struct ring_driver *rd, size_t req_size);

/* Guest memory. rd_alloc never fails for sizes that fit; rd_free_all forgets everything handed out. */
uint64_t rd_alloc(struct ring_driver *rd, uint64_t size, uint64_t align);
void rd_free_all(struct ring_driver *rd);
void *rd_ptr(const struct ring_driver *rd, uint64_t gpa);
/* The first guest address of a region; rd_region(rd, rd->region_n) is the first beyond memory. */
uint64_t rd_region(const struct ring_driver *rd, unsigned int region);

/* Well-behaved: builds a chain and makes it available. Returns its head (packed: its id), -1: not enough free
 * ones. */
int rd_add(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n);
int rd_add_indirect(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n);
/* Writes a table for an indirect descriptor to `table`. */
void rd_fill_table(struct ring_driver *rd, uint64_t table, const struct rd_buf *bufs,
		   unsigned int n);
/* Builds a chain without publishing it. */
int rd_build(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n);
/* Makes a head available, whatever it is; packed: what was built last. */
void rd_offer(struct ring_driver *rd, uint16_t head);
/* Would a driver kick for what was added since `old` (its next_avail before)? */
bool rd_wants_kick(const struct ring_driver *rd, uint16_t old);
void rd_kick(struct ring_driver *rd);
/* Takes one used element and frees its chain. False: there is none. */
bool rd_reap(struct ring_driver *rd, uint16_t *ret_head, uint32_t *ret_len);

/* The same for packed rings, called by the above. */
void rd_packed_layout(struct ring_driver *rd, uint16_t start);
int rd_packed_build(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n);
void rd_packed_offer(struct ring_driver *rd);
void rd_packed_fill_table(struct ring_driver *rd, uint64_t table, const struct rd_buf *bufs,
			  unsigned int n);
bool rd_packed_wants_kick(const struct ring_driver *rd, uint16_t old);
bool rd_packed_reap(struct ring_driver *rd, uint16_t *ret_id, uint32_t *ret_len);
/* n descriptors behind a position. */
uint16_t rd_packed_advance(const struct ring_driver *rd, uint16_t pos, unsigned int n);

/* Drains an eventfd and returns its counter. */
uint64_t rd_drain(int fd);

#endif
