/* SPDX-License-Identifier: BSD-3-Clause */
/* A session goes on with another owner, as it does in another process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/parcel.h"
#include "vhost_user/fixture.h"
#include "vhost_user/session_private.h"
#include "virtio/inflight.h"

#define QUEUES 4

static struct scripted_owner next;

/* What has been packed, as it arrives elsewhere. */
static void pack(struct fixture *f, struct parcel *ret_parcel)
{
	struct parcel out;
	uint32_t type;
	int fds[2];

	parcel_init(&out);
	parcel_init(ret_parcel);
	vu_session_save(f->owner.session, &out);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(parcel_send(&out, fds[0], 1), 0);
	assert_int_equal(parcel_recv(ret_parcel, fds[1], &type), 1);
	parcel_done(&out);
	close(fds[0]);
	close(fds[1]);
}

static int unpack(struct fixture *f, struct parcel *parcel)
{
	scripted_owner_init(&next);
	next.features = f->owner.features;
	next.negotiated = f->owner.negotiated;
	return vu_session_restore(f->loop, parcel, QUEUES, &scripted_owner_ops, &next,
				  &next.session);
}

/* The first owner's process ends: its descriptors are closed, and nothing else happens. */
static void forget_first(struct fixture *f)
{
	f->owner.session->transport->shared = true;
	vu_session_free(f->owner.session);
	f->owner = next;
	f->owner.session->owner = &f->owner;
}

static void suspend(struct fixture *f)
{
	f->owner.record[0] = '\0';
	vu_session_suspend(f->owner.session);
	settle(f);
}

static void suspended_and_resumed(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 2);
	f->owner.progress = 3;
	suspend(f);
	assert_string_equal(f->owner.record, "stop 0, stop 2, suspended");
	/* Messages wait. */
	send_request(f, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_equal(read_reply(f, VU_GET_FEATURES, NULL, 0), -1);
	f->owner.record[0] = '\0';
	vu_session_resume(f->owner.session);
	settle(f);
	assert_string_equal(f->owner.record, "start 0, start 2, resumed");
	assert_int_equal(f->owner.rings[2].base, 3);
	assert_int_not_equal(read_u64(f, VU_GET_FEATURES), 0);
}

/* A slow drain; it is thought better of before it is over. */
static void resumed_too_early(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	start_ring(f, 1);
	f->owner.delayed = true;
	suspend(f);
	assert_string_equal(f->owner.record, "stop 0");
	vu_session_resume(f->owner.session);
	f->owner.delayed = false;
	scripted_owner_answer(&f->owner);
	assert_string_equal(f->owner.record, "stop 0, start 0, resumed");
	send_state(f, VU_GET_VRING_BASE, 1, 0);
	assert_true(read_u64(f, VU_GET_VRING_BASE) != 0);
}

/* The message at hand comes first. */
static void suspended_at_work(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	f->owner.delayed = true;
	start_ring(f, 0);
	vu_session_suspend(f->owner.session);
	assert_string_equal(f->owner.record, "start 0");
	f->owner.delayed = false;
	scripted_owner_answer(&f->owner);
	assert_string_equal(f->owner.record, "start 0, stop 0, suspended");
}

static void goes_on_elsewhere(void **state)
{
	struct inflight_shape shape;
	struct fixture *f = *state;
	struct vu_inflight area;
	struct parcel parcel;
	int fd;

	negotiate(f);
	send_u64(f, VU_SET_STATUS, 0x0f);
	area = (struct vu_inflight){ .num_queues = QUEUES, .queue_size = 128 };
	shape = (struct inflight_shape){ .queue_n = QUEUES, .queue_size = 128 };
	assert_int_equal(inflight_area_make(&shape, &fd), 0);
	area.mmap_size = inflight_area_bytes(&shape);
	send_request(f, VU_SET_INFLIGHT_FD, 0, &area, VU_INFLIGHT_SIZE, &fd, 1);
	close(fd);
	send_memory(f, 0);
	start_ring(f, 1);
	f->owner.progress = 5;
	suspend(f);
	pack(f, &parcel);
	assert_int_equal(unpack(f, &parcel), 0);
	assert_true(parcel_is_used_up(&parcel));
	parcel_done(&parcel);

	vu_session_resume(next.session);
	settle(f);
	assert_string_equal(next.record, "start 1, resumed");
	assert_int_equal(next.resume_result, 0);
	assert_int_equal(next.rings[1].base, f->owner.rings[1].base + 5);
	assert_int_equal(next.rings[1].size, f->owner.rings[1].size);
	assert_non_null(inflight_area_region(next.rings[1].inflight, 1, false, 128));
	/* Until the word is given no message is read. */
	send_request(f, VU_GET_STATUS, 0, NULL, 0, NULL, 0);
	assert_int_equal(read_reply(f, VU_GET_STATUS, NULL, 0), -1);
	forget_first(f);
	vu_session_release(f->owner.session);
	settle(f);
	assert_int_equal(read_u64(f, VU_GET_STATUS), 0x0f);
}

