/* SPDX-License-Identifier: BSD-3-Clause */
#include "option_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool parse_number(const char *text, double min, double max, double *ret_value)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= min && v <= max)) {
		return false;
	}
	*ret_value = v;
	return true;
}

bool parse_whole(const char *text, unsigned int min, unsigned int max, unsigned int *ret_value)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || v < min || v > max) {
		return false;
	}
	*ret_value = (unsigned int)v;
	return true;
}

bool parse_size(const char *text, uint64_t *ret_value)
{
	static const char units[] = "kmgt";
	const char *unit;
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno != 0) {
		return false;
	}
	if (*end != '\0') {
		unit = strchr(units, *end | 0x20);
		if (unit == NULL || end[1] != '\0') {
			return false;
		}
		v <<= 10 * (unit - units + 1);
	}
	*ret_value = v;
	return v > 0;
}

bool parse_either(const char *text, const char *no, const char *yes, bool *ret_value)
{
	if (strcmp(text, no) != 0 && strcmp(text, yes) != 0) {
		return false;
	}
	*ret_value = strcmp(text, yes) == 0;
	return true;
}

bool parse_mode(const char *text, const char **ret_mode)
{
	*ret_mode = text;
	return strcmp(text, "adaptive") == 0 || strcmp(text, "poll") == 0 ||
	       strcmp(text, "event") == 0;
}
