/* SPDX-License-Identifier: BSD-3-Clause */
#include "mgmt/framer.h"

#include <errno.h>

static bool is_space(char ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

static void in_string(struct framer *f, char ch)
{
	if (f->escaped) {
		f->escaped = false;
	} else if (ch == '\\') {
		f->escaped = true;
	} else if (ch == '"') {
		f->in_string = false;
	}
}

int framer_next(struct framer *framer, const char *buf, size_t len, size_t *ret_start,
		size_t *ret_end)
{
	struct framer *f = framer;

	for (; f->pos < len; f->pos++) {
		char ch = buf[f->pos];

		if (f->in_string) {
			in_string(f, ch);
		} else if (ch == '{' || ch == '[') {
			if (f->depth == 0) {
				f->start = f->pos;
			}
			if (++f->depth > FRAMER_MAX_DEPTH) {
				return -E2BIG;
			}
		} else if (f->depth == 0) {
			if (!is_space(ch)) {
				return -EBADMSG;
			}
		} else if (ch == '"') {
			f->in_string = true;
		} else if ((ch == '}' || ch == ']') && --f->depth == 0) {
			f->pos++;
			*ret_start = f->start;
			*ret_end = f->pos;
			return 1;
		}
	}
	return 0;
}

void framer_consumed(struct framer *framer, size_t n)
{
	framer->pos -= n;
	framer->start = framer->start > n ? framer->start - n : 0;
}
