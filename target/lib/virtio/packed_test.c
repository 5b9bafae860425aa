/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring and a driver that keeps the rules. */
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

#define SIZE 7

/* Where the driver stands; after a commit of everything the device must stand there, too. */
static uint32_t driver_base(const struct ring_driver *rd)
{
	return rd->next_avail | (uint32_t)rd->next_used << 16;
}

/* ---- setting up ---- */

static void test_bad_rings(void **state)
{
	static const struct {
		const char *name;
		int result;
		uint16_t size;
		uint32_t base;
		int64_t desc, driver, device; /* added to the right address */
	} cases[] = {
		{ "good", 0, SIZE, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "size 0", -EINVAL, 0, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "size 1", 0, 1, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "size 32767", 0, 32767, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "size 32768", 0, 32768, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "size 32769", -EINVAL, 32769, VIRTQ_PACKED_BASE_INITIAL, 0, 0, 0 },
		{ "last position", 0, SIZE, 0x00060006, 0, 0, 0 },
		{ "avail == size", -EINVAL, SIZE, 0x80068007, 0, 0, 0 },
		{ "used == size", -EINVAL, SIZE, 0x80078006, 0, 0, 0 },
		{ "all in flight", 0, SIZE, 0x80030003, 0, 0, 0 },
		{ "some in flight", 0, SIZE, 0x80038005, 0, 0, 0 },
		{ "used is ahead", -EINVAL, SIZE, 0x80048003, 0, 0, 0 },
		{ "a round and more in flight", -EINVAL, SIZE, 0x80030004, 0, 0, 0 },
		{ "descriptors misaligned", -EFAULT, SIZE, 0, 8, 0, 0 },
		{ "driver area misaligned", -EFAULT, SIZE, 0, 0, 2, 0 },
		{ "device area misaligned", -EFAULT, SIZE, 0, 0, 0, 2 },
		{ "descriptors before memory", -EFAULT, SIZE, 0, -(4 << 20), 0, 0 },
		{ "descriptors end behind memory", -EFAULT, 32768, 0, (16 << 20) - 4096, 0, 0 },
		{ "driver area behind memory", -EFAULT, SIZE, 0, 0, 64 << 20, 0 },
		{ "device area behind memory", -EFAULT, SIZE, 0, 0, 0, 64 << 20 },
	};
	struct ring_driver rd;
	unsigned int i;

	rd_open(&rd, &(struct rd_options){ .size = SIZE, .features = PACKED | EVENT_IDX });
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct virtq_config config = rd_config(&rd, sizeof(struct virtq_req));
		struct virtq *vq = NULL;
		int result;

		config.size = cases[i].size;
		config.base = cases[i].base;
		config.desc_uva += (uint64_t)cases[i].desc;
		config.avail_uva += (uint64_t)cases[i].driver;
		config.used_uva += (uint64_t)cases[i].device;
		result = virtq_new(&config, &vq);
		if (result != cases[i].result) {
			fail_msg("%s: %d, expected %d", cases[i].name, result, cases[i].result);
		}
		if (result == 0) {
			assert_int_equal(virtq_base(vq), cases[i].base);
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
	uint16_t id;
	uint32_t len;
	char text[5] = "";

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = PACKED });
	bufs[0] = (struct rd_buf){ rd_alloc(&f.rd, 4, 1), 4, false };
	bufs[1] = (struct rd_buf){ rd_alloc(&f.rd, 512, 64), 512, true };
	bufs[2] = (struct rd_buf){ rd_alloc(&f.rd, 64, 64) + 1, 1, true };
	memcpy(rd_ptr(&f.rd, bufs[0].gpa), "ping", 4);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_int_equal(rd_build(&f.rd, bufs, 3), 0);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0); /* the first descriptor is not shown yet */
	rd_offer(&f.rd, 0);
	req = pop_one(f.vq);
	assert_int_equal(virtq_req_out_n(req), 1);
	assert_int_equal(virtq_req_in_n(req), 2);
	assert_int_equal(req->out_len, 4);
	assert_int_equal(req->in_len, 513);
	assert_int_equal(iov_gather(req->out, 1, 0, text, 4), 4);
	assert_string_equal(text, "ping");
	assert_int_equal(virtq_inflight(f.vq), 1);
	assert_int_equal(virtq_base(f.vq), 0x80008003);
	assert_int_equal(iov_scatter(req->in, 2, 0, "pong", 4), 4);
	virtq_push(f.vq, req, 4);
	assert_int_equal(virtq_inflight(f.vq), 0);
	assert_false(rd_reap(&f.rd, &id, &len)); /* staged only */
	assert_int_equal(virtq_commit(f.vq), 1);
	assert_int_equal(virtq_commit(f.vq), 0);
	assert_true(rd_reap(&f.rd, &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(len, 4);
	assert_memory_equal(rd_ptr(&f.rd, bufs[1].gpa), "pong", 4);
	assert_int_equal(virtq_base(f.vq), 0x80038003);
	fixture_close(&f);
}

/* As many chains as fit, three times; they come back in reverse order. */
static void go_round(uint16_t size, uint16_t start, unsigned int n)
{
	unsigned int fit = size / n;
	struct virtq_req *reqs[128];
	struct rd_buf bufs[8];
	struct fixture f;
	unsigned int turn, i;
	uint16_t id;
	uint32_t len;

	fixture_open(&f, &(struct rd_options){ .size = size,
					       .features = PACKED,
					       .mem_size = 1 << 20,
					       .start = start });
	for (i = 0; i < n; i++) {
		bufs[i] = (struct rd_buf){ rd_alloc(&f.rd, 32, 32), 1 + i, i >= n / 2 };
	}
	for (turn = 0; turn < 3; turn++) {
		for (i = 0; i < fit; i++) {
			assert_true(rd_add(&f.rd, bufs, n) >= 0);
		}
		assert_int_equal(virtq_pop(f.vq, reqs, 128), fit);
		for (i = 0; i < n * fit; i++) {
			assert_int_equal(reqs[i / n]->out[i % n].iov_len, 1 + i % n);
		}
		for (i = 0; i < fit; i++) {
			assert_ptr_equal(reqs[fit - 1 - i]->in, reqs[fit - 1 - i]->out + n / 2);
			virtq_push(f.vq, reqs[fit - 1 - i], i);
		}
		assert_int_equal(virtq_commit(f.vq), fit);
		for (i = 0; i < fit; i++) {
			assert_true(rd_reap(&f.rd, &id, &len));
			assert_int_equal(len, i);
		}
		assert_false(rd_reap(&f.rd, &id, &len));
		assert_int_equal(virtq_base(f.vq), driver_base(&f.rd));
	}
	fixture_close(&f);
}

/* T20: each way for a chain, and for what describes it when it is used, to lie across the end of the ring. */
static void test_every_position(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 5, 8, 127 };
	unsigned int k, n;
	uint16_t at;

	for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		for (at = 0; at < sizes[k]; at++) {
			for (n = 1; n <= sizes[k] && n <= 8; n++) {
				go_round(sizes[k], at, n);
				go_round(sizes[k], at | RD_WRAP, n);
			}
		}
	}
}

