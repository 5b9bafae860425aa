/* SPDX-License-Identifier: BSD-3-Clause */
/* What all ring formats share: notifications, slots, spill blocks, statistics, the broken state. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <virtq_fixture.h>

#include "virtio/ring.h"

/* Adds n requests of one writable byte each. */
static void add(struct fixture *f, unsigned int n)
{
	struct rd_buf buf = { rd_alloc(&f->rd, 1, 1), 1, true };

	while (n-- > 0) {
		assert_true(rd_add(&f->rd, &buf, 1) >= 0);
	}
}

/* Pops, pushes and commits n requests. */
static void serve(struct fixture *f, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		virtq_push(f->vq, pop_one(f->vq), 1);
	}
	assert_int_equal(virtq_commit(f->vq), n);
}

static void reap(struct fixture *f, unsigned int n)
{
	uint16_t head;
	uint32_t len;

	while (n-- > 0) {
		assert_true(rd_reap(&f->rd, &head, &len));
	}
	assert_false(rd_reap(&f->rd, &head, &len));
}

static struct virtq_stats stats_of(const struct fixture *f)
{
	struct virtq_stats stats;

	virtq_read_stats(f->vq, &stats);
	return stats;
}

/* ---- calls ---- */

static void test_call_by_flag(void **state)
{
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	add(&f, 3);
	serve(&f, 3);
	assert_int_equal(rd_drain(f.rd.call_fd), 1); /* one for the batch */
	reap(&f, 3);
	*f.rd.avail_flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	add(&f, 2);
	serve(&f, 2);
	assert_int_equal(rd_drain(f.rd.call_fd), 0);
	assert_int_equal(stats_of(&f).calls, 1);
	assert_int_equal(stats_of(&f).suppressed_calls, 1);
	fixture_close(&f);
}

/* virtio 1.2, 2.7.7.2, at the seams: batches of `batch` after `served`, used_event at `event`. */
static void test_call_by_event_index(void **state)
{
	static const struct {
		uint16_t start;
		unsigned int batch;
		int event; /* relative to the used index before the batch */
		bool call;
	} cases[] = {
		{ 0, 1, 0, true },	 { 0, 1, 1, false },	  { 0, 1, -1, false },
		{ 0, 1, -32768, false }, { 0, 4, 0, true },	  { 0, 4, 3, true },
		{ 0, 4, 4, false },	 { 0, 4, -1, false },	  { 65534, 4, 0, true },
		{ 65534, 4, 1, true },	 { 65534, 4, 2, true },	  { 65534, 4, 3, true },
		{ 65534, 4, 4, false },	 { 65534, 4, -1, false }, { 65535, 1, 0, true },
		{ 65535, 1, 1, false },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t start = (uint16_t)(cases[i].start - 1); /* one goes ahead, below */
		struct fixture f;

		fixture_open(&f, &(struct rd_options){
					 .size = 8, .features = EVENT_IDX, .start = start });
		/* The first commit always calls: what the driver was told before is not known. */
		*f.rd.used_event = htole16((uint16_t)(start + 0x4000));
		add(&f, 1);
		serve(&f, 1);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		*f.rd.used_event = htole16((uint16_t)(cases[i].start + cases[i].event));
		/* With EVENT_IDX the flag means nothing. */
		*f.rd.avail_flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
		add(&f, cases[i].batch);
		serve(&f, cases[i].batch);
		if (rd_drain(f.rd.call_fd) != cases[i].call) {
			fail_msg("start %u batch %u event %d", cases[i].start, cases[i].batch,
				 cases[i].event);
		}
		assert_int_equal(stats_of(&f).suppressed_calls, !cases[i].call);
		fixture_close(&f);
	}
}

/* Does a sleeping driver always get its call? It sets used_event to what it has seen, as Linux does. */
static void test_no_lost_call(void **state)
{
	struct fixture f;
	unsigned int turn;

	fixture_open(&f,
		     &(struct rd_options){ .size = 256, .features = EVENT_IDX, .start = 60000 });
	for (turn = 0; turn < 2000; turn++) {
		unsigned int n = 1 + turn % 200;

		*f.rd.used_event = htole16(f.rd.next_used);
		add(&f, n);
		serve(&f, n);
		assert_int_equal(rd_drain(f.rd.call_fd), 1);
		reap(&f, n);
		rd_free_all(&f.rd);
	}
	fixture_close(&f);
}

