/* SPDX-License-Identifier: BSD-3-Clause */
/* What a queue writes to guest memory is logged: all of it, when it is written, and nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <virtq_fixture.h>

#include "virtio/ring.h"

#define PAGE	  UINT64_C(4096)
#define LOG_BYTES 4096 /* of 128 MiB */

struct log_fixture {
	struct fixture base;
	int fd;
	uint8_t *bits;
	struct ring_log log;
	uint64_t data; /* 64 pages */
};

static void new_log(struct log_fixture *f)
{
	f->fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->fd, LOG_BYTES), 0);
	f->bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	assert_ptr_not_equal(f->bits, MAP_FAILED);
	assert_int_equal(dirty_log_map(0, LOG_BYTES, f->fd, &f->log.log), 0);
}

static void forget_log(struct log_fixture *f)
{
	dirty_log_unref(f->log.log);
	munmap(f->bits, LOG_BYTES);
	close(f->fd);
}

/* With logging on, of the ring, too. */
static void open_logging(struct log_fixture *f, uint64_t features, uint16_t size, uint16_t start)
{
	memset(f, 0, sizeof(*f));
	fixture_open(&f->base,
		     &(struct rd_options){ .size = size, .features = features, .start = start });
	f->data = rd_alloc(&f->base.rd, 64 * PAGE, PAGE);
	new_log(f);
	f->log.used = true;
	f->log.used_gpa = f->base.rd.used_gpa;
	f->log.event_fd = -1;
	virtq_set_log(f->base.vq, &f->log);
	memset(f->bits, 0, LOG_BYTES);
}

static void close_logging(struct log_fixture *f)
{
	fixture_close(&f->base);
	forget_log(f);
}

static bool dirty(const struct log_fixture *f, uint64_t gpa)
{
	return f->bits[gpa / PAGE / 8] >> gpa / PAGE % 8 & 1;
}

static unsigned int dirty_pages(const struct log_fixture *f)
{
	unsigned int n = 0;
	unsigned int i;

	for (i = 0; i < LOG_BYTES; i++) {
		n += (unsigned int)__builtin_popcount(f->bits[i]);
	}
	return n;
}

/* Pops a request with a header and one buffer to write to. */
static struct virtq_req *fetch(struct log_fixture *f, uint64_t gpa, uint32_t len)
{
	const struct rd_buf bufs[] = { { f->data, 16, false }, { gpa, len, true } };

	assert_true(rd_add(&f->base.rd, bufs, 2) >= 0);
	return pop_one(f->base.vq);
}

static void reap(struct log_fixture *f)
{
	assert_true(rd_reap(&f->base.rd, &(uint16_t){ 0 }, &(uint32_t){ 0 }));
}

static const uint64_t formats[] = { 0, PACKED, EVENT_IDX, PACKED | EVENT_IDX };
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

/* Where a batch of one is written to in the ring. */
static uint64_t ring_gpa(const struct log_fixture *f)
{
	return f->base.rd.is_packed ? f->base.rd.desc_gpa : f->base.rd.used_gpa;
}

static void test_buffers_and_ring(void **state)
{
	struct log_fixture f;
	struct virtq_req *req;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 16, 0);
		req = fetch(&f, f.data + 3 * PAGE - 1, PAGE + 2);
		assert_int_equal(dirty_pages(&f), 0); /* nothing has been written */
		virtq_push(f.base.vq, req, PAGE + 2);
		assert_true(dirty(&f, f.data + 2 * PAGE));
		assert_true(dirty(&f, f.data + 3 * PAGE));
		assert_true(dirty(&f, f.data + 4 * PAGE));
		assert_int_equal(dirty_pages(&f),
				 3); /* not what it has read from, and no ring yet */
		assert_int_equal(virtq_commit(f.base.vq), 1);
		assert_true(dirty(&f, ring_gpa(&f)));
		assert_int_equal(dirty_pages(&f), 4);
		reap(&f);
		close_logging(&f);
	}
}

