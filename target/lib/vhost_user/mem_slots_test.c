/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory region by region: memory.c, and what the session does with the rings meanwhile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

#define PIECE 0x10000

struct slot {
	uint64_t padding;
	struct vu_region region;
};

/* The whole of the fixture's memory, where its rings expect it. */
static const struct vu_region rings_home = {
	.guest_address = FIXTURE_GPA,
	.size = FIXTURE_MEMORY_SIZE,
	.user_address = FIXTURE_UVA,
};

/* Another piece of the same file. */
static struct vu_region piece(unsigned int i)
{
	return (struct vu_region){
		.guest_address = 0x100000000 + i * 2ull * PIECE,
		.size = PIECE,
		.user_address = FIXTURE_UVA + 0x100000000 + i * 2ull * PIECE,
		.mmap_offset = i % 4 * PIECE,
	};
}

static void send_slot(struct fixture *f, uint32_t request, const struct vu_region *region, int fd)
{
	struct slot slot = { .padding = UINT64_MAX, .region = *region };

	send_request(f, request, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), &fd, fd >= 0);
}

static uint64_t add(struct fixture *f, const struct vu_region *region)
{
	send_slot(f, VU_ADD_MEM_REG, region, f->memory);
	return read_u64(f, VU_ADD_MEM_REG);
}

static uint64_t rem(struct fixture *f, const struct vu_region *region)
{
	send_slot(f, VU_REM_MEM_REG, region, -1);
	return read_u64(f, VU_REM_MEM_REG);
}

static unsigned int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned int n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		n += strstr(line, "memfd:fixture") != NULL;
	}
	fclose(maps);
	return n;
}

static void test_a_ring_starts_with_the_region_it_waits_for(void **state)
{
	struct fixture *f = *state;
	struct vu_region other = piece(0);

	negotiate(f);
	start_ring(f, 0);
	assert_string_equal(f->owner.record, "");
	assert_int_equal(add(f, &other), 0);
	assert_string_equal(f->owner.record, "");
	assert_int_equal(add(f, &rings_home), 0);
	assert_string_equal(f->owner.record, "start 0");
}

static void test_more_memory_for_running_rings(void **state)
{
	struct fixture *f = *state;
	struct vu_region more = piece(0);
	uint64_t answer;
	int i;

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	start_ring(f, 0);
	start_ring(f, 2);
	f->owner.delayed = true;
	send_slot(f, VU_ADD_MEM_REG, &more, f->memory);
	for (i = 0; i < 2; i++) {
		settle(f);
		assert_int_equal(read_reply(f, VU_ADD_MEM_REG, &answer, sizeof(answer)), -1);
		assert_true(scripted_owner_answer(&f->owner));
	}
	assert_int_equal(read_u64(f, VU_ADD_MEM_REG), 0);
	assert_string_equal(f->owner.record, "start 0, start 2, mem 0, mem 2");
}

/* The acknowledgement says that the memory is no longer in use: T71. */
static void test_less_memory_for_running_rings(void **state)
{
	struct fixture *f = *state;
	struct vu_region more = piece(0);
	uint64_t answer;

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(add(f, &more), 0);
	start_ring(f, 0);
	f->owner.delayed = true;
	send_slot(f, VU_REM_MEM_REG, &more, -1);
	settle(f);
	assert_int_equal(read_reply(f, VU_REM_MEM_REG, &answer, sizeof(answer)), -1);
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(read_u64(f, VU_REM_MEM_REG), 0);
	assert_string_equal(f->owner.record, "start 0, mem 0");
	assert_int_equal(count_mappings(), 1);
}

