/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring and a driver that lies: each broken rule must break the ring and nothing else. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <virtq_fixture.h>

#include "virtio/virtqueue.h"

#define SIZE 7

/* One piece that can be written, at a good address. */
static struct rd_buf good(struct ring_driver *rd)
{
	return (struct rd_buf){ rd_alloc(rd, 16, 16), 16, true };
}

/* A descriptor with these raw values at index i; it is available. */
static void put_raw(struct ring_driver *rd, unsigned int i, uint64_t addr, uint32_t len,
		    uint16_t id, uint16_t flags)
{
	rd->packed[i] = (struct rd_packed_desc){ htole64(addr), htole32(len), htole16(id),
						 htole16((uint16_t)(flags | RD_F_AVAIL)) };
}

static void put_good(struct ring_driver *rd, unsigned int i, uint16_t id, uint16_t flags)
{
	put_raw(rd, i, good(rd).gpa, 16, id, (uint16_t)(flags | RD_F_WRITE));
}

static void evil_id_size(struct ring_driver *rd)
{
	put_good(rd, 0, SIZE, 0);
}

static void evil_id_max(struct ring_driver *rd)
{
	put_good(rd, 0, 0xffff, 0);
}

static void evil_id_of_chain(struct ring_driver *rd)
{
	put_good(rd, 0, 0, RD_F_NEXT);
	put_good(rd, 1, SIZE, 0);
}

static void evil_id_twice(struct ring_driver *rd)
{
	put_good(rd, 0, 3, 0);
	put_good(rd, 1, 3, 0);
}

/* The same, where the common way is not taken. */
static void evil_id_twice_empty(struct ring_driver *rd)
{
	put_good(rd, 0, 3, 0);
	put_raw(rd, 1, 0, 0, 3, RD_F_WRITE);
}

static void evil_all_next(struct ring_driver *rd)
{
	unsigned int i;

	for (i = 0; i < SIZE; i++) {
		put_good(rd, i, 0, RD_F_NEXT);
	}
}

static void evil_all_next_empty(struct ring_driver *rd)
{
	unsigned int i;

	for (i = 0; i < SIZE; i++) {
		put_raw(rd, i, 0, 0, 0, RD_F_NEXT);
	}
}

/* The second chain runs over the end of the ring into the first, which is in flight. */
static void evil_chain_over_another(struct ring_driver *rd)
{
	put_good(rd, 0, 0, 0);
	put_good(rd, 1, 1, RD_F_NEXT);
	put_good(rd, 2, 1, RD_F_NEXT);
	put_good(rd, 3, 1, RD_F_NEXT);
	put_good(rd, 4, 1, RD_F_NEXT);
	put_good(rd, 5, 1, RD_F_NEXT);
	put_good(rd, 6, 1, RD_F_NEXT);
}

/* All are in flight; the first is available again in the next round. */
static void evil_second_round(struct ring_driver *rd)
{
	unsigned int i;

	put_good(rd, 0, 0, 0);
	put_good(rd, 1, 1, RD_F_NEXT);
	for (i = 2; i < SIZE - 1; i++) {
		put_good(rd, i, 1, RD_F_NEXT);
	}
	put_good(rd, SIZE - 1, 1, 0);
}

static void evil_table_len_0(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, 0, 0, RD_F_INDIRECT);
}

static void evil_table_len_8(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, 8, 0, RD_F_INDIRECT);
}

static void evil_table_len_17(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, 17, 0, RD_F_INDIRECT);
}

static void evil_table_of_1025(struct ring_driver *rd)
{
	static struct rd_buf bufs[1025];
	uint64_t table = rd_alloc(rd, sizeof(bufs) / sizeof(bufs[0]) * 16, 16);

	bufs[0] = good(rd);
	rd_fill_table(rd, table, bufs, 1025);
	put_raw(rd, 0, table, 1025 * 16, 0, RD_F_INDIRECT);
}

static void evil_table_len_max(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, 0xfffffff0, 0, RD_F_INDIRECT);
}

static void evil_indirect_next(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, 16, 0, RD_F_INDIRECT | RD_F_NEXT);
	put_good(rd, 1, 0, 0);
}

