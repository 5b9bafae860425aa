/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring and a driver that keeps the rules. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <virtq_fixture.h>

#include "base/iov.h"
#include "virtio/virtqueue.h"

#define SIZE 8

/* ---- setting up ---- */

static void test_bad_rings(void **state)
{
	static const struct {
		const char *name;
		int result;
		uint16_t size;
		int64_t desc, avail, used; /* added to the right address */
	} cases[] = {
		{ "good", 0, SIZE, 0, 0, 0 },
		{ "size 0", -EINVAL, 0, 0, 0, 0 },
		{ "size 7", -EINVAL, 7, 0, 0, 0 },
		{ "size 32769", -EINVAL, 32769, 0, 0, 0 },
		{ "size 65535", -EINVAL, 65535, 0, 0, 0 },
		{ "descriptors misaligned", -EFAULT, SIZE, 8, 0, 0 },
		{ "avail misaligned", -EFAULT, SIZE, 0, 1, 0 },
		{ "used misaligned", -EFAULT, SIZE, 0, 0, 2 },
		{ "descriptors before memory", -EFAULT, SIZE, -(4 << 20), 0, 0 },
		{ "avail behind memory", -EFAULT, SIZE, 0, 64 << 20, 0 },
		{ "used ends behind memory", -EFAULT, 32768, 0, 0, 16 << 20 },
		{ "used wraps", -EFAULT, SIZE, 0, 0, -(int64_t)RD_UVA - (1 << 20) },
		{ "used over avail", 0, SIZE, 0, 0, -(SIZE * 2 + 8) },
	};
	struct ring_driver rd;
	unsigned int i;

	rd_open(&rd, &(struct rd_options){ .size = SIZE, .features = EVENT_IDX });
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct virtq_config config = rd_config(&rd, sizeof(struct virtq_req));
		struct virtq *vq = NULL;
		int result;

		config.size = cases[i].size;
		config.desc_uva += (uint64_t)cases[i].desc;
		config.avail_uva += (uint64_t)cases[i].avail;
		config.used_uva += (uint64_t)cases[i].used;
		result = virtq_new(&config, &vq);
		if (result != cases[i].result) {
			fail_msg("%s: %d, expected %d", cases[i].name, result, cases[i].result);
		}
		virtq_free(vq);
	}
	rd_close(&rd);
}

/* ---- a well-behaved driver ---- */

static void test_one_request(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	struct rd_buf bufs[3];
	uint16_t head;
	uint32_t len;
	char text[5] = "";

	fixture_open(&f, &(struct rd_options){ .size = SIZE });
	bufs[0] = (struct rd_buf){ rd_alloc(&f.rd, 4, 1), 4, false };
	bufs[1] = (struct rd_buf){ rd_alloc(&f.rd, 512, 64), 512, true };
	bufs[2] = (struct rd_buf){ rd_alloc(&f.rd, 64, 64) + 1, 1, true };
	memcpy(rd_ptr(&f.rd, bufs[0].gpa), "ping", 4);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_int_equal(rd_add(&f.rd, bufs, 3), 0);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req), 1);
	assert_int_equal(virtq_req_in_n(req), 2); /* not contiguous */
	assert_int_equal(req->out_len, 4);
	assert_int_equal(req->in_len, 513);
	assert_int_equal(iov_gather(req->out, 1, 0, text, 4), 4);
	assert_string_equal(text, "ping");
	assert_int_equal(virtq_inflight(f.vq), 1);
	assert_int_equal(iov_scatter(req->in, 2, 0, "pong", 4), 4);
	virtq_push(f.vq, req, 4);
	assert_int_equal(virtq_inflight(f.vq), 0);
	assert_false(rd_reap(&f.rd, &head, &len)); /* staged only */
	assert_int_equal(virtq_commit(f.vq), 1);
	assert_int_equal(virtq_commit(f.vq), 0);
	assert_true(rd_reap(&f.rd, &head, &len));
	assert_int_equal(head, 0);
	assert_int_equal(len, 4);
	assert_memory_equal(rd_ptr(&f.rd, bufs[1].gpa), "pong", 4);
	assert_int_equal(virtq_base(f.vq), 1);
	fixture_close(&f);
}

/* A readable buffer directly before a writable one in memory must not become one piece. */
static void test_contiguous_parts_stay_apart(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	uint64_t at;

	fixture_open(&f, &(struct rd_options){ .size = SIZE });
	at = rd_alloc(&f.rd, 64, 64);
	rd_add(&f.rd,
	       (struct rd_buf[]){ { at, 8, false },
				  { at + 8, 8, false },
				  { at + 16, 8, true },
				  { at + 24, 8, true } },
	       4);
	req = pop_one(f.vq);
	/* How many pieces each part has is no promise. */
	assert_int_equal(iov_length(req->out, virtq_req_out_n(req)), 16);
	assert_int_equal(iov_length(req->in, virtq_req_in_n(req)), 16);
	assert_ptr_equal(req->in->iov_base, (uint8_t *)req->out->iov_base + 16);
	fixture_close(&f);
}