/* The ring stands still while its memory is away, and goes on where it stood when that is back. */
static void test_memory_of_a_ring_goes_and_comes(void **state)
{
	struct fixture *f = *state;
	struct vu_region other = piece(0);

	f->owner.progress = 5;
	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(add(f, &other), 0);
	start_ring(f, 0);
	f->owner.set_mem_result = -EFAULT;
	assert_int_equal(rem(f, &rings_home), 0);
	assert_false(vu_session_ring_running(f->owner.session, 0));
	assert_int_equal(rem(f, &other), 0);
	assert_int_equal(add(f, &other), 0); /* not the one it waits for */
	assert_string_equal(f->owner.record, "start 0, mem 0, stop 0");
	assert_int_equal(add(f, &rings_home), 0);
	assert_string_equal(f->owner.record, "start 0, mem 0, stop 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 5);
}

static void test_all_memory_goes(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	start_ring(f, 0);
	start_ring(f, 1);
	assert_int_equal(rem(f, &rings_home), 0);
	assert_string_equal(f->owner.record, "start 0, start 1, stop 0, stop 1");
	assert_int_equal(count_mappings(), 0);
	assert_int_equal(add(f, &rings_home), 0);
	assert_string_equal(f->owner.record, "start 0, start 1, stop 0, stop 1, start 0, start 1");
}

/* A ring that cannot be started does not take the region with it: an error would say that it is not there. */
static void test_a_region_is_there_whether_or_not_a_ring_starts(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	start_ring(f, 0);
	f->owner.start_result = -EFAULT;
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(rem(f, &rings_home), 0);
	f->owner.start_result = -ENOMEM;
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(rem(f, &rings_home), 0);
	assert_string_equal(f->owner.record, "start 0, start 0");
}

static void test_the_front_end_leaves_in_between(void **state)
{
	struct fixture *f = *state;
	struct vu_region more = piece(0);

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	start_ring(f, 0);
	start_ring(f, 1);
	f->owner.delayed = true;
	send_slot(f, VU_ADD_MEM_REG, &more, f->memory);
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_true(f->owner.abandoned);
	while (scripted_owner_answer(&f->owner)) {
	}
	assert_null(f->owner.session);
	assert_string_equal(f->owner.record,
			    "start 0, start 1, mem 0, abandon 0, abandon 1, closed");
	assert_int_equal(count_mappings(), 0);
}

static void test_the_daemon_ends_in_between(void **state)
{
	struct fixture *f = *state;
	struct vu_region more = piece(0);

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	start_ring(f, 0);
	f->owner.delayed = true;
	send_slot(f, VU_ADD_MEM_REG, &more, f->memory);
	vu_session_close(f->owner.session, "end");
	assert_non_null(f->owner.session);
	while (scripted_owner_answer(&f->owner)) {
	}
	assert_null(f->owner.session);
	assert_string_equal(f->owner.record, "start 0, mem 0, stop 0, closed");
}

/* As many as GET_MAX_MEM_SLOTS says, and no more. */
static void test_all_slots(void **state)
{
	struct fixture *f = *state;
	struct vu_region region;
	uint64_t most;
	unsigned int i;

	negotiate(f);
	send_request(f, VU_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0);
	most = read_u64(f, VU_GET_MAX_MEM_SLOTS);
	assert_in_range(most, 509, 4096);
	for (i = 0; i < most; i++) {
		region = piece(i);
		assert_int_equal(add(f, &region), 0);
	}
	region = piece(i);
	assert_int_equal(add(f, &region), EINVAL);
	assert_int_equal(count_mappings(), most);
	for (i = 0; i < most; i++) {
		region = piece((unsigned int)(i * 7 % most));
		assert_int_equal(rem(f, &region), 0);
	}
	assert_int_equal(rem(f, &region), ENOENT);
	assert_int_equal(count_mappings(), 0);
}

/* Fewer, as a target has that serves the same guest at other times. */
static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct vu_region region = piece(0);
	unsigned int i;

	vu_session_limit_mem_slots(f->owner.session, 32);
	negotiate(f);
	send_request(f, VU_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_GET_MAX_MEM_SLOTS), 32);
	for (i = 0; i < 32; i++) {
		region = piece(i);
		assert_int_equal(add(f, &region), 0);
	}
	region = piece(32);
	assert_int_equal(add(f, &region), EINVAL);
	assert_int_equal(count_mappings(), 32);
	assert_non_null(f->owner.session);
}

