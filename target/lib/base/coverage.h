/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: builds that count which lines run (ci/build.sh coverage; VHT_COVERAGE). The counts are written at an
 * orderly end. Where there is none they are written here: by the RPC method gcov_dump, and before _exit(). In all
 * other builds this is empty.
 */
#ifndef VHT_BASE_COVERAGE_H
#define VHT_BASE_COVERAGE_H

#ifdef VHT_COVERAGE
#include <gcov.h>
#endif

/* Adds the counts to the files of before, and starts again at 0. Any thread. (Its own are written before they count.) */
/* GCOVR_EXCL_START */
static inline void coverage_dump(void)
{
#ifdef VHT_COVERAGE
	__gcov_dump();
	__gcov_reset();
#endif
}
/* GCOVR_EXCL_STOP */

#endif
