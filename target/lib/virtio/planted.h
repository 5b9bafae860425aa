/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: slowness that is planted on purpose, to prove that the performance gate sees it. The meson option
 * `planted` chooses one; `vhost --version` then names it. Without it all of this is empty, and no instruction of
 * the data path is another one.
 *   busy      PLANTED_NS: as many steps of a multiplication each of which waits for the one before, for each
 *             request. A step takes three cycles, about a nanosecond. Counted, not timed, so that two counts of
 *             instructions agree.
 *   copy      PLANTED_BYTES: so much of each request, header and data, is copied once more.
 *   nobatch   PLANTED_BATCH: completions are published by so many (1: each by itself) instead of by the round.
 * Called by the reactor that owns the queue.
 */
#ifndef VHT_VIRTIO_PLANTED_H
#define VHT_VIRTIO_PLANTED_H

#include <stdint.h>
#include <string.h>

#include "virtio/virtqueue.h"

#ifndef PLANTED_NS
#define PLANTED_NS 0
#endif
#ifndef PLANTED_BYTES
#define PLANTED_BYTES 0
#endif
#ifndef PLANTED_BATCH
#define PLANTED_BATCH 0
#endif

#if PLANTED_NS > 0
static inline void planted_busy(void)
{
	uint64_t x = 3;
	unsigned int i;

	for (i = 0; i < PLANTED_NS; i++) {
		uint64_t by = x;

		/* By what is not known: it could be an addition otherwise, which takes one cycle. */
		__asm__ volatile("" : "+r"(x), "+r"(by));
		x *= by;
	}
}
#endif

#if PLANTED_BYTES > 0
static inline void planted_copy(const struct virtq_req *req)
{
	static _Thread_local uint8_t copy[PLANTED_BYTES];
	const struct iovec *iov;
	size_t done = 0;

	for (iov = req->out; iov < req->end && done < sizeof(copy); iov++) {
		size_t n = iov->iov_len;

		n = n < sizeof(copy) - done ? n : sizeof(copy) - done;
		memcpy(copy + done, iov->iov_base, n);
		done += n;
	}
	__asm__ volatile("" : : "r"(copy) : "memory");
}
#endif

/* Requests were popped. */
static inline void planted_pop(struct virtq_req *const *reqs, unsigned int n)
{
#if PLANTED_NS > 0 || PLANTED_BYTES > 0
	unsigned int i;

	for (i = 0; i < n; i++) {
#if PLANTED_NS > 0
		planted_busy();
#else
		planted_copy(reqs[i]);
#endif
	}
#endif
}

/* A completion was staged, and now there are so many. */
static inline void planted_push(struct virtq *vq, unsigned int staged_n)
{
#if PLANTED_BATCH > 0
	if (staged_n >= PLANTED_BATCH) {
		virtq_commit(vq);
	}
#endif
}

#endif
