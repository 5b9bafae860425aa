/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"
#include "vhost_user/codec.h"
#include "vhost_user/fixture.h"

/* Two messages: one with an eventfd and a memfd, one with nothing; then half a header. */
static const uint8_t record[] = {
	4, 0,				    /* four descriptor bytes */
	2, 0, 1,			    /* the first message: two, of kinds 0 and 1 */
	0,				    /* the second: none */
	3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* SET_OWNER */
	1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* GET_FEATURES */
	1, 0, 0,
};

static void test_messages_and_descriptors(void **state)
{
	unsigned int before = count_open_fds();
	struct vu_transport *transport;
	struct vu_message message;

	assert_int_equal(vu_replay_new(record, sizeof(record), &transport), 0);
	assert_int_equal(transport->ops->fd(transport), -1);
	assert_int_equal(transport->ops->recv(transport, &message), 1);
	assert_int_equal(message.header.request, VU_SET_OWNER);
	assert_int_equal(message.fd_n, 2);
	assert_true(fd_is_eventfd(message.fds[0]));
	assert_true(fd_is_shared_memory(message.fds[1]));
	vu_message_drop_fds(&message, NULL);
	assert_int_equal(transport->ops->recv(transport, &message), 1);
	assert_int_equal(message.header.request, VU_GET_FEATURES);
	assert_int_equal(message.fd_n, 0);
	assert_int_equal(transport->ops->recv(transport, &message), -ECONNRESET);
	transport->ops->free(transport);
	assert_int_equal(count_open_fds(), before);
}

static void test_a_session_lives_on_it(void **state)
{
	struct scripted_owner owner;
	struct vu_transport *transport;

	scripted_owner_init(&owner);
	assert_int_equal(vu_replay_new(record, sizeof(record), &transport), 0);
	assert_int_equal(vu_session_new(NULL, transport, owner.max_queues, &scripted_owner_ops,
					&owner, &owner.session),
			 0);
	/* SET_OWNER takes no descriptors: the first message is the last. */
	assert_false(vu_session_process(owner.session));
	assert_string_equal(owner.why, "SET_OWNER: wrong number of file descriptors");
}

static void test_replies_are_counted(void **state)
{
	struct vu_transport *transport;
	struct vu_message reply;

	assert_int_equal(vu_replay_new(record, sizeof(record), &transport), 0);
	vu_reply_init(&reply, VU_GET_FEATURES);
	assert_int_equal(transport->ops->send(transport, &reply), 0);
	assert_int_equal(transport->ops->send(transport, &reply), 0);
	assert_int_equal(vu_replay_sent(transport), 2);
	transport->ops->free(transport);
}

static void test_short_records(void **state)
{
	struct vu_transport *transport;
	struct vu_message message;
	size_t n;

	for (n = 0; n < sizeof(record); n++) {
		assert_int_equal(vu_replay_new(record, n, &transport), 0);
		while (transport->ops->recv(transport, &message) == 1) {
			vu_message_drop_fds(&message, NULL);
		}
		assert_int_equal(vu_replay_sent(transport), 0);
		transport->ops->free(transport);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_and_descriptors),
		cmocka_unit_test(test_a_session_lives_on_it),
		cmocka_unit_test(test_replies_are_counted),
		cmocka_unit_test(test_short_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