static void test_set_call_fd(void **state)
{
	struct fixture f;
	int other;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	other = f.rd.kick_fd;
	virtq_set_call_fd(f.vq, other);
	assert_int_equal(rd_drain(other), 1); /* a call may have been lost in between */
	add(&f, 1);
	serve(&f, 1);
	assert_int_equal(rd_drain(other), 1);
	assert_int_equal(rd_drain(f.rd.call_fd), 0);
	virtq_set_call_fd(f.vq, -1); /* the driver polls */
	add(&f, 1);
	serve(&f, 1);
	assert_int_equal(stats_of(&f).calls, 1);
	assert_int_equal(stats_of(&f).suppressed_calls, 1);
	fixture_close(&f);
}

/* T84: nobody reads what we write. */
static void test_call_fd_full(void **state)
{
	struct fixture f;
	int pipes[2];
	char byte = 0;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	assert_int_equal(pipe2(pipes, O_NONBLOCK | O_CLOEXEC), 0);
	while (write(pipes[1], &byte, 1) == 1) {
	}
	virtq_set_call_fd(f.vq, pipes[1]);
	add(&f, 3);
	serve(&f, 1);
	serve(&f, 2);
	reap(&f, 3);
	close(pipes[0]);
	close(pipes[1]);
	fixture_close(&f);
}

/* ---- kicks ---- */

static void test_kicks(void **state)
{
	static const uint64_t features[] = { 0, EVENT_IDX };
	unsigned int k;

	for (k = 0; k < 2; k++) {
		struct fixture f;
		uint16_t before;

		fixture_open(&f, &(struct rd_options){
					 .size = 8, .features = features[k], .start = 65535 });
		before = f.rd.next_avail;
		add(&f, 1);
		assert_false(rd_wants_kick(&f.rd, before)); /* born polling */
		assert_false(virtq_arm(f.vq));		    /* something is there already */
		virtq_disarm(f.vq);
		serve(&f, 1);
		assert_true(virtq_arm(f.vq));
		before = f.rd.next_avail;
		add(&f, 2);
		assert_true(rd_wants_kick(&f.rd, before));
		rd_kick(&f.rd);
		virtq_disarm(f.vq);
		assert_int_equal(rd_drain(f.rd.kick_fd), 0); /* drained */
		assert_int_equal(stats_of(&f).kicks, 1);
		before = f.rd.next_avail;
		add(&f, 1);
		assert_false(rd_wants_kick(&f.rd, before));
		serve(&f, 3);
		fixture_close(&f);
	}
}

/* A front-end may hand us blocking eventfds, or make them so later: an empty one must not block. */
static void test_blocking_kick_fd(void **state)
{
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	assert_int_equal(fcntl(f.rd.kick_fd, F_SETFL, 0), 0);
	virtq_disarm(f.vq);
	rd_kick(&f.rd);
	rd_kick(&f.rd);
	virtq_disarm(f.vq);
	virtq_disarm(f.vq);
	assert_int_equal(stats_of(&f).kicks, 2);
	fixture_close(&f);
}

/* The next owner may wait for a kick: the driver is asked for it, or it is given back. */
static void test_leave(void **state)
{
	static const uint64_t features[] = { 0, EVENT_IDX, PACKED, PACKED | EVENT_IDX };
	unsigned int k;

	for (k = 0; k < 4; k++) {
		struct fixture f;
		uint16_t before;

		fixture_open(&f, &(struct rd_options){ .size = 8, .features = features[k] });
		add(&f, 2);
		serve(&f, 2);
		virtq_leave(f.vq);
		assert_int_equal(rd_drain(f.rd.kick_fd), 0);
		before = f.rd.next_avail;
		add(&f, 1);
		assert_true(rd_wants_kick(&f.rd, before));

		rd_kick(&f.rd);
		virtq_disarm(
			f.vq); /* takes the kick, as an owner does that is told to stop at this moment */
		virtq_leave(f.vq);
		assert_int_equal(rd_drain(f.rd.kick_fd), 1);
		fixture_close(&f);
	}
}

