/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_driver.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* Set-up of a test that cannot go on without it. */
static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

/* ---- memory ---- */

static void mem_open(struct ring_driver *rd)
{
	struct guest_mem_region regions[GUEST_MEM_MAX_REGIONS];
	unsigned int i;

	rd->mem_fd = memfd_create("ring_driver", MFD_CLOEXEC);
	must(rd->mem_fd >= 0, "memfd_create");
	must(ftruncate(rd->mem_fd, (off_t)rd->mem_size) == 0, "ftruncate");
	rd->mem = mmap(NULL, rd->mem_size, PROT_READ | PROT_WRITE, MAP_SHARED, rd->mem_fd, 0);
	must(rd->mem != MAP_FAILED, "mmap");
	for (i = 0; i < rd->region_n; i++) {
		regions[i] = (struct guest_mem_region){
			.gpa = RD_GPA + i * rd->region_size,
			.size = rd->region_size,
			.uva = RD_UVA + i * rd->region_size,
			.fd_offset = i * rd->region_size,
			.fd = rd->mem_fd,
		};
	}
	must(guest_mem_new(regions, rd->region_n, &rd->guest_mem) == 0, "guest_mem_new");
}

uint64_t rd_alloc(struct ring_driver *rd, uint64_t size, uint64_t align)
{
	uint64_t at = (rd->alloc_next + align - 1) / align * align;

	must(at + size <= rd->mem_size, "rd_alloc: guest memory is used up");
	rd->alloc_next = at + size;
	return RD_GPA + at;
}

void rd_free_all(struct ring_driver *rd)
{
	rd->alloc_next = rd->alloc_start;
}

void *rd_ptr(const struct ring_driver *rd, uint64_t gpa)
{
	return rd->mem + (gpa - RD_GPA);
}

uint64_t rd_region(const struct ring_driver *rd, unsigned int region)
{
	return RD_GPA + region * rd->region_size;
}

/* ---- life ---- */

static void ring_layout(struct ring_driver *rd)
{
	uint16_t *avail;
	uint16_t *used;

	rd->desc_gpa = rd_alloc(rd, rd->size * sizeof(struct rd_desc), 16);
	rd->avail_gpa = rd_alloc(rd, 6 + rd->size * 2u, 4);
	rd->used_gpa = rd_alloc(rd, 6 + rd->size * 8u, 4);
	must(rd->alloc_next <= rd->region_size, "rd_open: the ring must fit into the first region");
	rd->alloc_start = rd->alloc_next;

	avail = rd_ptr(rd, rd->avail_gpa);
	used = rd_ptr(rd, rd->used_gpa);
	rd->desc = rd_ptr(rd, rd->desc_gpa);
	rd->avail_flags = avail;
	rd->avail_idx = avail + 1;
	rd->avail_ring = avail + 2;
	rd->used_event = avail + 2 + rd->size;
	rd->used_flags = used;
	rd->used_idx = used + 1;
	rd->used_ring = (struct rd_used_elem *)(used + 2);
	rd->avail_event = (uint16_t *)(rd->used_ring + rd->size);
}

void rd_open(struct ring_driver *rd, const struct rd_options *opts)
{
	static const struct rd_options defaults;
	uint16_t i;

	opts = opts ? opts : &defaults;
	memset(rd, 0, sizeof(*rd));
	rd->size = opts->size ? opts->size : 128;
	rd->features = opts->features;
	rd->is_packed = (rd->features >> VIRTIO_F_RING_PACKED & 1) != 0;
	rd->region_n = opts->region_n ? opts->region_n : 1;
	rd->mem_size = opts->mem_size ? opts->mem_size : 16u << 20;
	rd->region_size = rd->mem_size / rd->region_n;
	mem_open(rd);
	ring_layout(rd);

	rd->free_next = calloc(rd->size, sizeof(uint16_t));
	rd->chain_n = calloc(rd->size, sizeof(uint16_t));
	must(rd->free_next && rd->chain_n, "calloc");
	for (i = 0; i < rd->size; i++) {
		rd->free_next[i] = (uint16_t)(i + 1);
	}
	rd->free_n = rd->size;
	if (rd->is_packed) {
		rd_packed_layout(rd, opts->start);
	} else {
		rd->next_avail = opts->start;
		rd->next_used = opts->start;
		*rd->avail_idx = htole16(opts->start);
		*rd->used_idx = htole16(opts->start);
		*rd->used_event = htole16(opts->start);
	}
	rd->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rd->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rd->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(rd->kick_fd >= 0 && rd->call_fd >= 0 && rd->err_fd >= 0, "eventfd");
}

void rd_close(struct ring_driver *rd)
{
	guest_mem_unref(rd->guest_mem);
	munmap(rd->mem, rd->mem_size);
	close(rd->mem_fd);
	close(rd->kick_fd);
	close(rd->call_fd);
	close(rd->err_fd);
	free(rd->free_next);
	free(rd->chain_n);
}

struct virtq_config rd_config(const struct ring_driver *rd, size_t req_size)
{
	return (struct virtq_config){
		.size = rd->size,
		.features = rd->features,
		.mem = rd->guest_mem,
		.desc_uva = rd->desc_gpa - RD_GPA + RD_UVA,
		.avail_uva = rd->avail_gpa - RD_GPA + RD_UVA,
		.used_uva = rd->used_gpa - RD_GPA + RD_UVA,
		.base = rd->next_avail | (rd->is_packed ? (uint32_t)rd->next_used << 16 : 0),
		.kick_fd = rd->kick_fd,
		.call_fd = rd->call_fd,
		.err_fd = rd->err_fd,
		.req_size = req_size,
		.numa_node = -1,
	};
}

