/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of dirty pages (case T75). */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio/dirty_log.h"
#include "virtio/guest_mem.h"

#define FILE_SIZE 12288
#define PAGE	  UINT64_C(4096)

struct log_file {
	int fd;
	uint8_t *map;
};

static struct log_file file_open(void)
{
	struct log_file file = { .fd = memfd_create("log", MFD_CLOEXEC) };

	assert_int_equal(ftruncate(file.fd, FILE_SIZE), 0);
	file.map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
	assert_ptr_not_equal(file.map, MAP_FAILED);
	return file;
}

static void file_close(struct log_file *file)
{
	munmap(file->map, FILE_SIZE);
	close(file->fd);
}

static bool only(const struct log_file *file, unsigned int at, const uint8_t *bytes, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < FILE_SIZE; i++) {
		if (file->map[i] != (i >= at && i < at + n ? bytes[i - at] : 0)) {
			return false;
		}
	}
	return true;
}

static void test_bits(void **state)
{
	static const struct {
		uint64_t gpa, len;
		unsigned int at;
		uint8_t bytes[4];
		unsigned int n;
	} cases[] = {
		{ 0, 1, 0, { 0x01 }, 1 },
		{ PAGE - 1, 1, 0, { 0x01 }, 1 },
		{ PAGE - 1, 2, 0, { 0x03 }, 1 },
		{ PAGE, PAGE, 0, { 0x02 }, 1 },
		{ PAGE, PAGE + 1, 0, { 0x06 }, 1 },
		{ 7 * PAGE, 2 * PAGE, 0, { 0x80, 0x01 }, 2 },
		{ 5 * PAGE, 20 * PAGE, 0, { 0xe0, 0xff, 0xff, 0x01 }, 4 },
		{ 8 * PAGE, 8 * PAGE, 1, { 0xff }, 1 },
		{ 5, 0, 0, { 0 }, 0 },
		/* The last page of all. */
		{ 4096 * 8 * PAGE - 1, 1, 4095, { 0x80 }, 1 },
	};
	struct log_file file = file_open();
	struct dirty_log *log;
	size_t i;

	assert_int_equal(dirty_log_map(0, 4096, file.fd, &log), 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(dirty_log_mark(log, cases[i].gpa, cases[i].len));
		assert_true(only(&file, cases[i].at, cases[i].bytes, cases[i].n));
		memset(file.map, 0, FILE_SIZE);
	}
	/* Bits that are set stay set. */
	assert_true(dirty_log_mark(log, 0, 1));
	assert_true(dirty_log_mark(log, 2 * PAGE, 1));
	assert_int_equal(file.map[0], 5);
	dirty_log_unref(log);
	file_close(&file);
}

static void test_begins_where_it_was_told_to(void **state)
{
	struct log_file file = file_open();
	struct dirty_log *log;

	assert_int_equal(dirty_log_map(4096, 100, file.fd, &log), 0);
	assert_true(dirty_log_mark(log, 10 * PAGE, 1));
	assert_true(only(&file, 4097, (const uint8_t[]){ 4 }, 1));
	dirty_log_unref(log);
	file_close(&file);
}

static void test_nothing_outside_of_it(void **state)
{
	const uint64_t end = 100 * 8 * PAGE;
	struct log_file file = file_open();
	struct dirty_log *log;

	assert_int_equal(dirty_log_map(0, 100, file.fd, &log), 0);
	assert_true(dirty_log_covers(log, 0, end));
	assert_false(dirty_log_covers(log, 0, end + 1));
	assert_false(dirty_log_mark(log, end, 1));
	assert_false(dirty_log_mark(log, end - 1, 2));
	assert_false(dirty_log_mark(log, 0, end + 1));
	assert_false(dirty_log_mark(log, UINT64_MAX, 2));
	assert_false(dirty_log_mark(log, UINT64_MAX - 1, 1));
	assert_false(dirty_log_mark(log, 1, UINT64_MAX));
	assert_false(dirty_log_mark(log, UINT64_C(1) << 63, UINT64_C(1) << 63));
	assert_true(only(&file, 0, NULL, 0));
	dirty_log_unref(log);
	file_close(&file);
}

