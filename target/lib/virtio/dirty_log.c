/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/dirty_log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/checked.h"
#include "virtio/shared_area.h"

#define PAGES_PER_BYTE 8

struct dirty_log {
	atomic_uint refs;
	uint64_t offset; /* in the file */
	uint64_t bytes;
	struct shared_area area;
};

int dirty_log_map(uint64_t offset, uint64_t size, int fd, struct dirty_log **ret_log)
{
	struct dirty_log *log;
	int r;

	if (size > DIRTY_LOG_MAX_BYTES) {
		return -EINVAL;
	}
	log = calloc(1, sizeof(*log));
	if (log == NULL) {
		return -ENOMEM;
	}
	r = shared_area_map(&log->area, fd, offset, size, size);
	if (r < 0) {
		free(log);
		return r;
	}
	atomic_init(&log->refs, 1);
	log->offset = offset;
	log->bytes = size;
	*ret_log = log;
	return 0;
}

struct dirty_log *dirty_log_ref(struct dirty_log *log)
{
	if (log != NULL) {
		atomic_fetch_add_explicit(&log->refs, 1, memory_order_relaxed);
	}
	return log;
}

void dirty_log_unref(struct dirty_log *log)
{
	/* Acquire and release: whoever frees it sees what the others did to it. */
	if (log == NULL || atomic_fetch_sub_explicit(&log->refs, 1, memory_order_acq_rel) != 1) {
		return;
	}
	shared_area_unmap(&log->area);
	free(log);
}

int dirty_log_get(const struct dirty_log *log, uint64_t *ret_offset, uint64_t *ret_size)
{
	*ret_offset = log->offset;
	*ret_size = log->bytes;
	return log->area.fd;
}

bool dirty_log_covers(const struct dirty_log *log, uint64_t gpa, uint64_t len)
{
	/* At most 2^52: no overflow. */
	return range_inside(gpa, len, log->bytes * PAGES_PER_BYTE * DIRTY_LOG_PAGE);
}

/* vhost-user, "Migration": log[page / 8] |= 1 << page % 8 */
bool dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t page = gpa / DIRTY_LOG_PAGE;
	uint64_t end;

	if (len == 0) {
		return true;
	}
	if (!dirty_log_covers(log, gpa, len)) {
		return false;
	}
	end = (gpa + len - 1) / DIRTY_LOG_PAGE + 1;
	while (page < end) {
		uint8_t *byte = log->area.map + page / PAGES_PER_BYTE;
		unsigned int first = page % PAGES_PER_BYTE;
		unsigned int n = PAGES_PER_BYTE - first;

		n = end - page < n ? (unsigned int)(end - page) : n;
		/* Atomic: the front-end and others change other bits of it. Release: what was written to the
		 * pages is visible before their bits are. */
		__atomic_fetch_or(byte, (uint8_t)(((1u << n) - 1) << first), __ATOMIC_RELEASE);
		page += n;
	}
	return true;
}

bool dirty_log_is_lost(const struct dirty_log *log)
{
	return shared_area_is_lost(&log->area);
}
