/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: helpers over lists of iovecs. The gather and scatter pair makes request parsing
 * independent of how a driver framed its buffers (rule R4; virtio 1.2, 2.7.4 "message framing").
 */
#ifndef VHT_BASE_IOV_H
#define VHT_BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/likely.h"

/* Sum of all lengths, 64 bit. */
uint64_t iov_length(const struct iovec *iov, unsigned int iov_n);

/* private: what the two below do when more than the first element has a part in it. */
size_t iov_gather_any(const struct iovec *iov, unsigned int iov_n, uint64_t offset, void *buf,
		      size_t len);
size_t iov_scatter_any(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
		       const void *buf, size_t len);

/* Is [offset, offset + len) a part of the first element? */
static inline bool iov_in_first(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
				size_t len)
{
	return iov_n > 0 && offset <= iov->iov_len && len <= iov->iov_len - offset;
}

/* Copies up to len bytes from byte `offset` of the list into buf; returns the bytes copied. */
static inline size_t iov_gather(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
				void *buf, size_t len)
{
	if (likely(iov_in_first(iov, iov_n, offset, len))) {
		memcpy(buf, (const uint8_t *)iov->iov_base + offset, len);
		return len;
	}
	return iov_gather_any(iov, iov_n, offset, buf, len);
}

/* Copies up to len bytes of buf to byte `offset` of the list; returns the bytes copied. */
static inline size_t iov_scatter(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
				 const void *buf, size_t len)
{
	if (likely(iov_in_first(iov, iov_n, offset, len))) {
		memcpy((uint8_t *)iov->iov_base + offset, buf, len);
		return len;
	}
	return iov_scatter_any(iov, iov_n, offset, buf, len);
}

/* Writes len zero bytes at byte `offset`; returns the bytes written. */
size_t iov_zero(const struct iovec *iov, unsigned int iov_n, uint64_t offset, size_t len);

/*
 * Trims the list in place to bytes [offset, offset + len): *iov and *iov_n then describe just that
 * range (elements are modified). The caller has checked that the range exists.
 */
void iov_slice(struct iovec **iov, unsigned int *iov_n, uint64_t offset, uint64_t len);

/* The same up to the end of the list, which holds len bytes from there on. */
static inline void iov_drop(struct iovec **iov, unsigned int *iov_n, uint64_t offset, uint64_t len)
{
	if (likely(*iov_n > 0 && (*iov)->iov_len == offset)) {
		(*iov)++;
		(*iov_n)--;
	} else {
		iov_slice(iov, iov_n, offset, len);
	}
}

#endif
