/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what an input must give back: every descriptor, and every byte of memory. */
#ifndef VHT_FUZZ_LEAKS_H
#define VHT_FUZZ_LEAKS_H

#include <stddef.h>

struct leaks {
	unsigned int fds;
	size_t bytes;
};

/* Before the input. */
struct leaks leaks_start(void);
/* After it: is all as it was? */
void leaks_check(const struct leaks *before);

#endif