static void test_logs_that_cannot_be(void **state)
{
	static const struct {
		uint64_t offset, size;
	} bad[] = {
		{ 0, 0 },
		{ 0, FILE_SIZE + 1 },
		{ 4096, FILE_SIZE },
		{ FILE_SIZE, 1 },
		{ 1, 100 },
		{ UINT64_MAX - 4095, 4096 },
		{ UINT64_MAX - 4095, 8192 },
		{ 0, UINT64_MAX },
		{ 0, DIRTY_LOG_MAX_BYTES + 1 },
	};
	struct log_file file = file_open();
	struct dirty_log *log = NULL;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(dirty_log_map(bad[i].offset, bad[i].size, file.fd, &log), -EINVAL);
	}
	assert_null(log);
	/* However long its file is. */
	assert_int_equal(ftruncate(file.fd, INT64_C(1) << 42), 0);
	assert_int_equal(dirty_log_map(0, DIRTY_LOG_MAX_BYTES + 1, file.fd, &log), -EINVAL);
	assert_int_equal(dirty_log_map(0, DIRTY_LOG_MAX_BYTES, file.fd, &log), 0);
	dirty_log_unref(log);
	dirty_log_unref(NULL);
	file_close(&file);
}

/* Rule R9 */
static void test_cut_short(void **state)
{
	struct log_file file = file_open();
	struct dirty_log *log;

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	assert_int_equal(dirty_log_map(0, FILE_SIZE, file.fd, &log), 0);
	assert_true(dirty_log_mark(log, 0, 1));
	assert_int_equal(ftruncate(file.fd, 0), 0);
	assert_false(dirty_log_is_lost(log)); /* nobody has stumbled yet */
	assert_true(dirty_log_mark(log, 0, 1));
	assert_true(dirty_log_is_lost(log));
	assert_true(dirty_log_mark(log, 0, 1));
	dirty_log_unref(log);
	file_close(&file);
}

#define RACE_BYTES  8192
#define RACE_ROUNDS 20

struct racer {
	struct dirty_log *log;
	unsigned int bit;
	pthread_barrier_t *start;
};

static void *mark_its_bit(void *arg)
{
	struct racer *racer = arg;
	uint64_t i;

	pthread_barrier_wait(racer->start);
	for (i = 0; i < RACE_BYTES; i++) {
		dirty_log_mark(racer->log, (i * 8 + racer->bit) * PAGE, 1);
	}
	return NULL;
}

/* Two rings set bits of the same bytes, and neither undoes what the other did. */
static void test_marks_of_others_stay(void **state)
{
	struct log_file file = file_open();
	pthread_barrier_t start;
	struct racer racers[2];
	struct dirty_log *log;
	pthread_t other;
	unsigned int round;
	unsigned int i;

	assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
	assert_int_equal(dirty_log_map(0, RACE_BYTES, file.fd, &log), 0);
	for (round = 0; round < RACE_ROUNDS; round++) {
		for (i = 0; i < 2; i++) {
			racers[i] = (struct racer){ log, i, &start };
		}
		memset(file.map, 0, FILE_SIZE);
		assert_int_equal(pthread_create(&other, NULL, mark_its_bit, &racers[0]), 0);
		mark_its_bit(&racers[1]);
		pthread_join(other, NULL);
		for (i = 0; i < RACE_BYTES; i++) {
			assert_int_equal(file.map[i], 3);
		}
	}
	pthread_barrier_destroy(&start);
	dirty_log_unref(log);
	file_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_begins_where_it_was_told_to),
		cmocka_unit_test(test_nothing_outside_of_it),
		cmocka_unit_test(test_logs_that_cannot_be),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_marks_of_others_stay),
	};

	return cmocka_run_group_tests_name("virtio.dirty_log", tests, NULL, NULL);
}
