/* SPDX-License-Identifier: BSD-3-Clause */
/* Each request in all wrong sizes, with all wrong numbers of descriptors, too early (T64). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/dispatch.h"
#include "vhost_user/fixture.h"

static const uint32_t known[] = {
	VU_GET_FEATURES,
	VU_SET_FEATURES,
	VU_SET_OWNER,
	VU_RESET_OWNER,
	VU_SET_MEM_TABLE,
	VU_SET_LOG_BASE,
	VU_SET_LOG_FD,
	VU_SET_VRING_NUM,
	VU_SET_VRING_ADDR,
	VU_SET_VRING_BASE,
	VU_GET_VRING_BASE,
	VU_SET_VRING_KICK,
	VU_SET_VRING_CALL,
	VU_SET_VRING_ERR,
	VU_GET_PROTOCOL_FEATURES,
	VU_SET_PROTOCOL_FEATURES,
	VU_GET_QUEUE_NUM,
	VU_SET_VRING_ENABLE,
	VU_SET_BACKEND_REQ_FD,
	VU_GET_CONFIG,
	VU_SET_CONFIG,
	VU_GET_INFLIGHT_FD,
	VU_SET_INFLIGHT_FD,
	VU_RESET_DEVICE,
	VU_GET_MAX_MEM_SLOTS,
	VU_ADD_MEM_REG,
	VU_REM_MEM_REG,
	VU_SET_STATUS,
	VU_GET_STATUS,
};
#define KNOWN_N (sizeof(known) / sizeof(known[0]))

static void test_table_is_complete(void **state)
{
	uint32_t request;
	size_t found = 0;

	for (request = 0; request < 100; request++) {
		if (vu_dispatch_find(request) != NULL) {
			found++;
		}
	}
	assert_int_equal(found, KNOWN_N);
	for (found = 0; found < KNOWN_N; found++) {
		const struct vu_request_spec *spec = vu_dispatch_find(known[found]);

		assert_non_null(spec);
		assert_non_null(spec->name);
		assert_true(spec->payload_min <= spec->payload_max);
		assert_true(spec->payload_max <= VU_PAYLOAD_MAX);
		assert_true(spec->fds_min <= spec->fds_max && spec->fds_max <= VU_FDS_MAX);
	}
	assert_null(vu_dispatch_find(UINT32_MAX));
	assert_null(vu_dispatch_find(0));
}

/* One request to a session of its own; teardown finds every leaked descriptor. */
static void try_request(uint32_t request, uint32_t size, unsigned int fd_n)
{
	static const uint8_t payload[VU_PAYLOAD_MAX + 1];
	const struct vu_request_spec *spec = vu_dispatch_find(request);
	bool right_size = size >= spec->payload_min && size <= spec->payload_max;
	bool right_fds = fd_n >= spec->fds_min && fd_n <= spec->fds_max;
	uint8_t reply[VU_PAYLOAD_MAX];
	struct fixture *f;
	int fds[28];
	unsigned int i;
	int n;

	assert_int_equal(fixture_setup((void **)&f), 0);
	negotiate(f);
	for (i = 0; i < fd_n; i++) {
		fds[i] = f->memory;
	}
	send_request(f, request, VU_FLAG_NEED_REPLY, payload, size, fds, fd_n);
	if (size > VU_PAYLOAD_MAX || fd_n > VU_FDS_MAX) {
		assert_null(f->owner.session);
	} else if (!right_size || !right_fds) {
		n = read_reply(f, request, reply, sizeof(reply));
		if (spec->empty_reply_is_error) {
			assert_int_equal(n, 0);
		} else if (spec->replies && !spec->reply_is_ack) {
			assert_null(f->owner.session);
		} else {
			assert_int_equal(n, 8);
			assert_int_not_equal(reply[0], 0);
		}
	}
	fixture_teardown((void **)&f);
}

static void test_sizes_and_descriptors(void **state)
{
	static const unsigned int fd_counts[] = { 0, 1, 8, 28 };
	size_t i, j, k;

	for (i = 0; i < KNOWN_N; i++) {
		const struct vu_request_spec *spec = vu_dispatch_find(known[i]);
		const uint32_t sizes[] = { 0,
					   spec->payload_min,
					   spec->payload_min > 0 ? spec->payload_min - 1u : 0,
					   spec->payload_max,
					   spec->payload_max + 1u,
					   VU_PAYLOAD_MAX,
					   VU_PAYLOAD_MAX + 1 };

		for (j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			for (k = 0; k < 4; k++) {
				try_request(known[i], sizes[j], fd_counts[k]);
			}
		}
	}
}

static void test_enormous_size_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct vu_header header = { .request = VU_GET_FEATURES,
				    .flags = VU_VERSION,
				    .size = UINT32_MAX };

	assert_int_equal(send(f->peer, &header, sizeof(header), 0), sizeof(header));
	settle(f);
	assert_null(f->owner.session);
	assert_string_equal(f->owner.why, "not a vhost-user message");
}

static void test_too_early(void **state)
{
	struct fixture *f = *state;
	struct vu_config config = { .size = 8 };
	uint8_t reply[64];

	send_request(f, VU_GET_CONFIG, 0, &config, sizeof(config), NULL, 0);
	assert_int_equal(read_reply(f, VU_GET_CONFIG, reply, sizeof(reply)), 0);
	send_state(f, VU_SET_VRING_ENABLE, 0, 1);
	assert_null(f->owner.session);
	assert_string_equal(f->owner.why,
			    "SET_VRING_ENABLE: needs feature bit 30, which was not negotiated");
}

static void test_kick_before_features(void **state)
{
	struct fixture *f = *state;

	send_notifier(f, VU_SET_VRING_CALL, 0); /* QEMU does that */
	assert_non_null(f->owner.session);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_null(f->owner.session);
}

static void test_unknown_requests(void **state)
{
	static const uint32_t unknown[] = { 0,	19, 20, 22, 26, 27,	   33,
					    35, 41, 42, 44, 99, UINT32_MAX };
	static const uint8_t payload[1200];
	struct fixture *f = *state;
	uint64_t answer;
	int fds[2] = { f->memory, f->memory };
	size_t i;

	for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		send_request(f, unknown[i], VU_FLAG_NEED_REPLY, payload, sizeof(payload), fds, 2);
		assert_int_equal(read_reply(f, unknown[i], &answer, sizeof(answer)), -1);
	}
	negotiate(f);
	for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		send_request(f, unknown[i], 0, payload, 8, NULL, 0);
		assert_int_equal(read_reply(f, unknown[i], &answer, sizeof(answer)), -1);
		send_request(f, unknown[i], VU_FLAG_NEED_REPLY, payload, 8, fds, 1);
		assert_int_not_equal(read_u64(f, unknown[i]), 0);
	}
	assert_non_null(f->owner.session);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_is_complete),
		cmocka_unit_test(test_sizes_and_descriptors),
		TEST(test_enormous_size_ends_the_connection),
		TEST(test_too_early),
		TEST(test_kick_before_features),
		TEST(test_unknown_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
