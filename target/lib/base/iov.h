/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: helpers over lists of iovecs. The gather and scatter pair makes request parsing
 * independent of how a driver framed its buffers (rule R4; virtio 1.2, 2.7.4 "message framing").
 */
#ifndef VHT_BASE_IOV_H
#define VHT_BASE_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Sum of all lengths, 64 bit. */
uint64_t iov_length(const struct iovec *iov, unsigned int iov_n);

/* Copies up to len bytes from byte `offset` of the list into buf; returns the bytes copied. */
size_t iov_gather(const struct iovec *iov, unsigned int iov_n, uint64_t offset, void *buf,
		  size_t len);

/* Copies up to len bytes of buf to byte `offset` of the list; returns the bytes copied. */
size_t iov_scatter(const struct iovec *iov, unsigned int iov_n, uint64_t offset, const void *buf,
		   size_t len);

/* Writes len zero bytes at byte `offset`; returns the bytes written. */
size_t iov_zero(const struct iovec *iov, unsigned int iov_n, uint64_t offset, size_t len);

/*
 * Trims the list in place to bytes [offset, offset + len): *iov and *iov_n then describe just that
 * range (elements are modified). The caller has checked that the range exists.
 */
void iov_slice(struct iovec **iov, unsigned int *iov_n, uint64_t offset, uint64_t len);

#endif
