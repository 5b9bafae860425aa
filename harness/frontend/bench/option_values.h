/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of options. false: the text is none; the result is untouched unless it says otherwise. */
#ifndef BENCH_OPTION_VALUES_H
#define BENCH_OPTION_VALUES_H

#include <stdbool.h>
#include <stdint.h>

bool parse_number(const char *text, double min, double max, double *ret_value);
bool parse_whole(const char *text, unsigned int min, unsigned int max, unsigned int *ret_value);
/* Bytes, with a unit of k, m, g or t behind the number if that is handier. */
bool parse_size(const char *text, uint64_t *ret_value);
/* Which of two words it is. */
bool parse_either(const char *text, const char *no, const char *yes, bool *ret_value);
/* A mode of our daemon; keeps the pointer. */
bool parse_mode(const char *text, const char **ret_mode);

#endif