/* ---- driving ---- */

static uint16_t desc_take(struct ring_driver *rd)
{
	uint16_t i = rd->free_head;

	rd->free_head = rd->free_next[i];
	rd->free_n--;
	return i;
}

int rd_build(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n)
{
	uint16_t head;
	uint16_t at;
	unsigned int i;

	if (n == 0 || n > rd->free_n) {
		return -1;
	}
	if (rd->is_packed) {
		return rd_packed_build(rd, bufs, n);
	}
	head = at = desc_take(rd);
	rd->chain_n[head] = (uint16_t)n;
	for (i = 0; i < n; i++) {
		uint16_t flags = bufs[i].write ? RD_F_WRITE : 0;
		uint16_t next = 0;

		if (i + 1 < n) {
			flags |= RD_F_NEXT;
			next = desc_take(rd);
			/* Remembered here, as the device may not be trusted with it either. */
			rd->free_next[at] = next;
		}
		rd->desc[at] = (struct rd_desc){
			.addr = htole64(bufs[i].gpa),
			.len = htole32(bufs[i].len),
			.flags = htole16(flags),
			.next = htole16(next),
		};
		at = next;
	}
	return head;
}

void rd_offer(struct ring_driver *rd, uint16_t head)
{
	if (rd->is_packed) {
		rd_packed_offer(rd);
		return;
	}
	rd->avail_ring[rd->next_avail % rd->size] = htole16(head);
	rd->next_avail++;
	/* The entry is visible before the index. */
	__atomic_store_n(rd->avail_idx, htole16(rd->next_avail), __ATOMIC_RELEASE);
}

int rd_add(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n)
{
	int head = rd_build(rd, bufs, n);

	if (head >= 0) {
		rd_offer(rd, (uint16_t)head);
	}
	return head;
}

void rd_fill_table(struct ring_driver *rd, uint64_t table, const struct rd_buf *bufs,
		   unsigned int n)
{
	unsigned int i;

	if (rd->is_packed) {
		rd_packed_fill_table(rd, table, bufs, n);
		return;
	}
	for (i = 0; i < n; i++) {
		struct rd_desc desc = {
			.addr = htole64(bufs[i].gpa),
			.len = htole32(bufs[i].len),
			.flags = htole16((bufs[i].write ? RD_F_WRITE : 0) |
					 (i + 1 < n ? RD_F_NEXT : 0)),
			.next = htole16((uint16_t)(i + 1 < n ? i + 1 : 0)),
		};

		/* A table needs no alignment. */
		memcpy(rd_ptr(rd, table + i * sizeof(desc)), &desc, sizeof(desc));
	}
}

int rd_add_indirect(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n)
{
	uint64_t table = rd_alloc(rd, n * sizeof(struct rd_desc), 16);
	struct rd_buf one = { .gpa = table, .len = (uint32_t)(n * sizeof(struct rd_desc)) };
	int head;

	rd_fill_table(rd, table, bufs, n);
	head = rd_build(rd, &one, 1);
	if (head >= 0) {
		if (rd->is_packed) {
			rd->pending_flags |= RD_F_INDIRECT;
		} else {
			rd->desc[head].flags = htole16(RD_F_INDIRECT);
		}
		rd_offer(rd, (uint16_t)head);
	}
	return head;
}

bool rd_wants_kick(const struct ring_driver *rd, uint16_t old)
{
	/* The index (packed: the flags) is stored before the device's wish is loaded. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (rd->is_packed) {
		return rd_packed_wants_kick(rd, old);
	}
	if ((rd->features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0) {
		uint16_t event = le16toh(__atomic_load_n(rd->avail_event, __ATOMIC_RELAXED));

		return (uint16_t)(rd->next_avail - event - 1) < (uint16_t)(rd->next_avail - old);
	}
	return (le16toh(__atomic_load_n(rd->used_flags, __ATOMIC_RELAXED)) & 1) == 0;
}

void rd_kick(struct ring_driver *rd)
{
	uint64_t one = 1;

	must(write(rd->kick_fd, &one, sizeof(one)) == (ssize_t)sizeof(one), "kick");
}

bool rd_reap(struct ring_driver *rd, uint16_t *ret_head, uint32_t *ret_len)
{
	const struct rd_used_elem *elem;
	uint16_t head;
	uint16_t at;
	uint16_t n;

	if (rd->is_packed) {
		return rd_packed_reap(rd, ret_head, ret_len);
	}
	elem = &rd->used_ring[rd->next_used % rd->size];
	/* The index is loaded before the element. */
	if (le16toh(__atomic_load_n(rd->used_idx, __ATOMIC_ACQUIRE)) == rd->next_used) {
		return false;
	}
	must(le32toh(elem->id) < rd->size, "rd_reap: the device returned a head out of range");
	head = (uint16_t)le32toh(elem->id);
	must(rd->chain_n[head] > 0, "rd_reap: the device returned a head that is not out");
	*ret_head = head;
	*ret_len = le32toh(elem->len);
	rd->next_used++;
	for (at = head, n = rd->chain_n[head]; n > 1; n--) {
		at = rd->free_next[at];
	}
	rd->free_next[at] = rd->free_head;
	rd->free_head = head;
	rd->free_n = (uint16_t)(rd->free_n + rd->chain_n[head]);
	rd->chain_n[head] = 0;
	return true;
}

uint64_t rd_drain(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}
