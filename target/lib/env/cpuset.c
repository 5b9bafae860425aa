/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"

#define WORDS (ENV_MAX_CORES / 64)

bool env_cpuset_is_empty(const struct env_cpuset *set)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		if (set->bits[i] != 0) {
			return false;
		}
	}
	return true;
}

bool env_cpuset_is_subset(const struct env_cpuset *set, const struct env_cpuset *of)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		if ((set->bits[i] & ~of->bits[i]) != 0) {
			return false;
		}
	}
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	if (c >= 'a' && c <= 'f') {
		return c - 'a' + 10;
	}
	if (c >= 'A' && c <= 'F') {
		return c - 'A' + 10;
	}
	return -1;
}

static int parse_mask(const char *text, struct env_cpuset *set)
{
	size_t digits;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		text += 2;
	}
	digits = strlen(text);
	if (digits == 0) {
		return -EINVAL;
	}
	/* The whole text must be digits before any of them may be called out of range. */
	for (size_t i = 0; i < digits; i++) {
		if (hex_digit(text[i]) < 0) {
			return -EINVAL;
		}
	}
	for (size_t i = 0; i < digits; i++) {
		uint64_t value = (uint64_t)hex_digit(text[digits - 1 - i]);

		if (value == 0) {
			continue;
		}
		if (i >= ENV_MAX_CORES / 4) {
			return -ERANGE;
		}
		set->bits[i / 16] |= value << (i % 16 * 4);
	}
	return 0;
}

/* A decimal number; moves *text behind it. Numbers that are too long stay at ENV_MAX_CORES. */
static int parse_number(const char **text, unsigned int *ret_number)
{
	unsigned int number = 0;

	if (!isdigit((unsigned char)**text)) {
		return -EINVAL;
	}
	for (; isdigit((unsigned char)**text); (*text)++) {
		number = number * 10 + (unsigned int)(**text - '0');
		if (number > ENV_MAX_CORES) {
			number = ENV_MAX_CORES;
		}
	}
	*ret_number = number;
	return 0;
}

/* The inside of "[0-3,8]", with the closing bracket. */
static int parse_list(const char *text, struct env_cpuset *set)
{
	bool too_big = false;

	for (;;) {
		unsigned int first, last;

		if (parse_number(&text, &first) != 0) {
			return -EINVAL;
		}
		last = first;
		if (*text == '-') {
			text++;
			if (parse_number(&text, &last) != 0 || last < first) {
				return -EINVAL;
			}
		}
		for (unsigned int core = first; core <= last && core < ENV_MAX_CORES; core++) {
			env_cpuset_add(set, core);
		}
		too_big = too_big || last >= ENV_MAX_CORES;
		if (*text == ']' && text[1] == '\0') {
			return too_big ? -ERANGE : 0;
		}
		if (*text != ',') {
			return -EINVAL;
		}
		text++;
	}
}

int env_cpuset_parse(const char *text, struct env_cpuset *ret_set)
{
	struct env_cpuset set = { 0 };
	int rc = text[0] == '[' ? parse_list(text + 1, &set) : parse_mask(text, &set);

	if (rc != 0) {
		return rc;
	}
	if (env_cpuset_is_empty(&set)) {
		return -EINVAL;
	}
	*ret_set = set;
	return 0;
}

void env_cpuset_format(const struct env_cpuset *set, char *buf, size_t len)
{
	static const char digit[] = "0123456789abcdef";
	char text[ENV_CPUSET_TEXT];
	size_t n = 0;

	text[n++] = '0';
	text[n++] = 'x';
	for (unsigned int i = ENV_MAX_CORES / 4; i-- > 0;) {
		unsigned int value = set->bits[i / 16] >> (i % 16 * 4) & 0xf;

		if (value != 0 || n > 2 || i == 0) {
			text[n++] = digit[value];
		}
	}
	if (len == 0) {
		return;
	}
	n = n < len ? n : len - 1;
	memcpy(buf, text, n);
	buf[n] = '\0';
}
