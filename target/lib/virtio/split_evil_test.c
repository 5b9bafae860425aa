/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring and a driver that lies: each broken rule must break the ring and nothing else. */
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

/* One byte that can be written, at a good address. */
static struct rd_buf good(struct ring_driver *rd)
{
	return (struct rd_buf){ rd_alloc(rd, 16, 16), 16, true };
}

static void offer_bufs(struct ring_driver *rd, const struct rd_buf *bufs, unsigned int n)
{
	int head = rd_build(rd, bufs, n);

	assert_true(head >= 0);
	rd_offer(rd, (uint16_t)head);
}

static void offer_one(struct ring_driver *rd, uint64_t gpa, uint32_t len)
{
	offer_bufs(rd, &(struct rd_buf){ gpa, len, true }, 1);
}

/* A head whose descriptor has these raw values. */
static void offer_raw(struct ring_driver *rd, uint64_t addr, uint32_t len, uint16_t flags,
		      uint16_t next)
{
	rd->desc[0] =
		(struct rd_desc){ htole64(addr), htole32(len), htole16(flags), htole16(next) };
	rd_offer(rd, 0);
}

static void offer_table(struct ring_driver *rd, const struct rd_desc *table, unsigned int n)
{
	uint64_t at = rd_alloc(rd, n * sizeof(*table), 16);

	memcpy(rd_ptr(rd, at), table, n * sizeof(*table));
	offer_raw(rd, at, (uint32_t)(n * sizeof(*table)), RD_F_INDIRECT, 0);
}

static void evil_avail_jump(struct ring_driver *rd)
{
	*rd->avail_idx = htole16((uint16_t)(rd->next_avail + SIZE + 1));
}

static void evil_avail_backwards(struct ring_driver *rd)
{
	*rd->avail_idx = htole16((uint16_t)(rd->next_avail - 1));
}

static void evil_head_size(struct ring_driver *rd)
{
	rd_offer(rd, SIZE);
}

static void evil_head_max(struct ring_driver *rd)
{
	rd_offer(rd, 0xffff);
}

static void evil_duplicate_head(struct ring_driver *rd)
{
	struct rd_buf buf = good(rd);
	int head = rd_build(rd, &buf, 1);

	rd_offer(rd, (uint16_t)head);
	rd_offer(rd, (uint16_t)head);
}

static void evil_self_loop(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 1, RD_F_NEXT | RD_F_WRITE, 0);
}

static void evil_two_node_loop(struct ring_driver *rd)
{
	rd->desc[1] = (struct rd_desc){ htole64(good(rd).gpa), htole32(1), htole16(RD_F_NEXT), 0 };
	offer_raw(rd, good(rd).gpa, 1, RD_F_NEXT, 1);
}

static void evil_empty_loop(struct ring_driver *rd)
{
	offer_raw(rd, 0, 0, RD_F_NEXT, 0);
}

static void evil_next(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 1, RD_F_NEXT, SIZE);
}

static void evil_next_max(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 1, RD_F_NEXT, 0xffff);
}

static void evil_table_len_0(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 0, RD_F_INDIRECT, 0);
}

static void evil_table_len_8(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 8, RD_F_INDIRECT, 0);
}

static void evil_table_len_17(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 17, RD_F_INDIRECT, 0);
}

static void evil_table_len_1025(struct ring_driver *rd)
{
	offer_raw(rd, rd_alloc(rd, 1025 * 16, 16), 1025 * 16, RD_F_INDIRECT, 0);
}

/* The one descriptor that counts is good, and so is the memory behind it. */
static void evil_table_len_1025_good(struct ring_driver *rd)
{
	struct rd_buf buf = good(rd);
	uint64_t at = rd_alloc(rd, 1025 * 16, 16);
	struct rd_desc desc = { htole64(buf.gpa), htole32(buf.len), htole16(RD_F_WRITE), 0 };

	memcpy(rd_ptr(rd, at), &desc, sizeof(desc));
	offer_raw(rd, at, 1025 * 16, RD_F_INDIRECT, 0);
}

static void evil_table_len_huge(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 16 * 65536, RD_F_INDIRECT, 0);
}

static void evil_table_len_max(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 0xfffffff0, RD_F_INDIRECT, 0);
}

static void evil_nested(struct ring_driver *rd)
{
	struct rd_desc table = { htole64(good(rd).gpa), htole32(16), htole16(RD_F_INDIRECT), 0 };

	offer_table(rd, &table, 1);
}

static void evil_indirect_next(struct ring_driver *rd)
{
	offer_raw(rd, good(rd).gpa, 16, RD_F_INDIRECT | RD_F_NEXT, 1);
}

