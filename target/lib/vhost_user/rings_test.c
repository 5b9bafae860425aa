/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"
#include "virtio/virtqueue.h"

/* Sends with an acknowledgement wanted; returns it. */
static uint64_t ask(struct fixture *f, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned int fd_n)
{
	send_request(f, request, VU_FLAG_NEED_REPLY, payload, size, fds, fd_n);
	return read_u64(f, request);
}

static uint64_t ask_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_vring_state state = { .index = index, .num = num };

	return ask(f, request, &state, sizeof(state), NULL, 0);
}

static struct vu_vring_state get_base(struct fixture *f, uint32_t index)
{
	struct vu_vring_state state = { 0 };

	send_state(f, VU_GET_VRING_BASE, index, 0);
	assert_int_equal(read_reply(f, VU_GET_VRING_BASE, &state, sizeof(state)), sizeof(state));
	return state;
}

static void test_sizes(void **state)
{
	static const uint32_t bad[] = { 0, 3, 96, 65535, 65536, UINT32_MAX };
	static const uint32_t good[] = { 1, 2, 256, 1024, 32768 };
	struct fixture *f = *state;
	size_t i;

	negotiate(f);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, bad[i]), EINVAL);
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, good[i]), 0);
	}
}

/* T73 */
static void test_index_beyond_the_rings(void **state)
{
	static const uint32_t requests[] = { VU_SET_VRING_NUM, VU_SET_VRING_BASE,
					     VU_SET_VRING_ENABLE };
	static const uint32_t bad[] = { 4, 255, 256, UINT32_MAX };
	struct fixture *f = *state;
	uint64_t value = 4;
	size_t i, j;
	int fd = eventfd(0, EFD_CLOEXEC);

	negotiate(f);
	for (i = 0; i < 3; i++) {
		for (j = 0; j < 4; j++) {
			assert_int_equal(ask_state(f, requests[i], bad[j], 1), EINVAL);
		}
	}
	assert_int_equal(ask(f, VU_SET_VRING_KICK, &value, sizeof(value), &fd, 1), EINVAL);
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &value, sizeof(value), &fd, 1), EINVAL);
	assert_int_equal(ask(f, VU_SET_VRING_ERR, &value, sizeof(value), &fd, 1), EINVAL);
	close(fd);
	send_state(f, VU_GET_VRING_BASE, 4, 0);
	assert_string_equal(f->owner.why, "GET_VRING_BASE: no ring has this index");
}

/* T74 */
static void test_running_ring_is_not_changed(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_addr addr = { .index = 0 };

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, 64), EBUSY);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 3), EBUSY);
	assert_int_equal(ask(f, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), EBUSY);
	assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 1, 64), 0);
	assert_string_equal(f->owner.record, "start 0");
}

static void test_base_has_16_bits(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 0x10000), EINVAL);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 0xffff), 0);
	assert_int_equal(get_base(f, 0).num, 0xffff); /* never started: what was set */
}

/* virtio 1.2, 2.8.10.1: packed rings of any size. Their base has two halves, with a wrap counter each. */
static void test_packed_rings(void **state)
{
	static const uint32_t good[] = { 1, 3, 96, 32767, 32768 };
	static const uint32_t bad[] = { 0, 32769, 65535, 65536, UINT32_MAX };
	struct fixture *f = *state;
	size_t i;

	f->owner.features |= UINT64_C(1) << VIRTIO_F_RING_PACKED;
	negotiate(f);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, good[i]), 0);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, bad[i]), EINVAL);
	}
	assert_int_equal(get_base(f, 0).num, VIRTQ_PACKED_BASE_INITIAL); /* nothing was set */
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 0x12345678), 0);
	assert_int_equal(get_base(f, 0).num, 0x12345678);
	/* The owner gets what it said last. */
	f->owner.progress = 2;
	send_memory(f, 0);
	start_ring(f, 1);
	get_base(f, 1);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 1, 0x80038003), 0);
	send_notifier(f, VU_SET_VRING_KICK, 1);
	assert_int_equal(f->owner.rings[1].base, 0x80038003);
	assert_int_equal(get_base(f, 1).num, 0x80038005);
}