/* T66, T68, T69; and nobody notices. */
static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct vu_region one = piece(0);
	struct vu_region bad;
	int pipe_fds[2];

	negotiate(f);
	assert_int_equal(rem(f, &one), ENOENT);
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(add(f, &one), 0);
	start_ring(f, 0);
	assert_int_equal(add(f, &one), EINVAL);
	bad = piece(1);
	bad.guest_address = one.guest_address + 1;
	assert_int_equal(add(f, &bad), EINVAL);
	bad = piece(1);
	bad.user_address = one.user_address - 1;
	assert_int_equal(add(f, &bad), EINVAL);
	bad = piece(1);
	bad.mmap_offset = FIXTURE_MEMORY_SIZE - PIECE + 1;
	assert_int_equal(add(f, &bad), EINVAL);
	bad.mmap_offset = UINT64_MAX;
	assert_int_equal(add(f, &bad), EINVAL);
	bad = piece(1);
	bad.size = 0;
	assert_int_equal(add(f, &bad), EINVAL);
	bad.size = UINT64_MAX;
	assert_int_equal(add(f, &bad), EINVAL);
	bad = piece(1);
	assert_int_equal(pipe(pipe_fds), 0);
	send_slot(f, VU_ADD_MEM_REG, &bad, pipe_fds[0]);
	assert_int_equal(read_u64(f, VU_ADD_MEM_REG), EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	send_slot(f, VU_ADD_MEM_REG, &bad, -1);
	assert_int_equal(read_u64(f, VU_ADD_MEM_REG), EPROTO);
	assert_int_equal(rem(f, &bad), ENOENT);
	bad = one;
	bad.size--;
	assert_int_equal(rem(f, &bad), ENOENT);
	bad = one;
	bad.user_address++;
	assert_int_equal(rem(f, &bad), ENOENT);
	assert_string_equal(f->owner.record, "start 0");
	assert_int_equal(count_mappings(), 2);
	/* "The mmap offset is ignored"; a descriptor is closed (teardown counts). */
	bad = one;
	bad.mmap_offset = UINT64_MAX;
	send_slot(f, VU_REM_MEM_REG, &bad, f->memory);
	assert_int_equal(read_u64(f, VU_REM_MEM_REG), 0);
}

/* A table replaces whatever regions there are. */
static void test_table_after_slots(void **state)
{
	struct fixture *f = *state;
	struct vu_region one = piece(0);

	negotiate(f);
	assert_int_equal(add(f, &rings_home), 0);
	assert_int_equal(add(f, &one), 0);
	start_ring(f, 0);
	send_memory(f, VU_FLAG_NEED_REPLY);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
	assert_int_equal(rem(f, &one), ENOENT);
	assert_int_equal(add(f, &one), 0);
	assert_string_equal(f->owner.record, "start 0, mem 0, mem 0");
}

static void test_only_when_negotiated(void **state)
{
	struct fixture *f = *state;
	uint64_t without = 1ull << VU_PROTOCOL_F_REPLY_ACK;

	send_u64(f, VU_SET_PROTOCOL_FEATURES, without);
	assert_int_equal(add(f, &rings_home), EPROTO);
	assert_int_equal(rem(f, &rings_home), EPROTO);
	send_request(f, VU_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0);
	assert_null(f->owner.session);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_ring_starts_with_the_region_it_waits_for),
		TEST(test_more_memory_for_running_rings),
		TEST(test_less_memory_for_running_rings),
		TEST(test_memory_of_a_ring_goes_and_comes),
		TEST(test_all_memory_goes),
		TEST(test_a_region_is_there_whether_or_not_a_ring_starts),
		TEST(test_the_front_end_leaves_in_between),
		TEST(test_the_daemon_ends_in_between),
		TEST(test_all_slots),
		TEST(test_limit),
		TEST(test_refused),
		TEST(test_table_after_slots),
		TEST(test_only_when_negotiated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