/* T11: the last 8 bytes of memory, then a hole. */
static void evil_table_in_hole(struct ring_driver *rd)
{
	offer_raw(rd, rd_region(rd, rd->region_n) - 8, 16, RD_F_INDIRECT, 0);
}

static void evil_table_nowhere(struct ring_driver *rd)
{
	offer_raw(rd, UINT64_MAX - 8, 16, RD_F_INDIRECT, 0);
}

static void evil_table_next(struct ring_driver *rd)
{
	struct rd_desc table[2] = { { htole64(good(rd).gpa), htole32(1), htole16(RD_F_NEXT),
				      htole16(2) } };

	offer_table(rd, table, 2);
}

static void evil_table_loop(struct ring_driver *rd)
{
	struct rd_desc table[2] = {
		{ htole64(good(rd).gpa), htole32(1), htole16(RD_F_NEXT), htole16(1) },
		{ htole64(good(rd).gpa), htole32(1), htole16(RD_F_NEXT), htole16(0) },
	};

	offer_table(rd, table, 2);
}

/* A table that describes itself as a buffer is no loop; that it is its own table is nested. */
static void evil_table_of_itself(struct ring_driver *rd)
{
	uint64_t at = rd_alloc(rd, 16, 16);
	struct rd_desc desc = { htole64(at), htole32(16), htole16(RD_F_INDIRECT), 0 };

	memcpy(rd_ptr(rd, at), &desc, sizeof(desc));
	offer_raw(rd, at, 16, RD_F_INDIRECT, 0);
}

/* 8 direct ones, then a table of 1024: more than the bound for the whole. */
static void evil_direct_and_table(struct ring_driver *rd)
{
	uint64_t table = rd_alloc(rd, 1024 * 16, 16);
	static struct rd_buf bufs[1024];
	struct rd_buf direct[2];
	unsigned int i;
	int head;

	for (i = 0; i < 1024; i++) {
		bufs[i] = (struct rd_buf){ rd_alloc(rd, 2, 2), 1, true };
	}
	rd_fill_table(rd, table, bufs, 1024);
	direct[0] = direct[1] = good(rd);
	direct[0].write = false;
	direct[1] = (struct rd_buf){ table, 1024 * 16, true };
	head = rd_build(rd, direct, 2);
	rd->desc[le16toh(rd->desc[head].next)].flags = htole16(RD_F_INDIRECT);
	rd_offer(rd, (uint16_t)head);
}

static void evil_writable_first(struct ring_driver *rd)
{
	struct rd_buf bufs[2] = { good(rd), good(rd) };

	bufs[1].write = false;
	offer_bufs(rd, bufs, 2);
}

static void evil_empty_writable_first(struct ring_driver *rd)
{
	struct rd_buf bufs[2] = { { 0, 0, true }, good(rd) };

	bufs[1].write = false;
	offer_bufs(rd, bufs, 2);
}

/* T23 */
static void evil_address_wraps(struct ring_driver *rd)
{
	offer_one(rd, UINT64_MAX, 2);
}

static void evil_end_plus_1(struct ring_driver *rd)
{
	offer_one(rd, rd_region(rd, rd->region_n) - 1, 2);
}

static void evil_hole(struct ring_driver *rd)
{
	offer_one(rd, rd_region(rd, rd->region_n), 1);
}

static void evil_before_memory(struct ring_driver *rd)
{
	offer_one(rd, RD_GPA - 1, 2);
}

