/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mgmt/framer.h"

static const char stream[] = " {\"a\": \"}{\\\"]\\\\\"}[1,[2]]\n\t{\"b\":{\"c\":[{}]}}{}";
static const char *const documents[] = {
	"{\"a\": \"}{\\\"]\\\\\"}",
	"[1,[2]]",
	"{\"b\":{\"c\":[{}]}}",
	"{}",
};

static void documents_are_found_however_the_bytes_come(void **state)
{
	for (size_t piece = 1; piece <= sizeof(stream); piece++) {
		struct framer framer = { 0 };
		char buf[sizeof(stream)];
		size_t len = 0;
		size_t sent = 0;
		size_t found = 0;

		while (sent < strlen(stream)) {
			size_t n = strlen(stream) - sent < piece ? strlen(stream) - sent : piece;
			size_t start;
			size_t end;

			memcpy(buf + len, stream + sent, n);
			len += n;
			sent += n;
			while (framer_next(&framer, buf, len, &start, &end) == 1) {
				assert_int_equal(end - start, strlen(documents[found]));
				assert_memory_equal(buf + start, documents[found], end - start);
				found++;
				memmove(buf, buf + end, len - end);
				len -= end;
				framer_consumed(&framer, end);
			}
		}
		assert_int_equal(found, 4);
		assert_int_equal(len, 0);
	}
}

static int feed(const char *text)
{
	struct framer framer = { 0 };
	size_t start;
	size_t end;

	return framer_next(&framer, text, strlen(text), &start, &end);
}

static void rubbish_is_refused_at_once(void **state)
{
	assert_int_equal(feed("GET / HTTP/1.1"), -EBADMSG);
	assert_int_equal(feed("\"{\""), -EBADMSG);
	assert_int_equal(feed("  }"), -EBADMSG);
	assert_int_equal(feed(","), -EBADMSG);
	assert_int_equal(feed("{} x"), 1);
}

static void depth_is_bounded(void **state)
{
	char text[FRAMER_MAX_DEPTH + 2];

	memset(text, '[', sizeof(text));
	text[FRAMER_MAX_DEPTH] = '\0';
	assert_int_equal(feed(text), 0);
	text[FRAMER_MAX_DEPTH] = '[';
	text[FRAMER_MAX_DEPTH + 1] = '\0';
	assert_int_equal(feed(text), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_found_however_the_bytes_come),
		cmocka_unit_test(rubbish_is_refused_at_once),
		cmocka_unit_test(depth_is_bounded),
	};

	return cmocka_run_group_tests_name("mgmt.framer", tests, NULL, NULL);
}