static void test_no_kick_fd(void **state)
{
	struct fixture f;
	struct virtq_config config;

	rd_open(&f.rd, NULL);
	config = rd_config(&f.rd, sizeof(struct virtq_req));
	config.kick_fd = config.call_fd = config.err_fd = -1;
	assert_int_equal(virtq_new(&config, &f.vq), 0);
	assert_false(virtq_arm(f.vq)); /* can only be polled */
	virtq_disarm(f.vq);
	add(&f, 1);
	serve(&f, 1);
	virtq_break(f.vq, "test");
	assert_true(virtq_arm(f.vq)); /* broken: nothing to poll for */
	fixture_close(&f);
}

/* ---- room ---- */

/* n pieces that cannot merge, in an indirect table, all in the same memory. */
static void add_pieces(struct fixture *f, unsigned int n)
{
	static struct rd_buf bufs[VIRTQ_MAX_SEGMENTS];
	uint64_t at = rd_region(&f->rd, 0) + (8 << 20);
	unsigned int i;

	for (i = 0; i < n; i++) {
		bufs[i] = (struct rd_buf){ at + 2 * i, 1, true };
	}
	assert_true(rd_add_indirect(&f->rd, bufs, n) >= 0);
}

/* The pool of spill blocks runs dry: pop stops, the queue may sleep, and a completion gets it going. */
static void test_spill_exhaustion(void **state)
{
	struct fixture f;
	struct virtq_req *reqs[16];
	unsigned int i;

	fixture_open(&f, &(struct rd_options){ .size = 128, .features = INDIRECT });
	for (i = 0; i < 5; i++) {
		add_pieces(&f, 1000);
	}
	add_pieces(&f, 3);
	assert_int_equal(virtq_pop(f.vq, reqs, 16), 2);
	assert_false(virtq_is_broken(f.vq));
	assert_int_equal(virtq_pop(f.vq, reqs + 2, 16), 0);
	/* Requests wait, but only a completion can help: sleeping is right. */
	assert_true(virtq_arm(f.vq));
	virtq_disarm(f.vq);
	virtq_push(f.vq, reqs[1], 0);
	assert_false(virtq_arm(f.vq)); /* room again: do not sleep */
	virtq_disarm(f.vq);
	assert_int_equal(virtq_pop(f.vq, reqs + 1, 16), 1);
	assert_int_equal(virtq_req_in_n(reqs[1]), 1000);
	virtq_push(f.vq, reqs[0], 0);
	virtq_push(f.vq, reqs[1], 0);
	/* The last one needs no block. */
	assert_int_equal(virtq_pop(f.vq, reqs, 16), 3);
	assert_int_equal(virtq_req_in_n(reqs[2]), 3);
	for (i = 0; i < 3; i++) {
		virtq_push(f.vq, reqs[i], 0);
	}
	assert_int_equal(virtq_commit(f.vq), 6);
	assert_int_equal(stats_of(&f).requests, 6);
	fixture_close(&f);
}

/* Smaller requests overflow into larger blocks; everything comes back. */
static void test_spill_kinds(void **state)
{
	static const unsigned int sizes[] = {
		VIRTQ_INLINE_IOV, VIRTQ_INLINE_IOV + 1, 40, 41, 136, 137, VIRTQ_MAX_SEGMENTS
	};
	struct fixture f;
	struct virtq_req *reqs[128];
	unsigned int round;
	unsigned int i;
	unsigned int n;

	fixture_open(&f, &(struct rd_options){ .size = 128, .features = INDIRECT });
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 7; i++) {
			add_pieces(&f, sizes[(i + round) % 7]);
		}
		/* Both large blocks are needed at most. */
		assert_int_equal(virtq_pop(f.vq, reqs, 128), 7);
		for (i = 0; i < 7; i++) {
			struct virtq_req *req = reqs[i * 3 % 7];

			assert_int_equal(virtq_req_in_n(req), sizes[(i * 3 % 7 + round) % 7]);
			assert_int_equal(req->out[virtq_req_in_n(req) - 1].iov_len, 1);
			virtq_push(f.vq, req, 0);
		}
		assert_int_equal(virtq_commit(f.vq), 7);
		reap(&f, 7);
		rd_free_all(&f.rd);
	}
	/* More of one size than there are blocks: 32 of the second kind and 2 of the third. */
	for (i = 0; i < 128; i++) {
		add_pieces(&f, 100);
	}
	for (n = 0; n < 128;) {
		unsigned int got = virtq_pop(f.vq, reqs, 128);

		assert_int_equal(got, 128 - n < 34 ? 128 - n : 34);
		n += got;
		while (got > 0) {
			virtq_push(f.vq, reqs[--got], 0);
		}
	}
	assert_int_equal(virtq_commit(f.vq), 128);
	fixture_close(&f);
}

