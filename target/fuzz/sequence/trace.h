/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what happens, a line for each step, for people. On with SEQUENCE_TRACE=1 in the environment. */
#ifndef VHT_FUZZ_TRACE_H
#define VHT_FUZZ_TRACE_H

#include <stdbool.h>
#include <stdio.h>

extern bool sequence_trace;

#define TRACE(...)                                    \
	do {                                          \
		if (sequence_trace) {                 \
			fprintf(stderr, __VA_ARGS__); \
		}                                     \
	} while (0)

#endif