/* In the middle of a live migration: the rings log as before, to the same file. */
static void goes_on_logging(void **state)
{
	const struct vu_log wire = { .mmap_size = 8 * 4096, .mmap_offset = 4096 };
	const struct vu_vring_addr addr = {
		.flags = VU_VRING_F_LOG,
		.descriptor = FIXTURE_UVA,
		.available = FIXTURE_UVA + 0x4000,
		.used = FIXTURE_UVA + 0x8000,
		.log = 0x5000,
	};
	struct fixture *f = *state;
	struct parcel parcel;
	uint64_t features;
	uint8_t byte = 0;
	int fd = memfd_create("log", MFD_CLOEXEC);
	int notifier = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 16 * 4096), 0);
	negotiate(f);
	send_memory(f, 0);
	send_request(f, VU_SET_LOG_BASE, 0, &wire, sizeof(wire), &fd, 1);
	assert_int_equal(read_u64(f, VU_SET_LOG_BASE), 0);
	send_request(f, VU_SET_LOG_FD, 0, NULL, 0, &notifier, 1);
	features = f->owner.session->features | VU_F_LOG_ALL;
	send_request(f, VU_SET_FEATURES, 0, &features, sizeof(features), NULL, 0);
	start_ring(f, 0);
	send_request(f, VU_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
	assert_true(f->owner.rings[0].log.used);
	suspend(f);
	pack(f, &parcel);
	assert_int_equal(unpack(f, &parcel), 0);
	assert_true(parcel_is_used_up(&parcel));
	parcel_done(&parcel);
	vu_session_resume(next.session);
	settle(f);
	assert_string_equal(next.record, "start 0, resumed");
	assert_true(next.rings[0].log.used);
	assert_int_equal(next.rings[0].log.used_gpa, 0x5000);
	assert_true(next.rings[0].log.event_fd >= 0);
	assert_true(dirty_log_mark(next.rings[0].log.log, 0x3000, 1));
	assert_int_equal(pread(fd, &byte, 1, 4096), 1);
	assert_int_equal(byte, 1 << 3);
	forget_first(f);
	vu_session_release(f->owner.session);
	close(notifier);
	close(fd);
}

/* Of a successor that fails nothing is left, and the connection is not hurt. */
static void fails_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct parcel parcel;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	suspend(f);
	pack(f, &parcel);
	scripted_owner_init(&next);
	next.features = 0;
	assert_int_equal(vu_session_restore(f->loop, &parcel, QUEUES, &scripted_owner_ops, &next,
					    &next.session),
			 -ENOTSUP);
	parcel_done(&parcel);
	pack(f, &parcel);
	assert_int_equal(vu_session_restore(f->loop, &parcel, QUEUES - 1, &scripted_owner_ops,
					    &f->owner, &next.session),
			 -EPROTO);
	parcel_done(&parcel);
	f->owner.record[0] = '\0';
	vu_session_resume(f->owner.session);
	assert_string_equal(f->owner.record, "start 0, resumed");
	send_request(f, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_not_equal(read_u64(f, VU_GET_FEATURES), 0);
}

/* Cut off anywhere, or with any byte changed, it is refused or makes another session: nothing else happens. */
static void what_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct parcel parcel;
	size_t len = 1;
	size_t at;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 1);
	suspend(f);
	for (at = 0; at < 2 * len; at++) {
		pack(f, &parcel);
		len = parcel.len;
		if (at % 2 == 0) {
			parcel.len = at / 2;
		} else {
			parcel.data[at / 2] ^= 0x81;
		}
		if (unpack(f, &parcel) == 0) {
			vu_session_free(next.session);
		}
		parcel_done(&parcel);
	}
	vu_session_resume(f->owner.session);
	assert_true(f->owner.running[1]);
	send_request(f, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_not_equal(read_u64(f, VU_GET_FEATURES), 0);
}

/* Errors of ours are told; a ring that is not where its front-end says is not our error. */
static void rings_that_cannot_start(void **state)
{
	static const int errors[] = { -ENOMEM, -EFAULT, -EINVAL };
	struct fixture *f = *state;
	unsigned int i;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	for (i = 0; i < 3; i++) {
		suspend(f);
		f->owner.start_result = errors[i];
		vu_session_resume(f->owner.session);
		assert_int_equal(f->owner.resume_result, i == 0 ? -ENOMEM : 0);
		assert_non_null(f->owner.session);
		f->owner.start_result = 0;
		send_notifier(f, VU_SET_VRING_KICK, 0);
		assert_true(f->owner.running[0]);
	}
}

static void leaves_while_suspended(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	send_memory(f, 0);
	start_ring(f, 0);
	suspend(f);
	shutdown(f->peer, SHUT_RDWR);
	settle(f);
	assert_true(f->owner.abandoned);
	assert_string_equal(f->owner.record, "stop 0, suspended");
	vu_session_resume(f->owner.session);
	assert_null(f->owner.session);
	assert_string_equal(f->owner.record, "stop 0, suspended, closed");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(suspended_and_resumed),  TEST(resumed_too_early),
		TEST(suspended_at_work),      TEST(goes_on_elsewhere),
		TEST(goes_on_logging),	      TEST(fails_elsewhere),
		TEST(what_cannot_be),	      TEST(rings_that_cannot_start),
		TEST(leaves_while_suspended),
	};

	return cmocka_run_group_tests_name("vhost_user.handover", tests, NULL, NULL);
}