/* A device may write more than it counts: a status byte behind data that has not come. */
static void test_all_of_the_writable_part(void **state)
{
	struct log_fixture f;
	struct virtq_req *req;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		const struct rd_buf bufs[] = {
			{ 0, 16, false }, { 0, 512, true }, { 0, 0, true }, { 0, PAGE + 1, true }
		};
		struct rd_buf placed[4];

		open_logging(&f, formats[i], 16, 0);
		memcpy(placed, bufs, sizeof(bufs));
		placed[0].gpa = f.data;
		placed[1].gpa = f.data + 8 * PAGE;
		placed[2].gpa = f.data + 12 * PAGE;
		placed[3].gpa = f.data + 16 * PAGE;
		assert_true(rd_add(&f.base.rd, placed, 4) >= 0);
		req = pop_one(f.base.vq);
		/* As blk does that keeps the last byte for the status. */
		req->end[-1].iov_len--;
		virtq_push(f.base.vq, req, 0);
		assert_true(dirty(&f, f.data + 8 * PAGE));
		assert_true(dirty(&f, f.data + 16 * PAGE));
		assert_true(dirty(&f, f.data + 17 * PAGE));
		assert_int_equal(dirty_pages(&f), 3);
		virtq_commit(f.base.vq);
		close_logging(&f);
	}
}

static void test_nothing_to_write_to(void **state)
{
	struct log_fixture f;
	const struct rd_buf *buf;

	open_logging(&f, 0, 16, 0);
	buf = &(const struct rd_buf){ f.data, 16, false };
	assert_true(rd_add(&f.base.rd, buf, 1) >= 0);
	virtq_push(f.base.vq, pop_one(f.base.vq), 0);
	assert_int_equal(dirty_pages(&f), 0);
	close_logging(&f);
}

/* A buffer over the border of two regions, which lie anywhere here. */
static void test_regions(void **state)
{
	struct log_fixture f;
	uint64_t border;

	memset(&f, 0, sizeof(f));
	fixture_open(&f.base, &(struct rd_options){ .size = 16, .region_n = 4 });
	new_log(&f);
	f.data = rd_region(&f.base.rd, 2);
	border = rd_region(&f.base.rd, 3);
	virtq_set_log(f.base.vq, &f.log);
	virtq_push(f.base.vq, fetch(&f, border - 1, 2), 2);
	assert_true(dirty(&f, border - 1));
	assert_true(dirty(&f, border));
	assert_int_equal(dirty_pages(&f), 2);
	close_logging(&f);
}

/* The ring over its end. */
static void test_used_ring_wraps(void **state)
{
	const uint16_t size = 2048;
	const uint64_t used = UINT64_C(100)
			      << 20; /* there is no memory: what was agreed is what counts */
	struct virtq_req *reqs[3];
	struct log_fixture f;
	unsigned int i;

	open_logging(&f, 0, size, (uint16_t)(size - 1));
	f.log.used_gpa = used;
	virtq_set_log(f.base.vq, &f.log);
	memset(f.bits, 0, LOG_BYTES);
	for (i = 0; i < 3; i++) {
		const struct rd_buf buf = { f.data, 1, true };

		assert_true(rd_add(&f.base.rd, &buf, 1) >= 0);
	}
	assert_int_equal(virtq_pop(f.base.vq, reqs, 3), 3);
	for (i = 0; i < 3; i++) {
		virtq_push(f.base.vq, reqs[i], 1);
	}
	virtq_commit(f.base.vq);
	/* 4 bytes of flags and index come first: the last element lies on two pages. */
	assert_true(dirty(&f, used + 3 * PAGE));
	assert_true(dirty(&f, used + 4 * PAGE));
	assert_true(dirty(&f, used));
	assert_true(dirty(&f, f.data));
	assert_int_equal(dirty_pages(&f), 4);
	close_logging(&f);
}

/* Descriptors of a packed ring: the used one of each list, over the end of the ring. */
static void test_packed_ring_wraps(void **state)
{
	const uint16_t size = 1000;
	struct virtq_req *reqs[3];
	struct log_fixture f;
	unsigned int i;

	open_logging(&f, PACKED, size, (uint16_t)(size - 1));
	for (i = 0; i < 3; i++) {
		const struct rd_buf buf = { f.data, 1, true };

		assert_true(rd_add(&f.base.rd, &buf, 1) >= 0);
	}
	assert_int_equal(virtq_pop(f.base.vq, reqs, 3), 3);
	for (i = 0; i < 3; i++) {
		virtq_push(f.base.vq, reqs[i], 1);
	}
	virtq_commit(f.base.vq);
	assert_true(dirty(&f, f.base.rd.desc_gpa + 16 * (size - 1)));
	assert_true(dirty(&f, f.base.rd.desc_gpa));
	assert_true(dirty(&f, f.data));
	assert_int_equal(dirty_pages(&f), 3);
	close_logging(&f);
}