/* T14: zero-length descriptors in each position, with addresses that lead nowhere. */
static void test_empty_descriptors(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	uint64_t at;

	fixture_open(&f, &(struct rd_options){ .size = SIZE });
	at = rd_alloc(&f.rd, 64, 64);
	rd_add(&f.rd,
	       (struct rd_buf[]){ { 0, 0, false },
				  { at, 8, false },
				  { UINT64_MAX, 0, false },
				  { at, 0, true },
				  { at + 16, 8, true },
				  { 1, 0, true } },
	       6);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req), 1);
	assert_int_equal(virtq_req_in_n(req), 1);
	assert_int_equal(req->out_len, 8);
	assert_int_equal(req->in_len, 8);
	rd_add(&f.rd, (struct rd_buf[]){ { 0, 0, false } }, 1);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req) + virtq_req_in_n(req), 0);
	fixture_close(&f);
}

/* T7, T15, T29: chains as long as they may be, in all ways to lay them out. */
static void test_long_chains(void **state)
{
	static const struct {
		uint16_t ring;
		unsigned int n; /* one-byte buffers, every second byte: they cannot merge */
		bool indirect;
	} cases[] = {
		{ 8, 8, false },       { 128, 128, false },  { 128, 17, false },
		{ 1024, 1024, false }, { 128, 515, true },   { 128, 1024, true },
		{ 8, 1024, true },     { 2, 1, true },	     { 1, 1, false },
		{ 4096, 1024, false }, { 4096, 1024, true },
	};
	static struct rd_buf bufs[VIRTQ_MAX_SEGMENTS];
	unsigned int c;
	unsigned int i;

	for (c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct fixture f;
		struct virtq_req *req;
		unsigned int n = cases[c].n;
		uint64_t at;

		fixture_open(&f,
			     &(struct rd_options){ .size = cases[c].ring, .features = INDIRECT });
		at = rd_alloc(&f.rd, 2 * n, 1);
		for (i = 0; i < n; i++) {
			bufs[i] = (struct rd_buf){ at + 2 * i, 1, i >= n / 2 };
			*(uint8_t *)rd_ptr(&f.rd, at + 2 * i) = (uint8_t)i;
		}
		assert_true((cases[c].indirect ? rd_add_indirect(&f.rd, bufs, n) :
						 rd_add(&f.rd, bufs, n)) >= 0);
		req = pop_one(f.vq);
		assert_int_equal(virtq_req_out_n(req), n / 2);
		assert_int_equal(virtq_req_in_n(req), n - n / 2);
		for (i = 0; i < n; i++) {
			assert_int_equal(*(uint8_t *)req->out[i].iov_base, (uint8_t)i);
			assert_int_equal(req->out[i].iov_len, 1);
		}
		fixture_close(&f);
	}
}

/* Ordinary descriptors ahead of an indirect one: virtio 1.2, 2.7.5.3.2. */
static void test_direct_then_indirect(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	uint64_t at;
	uint64_t table;
	int head;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = INDIRECT });
	at = rd_alloc(&f.rd, 64, 64);
	/* Odd address: a table needs no alignment. The write flag of its descriptor means nothing. */
	table = rd_alloc(&f.rd, 32, 64) + 1;
	rd_fill_table(&f.rd, table,
		      (struct rd_buf[]){ { at + 16, 8, false }, { at + 32, 8, true } }, 2);
	head = rd_build(&f.rd, (struct rd_buf[]){ { at, 8, false }, { table, 32, true } }, 2);
	f.rd.desc[f.rd.desc[head].next].flags = htole16(RD_F_INDIRECT | RD_F_WRITE);
	rd_offer(&f.rd, (uint16_t)head);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req), 2);
	assert_int_equal(virtq_req_in_n(req), 1);
	fixture_close(&f);
}

/* T25: buffers and an indirect table across the border of adjacent regions. */
static void test_regions(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	struct rd_buf bufs[2];
	uint64_t border;
	uint64_t table;
	uint8_t seen[512];
	unsigned int i;
	int head;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = INDIRECT, .region_n = 4 });
	border = rd_region(&f.rd, 1);
	bufs[0] = (struct rd_buf){ border - 100, 512, false };
	bufs[1] = (struct rd_buf){ rd_region(&f.rd, 3) - 1, 2, true };
	for (i = 0; i < 512; i++) {
		((uint8_t *)rd_ptr(&f.rd, bufs[0].gpa))[i] = (uint8_t)(i * 7);
	}
	table = rd_region(&f.rd, 2) - 24; /* within the second entry */
	rd_fill_table(&f.rd, table, bufs, 2);
	head = rd_build(&f.rd, (struct rd_buf[]){ { table, 32, false } }, 1);
	f.rd.desc[head].flags = htole16(RD_F_INDIRECT);
	rd_offer(&f.rd, (uint16_t)head);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req), 2);
	assert_int_equal(virtq_req_in_n(req), 2);
	assert_int_equal(req->out[0].iov_len, 100);
	assert_int_equal(iov_gather(req->out, 2, 0, seen, sizeof(seen)), sizeof(seen));
	assert_memory_equal(seen, rd_ptr(&f.rd, bufs[0].gpa), sizeof(seen));
	assert_int_equal(iov_scatter(req->in, 2, 0, "ab", 2), 2);
	assert_memory_equal(rd_ptr(&f.rd, bufs[1].gpa), "ab", 2);
	fixture_close(&f);
}