static void evil_indirect_in_chain(struct ring_driver *rd)
{
	put_good(rd, 0, 0, RD_F_NEXT);
	put_raw(rd, 1, good(rd).gpa, 16, 0, RD_F_INDIRECT);
}

static void evil_table_in_hole(struct ring_driver *rd)
{
	put_raw(rd, 0, rd_region(rd, rd->region_n) - 8, 16, 0, RD_F_INDIRECT);
}

static void evil_table_nowhere(struct ring_driver *rd)
{
	put_raw(rd, 0, UINT64_MAX - 8, 16, 0, RD_F_INDIRECT);
}

static void evil_table_id(struct ring_driver *rd)
{
	struct rd_buf buf = good(rd);
	uint64_t table = rd_alloc(rd, 16, 16);

	rd_fill_table(rd, table, &buf, 1);
	put_raw(rd, 0, table, 16, SIZE, RD_F_INDIRECT);
}

static void evil_table_writable_first(struct ring_driver *rd)
{
	struct rd_buf bufs[2] = { good(rd), good(rd) };
	uint64_t table = rd_alloc(rd, 32, 16);

	bufs[1].write = false;
	rd_fill_table(rd, table, bufs, 2);
	put_raw(rd, 0, table, 32, 0, RD_F_INDIRECT);
}

static void evil_writable_first(struct ring_driver *rd)
{
	put_good(rd, 0, 0, RD_F_NEXT);
	put_raw(rd, 1, good(rd).gpa, 1, 0, 0);
}

static void evil_empty_writable_first(struct ring_driver *rd)
{
	put_raw(rd, 0, 0, 0, 0, RD_F_NEXT | RD_F_WRITE);
	put_raw(rd, 1, good(rd).gpa, 1, 0, 0);
}

static void evil_address_wraps(struct ring_driver *rd)
{
	put_raw(rd, 0, UINT64_MAX, 2, 0, RD_F_WRITE);
}

static void evil_end_plus_1(struct ring_driver *rd)
{
	put_raw(rd, 0, rd_region(rd, rd->region_n) - 1, 2, 0, RD_F_WRITE);
}

static void evil_hole(struct ring_driver *rd)
{
	put_good(rd, 0, 0, RD_F_NEXT);
	put_raw(rd, 1, rd_region(rd, rd->region_n), 1, 0, RD_F_WRITE);
}

static void evil_length_max(struct ring_driver *rd)
{
	put_raw(rd, 0, good(rd).gpa, UINT32_MAX, 0, RD_F_WRITE);
}

/* T27: 1024 x 8 MiB is 8 GiB, which is 0 in 32 bit. */
static void evil_sum(struct ring_driver *rd)
{
	static struct rd_buf bufs[1024];
	unsigned int i;

	for (i = 0; i < 1024; i++) {
		bufs[i] = (struct rd_buf){ RD_GPA + (i & 1) * 4096, 8 << 20, true };
	}
	rd_add_indirect(rd, bufs, 1024);
}

