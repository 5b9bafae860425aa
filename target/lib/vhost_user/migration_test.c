/* SPDX-License-Identifier: BSD-3-Clause */
/* The dirty log comes, grows and goes while rings run (case T75). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

#define FILE_SIZE (64 << 10)
/* All of the fixture's memory: up to 2 MiB. */
#define LOG_NEEDED 64

static uint64_t features_of(const struct fixture *f)
{
	return f->owner.features | VU_F_PROTOCOL_FEATURES;
}

static int new_file(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	return fd;
}

/* With need_reply, so that a failure has an answer. */
static uint64_t send_log(struct fixture *f, uint64_t size, uint64_t offset, int fd)
{
	const struct vu_log log = { .mmap_size = size, .mmap_offset = offset };

	send_request(f, VU_SET_LOG_BASE, VU_FLAG_NEED_REPLY, &log, sizeof(log), &fd, 1);
	return read_u64(f, VU_SET_LOG_BASE);
}

static uint64_t set_features(struct fixture *f, uint64_t features)
{
	send_request(f, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &features, sizeof(features), NULL, 0);
	return read_u64(f, VU_SET_FEATURES);
}

/* As send_addr() of the fixture. */
static uint64_t log_ring(struct fixture *f, uint32_t index, uint32_t flags, uint64_t gpa)
{
	uint64_t start = FIXTURE_UVA + 0x10000ull * index;
	const struct vu_vring_addr addr = {
		.index = index,
		.flags = flags,
		.descriptor = start,
		.available = start + 0x4000,
		.used = start + 0x8000,
		.log = gpa,
	};

	send_request(f, VU_SET_VRING_ADDR, VU_FLAG_NEED_REPLY, &addr, sizeof(addr), NULL, 0);
	return read_u64(f, VU_SET_VRING_ADDR);
}

static void start_two(struct fixture *f)
{
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 1);
	f->owner.record[0] = '\0';
}

/* What QEMU sends at the beginning of a migration, while it lasts, and at its end. */
static void test_on_and_off(void **state)
{
	struct fixture *f = *state;
	const struct ring_log *log = &f->owner.rings[1].log;
	int fd = new_file();

	start_two(f);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	assert_string_equal(f->owner.record, "");
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	assert_string_equal(f->owner.record, "log 0, log 1");
	assert_non_null(log->log);
	assert_false(log->used);
	assert_int_equal(log_ring(f, 1, VU_VRING_F_LOG, 0x1234), 0);
	assert_string_equal(f->owner.record, "log 0, log 1, log 1");
	assert_true(log->used);
	assert_int_equal(log->used_gpa, 0x1234);
	assert_int_equal(log_ring(f, 1, VU_VRING_F_LOG, 0x1234), 0); /* nothing new */
	assert_string_equal(f->owner.record, "log 0, log 1, log 1");

	f->owner.record[0] = '\0';
	assert_int_equal(set_features(f, features_of(f)), 0);
	assert_int_equal(log_ring(f, 1, 0, 0), 0);
	assert_string_equal(f->owner.record, "log 0, log 1");
	assert_null(log->log);
	/* The rings have never stopped, and no driver has heard of it. */
	assert_true(f->owner.running[0] && f->owner.running[1]);
	assert_int_equal(f->owner.negotiated, f->owner.features);
	assert_int_equal(f->owner.rings[0].features, f->owner.features);
	close(fd);
}

static void test_the_answer_has_eight_bytes_without_ack_too(void **state)
{
	const struct vu_log log = { .mmap_size = LOG_NEEDED };
	struct fixture *f = *state;
	int fd = new_file();

	negotiate(f);
	send_request(f, VU_SET_LOG_BASE, 0, &log, sizeof(log), &fd, 1);
	assert_int_equal(read_u64(f, VU_SET_LOG_BASE), 0);
	close(fd);
}