/* T14: zero-length descriptors in each position, with addresses that lead nowhere. */
static void test_empty_descriptors(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	uint64_t at;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = PACKED });
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
	virtq_push(f.vq, req, 1);
	virtq_commit(f.vq);
	/* Six descriptors, whatever has become of them. */
	assert_int_equal(virtq_base(f.vq), 0x80068006);
	fixture_close(&f);
}

/* T7, T15, T21, T29: chains as long as they may be, in all ways to lay them out. */
static void test_long_chains(void **state)
{
	static const struct {
		uint16_t ring;
		uint16_t start;
		unsigned int n; /* one-byte buffers, every second byte: they cannot merge */
		bool indirect;
	} cases[] = {
		{ 8, 0, 8, false },	    { 9, 5, 9, false },	      { 129, 128, 129, false },
		{ 128, 0, 17, false },	    { 1024, 1, 1024, false }, { 128, 0, 515, true },
		{ 128, 127, 1024, true },   { 8, 0, 1024, true },     { 3, 2, 1, true },
		{ 1, 0, 1, false },	    { 1, 0, 5, true },	      { 4095, 3500, 1024, false },
		{ 4096, 4095, 1024, true }, { 8, 0, 7, true },
	};
	static struct rd_buf bufs[VIRTQ_MAX_SEGMENTS];
	unsigned int c;
	unsigned int i;

	for (c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct fixture f;
		struct virtq_req *req;
		unsigned int n = cases[c].n;
		uint64_t at;
		int turn;

		fixture_open(&f, &(struct rd_options){ .size = cases[c].ring,
						       .start = cases[c].start,
						       .features = INDIRECT | PACKED });
		at = rd_alloc(&f.rd, 2 * n, 1);
		for (i = 0; i < n; i++) {
			bufs[i] = (struct rd_buf){ at + 2 * i, 1, i >= n / 2 };
			*(uint8_t *)rd_ptr(&f.rd, at + 2 * i) = (uint8_t)i;
		}
		/* The second time the cache knows the region. */
		for (turn = 0; turn < 2; turn++) {
			uint16_t id;
			uint32_t len;

			assert_true((cases[c].indirect ? rd_add_indirect(&f.rd, bufs, n) :
							 rd_add(&f.rd, bufs, n)) >= 0);
			req = pop_one(f.vq);
			assert_int_equal(virtq_req_out_n(req), n / 2);
			assert_int_equal(virtq_req_in_n(req), n - n / 2);
			for (i = 0; i < n; i++) {
				assert_int_equal(*(uint8_t *)req->out[i].iov_base, (uint8_t)i);
				assert_int_equal(req->out[i].iov_len, 1);
			}
			virtq_push(f.vq, req, 1);
			assert_int_equal(virtq_commit(f.vq), 1);
			assert_true(rd_reap(&f.rd, &id, &len));
		}
		fixture_close(&f);
	}
}

