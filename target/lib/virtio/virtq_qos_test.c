/* SPDX-License-Identifier: BSD-3-Clause */
/* Meters, and calls that are held back, on all kinds of rings. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <sys/eventfd.h>
#include <virtq_fixture.h>

#include "virtio/ring.h"

/* Longer than any test. */
#define LONG_GAP (UINT64_MAX / 4)

static const uint64_t ring_kinds[] = { 0, EVENT_IDX, PACKED, PACKED | EVENT_IDX };
#define RING_KIND_N (sizeof(ring_kinds) / sizeof(ring_kinds[0]))

static void open_kind(struct fixture *f, unsigned int kind)
{
	fixture_open(f, &(struct rd_options){ .size = 64, .features = ring_kinds[kind] });
}

/* Adds n requests with a header of 16 bytes, `len` bytes of data and a status. */
static void add(struct fixture *f, unsigned int n, uint32_t len)
{
	const struct rd_buf bufs[] = {
		{ rd_alloc(&f->rd, 16, 16), 16, false },
		{ rd_alloc(&f->rd, len + 1, 16), len + 1, true },
	};

	while (n-- > 0) {
		assert_true(rd_add(&f->rd, bufs, 2) >= 0);
	}
}

static void reap(struct fixture *f, unsigned int n)
{
	uint16_t head;
	uint32_t len;

	while (n-- > 0) {
		assert_true(rd_reap(&f->rd, &head, &len));
	}
}

/* Serves one request of a driver that wants to be called for the next one. */
static void serve_one(struct fixture *f)
{
	if (f->rd.is_packed && (f->rd.features & EVENT_IDX) != 0) {
		*f->rd.driver_event = (struct rd_event){
			.off_wrap = htole16(f->rd.next_used),
			.flags = htole16(RD_EVENT_DESC),
		};
	} else if (!f->rd.is_packed) {
		*f->rd.used_event = htole16(f->rd.next_used);
	}
	add(f, 1, 0);
	virtq_push(f->vq, pop_one(f->vq), 1);
	assert_int_equal(virtq_commit(f->vq), 1);
	reap(f, 1);
}

static struct virtq_stats stats_of(const struct fixture *f)
{
	struct virtq_stats stats;

	virtq_read_stats(f->vq, &stats);
	return stats;
}

/* ---- meters ---- */

static void requests_are_metered(void **state)
{
	for (unsigned int kind = 0; kind < RING_KIND_N; kind++) {
		struct virtq_meter meter = { .parts = 1, .requests = 5, .bytes = UINT64_MAX };
		struct virtq_req *reqs[16];
		struct fixture f;

		open_kind(&f, kind);
		add(&f, 16, 4096);
		virtq_set_meter(f.vq, &meter);
		assert_int_equal(virtq_pop(f.vq, reqs, 3), 3);
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 2);
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 0);
		assert_int_equal(meter.requests, 0);
		assert_int_equal(meter.popped, 5);
		assert_int_equal(meter.popped_bytes, 5 * 4096);
		virtq_set_meter(f.vq, NULL);
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 11);
		assert_int_equal(meter.popped, 5);
		assert_int_equal(stats_of(&f).batches, 3);
		fixture_close(&f);
	}
}

/* The request that takes the last byte is the last one, however much it asks for. */
static void payload_is_metered(void **state)
{
	for (unsigned int kind = 0; kind < RING_KIND_N; kind++) {
		struct virtq_meter meter = { .parts = 1, .requests = 100, .bytes = 2 * 4096 + 1 };
		struct virtq_req *reqs[16];
		struct fixture f;

		open_kind(&f, kind);
		add(&f, 1, 20); /* less than a sector is no payload */
		add(&f, 8, 4096);
		virtq_set_meter(f.vq, &meter);
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 4);
		assert_int_equal(meter.bytes, 0);
		assert_int_equal(meter.popped_bytes, 3 * 4096);
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 0);
		meter.bytes = UINT64_MAX;
		assert_int_equal(virtq_pop(f.vq, reqs, 16), 5);
		assert_int_equal(meter.popped, 9);
		/* One batch for each pop that found something. */
		assert_int_equal(stats_of(&f).batches, 2);
		fixture_close(&f);
	}
}

