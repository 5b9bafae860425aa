/* SPDX-License-Identifier: BSD-3-Clause */
/* What vhost-bench can do besides measuring one target. Each returns the exit status. */
#ifndef BENCH_MODES_H
#define BENCH_MODES_H

#include "options.h"

int mode_compare(const struct options *options);
int mode_calibrate(const struct options *options);
int mode_instructions(const struct options *options);

#endif