/* What only a packed ring can be is accepted while it may be one. */
static void test_packed_rings_before_the_features(void **state)
{
	struct fixture *f = *state;

	f->owner.features |= UINT64_C(1) << VIRTIO_F_RING_PACKED;
	send_u64(f, VU_SET_PROTOCOL_FEATURES, 1ull << VU_PROTOCOL_F_REPLY_ACK);
	assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, 3), 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_NUM, 0, 32769), EINVAL);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 0x80028002), 0);
	send_u64(f, VU_SET_FEATURES, f->owner.features | VU_F_PROTOCOL_FEATURES);
	send_memory(f, 0);
	send_addr(f, 0);
	send_state(f, VU_SET_VRING_ENABLE, 0, 1);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0");
	assert_int_equal(f->owner.rings[0].size, 3);
	assert_int_equal(f->owner.rings[0].base, 0x80028002);
}

/* Its front-end never says where a ring begins. */
static void test_packed_ring_begins_with_wrap_counters_of_1(void **state)
{
	struct fixture *f = *state;

	f->owner.features |= UINT64_C(1) << VIRTIO_F_RING_PACKED;
	negotiate(f);
	send_memory(f, 0);
	send_state(f, VU_SET_VRING_NUM, 0, 3);
	send_addr(f, 0);
	send_state(f, VU_SET_VRING_ENABLE, 0, 1);
	send_notifier(f, VU_SET_VRING_KICK, 0);
	assert_string_equal(f->owner.record, "start 0");
	assert_int_equal(f->owner.rings[0].base, VIRTQ_PACKED_BASE_INITIAL);
	/* A reset device begins anew. */
	assert_int_equal(get_base(f, 0).num, VIRTQ_PACKED_BASE_INITIAL);
	assert_int_equal(ask_state(f, VU_SET_VRING_BASE, 0, 0x80018001), 0);
	send_request(f, VU_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	send_u64(f, VU_SET_FEATURES, f->owner.features | VU_F_PROTOCOL_FEATURES);
	assert_int_equal(get_base(f, 0).num, VIRTQ_PACKED_BASE_INITIAL);
}

static void test_get_base_stops_that_ring_only(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_state base;

	f->owner.progress = 9;
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 1);
	base = get_base(f, 1);
	assert_int_equal(base.index, 1);
	assert_int_equal(base.num, 9);
	assert_string_equal(f->owner.record, "start 0, start 1, stop 1");
	assert_true(vu_session_ring_running(f->owner.session, 0));
	/* It stays stopped, however often it is enabled, until a kick comes. */
	send_state(f, VU_SET_VRING_ENABLE, 1, 1);
	assert_false(vu_session_ring_running(f->owner.session, 1));
	assert_int_equal(get_base(f, 1).num, 9);
	send_notifier(f, VU_SET_VRING_KICK, 1);
	assert_string_equal(f->owner.record, "start 0, start 1, stop 1, start 1");
	assert_int_equal(f->owner.rings[1].base, 9);
	assert_true(f->owner.rings[1].call_fd >= 0);
}

