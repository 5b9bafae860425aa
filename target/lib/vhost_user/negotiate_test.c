/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

static void test_features_that_were_not_offered(void **state)
{
	struct fixture *f = *state;

	send_u64(f, VU_SET_FEATURES, f->owner.features | 1ull << 40);
	assert_string_equal(f->owner.why, "SET_FEATURES: feature bits that were not offered");
	assert_true(peer_sees_end(f));
}

static void test_fatal_even_with_ack(void **state)
{
	struct fixture *f = *state;
	uint64_t bad = 1ull << 40;

	negotiate(f);
	send_request(f, VU_SET_PROTOCOL_FEATURES, VU_FLAG_NEED_REPLY, &bad, sizeof(bad), NULL, 0);
	assert_null(f->owner.session);
}

static void test_subset_of_features(void **state)
{
	struct fixture *f = *state;

	send_u64(f, VU_SET_FEATURES, 1ull << 32 | VU_F_PROTOCOL_FEATURES);
	assert_int_equal(f->owner.negotiated, 1ull << 32);
	send_u64(f, VU_SET_FEATURES, 1ull << 28);
	assert_int_equal(f->owner.negotiated, 1ull << 28);
}

static void test_features_of_a_running_device(void **state)
{
	struct fixture *f = *state;
	uint64_t all = f->owner.features | VU_F_PROTOCOL_FEATURES;
	uint64_t less = VU_F_PROTOCOL_FEATURES;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	send_request(f, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &all, sizeof(all), NULL, 0);
	assert_int_equal(read_u64(f, VU_SET_FEATURES), 0);
	send_request(f, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &less, sizeof(less), NULL, 0);
	assert_int_equal(read_u64(f, VU_SET_FEATURES), EBUSY);
	assert_string_equal(f->owner.record, "start 0");
}

/* A guest that boots again: the same features, and the rings are still enabled. */
static void test_repeated_features_keep_rings_enabled(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	send_state(f, VU_GET_VRING_BASE, 0, 0);
	send_u64(f, VU_SET_FEATURES, f->owner.features | VU_F_PROTOCOL_FEATURES);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0, stop 0, start 0");
}

static void test_need_reply_counts_only_when_negotiated(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	send_request(f, VU_SET_OWNER, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_reply(f, VU_SET_OWNER, &value, sizeof(value)), -1);
	negotiate(f);
	send_request(f, VU_SET_OWNER, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_SET_OWNER), 0);
	send_request(f, VU_RESET_OWNER, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_RESET_OWNER), 0);
	/* "no behavioural change" for requests with a reply of their own */
	send_request(f, VU_GET_QUEUE_NUM, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_GET_QUEUE_NUM), f->owner.max_queues);
	assert_int_equal(read_reply(f, VU_GET_QUEUE_NUM, &value, sizeof(value)), -1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_features_that_were_not_offered),
		TEST(test_fatal_even_with_ack),
		TEST(test_subset_of_features),
		TEST(test_features_of_a_running_device),
		TEST(test_repeated_features_keep_rings_enabled),
		TEST(test_need_reply_counts_only_when_negotiated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
