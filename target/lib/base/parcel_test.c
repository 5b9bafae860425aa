/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
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

#include "base/fd.h"
#include "base/parcel.h"

#define TYPE 7

struct pair {
	int fds[2];
	struct parcel out;
	struct parcel in;
};

static int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	*state = p;
	return p == NULL ? -1 : socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->fds);
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	parcel_done(&p->out);
	parcel_done(&p->in);
	fd_close(&p->fds[0]);
	fd_close(&p->fds[1]);
	free(p);
	return 0;
}

static void travel(struct pair *p)
{
	uint32_t type = 0;
	int sent;
	int r;

	do {
		sent = parcel_send(&p->out, p->fds[0], TYPE);
		assert_true(sent == 0 || sent == -EAGAIN);
		r = parcel_recv(&p->in, p->fds[1], &type);
	} while (r == 0);
	assert_int_equal(r, 1);
	assert_int_equal(sent, 0);
	assert_int_equal(type, TYPE);
}

static void everything_arrives(void **state)
{
	struct pair *p = *state;
	int event = eventfd(42, EFD_CLOEXEC);
	const uint8_t *block;
	size_t len;
	int fd;

	parcel_put_u8(&p->out, 1);
	parcel_put_u32(&p->out, 0xdeadbeef);
	parcel_put_u64(&p->out, UINT64_MAX - 1);
	parcel_put_text(&p->out, "name");
	parcel_put_text(&p->out, "");
	parcel_put_text(&p->out, NULL);
	parcel_put_block(&p->out, "a\0b", 3);
	parcel_put_block(&p->out, NULL, 0);
	parcel_put_fd(&p->out, event);
	parcel_put_fd(&p->out, -1);
	travel(p);
	assert_true(parcel_get_bool(&p->in));
	assert_int_equal(parcel_get_u32(&p->in), 0xdeadbeef);
	assert_int_equal(parcel_get_u64(&p->in), UINT64_MAX - 1);
	assert_string_equal(parcel_get_name(&p->in), "name");
	assert_string_equal(parcel_get_text(&p->in), "");
	assert_null(parcel_get_text(&p->in));
	block = parcel_get_block(&p->in, 3, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(block, "a\0b", 3);
	parcel_get_block(&p->in, 3, &len);
	assert_int_equal(len, 0);
	fd = parcel_get_fd(&p->in);
	assert_true(fd >= 0 && fd != event && fd_is_eventfd(fd));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(parcel_get_fd(&p->in), -1);
	assert_true(parcel_is_used_up(&p->in));
	/* The sender's own is still open. */
	assert_true(fd_is_eventfd(event));
	close(event);
	close(fd);
}

/* Many packets, more than a socket holds, and more descriptors than one packet may have. */
static void large_ones_arrive(void **state)
{
	const uint32_t n = 1000;
	struct pair *p = *state;
	int event = eventfd(0, EFD_CLOEXEC);
	static char piece[5000];
	uint32_t i;

	for (i = 0; i < n; i++) {
		memset(piece, (int)i, sizeof(piece));
		parcel_put_block(&p->out, piece, sizeof(piece));
		if (i % 4 == 0) {
			parcel_put_fd(&p->out, event);
		}
	}
	travel(p);
	for (i = 0; i < n; i++) {
		size_t len;
		const uint8_t *block = parcel_get_block(&p->in, sizeof(piece), &len);

		memset(piece, (int)i, sizeof(piece));
		assert_int_equal(len, sizeof(piece));
		assert_memory_equal(block, piece, sizeof(piece));
		if (i % 4 == 0) {
			int fd = parcel_get_fd(&p->in);

			assert_true(fd_is_eventfd(fd));
			close(fd);
		}
	}
	assert_true(parcel_is_used_up(&p->in));
	close(event);
}

static void one_without_anything(void **state)
{
	struct pair *p = *state;

	travel(p);
	assert_true(parcel_is_used_up(&p->in));
	assert_int_equal(parcel_get_u8(&p->in), 0);
	assert_true(p->in.failed);
}

static void what_is_not_there(void **state)
{
	struct pair *p = *state;
	size_t len;

	parcel_put_u32(&p->out, 5);
	travel(p);
	assert_int_equal(parcel_get_u64(&p->in), 0);
	assert_true(p->in.failed);
	/* It stays so. */
	assert_int_equal(parcel_get_u8(&p->in), 0);
	assert_string_equal(parcel_get_name(&p->in), "");
	assert_null(parcel_get_block(&p->in, 100, &len));
	assert_int_equal(len, 0);
	assert_false(parcel_is_used_up(&p->in));
}

/* Each of these is packed in another way than it is unpacked. */
static void what_makes_no_sense(void **state)
{
	struct pair *p = *state;
	unsigned int i;
	size_t len;

	for (i = 0; i < 7; i++) {
		parcel_put_u32(&p->out, i == 1 ? 100 : 2);
		parcel_put_u32(&p->out, i == 2 ? 0x610061 : 0x616161);
		travel(p);
		switch (i) {
		case 0:
			assert_false(parcel_get_bool(&p->in)); /* 2 */
			break;
		case 1: /* longer than all there is */
		case 2: /* a zero byte within */
		case 3: /* none at its end */
			assert_null(parcel_get_text(&p->in));
			break;
		case 4:
			parcel_get_below(&p->in, 2);
			break;
		case 5:
			parcel_get_u8(&p->in);
			parcel_get_u8(&p->in);
			assert_int_equal(parcel_get_fd(&p->in), -1); /* 0: none */
			parcel_get_block(&p->in, 1, &len);
			break;
		default:
			p->in.data[0] = 1;
			assert_int_equal(parcel_get_fd(&p->in), -1); /* announced, and not there */
			break;
		}
		assert_true(p->in.failed);
		parcel_done(&p->in);
		parcel_done(&p->out);
	}
	assert_null(parcel_get_text(&p->in));
}

static void what_nobody_takes_is_closed(void **state)
{
	struct pair *p = *state;
	int event = eventfd(0, EFD_CLOEXEC);
	int lowest = dup(event);
	int fd;

	close(lowest);
	parcel_put_fd(&p->out, event);
	travel(p);
	parcel_done(&p->in);
	fd = dup(event);
	assert_int_equal(fd, lowest);
	close(fd);
	close(event);
}

static void peers_that_break_off(void **state)
{
	const uint32_t packet[] = { TYPE, 1 };
	const uint32_t other[] = { TYPE + 1, 0 };
	struct pair *p = *state;
	uint32_t type;

	assert_int_equal(parcel_recv(&p->in, p->fds[1], &type), 0);
	assert_int_equal(send(p->fds[0], packet, sizeof(packet), 0), sizeof(packet));
	assert_int_equal(parcel_recv(&p->in, p->fds[1], &type), 0);
	/* The second packet is not of the same parcel. */
	assert_int_equal(send(p->fds[0], other, sizeof(other), 0), sizeof(other));
	assert_int_equal(parcel_recv(&p->in, p->fds[1], &type), -EPROTO);
	parcel_done(&p->in);
	assert_int_equal(send(p->fds[0], packet, 3, 0), 3);
	assert_int_equal(parcel_recv(&p->in, p->fds[1], &type), -EPROTO);
	parcel_done(&p->in);
	fd_close(&p->fds[0]);
	assert_int_equal(parcel_recv(&p->in, p->fds[1], &type), -ECONNRESET);
	assert_int_equal(parcel_send(&p->out, p->fds[1], TYPE), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(everything_arrives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(large_ones_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_without_anything, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_makes_no_sense, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_nobody_takes_is_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(peers_that_break_off, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("base.parcel", tests, NULL, NULL);
}