/* A ring with more entries than slots. */
static void test_slots_run_out(void **state)
{
	struct fixture f;
	static struct virtq_req *reqs[4096];

	fixture_open(&f, &(struct rd_options){ .size = 4096 });
	add(&f, 4096);
	assert_int_equal(virtq_pop(f.vq, reqs, 4096), VIRTQ_MAX_SLOTS);
	assert_int_equal(virtq_pop(f.vq, reqs, 4096), 0);
	assert_true(virtq_arm(f.vq));
	virtq_disarm(f.vq);
	virtq_push(f.vq, reqs[5], 0);
	virtq_push(f.vq, reqs[6], 0);
	assert_false(virtq_arm(f.vq));
	virtq_disarm(f.vq);
	assert_int_equal(virtq_pop(f.vq, reqs, 4096), 2);
	assert_int_equal(virtq_inflight(f.vq), VIRTQ_MAX_SLOTS);
	fixture_close(&f);
}

/* While there is no room for the next chain it is not looked at again: that could take long, each time. */
static void test_starved_queue_rests(void **state)
{
	struct virtq_req *reqs[4];
	struct fixture f;
	unsigned int i;

	fixture_open(&f, &(struct rd_options){ .features = INDIRECT });
	for (i = 0; i < 3; i++) {
		add_pieces(&f, VIRTQ_MAX_SEGMENTS);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 4), 2);
	assert_int_equal(virtq_pop(f.vq, reqs + 2, 2), 0);
	/* Whether it was looked at shows when it has become a lie. */
	f.rd.desc[f.rd.avail_ring[2]].addr = htole64(UINT64_MAX);
	assert_int_equal(virtq_pop(f.vq, reqs + 2, 2), 0);
	assert_false(virtq_is_broken(f.vq));
	virtq_push(f.vq, reqs[0], 0);
	assert_int_equal(virtq_pop(f.vq, reqs + 2, 2), 0);
	assert_true(virtq_is_broken(f.vq));
	fixture_close(&f);
}

/* A device's own data lies behind the request in a slot; slots and iovecs do not overlap. */
static void test_req_size(void **state)
{
	struct ring_driver rd;
	struct virtq_config config;
	struct virtq *vq;
	struct virtq_req *reqs[8];
	struct rd_buf bufs[6];
	unsigned int i;
	unsigned int k;

	rd_open(&rd, &(struct rd_options){ .size = 64 });
	config = rd_config(&rd, sizeof(struct virtq_req) - 1);
	assert_int_equal(virtq_new(&config, &vq), -EINVAL);
	config = rd_config(&rd, sizeof(struct virtq_req) + 333);
	assert_int_equal(virtq_new(&config, &vq), 0);
	for (k = 0; k < 6; k++) {
		bufs[k] = (struct rd_buf){ rd_alloc(&rd, 2, 2), 1, true };
	}
	for (i = 0; i < 8; i++) {
		rd_add(&rd, bufs, 6);
	}
	assert_int_equal(virtq_pop(vq, reqs, 8), 8);
	for (i = 0; i < 8; i++) {
		memset(reqs[i] + 1, (int)i, 333);
	}
	for (i = 0; i < 8; i++) {
		for (k = 0; k < 333; k++) {
			assert_int_equal(((uint8_t *)(reqs[i] + 1))[k], i);
		}
		for (k = 0; k < 6; k++) {
			assert_int_equal(reqs[i]->out[k].iov_len, 1);
		}
	}
	virtq_free(vq);
	rd_close(&rd);
}

/* ---- state ---- */

static void test_break(void **state)
{
	struct fixture f;
	struct virtq_req *req;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	add(&f, 2);
	req = pop_one(f.vq);
	assert_null(virtq_broken_reason(f.vq));
	virtq_break(f.vq, "first");
	virtq_break(f.vq, "second");
	assert_string_equal(virtq_broken_reason(f.vq), "first");
	assert_int_equal(rd_drain(f.rd.err_fd), 1);
	assert_int_equal(stats_of(&f).malformed, 1);
	virtq_push(f.vq, req, 0);
	assert_int_equal(virtq_inflight(f.vq), 0);
	assert_int_equal(virtq_commit(f.vq), 0);
	reap(&f, 0);
	virtq_free(NULL);
	fixture_close(&f);
}

