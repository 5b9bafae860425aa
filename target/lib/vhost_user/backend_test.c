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

static int give_channel(struct fixture *f)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	send_request(f, VU_SET_BACKEND_REQ_FD, VU_FLAG_NEED_REPLY, NULL, 0, &fds[1], 1);
	assert_int_equal(read_u64(f, VU_SET_BACKEND_REQ_FD), 0);
	close(fds[1]);
	return fds[0];
}

static void test_config_change_is_told(void **state)
{
	struct fixture *f = *state;
	struct vu_header header;
	int channel;

	negotiate(f);
	assert_int_equal(vu_session_config_changed(f->owner.session), -ENOTCONN);
	channel = give_channel(f);
	assert_int_equal(vu_session_config_changed(f->owner.session), 0);
	assert_int_equal(recv(channel, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	assert_int_equal(header.request, VU_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(header.flags, VU_VERSION);
	assert_int_equal(header.size, 0);
	close(channel);
	assert_int_equal(vu_session_config_changed(f->owner.session), -ENOTCONN);
}

/* T80 */
static void test_full_channel_never_blocks(void **state)
{
	struct fixture *f = *state;
	int channel;
	int r = 0;
	int i;

	negotiate(f);
	channel = give_channel(f);
	for (i = 0; i < 1000000 && r == 0; i++) {
		r = vu_session_config_changed(f->owner.session);
	}
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(vu_session_config_changed(f->owner.session), -EAGAIN);
	close(channel);
}

static void test_channel_must_be_a_socket(void **state)
{
	struct fixture *f = *state;
	int second;
	int first;

	negotiate(f);
	send_request(f, VU_SET_BACKEND_REQ_FD, VU_FLAG_NEED_REPLY, NULL, 0, &f->memory, 1);
	assert_int_equal(read_u64(f, VU_SET_BACKEND_REQ_FD), EINVAL);
	first = give_channel(f);
	second = give_channel(f); /* replaces and closes the first */
	assert_int_equal(recv(first, &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	close(first);
	close(second);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_change_is_told),
		TEST(test_full_channel_never_blocks),
		TEST(test_channel_must_be_a_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
