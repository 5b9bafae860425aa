/* SPDX-License-Identifier: BSD-3-Clause */
/* The in-flight area on its way to the front-end and back (cases T76, T77). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"
#include "virtio/virtqueue.h"

struct wire {
	struct vu_inflight inflight; /* padded by the compiler, as QEMU's is */
};

/* Sends GET_INFLIGHT_FD; -1: there is no answer with a descriptor. */
static int ask(struct fixture *f, uint16_t queues, uint16_t size, size_t payload_size,
	       struct wire *ret_wire)
{
	const struct wire wire = { { .num_queues = queues, .queue_size = size } };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct {
		struct vu_header header;
		uint8_t payload[sizeof(wire)];
	} reply;
	struct iovec iov = { &reply, sizeof(reply) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	send_request(f, VU_GET_INFLIGHT_FD, 0, &wire, payload_size, NULL, 0);
	if (recvmsg(f->peer, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) {
		return -1;
	}
	cmsg = CMSG_FIRSTHDR(&message);
	assert_non_null(cmsg);
	assert_int_equal(reply.header.request, VU_GET_INFLIGHT_FD);
	assert_int_equal(reply.header.size, payload_size);
	memcpy(ret_wire, reply.payload, payload_size);
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static uint64_t hand_over(struct fixture *f, const struct wire *wire, int fd)
{
	send_request(f, VU_SET_INFLIGHT_FD, VU_FLAG_NEED_REPLY, wire, sizeof(*wire), &fd, 1);
	return read_u64(f, VU_SET_INFLIGHT_FD);
}

static void test_there_and_back(void **state)
{
	struct fixture *f = *state;
	struct wire wire = { 0 };
	struct stat st;
	int fd;

	negotiate(f);
	fd = ask(f, 2, 128, sizeof(wire), &wire);
	assert_true(fd >= 0);
	assert_int_equal(wire.inflight.num_queues, 2);
	assert_int_equal(wire.inflight.queue_size, 128);
	assert_int_equal(wire.inflight.mmap_offset, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, wire.inflight.mmap_size);
	/* Nobody can cut it, and so nobody can make us stumble over it. */
	assert_int_equal(ftruncate(fd, 0), -1);

	assert_int_equal(hand_over(f, &wire, fd), 0);
	close(fd);
	send_memory(f, 0);
	start_ring(f, 1);
	assert_true(f->owner.running[1]);
	assert_non_null(f->owner.rings[1].inflight);
	assert_non_null(inflight_area_region(f->owner.rings[1].inflight, 1, false, 128));
	/* Not under a running ring. */
	assert_int_equal(hand_over(f, &wire, f->memory), EBUSY);
}

static void test_without_padding(void **state)
{
	struct fixture *f = *state;
	struct wire wire = { 0 };
	int fd;

	negotiate(f);
	fd = ask(f, 1, 8, VU_INFLIGHT_SIZE, &wire);
	assert_true(fd >= 0);
	assert_int_equal(wire.inflight.queue_size, 8);
	close(fd);
}

static void test_without_an_area(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	assert_true(f->owner.running[0]);
	assert_null(f->owner.rings[0].inflight);
}

static void test_enormous_wishes(void **state)
{
	static const uint16_t wishes[][2] = {
		{ 65535, 65535 }, { 0, 65535 }, { 65535, 0 }, { 0, 0 },
		{ 0, 128 },	  { 1, 0 },	{ 1, 32769 }, { 65535, 128 },
	};
	struct fixture *f;
	struct wire wire;
	size_t i;

	for (i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		assert_int_equal(fixture_setup((void **)&f), 0);
		negotiate(f);
		assert_int_equal(ask(f, wishes[i][0], wishes[i][1], sizeof(wire), &wire), -1);
		assert_null(f->owner.session);
		fixture_teardown((void **)&f);
	}
}

/* What we make for the largest wish that can be takes no memory. */
static void test_largest_area_is_empty(void **state)
{
	struct fixture *f = *state;
	struct wire wire = { 0 };
	struct stat st;
	int fd;

	negotiate(f);
	fd = ask(f, 2, 32768, sizeof(wire), &wire);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(hand_over(f, &wire, fd), 0);
	close(fd);
}

static void test_areas_that_do_not_fit(void **state)
{
	static const struct wire bad[] = {
		{ { 0, 0, 1, 128 } },
		{ { 4096, 0, 0, 128 } },
		{ { 4096, 0, 65535, 65535 } },
		{ { 64, 0, 1, 32768 } },
		{ { UINT64_MAX, 0, 1, 128 } },
		{ { 4096, UINT64_MAX - 4095, 1, 128 } },
		{ { UINT64_C(1) << 40, 0, 1, 128 } },
		{ { 4096, 1, 1, 128 } },
		{ { 4096, UINT64_C(1) << 40, 1, 128 } },
		{ { 4096, 4096, 1, 128 } },
	};
	const struct wire good = { { 4096, 0, 1, 128 } };
	struct fixture *f = *state;
	int fd = memfd_create("inflight", MFD_CLOEXEC);
	int ends[2];
	size_t i;

	assert_int_equal(ftruncate(fd, 4096), 0);
	negotiate(f);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_not_equal(hand_over(f, &bad[i], fd), 0);
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_not_equal(hand_over(f, &good, ends[0]), 0);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(hand_over(f, &good, fd), 0);
	/* Another one takes its place. */
	assert_int_equal(hand_over(f, &good, fd), 0);
	close(fd);
}

/* Regions of packed rings are larger: what fits a split ring does not fit them. */
static void test_packed_regions(void **state)
{
	const struct wire of_split = { { 2 * (16 + 16 * 7), 0, 2, 7 } };
	struct fixture *f = *state;
	struct wire wire = { 0 };
	struct stat st;
	int fd;

	f->owner.features |= UINT64_C(1) << VIRTIO_F_RING_PACKED;
	negotiate(f);
	fd = ask(f, 2, 7, sizeof(wire), &wire);
	assert_true(fd >= 0);
	assert_int_equal(wire.inflight.mmap_size, 2 * (32 + 32 * 7));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, wire.inflight.mmap_size);
	assert_int_not_equal(hand_over(f, &of_split, fd), 0);
	assert_int_equal(hand_over(f, &wire, fd), 0);
	close(fd);
}

/* The area is asked for and handed over before the ring format is negotiated. */
static void test_packed_rings_come_last(void **state)
{
	const uint64_t packed = UINT64_C(1) << VIRTIO_F_RING_PACKED;
	struct fixture *f = *state;
	struct wire wire = { 0 };
	int fd;

	f->owner.features |= packed;
	negotiate(f);
	send_u64(f, VU_SET_FEATURES, (f->owner.features & ~packed) | VU_F_PROTOCOL_FEATURES);
	fd = ask(f, 2, 128, sizeof(wire), &wire);
	assert_true(fd >= 0);
	assert_int_equal(hand_over(f, &wire, fd), 0);
	close(fd);
	send_u64(f, VU_SET_FEATURES, f->owner.features | VU_F_PROTOCOL_FEATURES);
	send_memory(f, 0);
	start_ring(f, 1);
	assert_true(f->owner.running[1]);
	assert_non_null(f->owner.rings[1].inflight);
	assert_non_null(inflight_area_region(f->owner.rings[1].inflight, 1, true, 128));
}

/* "The initial state": nothing is in flight any more, whatever the front-end does with the area. */
static void test_reset_forgets(void **state)
{
	const struct wire wire = { { 8192, 4096, 2, 64 } };
	struct fixture *f = *state;
	int fd = memfd_create("inflight", MFD_CLOEXEC);
	uint16_t version = 1;

	assert_int_equal(ftruncate(fd, 12288), 0);
	assert_int_equal(pwrite(fd, &version, 2, 4096 + 8), 2);
	assert_int_equal(pwrite(fd, &version, 2, 4096 + 1088 + 8), 2);
	negotiate(f);
	assert_int_equal(hand_over(f, &wire, fd), 0);
	send_request(f, VU_RESET_DEVICE, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(read_u64(f, VU_RESET_DEVICE), 0);
	assert_int_equal(pread(fd, &version, 2, 4096 + 8), 2);
	assert_int_equal(version, 0);
	version = 1;
	assert_int_equal(pread(fd, &version, 2, 4096 + 1088 + 8), 2);
	assert_int_equal(version, 0);
	close(fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_there_and_back),	   TEST(test_without_padding),
		TEST(test_without_an_area),	   cmocka_unit_test(test_enormous_wishes),
		TEST(test_largest_area_is_empty),  TEST(test_areas_that_do_not_fit),
		TEST(test_packed_rings_come_last), TEST(test_packed_regions),
		TEST(test_reset_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
