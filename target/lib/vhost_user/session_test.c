/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a session: what is asked of the owner, in which order, and what happens at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

static void test_ring_starts_when_all_is_there(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	send_state(f, VU_SET_VRING_NUM, 1, 128);
	send_state(f, VU_SET_VRING_BASE, 1, 7);
	send_addr(f, 1);
	send_notifier(f, VU_SET_VRING_KICK, 1);
	assert_string_equal(f->owner.record, ""); /* still disabled */
	send_state(f, VU_SET_VRING_ENABLE, 1, 1);
	assert_string_equal(f->owner.record, "start 1");
	assert_int_equal(f->owner.rings[1].size, 128);
	assert_int_equal(f->owner.rings[1].base, 7);
	assert_int_equal(f->owner.rings[1].desc_uva, FIXTURE_UVA + 0x10000);
	assert_int_equal(f->owner.rings[1].avail_uva, FIXTURE_UVA + 0x14000);
	assert_int_equal(f->owner.rings[1].used_uva, FIXTURE_UVA + 0x18000);
	assert_int_equal(f->owner.rings[1].call_fd, -1);
	assert_true(vu_session_ring_running(f->owner.session, 1));
	assert_false(vu_session_ring_running(f->owner.session, 0));
}

/* Closing what is no eventfd and no memory may take long: the owner does it, meanwhile nothing is read. */
static void test_unwanted_descriptors_are_left_to_the_owner(void **state)
{
	const uint64_t index = 0;
	struct fixture *f = *state;
	int fds[2];

	negotiate(f);
	assert_int_equal(pipe(fds), 0);
	f->owner.delayed = true;
	send_request(f, VU_SET_VRING_CALL, VU_FLAG_NEED_REPLY, &index, sizeof(index), &fds[1], 1);
	assert_true(read_u64(f, VU_SET_VRING_CALL) != 0); /* the answer does not wait for it */
	assert_int_equal(f->owner.closed_fds, 1);
	send_request(f, VU_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0);
	assert_int_equal(read_reply(f, VU_GET_QUEUE_NUM, NULL, 0), -1);
	assert_true(scripted_owner_answer(&f->owner));
	settle(f);
	assert_int_equal(read_u64(f, VU_GET_QUEUE_NUM), 4);
	/* Eventfds are closed here. */
	send_notifier(f, VU_SET_VRING_CALL, 9);
	assert_int_equal(f->owner.closed_fds, 1);
	close(fds[0]);
	close(fds[1]);
}

/* The connection is over when the last descriptor is. */
static void test_the_end_waits_for_unwanted_descriptors(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	negotiate(f);
	assert_int_equal(pipe(fds), 0);
	f->owner.delayed = true;
	send_request(f, VU_SET_OWNER, 0, NULL, 0, fds, 2);
	assert_true(peer_sees_end(f));
	assert_int_equal(f->owner.closed_fds, 2);
	assert_string_equal(f->owner.record, "");
	assert_true(scripted_owner_answer(&f->owner));
	assert_string_equal(f->owner.record, "closed");
	close(fds[0]);
	close(fds[1]);
}

static void test_rings_start_enabled_without_bit_30(void **state)
{
	struct fixture *f = *state;

	send_u64(f, VU_SET_FEATURES, f->owner.features);
	send_memory(f, 0);
	send_state(f, VU_SET_VRING_NUM, 0, 2);
	send_addr(f, 0);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0");
}

static void test_memory_may_come_last(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	start_ring(f, 0);
	assert_string_equal(f->owner.record, "");
	send_memory(f, 0);
	assert_string_equal(f->owner.record, "start 0");
}