static void test_disabling_keeps_the_place(void **state)
{
	struct fixture *f = *state;

	f->owner.progress = 2;
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_ENABLE, 0, 0), 0);
	assert_false(vu_session_ring_running(f->owner.session, 0));
	assert_int_equal(ask_state(f, VU_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(ask_state(f, VU_SET_VRING_ENABLE, 0, 2), EINVAL);
	assert_string_equal(f->owner.record, "start 0, stop 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 2);
}

/* T66, T84 */
static void test_only_eventfds(void **state)
{
	static const uint32_t requests[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL,
					     VU_SET_VRING_ERR };
	struct fixture *f = *state;
	uint64_t value = 0;
	int bad[5];
	int pipe_fds[2];
	int fd;
	int i, j;

	negotiate(f);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	bad[0] = pipe_fds[0];
	bad[1] = pipe_fds[1];
	bad[2] = f->memory;
	bad[3] = f->peer;
	bad[4] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (i = 0; i < 3; i++) {
		for (j = 0; j < 5; j++) {
			assert_int_equal(ask(f, requests[i], &value, sizeof(value), &bad[j], 1),
					 EINVAL);
		}
		fd = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(ask(f, requests[i], &value, sizeof(value), &fd, 1), 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		close(fd);
	}
	close(bad[4]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void test_bit_8_and_descriptor_must_agree(void **state)
{
	struct fixture *f = *state;
	uint64_t without = VU_VRING_NO_FD;
	uint64_t with = 0;
	uint64_t reserved = 1 << 9;
	int fd = eventfd(0, EFD_CLOEXEC);

	negotiate(f);
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &without, 8, &fd, 1), EPROTO);
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &with, 8, NULL, 0), EPROTO);
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &reserved, 8, &fd, 1), EPROTO);
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &without, 8, NULL, 0), 0);
	assert_int_equal(ask(f, VU_SET_VRING_ERR, &without, 8, NULL, 0), 0);
	assert_int_equal(ask(f, VU_SET_VRING_KICK, &without, 8, NULL, 0), EOPNOTSUPP);
	close(fd);
}

static void test_call_is_swapped_while_running(void **state)
{
	struct fixture *f = *state;
	uint64_t none = VU_VRING_NO_FD;
	unsigned int fds;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	fds = count_open_fds();
	f->owner.delayed = true;
	send_notifier(f, VU_SET_VRING_CALL, 0);
	assert_true(f->owner.last_call_fd >= 0);
	assert_int_equal(count_open_fds(),
			 fds + 1); /* the old one lives until the owner let go of it */
	assert_true(scripted_owner_answer(&f->owner));
	assert_int_equal(count_open_fds(), fds);
	f->owner.delayed = false;
	assert_int_equal(ask(f, VU_SET_VRING_CALL, &none, 8, NULL, 0), 0);
	assert_int_equal(f->owner.last_call_fd, -1);
	assert_int_equal(count_open_fds(), fds - 1);
	assert_string_equal(f->owner.record, "start 0, call 0, call 0");
}

static void test_new_kick_restarts_a_running_ring(void **state)
{
	struct fixture *f = *state;
	unsigned int fds;

	f->owner.progress = 1;
	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	fds = count_open_fds();
	send_notifier(f, VU_SET_VRING_KICK, 0);
	send_notifier(f, VU_SET_VRING_ERR, 0);
	assert_string_equal(f->owner.record, "start 0, stop 0, start 0, stop 0, start 0");
	assert_int_equal(f->owner.rings[0].base, 2);
	assert_true(f->owner.rings[0].err_fd >= 0);
	assert_int_equal(count_open_fds(), fds + 1);
}

static void test_unknown_flags_of_addresses(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_addr addr = { .index = 0, .flags = 2 };

	negotiate(f);
	assert_int_equal(ask(f, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), EINVAL);
	addr.flags = VU_VRING_F_LOG;
	assert_int_equal(ask(f, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sizes),
		TEST(test_index_beyond_the_rings),
		TEST(test_running_ring_is_not_changed),
		TEST(test_base_has_16_bits),
		TEST(test_packed_rings),
		TEST(test_packed_rings_before_the_features),
		TEST(test_packed_ring_begins_with_wrap_counters_of_1),
		TEST(test_get_base_stops_that_ring_only),
		TEST(test_disabling_keeps_the_place),
		TEST(test_only_eventfds),
		TEST(test_bit_8_and_descriptor_must_agree),
		TEST(test_call_is_swapped_while_running),
		TEST(test_new_kick_restarts_a_running_ring),
		TEST(test_unknown_flags_of_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
