/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/codec.h"
#include "vhost_user/fixture.h"
#include "vhost_user/transport.h"

struct pair {
	int peer;
	struct vu_transport *transport;
	unsigned int fds_before;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	int fds[2];

	p->fds_before = count_open_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p->peer = fds[0];
	assert_int_equal(vu_socket_new(fds[1], &p->transport), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	p->transport->ops->free(p->transport);
	close(p->peer);
	assert_int_equal(count_open_fds(), p->fds_before);
	free(p);
	return 0;
}

static int receive(struct pair *p, struct vu_message *message)
{
	return p->transport->ops->recv(p->transport, message);
}

static void send_bytes(struct pair *p, const void *bytes, size_t n, unsigned int fd_n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 253)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = n };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[253];
	unsigned int i;

	for (i = 0; i < fd_n; i++) {
		fds[i] = p->peer;
	}
	if (fd_n > 0) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
		CMSG_FIRSTHDR(&hdr)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&hdr)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&hdr)->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&hdr)), fds, sizeof(int) * fd_n);
	}
	assert_int_equal(sendmsg(p->peer, &hdr, 0), n);
}

static const struct vu_header empty = { .request = 1, .flags = VU_VERSION };

static void test_descriptors_stay_with_their_message(void **state)
{
	struct pair *p = *state;
	struct vu_message message;

	/* Three messages are there before the first is read. */
	send_bytes(p, &empty, sizeof(empty), 0);
	send_bytes(p, &empty, sizeof(empty), 2);
	send_bytes(p, &empty, sizeof(empty), 0);
	assert_int_equal(receive(p, &message), 1);
	assert_int_equal(message.fd_n, 0);
	assert_int_equal(receive(p, &message), 1);
	assert_int_equal(message.fd_n, 2);
	vu_message_drop_fds(&message, NULL);
	assert_int_equal(receive(p, &message), 1);
	assert_int_equal(message.fd_n, 0);
	assert_int_equal(receive(p, &message), 0);
}

/* T65, every cut of a message with descriptors */
static void test_end_in_the_middle(void **state)
{
	static const uint8_t payload[8];
	struct vu_header header = { .request = 1, .flags = VU_VERSION, .size = sizeof(payload) };
	uint8_t wire[sizeof(header) + sizeof(payload)];
	struct vu_message message;
	struct pair *p;
	size_t n;

	memcpy(wire, &header, sizeof(header));
	memcpy(wire + sizeof(header), payload, sizeof(payload));
	for (n = 1; n < sizeof(wire); n++) {
		setup((void **)&p);
		send_bytes(p, wire, n, 3);
		assert_int_equal(receive(p, &message), 0);
		shutdown(p->peer, SHUT_WR);
		assert_int_equal(receive(p, &message), -ECONNRESET);
		teardown((void **)&p);
	}
}

static void test_freed_in_the_middle(void **state)
{
	struct pair *p = *state;
	struct vu_message message;

	send_bytes(p, &empty, 5, 8);
	assert_int_equal(receive(p, &message), 0); /* teardown looks for the descriptors */
}

static void test_too_many_descriptors(void **state)
{
	static const unsigned int counts[] = { 9, 10, 28, 253 };
	struct vu_message message;
	struct pair *p;
	size_t i;

	for (i = 0; i < 4; i++) {
		setup((void **)&p);
		send_bytes(p, &empty, sizeof(empty), counts[i]);
		assert_int_equal(receive(p, &message), -EPROTO);
		assert_int_equal(count_open_fds(), p->fds_before + 2);
		teardown((void **)&p);
	}
}

static void test_descriptors_with_every_byte(void **state)
{
	struct pair *p = *state;
	struct vu_message message;
	size_t i;

	for (i = 0; i < 4; i++) {
		send_bytes(p, (const char *)&empty + i, 1, 2);
		assert_int_equal(receive(p, &message), 0);
	}
	send_bytes(p, (const char *)&empty + 4, 1, 1);
	assert_int_equal(receive(p, &message), -EPROTO);
	/* The last one has gone, the others are the message's until the end. */
	assert_int_equal(count_open_fds(), p->fds_before + 2 + VU_FDS_MAX);
}

