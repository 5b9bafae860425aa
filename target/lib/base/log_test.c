/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"

/* What is written to stderr while a test runs. */
static int saved_stderr;
static int capture;
static char text[65536];

static int begin_capture(void **state)
{
	saved_stderr = dup(STDERR_FILENO);
	capture = memfd_create("log", MFD_CLOEXEC);
	log_set_level(LOG_LEVEL_NOTICE);
	return saved_stderr < 0 || capture < 0 || dup2(capture, STDERR_FILENO) < 0;
}

static int end_capture(void **state)
{
	dup2(saved_stderr, STDERR_FILENO);
	fd_close(&saved_stderr);
	fd_close(&capture);
	log_set_level(LOG_LEVEL_NOTICE);
	return 0;
}

static const char *captured(void)
{
	ssize_t n = pread(capture, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static unsigned int lines(void)
{
	unsigned int n = 0;

	for (const char *p = captured(); (p = strchr(p, '\n')) != NULL; p++) {
		n++;
	}
	return n;
}

static void levels(void **state)
{
	assert_int_equal(log_get_level(), LOG_LEVEL_NOTICE);
	log_error("disk %d", 1);
	log_warning("b");
	log_notice("c");
	log_info("not shown");
	log_debug("not shown");
	assert_string_equal(captured(),
			    "vhost: error: disk 1\nvhost: warning: b\nvhost: notice: c\n");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("d");
	assert_non_null(strstr(captured(), "vhost: debug: d\n"));
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("not shown");
	assert_int_equal(lines(), 4);
}

static void long_lines_are_cut(void **state)
{
	char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_error("%s", big);
	log_error("next");
	assert_int_equal(lines(), 2);
	assert_true(strlen(captured()) < 1200);
	assert_non_null(strstr(captured(), "x\nvhost: error: next\n"));
}

static void errno_survives(void **state)
{
	errno = ENOTTY;
	log_error("x");
	assert_int_equal(errno, ENOTTY);
}

static void a_flood_is_limited(void **state)
{
	struct log_limiter limiter = { 0 };

	for (int i = 0; i < 1000; i++) {
		log_limited(&limiter, LOG_LEVEL_WARNING, "guest %d", i);
	}
	assert_int_equal(lines(), 10);
	assert_non_null(strstr(captured(), "guest 9\n"));
	assert_null(strstr(captured(), "guest 10\n"));
}

static void what_was_suppressed_is_told_later(void **state)
{
	struct log_limiter limiter = { .burst = 2, .interval_ms = 50 };
	const struct timespec interval = { .tv_nsec = 60000000 };

	for (int i = 0; i < 7; i++) {
		log_limited(&limiter, LOG_LEVEL_WARNING, "line %d", i);
	}
	nanosleep(&interval, NULL); /* the limiter's window */
	log_limited(&limiter, LOG_LEVEL_WARNING, "after");
	assert_string_equal(captured(), "vhost: warning: line 0\nvhost: warning: line 1\n"
					"vhost: warning: 5 similar lines suppressed\n"
					"vhost: warning: after\n");
}

static void lines_below_the_level_use_nothing_up(void **state)
{
	struct log_limiter limiter = { .burst = 1 };

	log_limited(&limiter, LOG_LEVEL_DEBUG, "not shown");
	log_limited(&limiter, LOG_LEVEL_ERROR, "shown");
	assert_string_equal(captured(), "vhost: error: shown\n");
}

static void reasons_can_be_built_on_each_other(void **state)
{
	char big[3000];
	const char *reason = why("no %s", "memory");

	assert_string_equal(reason, "no memory");
	reason = why("disk %d: %s", 3, reason);
	assert_string_equal(reason, "disk 3: no memory");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(strlen(why("%s", big)), 1023);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin_capture, end_capture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(levels),
		TEST(long_lines_are_cut),
		TEST(errno_survives),
		TEST(a_flood_is_limited),
		TEST(what_was_suppressed_is_told_later),
		TEST(lines_below_the_level_use_nothing_up),
		cmocka_unit_test(reasons_can_be_built_on_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