static uint64_t wish_gpa(const struct log_fixture *f, uint16_t size)
{
	if (f->base.rd.is_packed || (f->base.rd.features & EVENT_IDX) == 0) {
		return f->base.rd.used_gpa; /* the flags, or the event suppression */
	}
	return f->base.rd.used_gpa + 4 + 8 * size;
}

static void test_wish_for_kicks(void **state)
{
	const uint16_t size = 1024;
	struct log_fixture f;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], size, 0);
		virtq_arm(f.base.vq);
		assert_true(dirty(&f, wish_gpa(&f, size)));
		assert_int_equal(dirty_pages(&f), 1);
		memset(f.bits, 0, LOG_BYTES);
		virtq_disarm(f.base.vq);
		assert_true(dirty(&f, wish_gpa(&f, size)));
		assert_int_equal(dirty_pages(&f), 1);
		close_logging(&f);
	}
}

/* Without VHOST_VRING_F_LOG. The descriptors of a packed ring are what drivers give us, as buffers are. */
static void test_without_the_ring(void **state)
{
	struct log_fixture f;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 16, 0);
		f.log.used = false;
		virtq_set_log(f.base.vq, &f.log);
		virtq_push(f.base.vq, fetch(&f, f.data + PAGE, 1), 1);
		virtq_commit(f.base.vq);
		virtq_arm(f.base.vq);
		assert_int_equal(dirty_pages(&f), f.base.rd.is_packed ? 2 : 1);
		close_logging(&f);
	}
}

static void test_on_and_off_and_another(void **state)
{
	static const struct ring_log off = { .event_fd = -1 };
	struct log_fixture f;
	struct log_fixture old;
	struct virtq_req *req;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 16, 0);
		virtq_set_log(f.base.vq, &off);
		virtq_push(f.base.vq, fetch(&f, f.data + PAGE, 1), 1);
		virtq_commit(f.base.vq);
		virtq_arm(f.base.vq);
		assert_int_equal(dirty_pages(&f), 0);
		/* Under a request that has been fetched: what it writes may come afterwards. */
		req = fetch(&f, f.data + 2 * PAGE, 1);
		virtq_set_log(f.base.vq, &f.log);
		virtq_push(f.base.vq, req, 1);
		virtq_commit(f.base.vq);
		assert_true(dirty(&f, f.data + 2 * PAGE));
		assert_true(dirty(&f, ring_gpa(&f)));
		/* Another log; nothing more comes to the old one. */
		req = fetch(&f, f.data + 3 * PAGE, 1);
		old = f;
		memset(old.bits, 0, LOG_BYTES);
		new_log(&f);
		virtq_set_log(f.base.vq, &f.log);
		virtq_push(f.base.vq, req, 1);
		virtq_commit(f.base.vq);
		virtq_arm(f.base.vq);
		assert_true(dirty(&f, f.data + 3 * PAGE));
		assert_true(dirty(&f, ring_gpa(&f)));
		assert_int_equal(dirty_pages(&old), 0);
		forget_log(&old);
		close_logging(&f);
	}
}

/* From the start: the first thing that a queue writes is that it wants no kicks. */
static void test_from_the_start(void **state)
{
	struct log_fixture f;
	struct virtq_config config;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 1024, 0);
		virtq_free(f.base.vq);
		config = rd_config(&f.base.rd, sizeof(struct virtq_req));
		config.log = f.log;
		assert_int_equal(virtq_new(&config, &f.base.vq), 0);
		assert_true(dirty(&f, wish_gpa(&f, 1024)));
		assert_int_equal(dirty_pages(&f), 1);
		close_logging(&f);
	}
}

/* The snapshot that the request was fetched from is not the queue's any more. */
static void test_memory_that_has_been_removed(void **state)
{
	struct guest_mem_region region;
	struct log_fixture f;
	struct guest_mem *less;
	struct virtq_req *req;

	memset(&f, 0, sizeof(f));
	fixture_open(&f.base, &(struct rd_options){ .size = 16, .region_n = 4 });
	new_log(&f);
	f.data = rd_region(&f.base.rd, 2);
	virtq_set_log(f.base.vq, &f.log);
	req = fetch(&f, f.data + PAGE, 1);
	region = (struct guest_mem_region){ .gpa = f.data,
					    .size = f.base.rd.region_size,
					    .uva = RD_UVA + 2 * f.base.rd.region_size };
	assert_int_equal(guest_mem_without(f.base.rd.guest_mem, &region, &less), 0);
	assert_int_equal(virtq_set_mem(f.base.vq, less), 0);
	guest_mem_unref(less);
	virtq_push(f.base.vq, req, 1);
	assert_true(dirty(&f, f.data + PAGE));
	assert_int_equal(virtq_commit(f.base.vq), 1);
	assert_true(virtq_mem_settled(f.base.vq));
	assert_false(virtq_is_broken(f.base.vq));
	close_logging(&f);
}