/* The answer comes when no ring writes to the old one any more; until then that is there. */
static void test_replaced_while_running(void **state)
{
	const struct vu_log wire = { .mmap_size = 2 * LOG_NEEDED, .mmap_offset = 4096 };
	struct fixture *f = *state;
	struct dirty_log *old;
	uint64_t value;
	int fd = new_file();

	start_two(f);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	old = f->owner.rings[1].log.log;
	f->owner.delayed = true;
	send_request(f, VU_SET_LOG_BASE, 0, &wire, sizeof(wire), &fd, 1);
	assert_int_equal(read_reply(f, VU_SET_LOG_BASE, &value, sizeof(value)), -1);
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(read_reply(f, VU_SET_LOG_BASE, &value, sizeof(value)), -1);
	assert_true(dirty_log_mark(old, 0, 1));
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(read_u64(f, VU_SET_LOG_BASE), 0);
	assert_ptr_equal(f->owner.rings[0].log.log, f->owner.rings[1].log.log);
	assert_true(dirty_log_covers(f->owner.rings[0].log.log, 0, 2 * LOG_NEEDED * 8 * 4096ull));
	close(fd);
}

/* A front-end that leaves in the middle: each ring has the log that it was told of until it has stopped. */
static void test_left_while_it_is_replaced(void **state)
{
	const struct vu_log wire = { .mmap_size = LOG_NEEDED };
	struct fixture *f = *state;
	struct dirty_log *old;
	int event = eventfd(0, EFD_CLOEXEC);
	int fd = new_file();

	start_two(f);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	send_request(f, VU_SET_LOG_FD, 0, NULL, 0, &event, 1);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	old = f->owner.rings[1].log.log;
	f->owner.delayed = true;
	send_request(f, VU_SET_LOG_BASE, 0, &wire, sizeof(wire), &fd, 1);
	shutdown(f->peer, SHUT_WR);
	settle(f);
	assert_true(scripted_owner_answer(&f->owner));
	settle(f);
	assert_true(dirty_log_mark(old, 0, 1));
	while (scripted_owner_answer(&f->owner)) {
		settle(f);
	}
	assert_null(f->owner.session);
	close(event);
	close(fd);
}

/* QEMU starts a device in the middle of a migration: features, rings, and the log last. */
static void test_rings_wait_for_the_log(void **state)
{
	struct fixture *f = *state;
	int fd = new_file();

	negotiate(f);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_false(f->owner.running[0]);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	assert_true(f->owner.running[0]);
	assert_non_null(f->owner.rings[0].log.log);
	assert_string_equal(f->owner.record, "start 0");
	close(fd);
}

static void test_no_log_for_running_rings(void **state)
{
	struct fixture *f = *state;

	start_two(f);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), EINVAL);
	assert_string_equal(f->owner.record, "");
	/* And nothing else can be changed under cover of it. */
	assert_int_equal(set_features(f, VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL), EBUSY);
}

static void test_logs_that_are_refused(void **state)
{
	static const struct vu_log bad[] = {
		{ 0, 0 },
		{ 1, 0 },
		{ LOG_NEEDED - 1, 0 },
		{ LOG_NEEDED, 1 },
		{ FILE_SIZE + 1, 0 },
		{ LOG_NEEDED, FILE_SIZE },
		{ UINT64_MAX, 0 },
		{ UINT64_MAX - 4095, 4096 },
		{ LOG_NEEDED, UINT64_MAX - 4095 },
		{ UINT64_C(1) << 40, 0 },
	};
	struct fixture *f = *state;
	unsigned int fds;
	int fd = new_file();
	int ends[2];
	size_t i;

	start_two(f);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	f->owner.record[0] = '\0';
	fds = count_open_fds();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(send_log(f, bad[i].mmap_size, bad[i].mmap_offset, fd), EINVAL);
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, ends[0]), EINVAL);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(count_open_fds(), fds);
	/* The rings log where they did. */
	assert_string_equal(f->owner.record, "");
	assert_true(f->owner.running[0] && f->owner.running[1]);
	close(fd);
}