static void test_abandon(void **state)
{
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = 8 });
	add(&f, 2);
	virtq_push(f.vq, pop_one(f.vq), 1);
	virtq_abandon(f.vq);
	assert_int_equal(virtq_commit(f.vq), 0);
	reap(&f, 0);
	assert_int_equal(rd_drain(f.rd.call_fd), 0);
	fixture_close(&f);
}

/* T67: the file behind guest memory is cut short while the queue runs. */
static void test_lost_memory(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	volatile uint8_t *data;

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	fixture_open(&f, &(struct rd_options){ .size = 8 });
	add(&f, 2);
	req = pop_one(f.vq);
	data = req->in->iov_base;
	assert_int_equal(ftruncate(f.rd.mem_fd, 0), 0);
	*data = 1;
	virtq_push(f.vq, req, 1);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_non_null(strstr(virtq_broken_reason(f.vq), "gone"));
	assert_int_equal(virtq_commit(f.vq), 0);
	fixture_close(&f);
}

static void test_successor(void **state)
{
	struct fixture f;
	struct virtq_config config;

	fixture_open(&f, &(struct rd_options){ .size = 8, .start = 65530 });
	add(&f, 8);
	serve(&f, 5);
	config = rd_config(&f.rd, sizeof(struct virtq_req));
	config.base = virtq_base(f.vq);
	virtq_free(f.vq);
	assert_int_equal(virtq_new(&config, &f.vq), 0); /* takes used->idx from the ring */
	serve(&f, 3);
	reap(&f, 8);
	fixture_close(&f);
}

/* ---- another processor writes while we read (T31, T32, T33, T38, T39) ---- */

struct mutator {
	struct ring_driver *rd;
	uint64_t area; /* where tables and buffers lie */
	uint64_t area_len;
	atomic_bool stop;
};

/* A guest: its races with us are the purpose. */
__attribute__((no_sanitize("thread"))) static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t x = 88172645463325252u;

	while (!atomic_load_explicit(&m->stop, memory_order_relaxed)) {
		volatile uint8_t *at;
		unsigned int what;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		what = x >> 32 & 7;
		if (what == 0 && m->rd->is_packed) {
			((volatile struct rd_packed_desc *)m->rd->packed)[x >> 40 & 7].flags ^=
				(x >> 43 & 1) != 0 ? RD_F_AVAIL : RD_F_USED;
		} else if (what == 1 && m->rd->is_packed) {
			((volatile struct rd_packed_desc *)m->rd->packed)[x >> 40 & 7].id =
				(uint16_t)(x & 15);
		} else if (what == 0) {
			*(volatile uint16_t *)m->rd->avail_idx ^= (uint16_t)(1u << (x >> 40 & 3));
		} else if (what == 1) {
			m->rd->avail_ring[x >> 40 & 7] = (uint16_t)(x & 15);
		} else {
			at = what < 5 ? (volatile uint8_t *)m->rd->desc + (x >> 40) % (8 * 16) :
					(volatile uint8_t *)rd_ptr(m->rd, m->area) +
						(x >> 40) % m->area_len;
			*at = (uint8_t)x;
		}
	}
	return NULL;
}