static void small_log(struct log_fixture *f, uint64_t bytes)
{
	dirty_log_unref(f->log.log);
	assert_int_equal(dirty_log_map(0, bytes, f->fd, &f->log.log), 0);
}

/* T75: what cannot be logged is not shown to the driver. */
static void test_outside_of_the_log(void **state)
{
	struct log_fixture f;
	struct virtq_req *req;
	size_t i;

	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 16, 0);
		/* The ring is inside, the buffer is not. */
		small_log(&f, f.data / PAGE / 8 + 1);
		virtq_set_log(f.base.vq, &f.log);
		assert_false(virtq_is_broken(f.base.vq));
		req = fetch(&f, f.data + 8 * PAGE, 1);
		virtq_push(f.base.vq, req, 1);
		assert_string_equal(virtq_broken_reason(f.base.vq),
				    "guest memory lies outside of the dirty log");
		assert_int_equal(virtq_commit(f.base.vq), 0);
		assert_false(rd_reap(&f.base.rd, &(uint16_t){ 0 }, &(uint32_t){ 0 }));
		assert_int_equal(rd_drain(f.base.rd.err_fd), 1);
		assert_int_equal(dirty_pages(&f), 0);
		close_logging(&f);
	}
}

static void test_ring_outside_of_the_log(void **state)
{
	static const uint64_t places[] = {
		LOG_BYTES * 8 * PAGE, LOG_BYTES * 8 * PAGE - 3, UINT64_MAX, UINT64_MAX - 3,
		1ull << 63,
	};
	struct log_fixture f;
	size_t i;
	size_t k;

	for (i = 0; i < FORMATS; i++) {
		for (k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
			open_logging(&f, formats[i], 16, 0);
			f.log.used_gpa = places[k];
			virtq_set_log(f.base.vq, &f.log);
			assert_string_equal(virtq_broken_reason(f.base.vq),
					    "the used ring lies outside of the dirty log");
			virtq_arm(f.base.vq);
			virtq_disarm(f.base.vq);
			assert_int_equal(dirty_pages(&f), 0);
			close_logging(&f);
		}
	}
}

/* Rule R9 */
static void test_log_cut_short(void **state)
{
	struct log_fixture f;
	size_t i;

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	for (i = 0; i < FORMATS; i++) {
		open_logging(&f, formats[i], 16, 0);
		assert_int_equal(ftruncate(f.fd, 0), 0);
		virtq_push(f.base.vq, fetch(&f, f.data + PAGE, 1), 1);
		virtq_commit(f.base.vq);
		assert_true(virtq_is_broken(f.base.vq));
		assert_true(virtq_memory_is_lost(f.base.vq));
		close_logging(&f);
	}
}

/* SET_LOG_FD */
static void test_front_end_is_told(void **state)
{
	struct log_fixture f;
	int fd;

	open_logging(&f, 0, 16, 0);
	fd = f.base.rd.kick_fd; /* any eventfd */
	f.log.event_fd = fd;
	virtq_set_log(f.base.vq, &f.log);
	assert_int_equal(rd_drain(fd), 0);
	virtq_push(f.base.vq, fetch(&f, f.data + PAGE, 1), 1);
	virtq_commit(f.base.vq);
	assert_int_equal(rd_drain(fd), 1);
	virtq_commit(f.base.vq);
	assert_int_equal(rd_drain(fd), 0);
	close_logging(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffers_and_ring),
		cmocka_unit_test(test_all_of_the_writable_part),
		cmocka_unit_test(test_nothing_to_write_to),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_used_ring_wraps),
		cmocka_unit_test(test_packed_ring_wraps),
		cmocka_unit_test(test_wish_for_kicks),
		cmocka_unit_test(test_without_the_ring),
		cmocka_unit_test(test_on_and_off_and_another),
		cmocka_unit_test(test_from_the_start),
		cmocka_unit_test(test_memory_that_has_been_removed),
		cmocka_unit_test(test_outside_of_the_log),
		cmocka_unit_test(test_ring_outside_of_the_log),
		cmocka_unit_test(test_log_cut_short),
		cmocka_unit_test(test_front_end_is_told),
	};

	return cmocka_run_group_tests_name("virtio.virtq_log", tests, NULL, NULL);
}
