/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: vhost-user, "Migration".
 *   log       a shared file with one bit for each page of 4 KiB of guest addresses, from address 0 on. A
 *             front-end that moves its guest has the bit set of each page that we have written to, clears it
 *             when it copies the page, and so knows which ones to copy once more.
 *   ring_log  what one ring shall log, and where; a ring that logs nothing has no log.
 *
 * A bit is set after its page was written: the other way round the front-end might clear it and copy the page
 * between the two. It is set whatever it was before: to find it set says nothing, unless a full barrier has
 * made the write visible first, and then the store costs no more.
 *
 * The log is written only. What lies outside of it is not written; a file that is cut short is contained as
 * guest memory is (shared_area.h).
 *
 * Threads: made and looked up by the control thread; each ring holds a reference and marks pages on its
 * reactor, as other rings, devices and the front-end do at the same time.
 */
#ifndef VHT_VIRTIO_DIRTY_LOG_H
#define VHT_VIRTIO_DIRTY_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct dirty_log;

#define DIRTY_LOG_PAGE 4096

/* The longest log: of all addresses that x86-64 has for memory. */
#define DIRTY_LOG_MAX_BYTES ((UINT64_C(1) << 52) / DIRTY_LOG_PAGE / 8)

/* The log is [offset, offset + size) of the file, whose descriptor stays the caller's. -EINVAL: it is empty,
 * too long, or does not fit; or as shared_area_map(). */
int dirty_log_map(uint64_t offset, uint64_t size, int fd, struct dirty_log **ret_log);
struct dirty_log *dirty_log_ref(struct dirty_log *log); /* NULL is fine */
void dirty_log_unref(struct dirty_log *log);		/* NULL is fine */

/* As it was mapped; returns the log's own descriptor, which stays the log's. */
int dirty_log_get(const struct dirty_log *log, uint64_t *ret_offset, uint64_t *ret_size);

/* Does the log have all pages of [gpa, gpa + len)? */
bool dirty_log_covers(const struct dirty_log *log, uint64_t gpa, uint64_t len);
/* Sets their bits. False: it does not have them all, and nothing has happened. */
bool dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t len);
/* The file was cut short; what we write goes nowhere. */
bool dirty_log_is_lost(const struct dirty_log *log);

struct ring_log {
	struct dirty_log *log; /* NULL: nothing is logged */
	/* What the device writes in its own part of the ring, as if this part began at used_gpa: of a split ring
	 * the used ring, of a packed one the device's event suppression. What drivers' descriptors point to,
	 * and the descriptors of a packed ring, are logged in any case. */
	bool used;
	uint64_t used_gpa;
	int event_fd; /* borrowed; signalled when something has been logged. -1: none */
};

#endif
