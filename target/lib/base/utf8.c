/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/utf8.h"

#include <stdint.h>

/* The bytes that follow this first byte of a character, and the bits of the character in it. -1: none
 * begins like that. */
static int continuation_bytes(unsigned char first, uint32_t *ret_bits)
{
	if (first < 0x80) {
		*ret_bits = first;
		return 0;
	}
	if ((first & 0xe0) == 0xc0) {
		*ret_bits = first & 0x1f;
		return 1;
	}
	if ((first & 0xf0) == 0xe0) {
		*ret_bits = first & 0x0f;
		return 2;
	}
	if ((first & 0xf8) == 0xf0) {
		*ret_bits = first & 0x07;
		return 3;
	}
	return -1;
}

/* Encoded as short as it can be, no surrogate, no control character (C0, DEL, C1). */
static bool is_printable(uint32_t character, int continuation)
{
	static const uint32_t lowest[] = { 0x20, 0xa0, 0x800, 0x10000 };

	return character >= lowest[continuation] && character <= 0x10ffff && character != 0x7f &&
	       (character < 0xd800 || character > 0xdfff);
}

bool utf8_is_printable(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p != '\0') {
		uint32_t character;
		int n = continuation_bytes(*p++, &character);
		int i;

		for (i = 0; i < n; i++, p++) {
			if ((*p & 0xc0) != 0x80) {
				return false;
			}
			character = character << 6 | (*p & 0x3f);
		}
		if (n < 0 || !is_printable(character, n)) {
			return false;
		}
	}
	return true;
}