/* Indexes wrap at 65536; batches of odd sizes, completed in another order. */
static void test_wrap_around(void **state)
{
	uint64_t features[] = { 0, INDIRECT | EVENT_IDX };
	unsigned int k;

	for (k = 0; k < 2; k++) {
		struct fixture f;
		struct rd_buf buf = { .len = 1, .write = true };
		unsigned int turn;
		unsigned int total = 0;

		fixture_open(&f, &(struct rd_options){
					 .size = SIZE, .features = features[k], .start = 65533 });
		buf.gpa = rd_alloc(&f.rd, 1, 1);
		for (turn = 0; total < 2 * 65536; turn++) {
			struct virtq_req *reqs[SIZE];
			unsigned int n = 1 + turn % SIZE;
			uint16_t before = f.rd.next_avail;
			uint16_t head;
			uint32_t len;
			unsigned int i;

			for (i = 0; i < n; i++) {
				assert_true(rd_add(&f.rd, &buf, 1) >= 0);
			}
			assert_false(rd_wants_kick(&f.rd, before)); /* polled: never */
			assert_int_equal(virtq_pop(f.vq, reqs, SIZE), n);
			for (i = 0; i < n; i++) {
				virtq_push(f.vq, reqs[n - 1 - i], i);
			}
			assert_int_equal(virtq_commit(f.vq), n);
			for (i = 0; i < n; i++) {
				assert_true(rd_reap(&f.rd, &head, &len));
				assert_int_equal(len, i);
			}
			total += n;
		}
		assert_int_equal(virtq_base(f.vq), (uint16_t)(65533 + total));
		fixture_close(&f);
	}
}

static void test_pop_in_parts(void **state)
{
	struct fixture f;
	struct virtq_req *reqs[64];
	struct rd_buf buf = { .len = 1, .write = true };
	struct virtq_stats stats;
	unsigned int i;

	fixture_open(&f, &(struct rd_options){ .size = 64 });
	buf.gpa = rd_alloc(&f.rd, 1, 1);
	for (i = 0; i < 40; i++) {
		rd_add(&f.rd, &buf, 1);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 3), 3);
	assert_int_equal(virtq_pop(f.vq, reqs + 3, 17), 17);
	assert_int_equal(virtq_pop(f.vq, reqs + 20, 0), 0);
	assert_int_equal(virtq_pop(f.vq, reqs + 20, 64), 20);
	assert_int_equal(virtq_pop(f.vq, reqs, 64), 0);
	assert_int_equal(virtq_inflight(f.vq), 40);
	virtq_read_stats(f.vq, &stats);
	assert_int_equal(stats.requests, 40);
	assert_int_equal(stats.batches, 3);
	fixture_close(&f);
}

static void test_unpop(void **state)
{
	struct fixture f;
	struct virtq *successor;
	struct virtq_config config;
	struct virtq_req *reqs[4];
	struct rd_buf bufs[4];
	struct virtq_stats stats;
	unsigned int i;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .start = 65534 });
	for (i = 0; i < 4; i++) {
		bufs[i] = (struct rd_buf){ rd_alloc(&f.rd, 8, 8), i + 1, true };
		rd_add(&f.rd, &bufs[i], 1);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 4), 4);
	virtq_unpop(f.vq, reqs[3]);
	virtq_unpop(f.vq, reqs[2]);
	assert_int_equal(virtq_inflight(f.vq), 2);
	assert_int_equal(virtq_base(f.vq), 0);
	/* They come again... */
	assert_int_equal(virtq_pop(f.vq, reqs + 2, 4), 2);
	assert_int_equal(reqs[2]->in_len, 3);
	assert_int_equal(reqs[3]->in_len, 4);
	virtq_read_stats(f.vq, &stats);
	assert_int_equal(stats.requests, 4);
	/* ...also for whoever serves the ring next. */
	virtq_unpop(f.vq, reqs[3]);
	virtq_push(f.vq, reqs[2], 3);
	virtq_push(f.vq, reqs[1], 2);
	virtq_push(f.vq, reqs[0], 1);
	assert_int_equal(virtq_commit(f.vq), 3);
	config = rd_config(&f.rd, sizeof(struct virtq_req));
	config.base = virtq_base(f.vq);
	assert_int_equal(virtq_new(&config, &successor), 0);
	assert_int_equal(pop_one(successor)->in_len, 4);
	virtq_free(successor);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_contiguous_parts_stay_apart),
		cmocka_unit_test(test_empty_descriptors),
		cmocka_unit_test(test_long_chains),
		cmocka_unit_test(test_direct_then_indirect),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_wrap_around),
		cmocka_unit_test(test_pop_in_parts),
		cmocka_unit_test(test_unpop),
	};

	return cmocka_run_group_tests_name("virtio.split", tests, NULL, NULL);
}
