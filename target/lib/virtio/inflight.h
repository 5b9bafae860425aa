/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: vhost-user, "Inflight I/O tracking".
 *   area    a shared file that the front-end keeps across our death. It holds one region for each queue. We
 *           make it (GET_INFLIGHT_FD), but what comes back (SET_INFLIGHT_FD) is whatever the front-end likes.
 *   region  which requests of a queue have been fetched and not yet published. Each ring format has its own
 *           layout (split_inflight.h, packed_inflight.h); all that is common to them is their place, and the
 *           version, which is 0 in a new region.
 *
 * The area is written only, except when a ring starts (rule R10). A file that is cut short is contained as
 * guest memory is (mem_fault.h).
 *
 * Threads: made and looked up by the control thread; each queue holds a reference. Regions belong to the
 * reactor of their queue while that runs.
 */
#ifndef VHT_VIRTIO_INFLIGHT_H
#define VHT_VIRTIO_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct inflight_area;

/* What the front-end says of an area: "Inflight description". */
struct inflight_shape {
	uint64_t offset; /* in its file */
	uint64_t size;
	uint16_t queue_n;
	uint16_t queue_size;
	/* The layout that it has to have room for. It is used in that of the ring that starts: some front-ends
	 * negotiate the ring format last. */
	bool packed;
};

/* How large the area for so many queues is; 0: there is no such area. */
uint64_t inflight_area_bytes(const struct inflight_shape *shape);
/* A file for it that nobody can cut. Negative errno. */
int inflight_area_make(const struct inflight_shape *shape, int *ret_fd);

/* -EINVAL: the shape cannot be, or does not fit into the file. The descriptor stays the caller's. */
int inflight_area_map(const struct inflight_shape *shape, int fd, struct inflight_area **ret_area);
/* What it was mapped of: the descriptor stays the area's own. */
int inflight_area_get(const struct inflight_area *area, struct inflight_shape *ret_shape);
struct inflight_area *inflight_area_ref(struct inflight_area *area); /* NULL is fine */
void inflight_area_unref(struct inflight_area *area);		     /* NULL is fine */
/* All regions become new: the driver has forgotten its requests. No ring runs. */
void inflight_area_forget(struct inflight_area *area);
/* The file was cut short; what we write goes nowhere. */
bool inflight_area_is_lost(const struct inflight_area *area);
/* Entries that each region has room for. */
uint16_t inflight_area_queue_size(const struct inflight_area *area);
/* The region of a queue; NULL: the area has no room for such a queue. */
void *inflight_area_region(const struct inflight_area *area, unsigned int index, bool packed,
			   uint16_t queue_size);

#endif