/* T25: buffers and an indirect table across the border of adjacent regions; a table at an odd address. */
static void test_regions(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	struct rd_buf bufs[2];
	uint64_t tables[2];
	uint8_t seen[512];
	unsigned int i, t;

	fixture_open(&f, &(struct rd_options){
				 .size = SIZE, .features = INDIRECT | PACKED, .region_n = 4 });
	bufs[0] = (struct rd_buf){ rd_region(&f.rd, 1) - 100, 512, false };
	bufs[1] = (struct rd_buf){ rd_region(&f.rd, 3) - 1, 2, true };
	for (i = 0; i < 512; i++) {
		((uint8_t *)rd_ptr(&f.rd, bufs[0].gpa))[i] = (uint8_t)(i * 7);
	}
	tables[0] = rd_region(&f.rd, 2) - 24; /* within the second entry */
	tables[1] = rd_alloc(&f.rd, 64, 64) + 1;
	for (t = 0; t < 2; t++) {
		rd_fill_table(&f.rd, tables[t], bufs, 2);
		/* The write flag of the table's descriptor means nothing. */
		rd_build(&f.rd, (struct rd_buf[]){ { tables[t], 32, true } }, 1);
		f.rd.pending_flags |= RD_F_INDIRECT;
		rd_offer(&f.rd, 0);
		req = pop_one(f.vq);
		assert_int_equal(virtq_req_out_n(req), 2);
		assert_int_equal(virtq_req_in_n(req), 2);
		assert_int_equal(req->out[0].iov_len, 100);
		assert_int_equal(iov_gather(req->out, 2, 0, seen, sizeof(seen)), sizeof(seen));
		assert_memory_equal(seen, rd_ptr(&f.rd, bufs[0].gpa), sizeof(seen));
		assert_int_equal(iov_scatter(req->in, 2, 0, "ab", 2), 2);
		assert_memory_equal(rd_ptr(&f.rd, bufs[1].gpa), "ab", 2);
	}
	fixture_close(&f);
}

/* Chains of all kinds that come back in any order, some of them not at the first try. */
static void test_any_order(void **state)
{
	static const uint16_t sizes[] = { 1, 3, 7, 64, 100 };
	uint32_t random = 1;
	unsigned int k;

	for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct virtq_req *out[128];
		unsigned int expect[128];
		unsigned int out_n = 0;
		unsigned int done = 0;
		struct rd_buf bufs[3];
		struct fixture f;

		fixture_open(&f, &(struct rd_options){ .size = sizes[k],
						       .features = PACKED | INDIRECT | EVENT_IDX });
		bufs[0] = (struct rd_buf){ rd_alloc(&f.rd, 16, 16), 16, false };
		bufs[1] = (struct rd_buf){ rd_alloc(&f.rd, 4096, 4096), 0, true };
		bufs[2] = (struct rd_buf){ rd_alloc(&f.rd, 1, 1), 1, true };
		f.rd.alloc_start = f.rd.alloc_next;
		while (done < 3000) {
			unsigned int got, i;
			uint16_t id;
			uint32_t len;

			random = random * 1103515245 + 12345;
			rd_free_all(&f.rd);
			for (i = random >> 16 & 7; i > 0; i--) {
				random = random * 1103515245 + 12345;
				bufs[1].len = 1 + (random >> 12 & 0xff);
				if ((random >> 21 & 1) != 0) {
					rd_add_indirect(&f.rd, bufs, 3);
				} else {
					rd_add(&f.rd, bufs + (random >> 22 & 1),
					       3 - (random >> 22 & 1));
				}
			}
			got = virtq_pop(f.vq, out + out_n, random >> 24 & 7);
			for (i = out_n; i < out_n + got; i++) {
				expect[i] = (unsigned int)out[i]->in_len;
			}
			out_n += got;
			if (got > 1 && (random >> 27 & 1) != 0) {
				virtq_unpop(f.vq, out[--out_n]);
				virtq_unpop(f.vq, out[--out_n]);
			}
			for (i = 0; i < out_n;) {
				random = random * 1103515245 + 12345;
				if ((random >> 18 & 1) == 0) {
					i++;
					continue;
				}
				assert_int_equal(out[i]->in_len, expect[i]);
				virtq_push(f.vq, out[i], expect[i]);
				out_n--;
				out[i] = out[out_n];
				expect[i] = expect[out_n];
			}
			got = virtq_commit(f.vq);
			for (i = 0; i < got; i++) {
				assert_true(rd_reap(&f.rd, &id, &len));
				done++;
			}
			assert_false(rd_reap(&f.rd, &id, &len));
			assert_false(virtq_is_broken(f.vq));
		}
		assert_int_equal(virtq_base(f.vq) >> 16, f.rd.next_used);
		fixture_close(&f);
	}
}