/* Sockets are nothing that is closed at once: whoever has set a bag finds all of them in it. */
static void test_descriptors_end_in_the_bag(void **state)
{
	static const unsigned int counts[] = { 3, 8, 9, 253 };
	struct vu_message message;
	struct fd_bag bag = { 0 };
	struct pair *p;
	size_t i;

	for (i = 0; i < 4; i++) {
		setup((void **)&p);
		p->transport->rest = &bag;
		send_bytes(p, &empty, 5, 8);
		assert_int_equal(receive(p, &message), 0);
		send_bytes(p, (const char *)&empty + 5, 1, counts[i]);
		assert_int_equal(receive(p, &message), -EPROTO);
		assert_int_equal(bag.n, counts[i]);
		p->transport->ops->free(p->transport);
		assert_int_equal(bag.n, counts[i] + 8);
		assert_int_equal(count_open_fds(), p->fds_before + 1 + bag.n);
		fd_bag_close(&bag);
		close(p->peer);
		assert_int_equal(count_open_fds(), p->fds_before);
		free(p);
	}
}

/* What nobody has read may have descriptors with it. */
static void test_unread_messages_end_in_the_bag(void **state)
{
	struct fd_bag bag = { 0 };
	struct pair *p;
	char byte;

	setup((void **)&p);
	p->transport->rest = &bag;
	send_bytes(p, &empty, sizeof(empty), 8);
	p->transport->ops->free(p->transport);
	assert_int_equal(bag.n, 1);
	assert_int_equal(recv(p->peer, &byte, 1, MSG_DONTWAIT),
			 0); /* it sees the end all the same */
	fd_bag_close(&bag);
	close(p->peer);
	assert_int_equal(count_open_fds(), p->fds_before);
	free(p);
}

static void test_send_never_blocks(void **state)
{
	struct pair *p = *state;
	struct vu_message reply;
	int r = 0;
	int i;

	vu_reply_init(&reply, 1);
	vu_reply_put_u64(&reply, 1);
	for (i = 0; i < 1000000 && r == 0; i++) {
		r = p->transport->ops->send(p->transport, &reply);
	}
	assert_int_equal(r, -EAGAIN);
	shutdown(p->peer, SHUT_RDWR);
	assert_int_equal(p->transport->ops->send(p->transport, &reply), -EPIPE);
}

static void test_send_with_descriptors(void **state)
{
	struct pair *p = *state;
	struct pair *back = calloc(1, sizeof(*back));
	struct vu_message message;
	int fd = dup(p->peer);

	/* What one transport sends another receives, but for the reply flag. */
	assert_int_equal(vu_socket_new(fd, &back->transport), 0);
	vu_reply_init(&message, 31);
	message.header.flags = VU_VERSION;
	message.fd_n = 1;
	message.fds[0] = p->peer;
	assert_int_equal(p->transport->ops->send(p->transport, &message), 0);
	memset(&message, 0, sizeof(message));
	assert_int_equal(receive(back, &message), 1);
	assert_int_equal(message.header.request, 31);
	assert_int_equal(message.fd_n, 1);
	vu_message_drop_fds(&message, NULL);
	back->transport->ops->free(back->transport);
	free(back);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_descriptors_stay_with_their_message),
		cmocka_unit_test(test_end_in_the_middle),
		TEST(test_freed_in_the_middle),
		cmocka_unit_test(test_too_many_descriptors),
		TEST(test_descriptors_with_every_byte),
		cmocka_unit_test(test_descriptors_end_in_the_bag),
		cmocka_unit_test(test_unread_messages_end_in_the_bag),
		TEST(test_send_never_blocks),
		TEST(test_send_with_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