static void test_delayed_operations_pause_the_session(void **state)
{
	struct fixture *f = *state;
	uint64_t answer;

	negotiate(f);
	send_memory(f, 0);
	f->owner.delayed = true;
	start_ring(f, 0);
	send_request(f, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_equal(read_reply(f, VU_GET_FEATURES, &answer, sizeof(answer)), -1);
	assert_true(scripted_owner_answer(&f->owner));
	settle(f);
	assert_int_equal(read_u64(f, VU_GET_FEATURES), f->owner.features | VU_F_OURS);
	assert_true(vu_session_ring_running(f->owner.session, 0));
}

static void test_peer_goes_while_idle(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 3);
	assert_false(vu_session_peer_gone(f->owner.session));
	shutdown(f->peer, SHUT_RDWR);
	assert_true(vu_session_peer_gone(f->owner.session));
	settle(f);
	assert_string_equal(f->owner.record, "start 3, abandon 3, closed");
	assert_true(f->owner.abandoned);
	assert_string_equal(f->owner.why, "end of connection");
	assert_false(f->owner.fault);
	assert_null(f->owner.session);
}

static void test_peer_goes_while_an_operation_is_pending(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 1);
	f->owner.delayed = true;
	send_state(f, VU_GET_VRING_BASE, 0, 0);
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_true(vu_session_peer_gone(f->owner.session));
	/* Ring 0 may take long to stop; neither it nor ring 1 goes on meanwhile. */
	assert_true(f->owner.abandoned);
	assert_true(scripted_owner_answer(&f->owner)); /* ring 0 */
	settle(f);
	assert_non_null(f->owner.session);
	assert_true(scripted_owner_answer(&f->owner)); /* ring 1 */
	assert_string_equal(f->owner.record, "start 0, start 1, stop 0, abandon 1, closed");
}