/* Also for whoever serves the ring next. */
static void test_unpop(void **state)
{
	struct fixture f;
	struct virtq *successor;
	struct virtq_config config;
	struct virtq_req *reqs[4];
	struct rd_buf bufs[2];
	unsigned int i;
	uint16_t id;
	uint32_t len;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = PACKED, .start = 5 });
	bufs[0].gpa = rd_alloc(&f.rd, 8, 8);
	bufs[1].gpa = rd_alloc(&f.rd, 8, 8);
	bufs[0].write = bufs[1].write = true;
	for (i = 0; i < 3; i++) {
		bufs[0].len = bufs[1].len = i + 1;
		rd_add(&f.rd, bufs, 2);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 4), 3);
	assert_int_equal(virtq_base(f.vq), 0x80050004);
	virtq_unpop(f.vq, reqs[2]);
	virtq_unpop(f.vq, reqs[1]);
	assert_int_equal(virtq_inflight(f.vq), 1);
	assert_int_equal(virtq_base(f.vq), 0x80050000);
	assert_int_equal(virtq_pop(f.vq, reqs + 1, 4), 2);
	assert_int_equal(reqs[1]->in_len, 4);
	assert_int_equal(reqs[2]->in_len, 6);
	virtq_unpop(f.vq, reqs[2]);
	virtq_push(f.vq, reqs[1], 2);
	virtq_push(f.vq, reqs[0], 1);
	assert_int_equal(virtq_commit(f.vq), 2);
	config = rd_config(&f.rd, sizeof(struct virtq_req));
	config.base = virtq_base(f.vq);
	assert_int_equal(config.base, 0x00020002);
	assert_int_equal(virtq_new(&config, &successor), 0);
	reqs[2] = pop_one(successor);
	assert_int_equal(reqs[2]->in_len, 6);
	virtq_push(successor, reqs[2], 3);
	virtq_commit(successor);
	for (i = 0; i < 3; i++) {
		assert_true(rd_reap(&f.rd, &id, &len));
	}
	assert_int_equal(virtq_base(successor), driver_base(&f.rd));
	virtq_free(successor);
	fixture_close(&f);
}

