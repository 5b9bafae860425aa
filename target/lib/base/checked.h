/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: arithmetic on numbers that a guest or front-end chose. Each function returns false when
 * the true result does not fit, and then leaves *ret alone.
 */
#ifndef VHT_BASE_CHECKED_H
#define VHT_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

#define CHECKED_DEFINE(name, builtin)                                            \
	static inline bool checked_##name(uint64_t a, uint64_t b, uint64_t *ret) \
	{                                                                        \
		uint64_t result;                                                 \
		if (builtin(a, b, &result)) {                                    \
			return false;                                            \
		}                                                                \
		*ret = result;                                                   \
		return true;                                                     \
	}

CHECKED_DEFINE(add, __builtin_add_overflow)
CHECKED_DEFINE(mul, __builtin_mul_overflow)

/* Is [start, start + len) inside [0, limit)? A zero length at start == limit counts as inside. */
static inline bool range_inside(uint64_t start, uint64_t len, uint64_t limit)
{
	return len <= limit && start <= limit - len;
}

static inline bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

#endif