/* The message is there still, but nobody waits for its effect. */
static void test_last_wish_of_a_peer_that_left(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_state wish = { .index = 0 };
	struct vu_header header = {
		.request = VU_GET_VRING_BASE,
		.flags = VU_VERSION,
		.size = sizeof(wish),
	};

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_int_equal(send(f->peer, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(send(f->peer, &wish, sizeof(wish), 0), sizeof(wish));
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_string_equal(f->owner.record, "start 0, abandon 0, closed");
}

static void test_peer_goes_while_a_ring_starts(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	f->owner.delayed = true;
	start_ring(f, 0);
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_string_equal(f->owner.record, "start 0");
	assert_true(f->owner.abandoned);
	f->owner.delayed = false;
	assert_true(scripted_owner_answer(&f->owner));
	assert_string_equal(f->owner.record, "start 0, abandon 0, closed");
}

static void test_close_from_our_side_publishes(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	f->owner.delayed = true;
	vu_session_close(f->owner.session, "shutting down");
	settle(f);
	/* The socket is closed after the last ring has stopped, not before. */
	assert_false(peer_sees_end(f));
	assert_false(f->owner.abandoned);
	assert_true(scripted_owner_answer(&f->owner));
	assert_true(peer_sees_end(f));
	assert_string_equal(f->owner.record, "start 0, stop 0, closed");
	assert_string_equal(f->owner.why, "shutting down");
	assert_false(f->owner.fault);
}

static void test_close_while_an_operation_is_pending(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	f->owner.delayed = true;
	start_ring(f, 0);
	vu_session_close(f->owner.session, "first");
	vu_session_close(f->owner.session, "second");
	assert_string_equal(f->owner.record, "start 0");
	f->owner.delayed = false;
	assert_true(scripted_owner_answer(&f->owner));
	assert_string_equal(f->owner.record, "start 0, stop 0, closed");
	assert_string_equal(f->owner.why, "first");
}

static void test_close_from_within_an_operation(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	f->owner.close_in_start = true;
	start_ring(f, 0);
	assert_string_equal(f->owner.record, "start 0, stop 0, closed");
	assert_true(peer_sees_end(f));
}

static void test_failing_start_is_told(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_state enable = { .index = 0, .num = 1 };

	negotiate(f);
	send_memory(f, 0);
	f->owner.start_result = -14;
	send_state(f, VU_SET_VRING_NUM, 0, 128);
	send_addr(f, 0);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	send_request(f, VU_SET_VRING_ENABLE, VU_FLAG_NEED_REPLY, &enable, sizeof(enable), NULL, 0);
	assert_int_equal(read_u64(f, VU_SET_VRING_ENABLE), 14);
	assert_string_equal(f->owner.record, "start 0");
	/* It is not tried again until something about the ring changes. */
	send_request(f, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	assert_string_equal(f->owner.record, "start 0");
	f->owner.start_result = 0;
	send_addr(f, 0);
	assert_string_equal(f->owner.record, "start 0, start 0");
	assert_true(vu_session_ring_running(f->owner.session, 0));
}

static void test_failing_start_without_ack_ends_the_connection(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	f->owner.start_result = -14;
	start_ring(f, 0);
	assert_true(peer_sees_end(f));
	assert_string_equal(f->owner.why, "SET_VRING_ENABLE: a ring cannot be started");
}

static void test_answers_given_at_once_do_not_nest(void **state)
{
	struct fixture *f = *state;
	uint32_t i;

	/* The scripted owner aborts if it is asked from within its own answer. */
	negotiate(f);
	send_memory(f, 0);
	for (i = 0; i < f->owner.max_queues; i++) {
		start_ring(f, i);
	}
	send_memory(f, VU_FLAG_NEED_REPLY);
	assert_int_equal(read_u64(f, VU_SET_MEM_TABLE), 0);
	for (i = 0; i < f->owner.max_queues; i++) {
		assert_true(vu_session_ring_running(f->owner.session, i));
	}
}

static void test_other_session_goes_on_beside_half_a_message(void **state)
{
	struct fixture *f = *state;
	struct scripted_owner other;
	struct vu_transport *transport;
	int fds[2];

	scripted_owner_init(&other);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(vu_socket_new(fds[1], &transport), 0);
	assert_int_equal(vu_session_new(f->loop, transport, 1, &scripted_owner_ops, &other,
					&other.session),
			 0);
	assert_int_equal(send(fds[0], "\1\0\0", 3, 0), 3);
	settle(f);
	negotiate(f);
	assert_non_null(other.session);
	close(fds[0]);
	settle(f);
	assert_null(other.session);
	assert_non_null(f->owner.session);
}

/* Firmware and monitors do that; it is nothing to complain of. */
static void test_reply_to_a_peer_that_left(void **state)
{
	struct vu_header header = { .request = VU_GET_FEATURES, .flags = VU_VERSION };
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(send(f->peer, &header, sizeof(header), 0), sizeof(header));
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_null(f->owner.session);
	assert_string_equal(f->owner.why, "end of connection");
	assert_false(f->owner.fault);
}

static void test_unread_replies_end_the_connection(void **state)
{
	struct fixture *f = *state;
	int i;

	for (i = 0; i < 100000 && f->owner.session != NULL; i++) {
		struct vu_header header = { .request = VU_GET_FEATURES, .flags = VU_VERSION };

		send(f->peer, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
		loop_run_once(f->loop, 0);
	}
	assert_null(f->owner.session);
	assert_string_equal(f->owner.why, "GET_FEATURES: the reply cannot be sent");
	assert_true(f->owner.fault);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ring_starts_when_all_is_there),
		TEST(test_rings_start_enabled_without_bit_30),
		TEST(test_memory_may_come_last),
		TEST(test_delayed_operations_pause_the_session),
		TEST(test_unwanted_descriptors_are_left_to_the_owner),
		TEST(test_the_end_waits_for_unwanted_descriptors),
		TEST(test_peer_goes_while_idle),
		TEST(test_peer_goes_while_an_operation_is_pending),
		TEST(test_last_wish_of_a_peer_that_left),
		TEST(test_peer_goes_while_a_ring_starts),
		TEST(test_close_from_our_side_publishes),
		TEST(test_close_while_an_operation_is_pending),
		TEST(test_close_from_within_an_operation),
		TEST(test_failing_start_is_told),
		TEST(test_failing_start_without_ack_ends_the_connection),
		TEST(test_answers_given_at_once_do_not_nest),
		TEST(test_other_session_goes_on_beside_half_a_message),
		TEST(test_reply_to_a_peer_that_left),
		TEST(test_unread_replies_end_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