/* The ring goes on in another mapping, also with requests of the first one out; not where it does not lie. */
static void test_other_memory(void **state)
{
	struct guest_mem_region region = { .gpa = RD_GPA, .uva = RD_UVA };
	struct guest_mem *other;
	struct virtq_req *before, *after;
	struct rd_buf buf = { .len = 8, .write = true };
	struct fixture f;
	uint16_t id;
	uint32_t len;

	fixture_open(&f, &(struct rd_options){ .size = 3, .features = PACKED, .start = 2 });
	buf.gpa = rd_alloc(&f.rd, 8, 8);
	rd_add(&f.rd, &buf, 1);
	before = pop_one(f.vq);
	region.fd = f.rd.mem_fd;
	region.size = 4096;
	region.uva += 1 << 20;
	assert_int_equal(guest_mem_new(&region, 1, &other), 0);
	assert_int_equal(virtq_set_mem(f.vq, other), -EFAULT);
	guest_mem_unref(other);
	region.size = f.rd.mem_size;
	region.uva = RD_UVA;
	assert_int_equal(guest_mem_new(&region, 1, &other), 0);
	assert_int_equal(virtq_set_mem(f.vq, other), 0);
	guest_mem_unref(other);
	rd_add(&f.rd, &buf, 1);
	after = pop_one(f.vq);
	assert_ptr_not_equal(after->in->iov_base, before->in->iov_base);
	memcpy(after->in->iov_base, "another", 8);
	assert_memory_equal(rd_ptr(&f.rd, buf.gpa), "another", 8);
	virtq_push(f.vq, after, 8);
	virtq_commit(f.vq);
	assert_false(virtq_mem_settled(f.vq));
	virtq_push(f.vq, before, 8);
	virtq_commit(f.vq);
	assert_true(virtq_mem_settled(f.vq));
	assert_true(rd_reap(&f.rd, &id, &len));
	assert_true(rd_reap(&f.rd, &id, &len));
	assert_int_equal(virtq_base(f.vq), driver_base(&f.rd));
	fixture_close(&f);
}

/* Fewer slots than the ring has descriptors: the rest waits, without a kick. */
static void test_slots_run_out(void **state)
{
	static struct virtq_req *reqs[2000];
	struct fixture f;
	struct rd_buf buf = { .len = 1, .write = true };
	unsigned int i;

	fixture_open(&f, &(struct rd_options){ .size = 1500, .features = PACKED });
	buf.gpa = rd_alloc(&f.rd, 1, 1);
	for (i = 0; i < 1500; i++) {
		assert_true(rd_add(&f.rd, &buf, 1) >= 0);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 2000), 1024);
	assert_int_equal(virtq_pop(f.vq, reqs + 1024, 900), 0);
	assert_true(virtq_arm(f.vq));
	virtq_push(f.vq, reqs[0], 0);
	virtq_commit(f.vq);
	assert_false(virtq_arm(f.vq));
	assert_int_equal(virtq_pop(f.vq, reqs, 900), 1);
	fixture_close(&f);
}

/* ---- notifications ---- */

static void test_kicks(void **state)
{
	unsigned int k;

	for (k = 0; k < 2; k++) {
		struct fixture f;
		struct virtq_req *reqs[3];
		struct rd_buf buf = { .len = 1, .write = true };
		uint16_t before, at;
		unsigned int turn;

		fixture_open(&f, &(struct rd_options){ .size = 3,
						       .features = PACKED | (k ? EVENT_IDX : 0) });
		buf.gpa = rd_alloc(&f.rd, 1, 1);
		for (turn = 0; turn < 20; turn++) {
			uint16_t id;
			uint32_t len;

			/* Polled. */
			before = f.rd.next_avail;
			rd_add(&f.rd, &buf, 1);
			assert_false(rd_wants_kick(&f.rd, before));
			assert_false(virtq_arm(f.vq)); /* there is one */
			assert_int_equal(virtq_pop(f.vq, reqs, 3), 1);
			/* Armed: the next one is the one that kicks. */
			assert_true(virtq_arm(f.vq));
			before = at = f.rd.next_avail;
			rd_add(&f.rd, &buf, 1);
			assert_true(rd_wants_kick(&f.rd, before));
			before = f.rd.next_avail;
			rd_add(&f.rd, &buf, 1);
			/* With event indexes the one behind it does not. */
			assert_int_equal(rd_wants_kick(&f.rd, before), k == 0);
			assert_true(rd_wants_kick(&f.rd, at)); /* both at once */
			virtq_disarm(f.vq);
			assert_false(rd_wants_kick(&f.rd, at));
			assert_int_equal(virtq_pop(f.vq, reqs + 1, 3), 2);
			virtq_push(f.vq, reqs[1], 0);
			virtq_push(f.vq, reqs[0], 0);
			virtq_push(f.vq, reqs[2], 0);
			assert_int_equal(virtq_commit(f.vq), 3);
			while (rd_reap(&f.rd, &id, &len)) {
			}
			assert_int_equal(f.rd.free_n, 3);
			/* One more, so that all positions have their turn. */
			rd_add(&f.rd, &buf, 1);
			virtq_push(f.vq, pop_one(f.vq), 0);
			virtq_commit(f.vq);
			assert_true(rd_reap(&f.rd, &id, &len));
		}
		fixture_close(&f);
	}
}