/* Several queues, one meter. */
static void a_meter_is_shared(void **state)
{
	struct virtq_meter meter = { .parts = 1, .requests = 6, .bytes = UINT64_MAX };
	struct virtq_req *reqs[16];
	struct fixture f[2];

	for (unsigned int i = 0; i < 2; i++) {
		open_kind(&f[i], i * 2);
		add(&f[i], 4, 0);
		virtq_set_meter(f[i].vq, &meter);
	}
	assert_int_equal(virtq_pop(f[0].vq, reqs, 16), 4);
	assert_int_equal(virtq_pop(f[1].vq, reqs, 16), 2);
	fixture_close(&f[0]);
	fixture_close(&f[1]);
	/* In equal parts. */
	for (unsigned int i = 0; i < 2; i++) {
		open_kind(&f[i], i * 2);
		add(&f[i], 8, 4096);
		virtq_set_meter(f[i].vq, &meter);
	}
	meter = (struct virtq_meter){ .parts = 2, .requests = 7, .bytes = UINT64_MAX };
	assert_int_equal(virtq_pop(f[0].vq, reqs, 16), 4);
	assert_int_equal(virtq_pop(f[1].vq, reqs, 16), 2);
	assert_int_equal(virtq_pop(f[0].vq, reqs, 16), 1);
	assert_int_equal(virtq_pop(f[1].vq, reqs, 16), 0);
	meter = (struct virtq_meter){ .parts = 2, .requests = 64, .bytes = 4 * 4096 };
	assert_int_equal(virtq_pop(f[1].vq, reqs, 16), 2);
	assert_int_equal(virtq_pop(f[0].vq, reqs, 16), 1);
	fixture_close(&f[0]);
	fixture_close(&f[1]);
}

/* ---- calls ---- */

static void calls_are_held_back(void **state)
{
	for (unsigned int kind = 0; kind < RING_KIND_N; kind++) {
		struct fixture f;
		uint64_t at;

		open_kind(&f, kind);
		virtq_set_call_gap(f.vq, LONG_GAP);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		/* The first one has none before it. */
		serve_one(&f);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		for (unsigned int i = 0; i < 5; i++) {
			serve_one(&f);
		}
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		at = virtq_call_time(f.vq);
		virtq_call_if_due(f.vq, at - 1);
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		virtq_call_if_due(f.vq, at);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		virtq_call_if_due(f.vq, UINT64_MAX);
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		/* Each commit had a call, or none of its own. */
		assert_int_equal(stats_of(&f).calls, 2);
		assert_int_equal(stats_of(&f).suppressed_calls, 4);
		fixture_close(&f);
	}
}

/* A driver that does not want to be called is not, and one that asks later is called for that. */
static void a_driver_that_polls(void **state)
{
	struct fixture f;

	open_kind(&f, 0);
	virtq_set_call_gap(f.vq, LONG_GAP);
	serve_one(&f);
	assert_int_equal(rd_drain(f.rd.call_fd), 1);
	*f.rd.avail_flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	serve_one(&f);
	assert_true(virtq_call_time(f.vq) == UINT64_MAX);
	*f.rd.avail_flags = 0;
	serve_one(&f);
	assert_false(virtq_call_time(f.vq) == UINT64_MAX);
	fixture_close(&f);
}

static void nothing_is_left_behind(void **state)
{
	for (unsigned int kind = 0; kind < RING_KIND_N; kind++) {
		int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		struct fixture f;

		open_kind(&f, kind);
		virtq_set_call_gap(f.vq, LONG_GAP);
		serve_one(&f);
		serve_one(&f);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		/* No gap any more. */
		virtq_set_call_gap(f.vq, 0);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		serve_one(&f);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		/* A shorter one. */
		virtq_set_call_gap(f.vq, LONG_GAP);
		serve_one(&f);
		rd_drain(f.rd.call_fd);
		serve_one(&f);
		virtq_set_call_gap(f.vq, 1);
		virtq_call_if_due(f.vq, virtq_call_time(f.vq));
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		/* Another eventfd, which is signalled in any case. */
		virtq_set_call_gap(f.vq, LONG_GAP);
		serve_one(&f);
		serve_one(&f);
		rd_drain(f.rd.call_fd);
		virtq_set_call_fd(f.vq, other);
		assert_int_equal(rd_drain(other), 1);
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		/* None. */
		serve_one(&f);
		virtq_set_call_fd(f.vq, -1);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		serve_one(&f);
		assert_true(virtq_call_time(f.vq) == UINT64_MAX);
		close(other);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_metered), cmocka_unit_test(payload_is_metered),
		cmocka_unit_test(a_meter_is_shared),	cmocka_unit_test(calls_are_held_back),
		cmocka_unit_test(a_driver_that_polls),	cmocka_unit_test(nothing_is_left_behind),
	};

	return cmocka_run_group_tests_name("virtio.virtq_qos", tests, NULL, NULL);
}