static void fill_ring(struct ring_driver *rd, uint64_t area)
{
	struct rd_buf bufs[8];
	unsigned int i;

	for (i = 0; i < 8; i++) {
		bufs[i] = (struct rd_buf){ area + 512 + i * 64, 64, i >= 4 };
	}
	for (i = 0; i < 8; i++) {
		rd_fill_table(rd, area + (i % 4) * 128, bufs, 8);
		if (rd->is_packed) {
			rd->packed[i] = (struct rd_packed_desc){ area + (i % 4) * 128, 128,
								 (uint16_t)i, 0 };
			continue;
		}
		rd->desc[i] = (struct rd_desc){ area + (i % 4) * 128, 128, RD_F_INDIRECT, 0 };
		rd->avail_ring[i] = (uint16_t)i;
	}
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Whatever is popped must lie inside of guest memory and obey all bounds. */
static void check_req(const struct virtq_req *req, const struct virtq *vq)
{
	uint64_t out = 0;
	uint64_t in = 0;
	unsigned int i;

	for (i = 0; i < (unsigned int)virtq_req_out_n(req) + virtq_req_in_n(req); i++) {
		volatile uint8_t *p = req->out[i].iov_base;

		/* Sanitizers and the mapping itself tell if this is not ours. */
		assert_true(req->out[i].iov_len > 0);
		p[0] = p[req->out[i].iov_len - 1];
		*(i < virtq_req_out_n(req) ? &out : &in) += req->out[i].iov_len;
	}
	assert_int_equal(out, req->out_len);
	assert_int_equal(in, req->in_len);
	assert_true(vq->busy[req->head]);
}

/* Three requests more, where the device looks next. */
static void offer_three(struct ring_driver *rd, uint32_t base)
{
	uint16_t pos = (uint16_t)base;
	unsigned int i;

	if (!rd->is_packed) {
		*(volatile uint16_t *)rd->avail_idx = htole16((uint16_t)(pos + 3));
		return;
	}
	for (i = 0; i < 3; i++, pos = rd_packed_advance(rd, pos, 1)) {
		((volatile struct rd_packed_desc *)rd->packed)[pos & 7].flags =
			(uint16_t)(RD_F_INDIRECT | ((pos & RD_WRAP) != 0 ? RD_F_AVAIL : RD_F_USED));
	}
}

static void mutate_concurrently(uint64_t features)
{
	uint64_t end = now_ms() + 1000;
	unsigned int popped = 0;
	unsigned int broken = 0;
	struct ring_driver rd;
	struct mutator m = { .rd = &rd };
	pthread_t thread;

	rd_open(&rd, &(struct rd_options){ .size = 8,
					   .features = INDIRECT | EVENT_IDX | features,
					   .mem_size = 1 << 20,
					   .region_n = 4 });
	m.area_len = 1024;
	m.area = rd_alloc(&rd, m.area_len, 64);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	while (now_ms() < end) {
		struct virtq_config config = rd_config(&rd, sizeof(struct virtq_req));
		struct virtq *vq;
		unsigned int turn;

		fill_ring(&rd, m.area);
		if (!rd.is_packed) {
			config.base = le16toh(*(volatile uint16_t *)rd.avail_idx);
		}
		assert_int_equal(virtq_new(&config, &vq), 0);
		for (turn = 0; turn < 1000 && !virtq_is_broken(vq); turn++) {
			struct virtq_req *reqs[8];
			unsigned int n;

			/* What a driver would do, between two strikes of the other thread. */
			offer_three(&rd, virtq_base(vq));
			n = virtq_pop(vq, reqs, 8);
			popped += n;
			while (n > 0) {
				check_req(reqs[--n], vq);
				virtq_push(vq, reqs[n], 0);
			}
			virtq_commit(vq);
			if (turn % 16 == 0) {
				fill_ring(&rd, m.area);
				virtq_arm(vq);
				virtq_disarm(vq);
			}
		}
		broken += virtq_is_broken(vq);
		virtq_free(vq);
	}
	atomic_store(&m.stop, true);
	pthread_join(thread, NULL);
	rd_close(&rd);
	/* The test must have seen both sides. */
	assert_true(popped > 0);
	assert_true(broken > 0);
}

static void test_concurrent_mutation(void **state)
{
	mutate_concurrently(0);
}

/* T22 */
static void test_concurrent_mutation_packed(void **state)
{
	mutate_concurrently(PACKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call_by_flag),
		cmocka_unit_test(test_call_by_event_index),
		cmocka_unit_test(test_no_lost_call),
		cmocka_unit_test(test_set_call_fd),
		cmocka_unit_test(test_call_fd_full),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_blocking_kick_fd),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_no_kick_fd),
		cmocka_unit_test(test_spill_exhaustion),
		cmocka_unit_test(test_spill_kinds),
		cmocka_unit_test(test_slots_run_out),
		cmocka_unit_test(test_starved_queue_rests),
		cmocka_unit_test(test_req_size),
		cmocka_unit_test(test_break),
		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_lost_memory),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_concurrent_mutation),
		cmocka_unit_test(test_concurrent_mutation_packed),
	};

	return cmocka_run_group_tests_name("virtio.virtqueue", tests, NULL, NULL);
}
