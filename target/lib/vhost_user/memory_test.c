/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

static void test_all_rings_have_new_memory_before_the_ack(void **state)
{
	struct fixture *f = *state;
	uint64_t answer;
	int i;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 2);
	f->owner.delayed = true;
	send_memory(f, VU_FLAG_NEED_REPLY);
	for (i = 0; i < 2; i++) {
		settle(f);
		assert_int_equal(read_reply(f, VU_SET_MEM_TABLE, &answer, sizeof(answer)), -1);
		assert_true(scripted_owner_answer(&f->owner));
	}
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
	assert_false(scripted_owner_answer(&f->owner));
	assert_string_equal(f->owner.record, "start 0, start 2, mem 0, mem 2");
}

static void test_refused_memory_disturbs_nobody(void **state)
{
	struct fixture *f = *state;
	struct {
		uint32_t n, padding;
		struct vu_region region;
	} table = { .n = 1, .region = { .size = UINT64_MAX, .mmap_offset = 4096 } };

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, sizeof(table), &f->memory, 1);
	assert_int_not_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
	assert_string_equal(f->owner.record, "start 0");
	assert_true(vu_session_ring_running(f->owner.session, 0));
}

struct table {
	uint32_t n, padding;
	struct vu_region regions[VU_REGIONS_MAX];
};

/* Sends the first `sent` regions of a table that says it has n; returns the acknowledgement. */
static uint64_t ask_table(struct fixture *f, uint32_t n, uint32_t sent, unsigned int fd_n)
{
	struct table table = { .n = n };
	int fds[VU_FDS_MAX];
	unsigned int i;

	for (i = 0; i < VU_REGIONS_MAX; i++) {
		table.regions[i] = (struct vu_region){
			.guest_address = 0x10000 * i,
			.size = 0x10000,
			.user_address = FIXTURE_UVA + 0x10000ull * i,
			.mmap_offset = 0x10000 * i,
		};
		fds[i] = f->memory;
	}
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table,
		     8 + sizeof(struct vu_region) * sent, fds, fd_n);
	return read_u64(f, VU_SET_MEM_TABLE);
}

static void test_counts_must_agree(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(ask_table(f, 1, 1, 1), 0);
	assert_int_equal(ask_table(f, 8, 8, 8), 0);
	assert_int_equal(ask_table(f, 2, 2, 1), EPROTO);
	assert_int_equal(ask_table(f, 1, 1, 2), EPROTO);
	assert_int_equal(ask_table(f, 1, 2, 1), EPROTO);
	assert_int_equal(ask_table(f, 2, 1, 1), EPROTO);
	assert_int_equal(ask_table(f, 9, 8, 8), EPROTO);
	assert_int_equal(ask_table(f, UINT32_MAX, 8, 8), EPROTO);
	assert_int_equal(ask_table(f, 0, 0, 0), EPROTO);
	assert_non_null(f->owner.session);
}

/* T66, T68, T69; guest_mem.c has the whole list */
static void test_regions_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct table table = { .n = 2 };
	int fds[2] = { f->memory, f->memory };
	int pipe_fds[2];

	negotiate(f);
	table.regions[0] = (struct vu_region){ 0, 0x2000, FIXTURE_UVA, 0 };
	table.regions[1] = (struct vu_region){ 0x1000, 0x2000, FIXTURE_UVA + 0x10000, 0 };
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, 8 + 64, fds, 2);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), EINVAL); /* overlap */
	table.regions[1].guest_address = 0x10000;
	table.regions[1].mmap_offset = UINT64_MAX - 0xfff;
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, 8 + 64, fds, 2);
	assert_int_not_equal(read_u64(f, VU_SET_MEM_TABLE), 0); /* beyond the file */
	table.regions[1].mmap_offset = 0;
	assert_int_equal(pipe(pipe_fds), 0);
	fds[1] = pipe_fds[0];
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, 8 + 64, fds, 2);
	assert_int_not_equal(read_u64(f, VU_SET_MEM_TABLE), 0); /* no memory */
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	fds[1] = f->memory;
	send_request(f, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, 8 + 64, fds, 2);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
}

/* The ring is not in the new table: it is stopped where it stands, the next table brings it back. */
static void test_ring_outside_of_new_memory(void **state)
{
	struct fixture *f = *state;

	f->owner.progress = 5;
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	f->owner.set_mem_result = -EFAULT;
	send_memory(f, VU_FLAG_NEED_REPLY);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), EFAULT);
	assert_false(vu_session_ring_running(f->owner.session, 0));
	f->owner.start_result = -EFAULT;
	send_memory(f, VU_FLAG_NEED_REPLY);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), EFAULT);
	f->owner.start_result = 0;
	send_memory(f, VU_FLAG_NEED_REPLY);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
	assert_string_equal(f->owner.record, "start 0, mem 0, stop 0, start 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 5);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_rings_have_new_memory_before_the_ack),
		TEST(test_refused_memory_disturbs_nobody),
		TEST(test_counts_must_agree),
		TEST(test_regions_that_cannot_be),
		TEST(test_ring_outside_of_new_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