static void test_broken(void **state)
{
	static const struct {
		const char *name;
		void (*evil)(struct ring_driver *rd);
		const char *reason;
		unsigned int popped; /* good ones that come out first */
		bool no_indirect;
	} cases[] = {
		{ "T16 id == size", evil_id_size, "id lies outside", 0, false },
		{ "T17 id 0xffff", evil_id_max, "id lies outside", 0, false },
		{ "T16 at the end of a chain", evil_id_of_chain, "id lies outside", 0, false },
		{ "T16 of a table", evil_table_id, "id lies outside", 0, false },
		{ "T18 one id twice", evil_id_twice, "id is in flight", 1, false },
		{ "T18 one id twice, empty", evil_id_twice_empty, "id is in flight", 1, false },
		{ "T19 all have a next", evil_all_next, "too long", 0, false },
		{ "T19 all have a next, empty", evil_all_next_empty, "too long", 0, false },
		{ "T19 into another chain", evil_chain_over_another, "available again", 1, false },
		{ "T8 table of 0", evil_table_len_0, "multiple of 16", 0, false },
		{ "T8 table of 8", evil_table_len_8, "multiple of 16", 0, false },
		{ "T8 table of 17", evil_table_len_17, "multiple of 16", 0, false },
		{ "T8 table of 1025 entries", evil_table_of_1025, "table is too long", 0, false },
		{ "T8 table of 4 GiB", evil_table_len_max, "table is too long", 0, false },
		{ "T10 INDIRECT and NEXT", evil_indirect_next, "has a next", 0, false },
		{ "T21 table in a chain", evil_indirect_in_chain, "in a chain", 0, false },
		{ "T11 table runs into a hole", evil_table_in_hole, "outside of guest", 0, false },
		{ "table nowhere", evil_table_nowhere, "outside of guest", 0, false },
		{ "indirect not negotiated", evil_table_nowhere, "not negotiated", 0, true },
		{ "T12 writable first", evil_writable_first, "follows", 0, false },
		{ "T12 in a table", evil_table_writable_first, "follows", 0, false },
		{ "empty writable first", evil_empty_writable_first, "follows", 0, false },
		{ "T23 address wraps", evil_address_wraps, "outside of guest", 0, false },
		{ "T24 end + 1", evil_end_plus_1, "outside of guest", 0, false },
		{ "T26 hole", evil_hole, "outside of guest", 0, false },
		{ "length 0xffffffff", evil_length_max, "outside of guest", 0, false },
		{ "T27 8 GiB", evil_sum, "budget", 0, false },
	};
	unsigned int i;

	for (i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int c = i / 2;
		struct fixture f;
		struct virtq_req *reqs[SIZE];
		struct virtq_stats stats;
		unsigned int n;

		fixture_open(&f,
			     &(struct rd_options){
				     .size = SIZE,
				     .features = PACKED | (cases[c].no_indirect ? 0 : INDIRECT) });
		if (i % 2 == 1) {
			/* Once more, with memory that is known: it is the other walk then. One round,
			 * and the ring as it was. */
			struct virtq_config config = rd_config(&f.rd, sizeof(struct virtq_req));

			virtq_free(f.vq);
			assert_int_equal(virtq_new(&config, &f.vq), 0);
			put_good(&f.rd, 0, 0, 0);
			virtq_unpop(f.vq, pop_one(f.vq));
			memset(f.rd.packed, 0, SIZE * sizeof(*f.rd.packed));
		}
		cases[c].evil(&f.rd);
		n = virtq_pop(f.vq, reqs, SIZE);
		if (n != cases[c].popped || !virtq_is_broken(f.vq) ||
		    !strstr(virtq_broken_reason(f.vq), cases[c].reason)) {
			fail_msg("%s: popped %u, %s", cases[c].name, n,
				 virtq_broken_reason(f.vq) ? virtq_broken_reason(f.vq) : "fine");
		}
		virtq_read_stats(f.vq, &stats);
		assert_int_equal(stats.malformed, 1);
		assert_int_equal(rd_drain(f.rd.err_fd), 1);
		/* Nothing is looked at any more, nothing is published, and it may sleep. */
		while (n > 0) {
			virtq_push(f.vq, reqs[--n], 0);
		}
		assert_int_equal(virtq_commit(f.vq), 0);
		assert_int_equal(le16toh(f.rd.packed[0].flags) & RD_F_USED, 0);
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		assert_int_equal(virtq_pop(f.vq, reqs, SIZE), 0);
		assert_int_equal(virtq_inflight(f.vq), 0);
		assert_true(virtq_arm(f.vq));
		fixture_close(&f);
	}
}

/* More is available than the ring has room for. */
static void test_round_in_flight(void **state)
{
	struct virtq_req *reqs[2];
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = PACKED });
	evil_second_round(&f.rd);
	assert_int_equal(virtq_pop(f.vq, reqs, 2), 2);
	put_good(&f.rd, 0, 2, 0);
	assert_int_equal(virtq_pop(f.vq, reqs, 2), 0); /* of the round before */
	assert_false(virtq_is_broken(f.vq));
	f.rd.packed[0].flags = htole16(RD_F_WRITE | RD_F_USED);
	assert_int_equal(virtq_pop(f.vq, reqs, 2), 0);
	assert_non_null(strstr(virtq_broken_reason(f.vq), "available again"));
	fixture_close(&f);
}

