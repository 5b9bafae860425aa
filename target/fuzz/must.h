/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what a fuzzer is sure of. When it does not hold, the input has found something. */
#ifndef VHT_FUZZ_MUST_H
#define VHT_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                   \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				#condition);                                              \
			abort();                                                          \
		}                                                                         \
	} while (0)

#endif
