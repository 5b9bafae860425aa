/* SPDX-License-Identifier: BSD-3-Clause */
#include "clock.h"

#define CALIBRATE_NS 20000000u

double clock_ticks_per_ns = 1.0;

void clock_calibrate(void)
{
	uint64_t ns = clock_ns();
	uint64_t ticks = clock_ticks();
	uint64_t now;

	do {
		now = clock_ns();
	} while (now - ns < CALIBRATE_NS);
	clock_ticks_per_ns = (double)(clock_ticks() - ticks) / (double)(now - ns);
}