/* Descriptors that a predecessor took and did not give back are not free. */
static void test_predecessor_in_flight(void **state)
{
	struct virtq_config config;
	struct virtq_req *req;
	struct ring_driver rd;
	struct virtq *vq;

	rd_open(&rd, &(struct rd_options){ .size = SIZE, .features = PACKED });
	config = rd_config(&rd, sizeof(struct virtq_req));
	config.base = 0x80008005; /* five of seven */
	assert_int_equal(virtq_new(&config, &vq), 0);
	put_good(&rd, 5, 0, RD_F_NEXT);
	put_good(&rd, 6, 0, RD_F_NEXT);
	put_good(&rd, 0, 0, 0);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_non_null(strstr(virtq_broken_reason(vq), "available again"));
	virtq_free(vq);
	rd_close(&rd);
}

/* Large rings: a chain is bounded by what we can hold, not only by the ring. */
static void test_chain_of_1025(void **state)
{
	static struct rd_buf bufs[VIRTQ_MAX_SEGMENTS + 1];
	struct virtq_req *req;
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = 4096, .features = PACKED });
	/* One good one; the others are empty, so that there are not too many pieces. */
	bufs[VIRTQ_MAX_SEGMENTS - 1] = good(&f.rd);
	bufs[VIRTQ_MAX_SEGMENTS].write = true;
	assert_true(rd_add(&f.rd, bufs, VIRTQ_MAX_SEGMENTS) >= 0);
	assert_int_equal(virtq_req_in_n(pop_one(f.vq)), 1);
	assert_true(rd_add(&f.rd, bufs, VIRTQ_MAX_SEGMENTS + 1) >= 0);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_non_null(strstr(virtq_broken_reason(f.vq), "too long"));
	fixture_close(&f);
}

/* An id may be used again only when its completion has been published. */
static void test_id_is_busy_until_published(void **state)
{
	struct fixture f;
	struct virtq_req *req;

	fixture_open(&f, &(struct rd_options){ .size = SIZE, .features = PACKED });
	put_good(&f.rd, 0, 2, 0);
	virtq_push(f.vq, pop_one(f.vq), 0);
	virtq_commit(f.vq);
	put_good(&f.rd, 1, 2, 0);
	virtq_push(f.vq, pop_one(f.vq), 0);
	put_good(&f.rd, 2, 2, 0); /* staged, not published */
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_true(virtq_is_broken(f.vq));
	fixture_close(&f);
}

static void test_byte_budget(void **state)
{
	struct ring_driver rd;
	struct virtq_config config;
	struct virtq *vq;
	struct virtq_req *req;
	uint64_t at;
	unsigned int i;

	rd_open(&rd, &(struct rd_options){ .size = SIZE, .features = PACKED });
	config = rd_config(&rd, sizeof(struct virtq_req));
	config.max_req_bytes = 1000;
	assert_int_equal(virtq_new(&config, &vq), 0);
	at = rd_alloc(&rd, 4096, 1);
	for (i = 0; i < 2; i++) {
		rd_add(&rd, (struct rd_buf[]){ { at, 500, false }, { at, 500, true } }, 2);
	}
	rd_add(&rd, (struct rd_buf[]){ { at, 500, false }, { at, 501, true } }, 2);
	assert_int_equal(virtq_pop(vq, &req, 1), 1);
	assert_int_equal(virtq_pop(vq, &req, 1), 1);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_true(virtq_is_broken(vq));
	virtq_free(vq);
	rd_close(&rd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_round_in_flight),
		cmocka_unit_test(test_predecessor_in_flight),
		cmocka_unit_test(test_chain_of_1025),
		cmocka_unit_test(test_id_is_busy_until_published),
		cmocka_unit_test(test_byte_budget),
	};

	return cmocka_run_group_tests_name("virtio.packed_evil", tests, NULL, NULL);
}