/* Nobody hears of a failure, and the front-end would go on: its guest would arrive with old pages. */
static void test_a_failure_without_ack_is_the_end(void **state)
{
	const struct vu_log log = { .mmap_size = 1 };
	struct fixture *f = *state;
	int fd = new_file();

	start_two(f);
	send_request(f, VU_SET_LOG_BASE, 0, &log, sizeof(log), &fd, 1);
	assert_string_equal(f->owner.why, "SET_LOG_BASE: a log that does not cover guest memory");
	assert_true(peer_sees_end(f));
	close(fd);
}

static void test_needs_its_protocol_feature(void **state)
{
	struct fixture *f = *state;
	int fd = new_file();

	negotiate(f);
	send_u64(f, VU_SET_PROTOCOL_FEATURES, 1ull << VU_PROTOCOL_F_REPLY_ACK);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), EPROTO);
	close(fd);
}

/* Other addresses are a change of the ring; where it is logged is not. */
static void test_addresses_of_a_running_ring(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_addr addr = { .index = 1, .flags = VU_VRING_F_LOG };

	start_two(f);
	assert_int_equal(log_ring(f, 0, VU_VRING_F_LOG, 0x1000), 0);
	send_request(f, VU_SET_VRING_ADDR, VU_FLAG_NEED_REPLY, &addr, sizeof(addr), NULL, 0);
	assert_int_equal(read_u64(f, VU_SET_VRING_ADDR), EBUSY);
	assert_string_equal(f->owner.record, "");
}

static void test_eventfd(void **state)
{
	struct fixture *f = *state;
	unsigned int fds;
	int file = new_file();
	int event = eventfd(0, EFD_CLOEXEC);
	int first;

	start_two(f);
	send_request(f, VU_SET_LOG_FD, VU_FLAG_NEED_REPLY, NULL, 0, &file, 1);
	assert_int_equal(read_u64(f, VU_SET_LOG_FD), EINVAL);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, file), 0);
	send_request(f, VU_SET_LOG_FD, VU_FLAG_NEED_REPLY, NULL, 0, &event, 1);
	assert_int_equal(read_u64(f, VU_SET_LOG_FD), 0);
	assert_string_equal(f->owner.record, ""); /* nothing is logged */
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	first = f->owner.rings[0].log.event_fd;
	assert_true(first >= 0);
	fds = count_open_fds();
	send_request(f, VU_SET_LOG_FD, VU_FLAG_NEED_REPLY, NULL, 0, &event, 1);
	assert_int_equal(read_u64(f, VU_SET_LOG_FD), 0);
	assert_int_not_equal(f->owner.rings[0].log.event_fd, first);
	assert_int_equal(f->owner.rings[1].log.event_fd, f->owner.rings[0].log.event_fd);
	assert_int_equal(count_open_fds(), fds); /* the first one is closed */
	close(event);
	close(file);
}

/* The driver starts anew: what the front-end has said of itself stays. */
static void test_reset_ends_logging(void **state)
{
	struct fixture *f = *state;
	int fd = new_file();

	start_two(f);
	assert_int_equal(send_log(f, LOG_NEEDED, 0, fd), 0);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	send_request(f, VU_RESET_DEVICE, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_RESET_DEVICE), 0);
	assert_int_equal(set_features(f, features_of(f)), 0);
	start_ring(f, 0);
	assert_null(f->owner.rings[0].log.log);
	assert_int_equal(set_features(f, features_of(f) | VU_F_LOG_ALL), 0);
	assert_non_null(f->owner.rings[0].log.log);
	close(fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_on_and_off),
		TEST(test_the_answer_has_eight_bytes_without_ack_too),
		TEST(test_replaced_while_running),
		TEST(test_left_while_it_is_replaced),
		TEST(test_rings_wait_for_the_log),
		TEST(test_no_log_for_running_rings),
		TEST(test_logs_that_are_refused),
		TEST(test_a_failure_without_ack_is_the_end),
		TEST(test_needs_its_protocol_feature),
		TEST(test_addresses_of_a_running_ring),
		TEST(test_eventfd),
		TEST(test_reset_ends_logging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
