/* SPDX-License-Identifier: BSD-3-Clause */
/* For drivers that count nanoseconds. */
#ifndef VHOST_FRONTEND_FETCH_H
#define VHOST_FRONTEND_FETCH_H

/* Fetches a line that the device has, to be written. */
static inline void vfe_fetch_to_write(const void *p)
{
#if defined(__x86_64__)
	/* The builtin means a mere read, unless the compiler knows the processor. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

#endif
