/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/iov.h"

#include <string.h>

uint64_t iov_length(const struct iovec *iov, unsigned int iov_n)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < iov_n; i++) {
		sum += iov[i].iov_len;
	}
	return sum;
}

enum copy_kind {
	COPY_FROM_IOV,
	COPY_TO_IOV,
	ZERO_IOV
};

/* The one walk behind gather, scatter and zero. */
static inline size_t walk(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
			  uint8_t *buf, size_t len, enum copy_kind kind)
{
	size_t done = 0;
	unsigned int i;

	for (i = 0; i < iov_n && done < len; i++) {
		uint8_t *base = iov[i].iov_base;
		size_t n = iov[i].iov_len;

		if (offset >= n) {
			offset -= n;
			continue;
		}
		base += offset;
		n -= (size_t)offset;
		offset = 0;
		if (n > len - done) {
			n = len - done;
		}
		if (kind == COPY_FROM_IOV) {
			memcpy(buf + done, base, n);
		} else if (kind == COPY_TO_IOV) {
			memcpy(base, buf + done, n);
		} else {
			memset(base, 0, n);
		}
		done += n;
	}
	return done;
}

size_t iov_gather_any(const struct iovec *iov, unsigned int iov_n, uint64_t offset, void *buf,
		      size_t len)
{
	return walk(iov, iov_n, offset, buf, len, COPY_FROM_IOV);
}

size_t iov_scatter_any(const struct iovec *iov, unsigned int iov_n, uint64_t offset,
		       const void *buf, size_t len)
{
	/* walk() only reads from buf in this direction. */
	return walk(iov, iov_n, offset, (uint8_t *)(uintptr_t)buf, len, COPY_TO_IOV);
}

size_t iov_zero(const struct iovec *iov, unsigned int iov_n, uint64_t offset, size_t len)
{
	return walk(iov, iov_n, offset, NULL, len, ZERO_IOV);
}

void iov_slice(struct iovec **iov, unsigned int *iov_n, uint64_t offset, uint64_t len)
{
	struct iovec *first = *iov;
	unsigned int n = *iov_n;
	unsigned int i;

	while (n > 0 && offset >= first->iov_len) {
		offset -= first->iov_len;
		first++;
		n--;
	}
	if (n > 0 && offset > 0) {
		first->iov_base = (uint8_t *)first->iov_base + offset;
		first->iov_len -= (size_t)offset;
	}
	for (i = 0; i < n && len > 0; i++) {
		if (first[i].iov_len > len) {
			first[i].iov_len = (size_t)len;
		}
		len -= first[i].iov_len;
	}
	*iov = first;
	*iov_n = i;
}
