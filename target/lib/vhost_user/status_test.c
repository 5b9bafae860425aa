/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

#define ACKNOWLEDGE 1
#define DRIVER	    2
#define FEATURES_OK 8
#define ALL_OK	    (ACKNOWLEDGE | DRIVER | FEATURES_OK | VU_STATUS_DRIVER_OK)

static uint64_t acked(struct fixture *f, uint32_t request, const uint64_t *value)
{
	send_request(f, request, VU_FLAG_NEED_REPLY, value, value != NULL ? sizeof(*value) : 0,
		     NULL, 0);
	return read_u64(f, request);
}

static uint64_t set_status(struct fixture *f, uint64_t status)
{
	return acked(f, VU_SET_STATUS, &status);
}

static uint64_t get_status(struct fixture *f)
{
	send_request(f, VU_GET_STATUS, 0, NULL, 0, NULL, 0);
	return read_u64(f, VU_GET_STATUS);
}

/* ---- RESET_DEVICE ---- */

static void test_reset_stops_the_rings(void **state)
{
	struct fixture *f = *state;
	uint64_t answer;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 2);
	f->owner.delayed = true;
	send_request(f, VU_RESET_DEVICE, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(read_reply(f, VU_RESET_DEVICE, &answer, sizeof(answer)), -1);
	assert_int_equal(f->owner.resets, 0);
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(read_u64(f, VU_RESET_DEVICE), 0);
	assert_string_equal(f->owner.record, "start 0, start 2, stop 0, stop 2");
	assert_int_equal(f->owner.resets, 1);
}

/* What it needs is said again, part by part; the connection, its memory and protocol features stay. */
static void test_everything_of_a_ring_is_said_again(void **state)
{
	struct fixture *f = *state;

	f->owner.progress = 7;
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	send_notifier(f, VU_SET_VRING_CALL, 0);
	send_u64(f, VU_SET_FEATURES, f->owner.features | VU_F_PROTOCOL_FEATURES);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	send_state(f, VU_SET_VRING_ENABLE, 0, 1);
	send_addr(f, 0);
	assert_string_equal(f->owner.record, "start 0, stop 0");
	send_state(f, VU_SET_VRING_NUM, 0, 64);
	assert_string_equal(f->owner.record, "start 0, stop 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 0);
	assert_int_equal(f->owner.rings[0].size, 64);
}

static void test_features_are_negotiated_again(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	assert_int_equal(f->owner.negotiated, 0);
	/* Without bit 30 this time: the ring is enabled by that. */
	send_u64(f, VU_SET_FEATURES, 1ull << 32);
	assert_int_equal(f->owner.negotiated, 1ull << 32);
	send_state(f, VU_SET_VRING_NUM, 0, 128);
	send_addr(f, 0);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0");
}

static void test_kick_before_features(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_null(f->owner.session);
}

static void test_reset_of_what_never_ran(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	assert_int_equal(f->owner.resets, 2);
	assert_string_equal(f->owner.record, "");
}

static void test_reset_needs_its_feature(void **state)
{
	struct fixture *f = *state;

	send_u64(f, VU_SET_PROTOCOL_FEATURES, 1ull << VU_PROTOCOL_F_REPLY_ACK);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), EPROTO);
	assert_int_equal(set_status(f, 1), EPROTO);
	assert_int_equal(f->owner.resets, 0);
}

/* ---- STATUS ---- */

static void test_status_is_kept(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(get_status(f), 0);
	assert_int_equal(set_status(f, ACKNOWLEDGE | DRIVER), 0);
	assert_int_equal(get_status(f), ACKNOWLEDGE | DRIVER);
	assert_int_equal(set_status(f, 256), EINVAL);
	assert_int_equal(set_status(f, UINT64_MAX), EINVAL);
	assert_int_equal(get_status(f), ACKNOWLEDGE | DRIVER);
	assert_int_equal(acked(f, VU_RESET_DEVICE, NULL), 0);
	assert_int_equal(get_status(f), 0);
}

/* Not all front-ends say DRIVER_OK. */
static void test_rings_do_not_wait_for_the_driver(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(set_status(f, FEATURES_OK), 0);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_string_equal(f->owner.record, "start 0");
}

/* The rings stop; what the driver has chosen stays, since this is no reset yet. */
static void test_status_0(void **state)
{
	struct fixture *f = *state;

	f->owner.progress = 7;
	negotiate(f);
	assert_int_equal(set_status(f, ALL_OK), 0);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_int_equal(set_status(f, 0), 0);
	assert_string_equal(f->owner.record, "start 0, stop 0");
	assert_int_equal(f->owner.resets, 0);
	assert_int_not_equal(f->owner.negotiated, 0);
	assert_int_equal(get_status(f), 0);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0, stop 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 7);
}

static void test_a_broken_ring_needs_a_reset(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(set_status(f, ALL_OK), 0);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 1);
	vu_session_ring_broken(f->owner.session, 1);
	assert_int_equal(get_status(f), ALL_OK | VU_STATUS_NEEDS_RESET);
	/* As QEMU adds a bit: read, or, write. */
	assert_int_equal(set_status(f, ALL_OK | VU_STATUS_NEEDS_RESET), 0);
	send_state(f, VU_GET_VRING_BASE, 1, 0);
	assert_int_equal(read_reply(f, VU_GET_VRING_BASE, &(uint64_t){ 0 }, 8), 8);
	assert_int_equal(get_status(f), ALL_OK);
}

/* virtio 1.2, 2.1.2: told by a configuration change, to a driver that is there. */
static void test_a_broken_ring_is_told(void **state)
{
	struct fixture *f = *state;
	struct vu_header header;
	int fds[2];

	negotiate(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	send_request(f, VU_SET_BACKEND_REQ_FD, 0, NULL, 0, &fds[1], 1);
	close(fds[1]);
	send_memory(f, 0);
	start_ring(f, 0);
	vu_session_ring_broken(f->owner.session, 0);
	assert_int_equal(recv(fds[0], &header, sizeof(header), MSG_DONTWAIT), -1);
	assert_int_equal(set_status(f, ALL_OK), 0);
	vu_session_ring_broken(f->owner.session, 0);
	assert_int_equal(recv(fds[0], &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	assert_int_equal(header.request, VU_BACKEND_CONFIG_CHANGE_MSG);
	close(fds[0]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_stops_the_rings),
		TEST(test_everything_of_a_ring_is_said_again),
		TEST(test_features_are_negotiated_again),
		TEST(test_kick_before_features),
		TEST(test_reset_of_what_never_ran),
		TEST(test_reset_needs_its_feature),
		TEST(test_status_is_kept),
		TEST(test_rings_do_not_wait_for_the_driver),
		TEST(test_status_0),
		TEST(test_a_broken_ring_needs_a_reset),
		TEST(test_a_broken_ring_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