static void evil_length_max(struct ring_driver *rd)
{
	offer_one(rd, good(rd).gpa, UINT32_MAX);
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
		{ "T1 avail jumps", evil_avail_jump, "jumped", 0, false },
		{ "avail goes back", evil_avail_backwards, "jumped", 0, false },
		{ "T2 head == size", evil_head_size, "head lies outside", 0, false },
		{ "T2 head 0xffff", evil_head_max, "head lies outside", 0, false },
		{ "T3 duplicate head", evil_duplicate_head, "in flight", 1, false },
		{ "T4 self loop", evil_self_loop, "loops", 0, false },
		{ "T5 two-node loop", evil_two_node_loop, "loops", 0, false },
		{ "empty loop", evil_empty_loop, "loops", 0, false },
		{ "T6 next == size", evil_next, "outside of the ring", 0, false },
		{ "T6 next 0xffff", evil_next_max, "outside of the ring", 0, false },
		{ "T8 table of 0", evil_table_len_0, "multiple of 16", 0, false },
		{ "T8 table of 8", evil_table_len_8, "multiple of 16", 0, false },
		{ "T8 table of 17", evil_table_len_17, "multiple of 16", 0, false },
		{ "T8 table of 1025 entries", evil_table_len_1025, "too long", 0, false },
		{ "T8 table of 1025 entries, one good", evil_table_len_1025_good, "too long", 0,
		  false },
		{ "T8 table of 65536 entries", evil_table_len_huge, "too long", 0, false },
		{ "T8 table of 4 GiB", evil_table_len_max, "too long", 0, false },
		{ "T9 nested", evil_nested, "refers to another", 0, false },
		{ "T10 INDIRECT and NEXT", evil_indirect_next, "has a next", 0, false },
		{ "T11 table runs into a hole", evil_table_in_hole, "outside of guest", 0, false },
		{ "table nowhere", evil_table_nowhere, "outside of guest", 0, false },
		{ "next in table", evil_table_next, "outside of its table", 0, false },
		{ "loop in table", evil_table_loop, "loops", 0, false },
		{ "table of itself", evil_table_of_itself, "refers to another", 0, false },
		{ "1 + 1024", evil_direct_and_table, "too long", 0, false },
		{ "indirect not negotiated", evil_nested, "not negotiated", 0, true },
		{ "T12 writable first", evil_writable_first, "follows", 0, false },
		{ "empty writable first", evil_empty_writable_first, "follows", 0, false },
		{ "T23 address wraps", evil_address_wraps, "outside of guest", 0, false },
		{ "T24 end + 1", evil_end_plus_1, "outside of guest", 0, false },
		{ "T26 hole", evil_hole, "outside of guest", 0, false },
		{ "before memory", evil_before_memory, "outside of guest", 0, false },
		{ "length 0xffffffff", evil_length_max, "outside of guest", 0, false },
		{ "T27 8 GiB", evil_sum, "budget", 0, false },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		struct virtq_req *reqs[SIZE];
		struct virtq_stats stats;
		unsigned int n;

		fixture_open(&f, &(struct rd_options){
					 .size = SIZE,
					 .features = cases[i].no_indirect ? 0 : INDIRECT });
		cases[i].evil(&f.rd);
		n = virtq_pop(f.vq, reqs, SIZE);
		if (n != cases[i].popped || !virtq_is_broken(f.vq) ||
		    !strstr(virtq_broken_reason(f.vq), cases[i].reason)) {
			fail_msg("%s: popped %u, %s", cases[i].name, n,
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
		assert_int_equal(*f.rd.used_idx, 0);
		assert_int_equal(rd_drain(f.rd.call_fd), 0);
		assert_int_equal(virtq_pop(f.vq, reqs, SIZE), 0);
		assert_int_equal(virtq_inflight(f.vq), 0);
		assert_true(virtq_arm(f.vq));
		fixture_close(&f);
	}
}

/* T24: up to the very last byte is fine. */
static void test_memory_end(void **state)
{
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = SIZE });
	offer_one(&f.rd, rd_region(&f.rd, f.rd.region_n) - 512, 512);
	assert_int_equal(pop_one(f.vq)->in_len, 512);
	fixture_close(&f);
}

/* Large rings: a chain is bounded by what we can hold, not only by the ring. */
static void test_chain_of_1025(void **state)
{
	static struct rd_buf bufs[VIRTQ_MAX_SEGMENTS + 1];
	struct virtq_req *req;
	struct fixture f;

	fixture_open(&f, &(struct rd_options){ .size = 4096 });
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

/* A head may be used again only when its completion has been published. */
static void test_head_is_busy_until_published(void **state)
{
	struct fixture f;
	struct virtq_req *req;
	struct rd_buf buf;
	int head;

	fixture_open(&f, &(struct rd_options){ .size = SIZE });
	buf = good(&f.rd);
	head = rd_add(&f.rd, &buf, 1);
	virtq_push(f.vq, pop_one(f.vq), 0);
	virtq_commit(f.vq);
	rd_offer(&f.rd, (uint16_t)head);
	virtq_push(f.vq, pop_one(f.vq), 0);
	rd_offer(&f.rd, (uint16_t)head); /* staged, not published */
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

	rd_open(&rd, &(struct rd_options){ .size = SIZE });
	config = rd_config(&rd, sizeof(struct virtq_req));
	config.max_req_bytes = 1000;
	assert_int_equal(virtq_new(&config, &vq), 0);
	at = rd_alloc(&rd, 4096, 1);
	rd_add(&rd, (struct rd_buf[]){ { at, 500, false }, { at, 500, true } }, 2);
	rd_add(&rd, (struct rd_buf[]){ { at, 500, false }, { at, 501, true } }, 2);
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
		cmocka_unit_test(test_memory_end),
		cmocka_unit_test(test_chain_of_1025),
		cmocka_unit_test(test_head_is_busy_until_published),
		cmocka_unit_test(test_byte_budget),
	};

	return cmocka_run_group_tests_name("virtio.split_evil", tests, NULL, NULL);
}
