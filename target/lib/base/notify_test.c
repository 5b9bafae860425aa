/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/notify.h"

static uint64_t counter(int fd)
{
	uint64_t value = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void counts(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	int i;

	/* More often than there is room for completions. */
	for (i = 0; i < 1000; i++) {
		assert_int_equal(notify_eventfd(fd), 0);
	}
	assert_int_equal(counter(fd), 1000);
	assert_int_equal(notify_eventfd(fd), 0);
	assert_int_equal(counter(fd), 1);
	close(fd);
}

/* T84: full, and blocking: a write would wait for ever. */
static void never_blocks(void **state)
{
	int fd = eventfd(0, 0);
	uint64_t full = UINT64_MAX - 1;
	int i;

	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	alarm(10);
	for (i = 0; i < 1000; i++) {
		assert_int_equal(notify_eventfd(fd), 0);
	}
	alarm(0);
	assert_true(counter(fd) >= full);
	close(fd);
}

static void not_an_eventfd(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_true(notify_eventfd(fds[1]) < 0);
	assert_true(notify_eventfd(-1) < 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(never_blocks),
		cmocka_unit_test(not_an_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
