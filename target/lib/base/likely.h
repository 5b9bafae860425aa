/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: which way a branch of the data path goes for nearly every request. Not for other code. */
#ifndef VHT_BASE_LIKELY_H
#define VHT_BASE_LIKELY_H

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