/* One chain of `first` and one of `second` descriptors are used at once; is the driver called? */
static bool called(uint64_t features, uint16_t start, const unsigned int *chains,
		   struct rd_event event)
{
	struct fixture f;
	struct virtq_req *reqs[2];
	struct rd_buf bufs[5];
	struct virtq_stats stats;
	unsigned int i;
	bool result;

	fixture_open(&f, &(struct rd_options){ .size = 5,
					       .start = start,
					       .features = PACKED | features,
					       .mem_size = 1 << 20 });
	for (i = 0; i < 5; i++) {
		bufs[i] = (struct rd_buf){ RD_GPA + f.rd.alloc_start, 1, true };
	}
	/* The first commit of a queue calls whatever position it is asked for: one that is far behind here. */
	*f.rd.driver_event =
		(struct rd_event){ htole16(f.rd.next_used ^ RD_WRAP), htole16(RD_EVENT_DESC) };
	for (i = 0; i < 5; i++) {
		uint16_t id;
		uint32_t len;

		rd_add(&f.rd, bufs, 1);
		virtq_push(f.vq, pop_one(f.vq), 0);
		virtq_commit(f.vq);
		assert_true(rd_reap(&f.rd, &id, &len));
		assert_int_equal(rd_drain(f.rd.call_fd), i == 0 || (features & EVENT_IDX) == 0);
	}
	*f.rd.driver_event = (struct rd_event){ htole16(event.off_wrap), htole16(event.flags) };
	for (i = 0; i < 2; i++) {
		assert_true(rd_add(&f.rd, bufs, chains[i]) >= 0);
	}
	assert_int_equal(virtq_pop(f.vq, reqs, 2), 2);
	virtq_push(f.vq, reqs[1], 1);
	virtq_push(f.vq, reqs[0], 1);
	virtq_commit(f.vq);
	result = rd_drain(f.rd.call_fd) == 1;
	virtq_read_stats(f.vq, &stats);
	assert_int_equal(stats.calls + stats.suppressed_calls, 6);
	fixture_close(&f);
	return result;
}

static void test_calls_by_flags(void **state)
{
	static const unsigned int chains[2] = { 1, 1 };
	static const uint64_t features[2] = { 0, EVENT_IDX };
	unsigned int k;

	for (k = 0; k < 2; k++) {
		assert_true(
			called(features[k], 0, chains, (struct rd_event){ 0, RD_EVENT_ENABLE }));
		assert_false(
			called(features[k], 0, chains, (struct rd_event){ 0, RD_EVENT_DISABLE }));
		/* Reserved, and a descriptor without EVENT_IDX: better once too often. */
		assert_true(called(features[k], 0, chains, (struct rd_event){ 0, 3 }));
	}
	assert_true(called(0, 0, chains, (struct rd_event){ 4, RD_EVENT_DESC }));
	/* Reserved bits do not count. */
	assert_false(called(EVENT_IDX, 0, chains, (struct rd_event){ 0, 0xfffd }));
}

/* The position `by` descriptors from `from` in a ring of 5. */
static uint16_t off_wrap(uint16_t from, int by)
{
	int at = from % RD_WRAP + by;
	bool wrap = ((from & RD_WRAP) != 0) != (at < 0 || at >= 5);

	return (uint16_t)((at + 5) % 5 | (wrap ? RD_WRAP : 0));
}

/* Every batch of two chains, every position that the driver may ask for. */
static void test_calls_by_position(void **state)
{
	unsigned int start, first, second;
	int by;

	for (start = 0; start < 10; start++) {
		/* called() goes one round first: what says "wrap counter 0" at its beginning says 1 then. */
		uint16_t used = (uint16_t)(start % 5 | (start >= 5 ? RD_WRAP : 0));

		for (first = 1; first < 5; first++) {
			for (second = 1; first + second <= 5; second++) {
				unsigned int chains[2] = { first, second };

				/* What lies behind is not asked for any more. */
				for (by = -4; by < 5; by++) {
					struct rd_event event = { off_wrap(used, by),
								  RD_EVENT_DESC };

					assert_int_equal(called(EVENT_IDX, used, chains, event),
							 by >= 0 && by < (int)(first + second));
				}
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_every_position),
		cmocka_unit_test(test_empty_descriptors),
		cmocka_unit_test(test_long_chains),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_unpop),
		cmocka_unit_test(test_other_memory),
		cmocka_unit_test(test_slots_run_out),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_calls_by_flags),
		cmocka_unit_test(test_calls_by_position),
	};

	return cmocka_run_group_tests_name("virtio.packed", tests, NULL, NULL);
}
