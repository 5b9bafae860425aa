/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a piece of a file that a front-end shares with us besides guest memory (the in-flight area, the
 * dirty log). It is checked, mapped, and watched as guest memory is (mem_fault.h): when the file is cut short,
 * zero pages take its place and the area is marked as lost (rule R9).
 */
#ifndef VHT_VIRTIO_SHARED_AREA_H
#define VHT_VIRTIO_SHARED_AREA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stays where it is while it is mapped. */
struct shared_area {
	int fd; /* our own, for whoever takes the area over */
	uint8_t *map;
	size_t map_len;
	int fault_slot;
	atomic_bool lost;
};

/*
 * Maps the first `need` bytes of [offset, offset + size) of the file, whose descriptor stays the caller's: the
 * area has its own.
 * -EINVAL: nothing is needed, or the file does not hold all of it, or the offset is not one of a page;
 * -ENOSPC: the process has too many mappings; or the errno of mmap(2) or fcntl(2).
 */
int shared_area_map(struct shared_area *area, int fd, uint64_t offset, uint64_t size,
		    uint64_t need);
void shared_area_unmap(struct shared_area *area);

static inline bool shared_area_is_lost(const struct shared_area *area)
{
	return atomic_load_explicit(&area->lost, memory_order_relaxed);
}

#endif
