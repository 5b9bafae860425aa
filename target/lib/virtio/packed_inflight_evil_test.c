/* SPDX-License-Identifier: BSD-3-Clause */
/* In-flight areas of packed rings that lie (T77, T78), are scribbled on, or cut short, and those of others. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <packed_world.h>

#define SIZE 7
#define PAGE 4096

static const struct rd_options options = { .size = SIZE, .features = PACKED, .mem_size = 1 << 16 };

/* ---- a good area, with a lie in it ---- */

/* Three requests were fetched: of two descriptors (ids 0), of one, and of two. The second is finished. */
static void open_busy(struct world *w)
{
	struct virtq_req *reqs[3];
	struct virtq *vq;

	world_open(w, &options, SIZE + 1);
	vq = world_start(w, world_base(w));
	(void)world_add(w, 2, 16, false);
	(void)world_add(w, 1, 16, false);
	(void)world_add(w, 2, 16, false);
	assert_int_equal(virtq_pop(vq, reqs, 3), 3);
	virtq_push(vq, reqs[1], 0);
	assert_int_equal(virtq_commit(vq), 1);
	virtq_free(vq);
}

static void expect_broken(struct world *w, unsigned int lie)
{
	struct virtq *vq;
	struct virtq_req *req;
	uint8_t before[PAGE];

	memcpy(before, w->area_bytes, PAGE);
	rd_drain(w->rd.err_fd);
	vq = world_start(w, VIRTQ_PACKED_BASE_INITIAL);
	if (!virtq_is_broken(vq)) {
		fail_msg("lie %u is believed", lie);
	}
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_int_equal(virtq_commit(vq), 0);
	assert_false(virtq_has_resubmits(vq));
	assert_int_equal(rd_drain(w->rd.err_fd), 1);
	/* It holds up nobody. */
	assert_int_equal(virtq_set_mem(vq, w->rd.guest_mem), 0);
	assert_true(virtq_mem_settled(vq));
	virtq_free(vq);
	/* Who comes next finds the same. */
	assert_memory_equal(before, w->area_bytes, PAGE);
}

static void expect_good(struct world *w, unsigned int n)
{
	struct virtq *vq = world_start(w, VIRTQ_PACKED_BASE_INITIAL);
	struct virtq_req *reqs[SIZE];

	assert_int_equal(virtq_pop(vq, reqs, SIZE), n);
	assert_false(virtq_is_broken(vq));
	virtq_free(vq);
}

#define HEAD(field)                                     \
	offsetof(struct inflight_packed_region, field), \
		sizeof(((struct inflight_packed_region *)NULL)->field)
#define ENTRY(i, field)                                                                     \
	sizeof(struct inflight_packed_region) + (i) * sizeof(struct inflight_packed_desc) + \
		offsetof(struct inflight_packed_desc, field),                               \
		sizeof(((struct inflight_packed_desc *)NULL)->field)
/* A position, before and after a batch. */
#define POSITION(at, wrap) ((at) | (at) << 16 | UINT64_C(0x0101) * (wrap) << 32)

static void test_lies(void **state)
{
	static const struct {
		size_t at;
		size_t bytes;
		uint64_t value;
	} lies[] = {
		{ HEAD(version), 2 },
		{ HEAD(desc_num), SIZE - 1 },
		{ HEAD(desc_num), SIZE + 2 }, /* more than the area has room for */
		{ HEAD(used_idx), SIZE },
		{ HEAD(old_used_idx), SIZE },
		{ HEAD(used_wrap_counter), 2 },
		{ HEAD(old_used_wrap_counter), 0xff },
		/* The free list: 2, 5, 6. */
		{ HEAD(old_free_head), 5 },
		{ HEAD(old_free_head), SIZE },
		{ ENTRY(2, next), 1 },
		{ ENTRY(2, next), 2 },
		{ ENTRY(6, next), 2 },
		{ ENTRY(6, next), 4 },
		/* The requests: 0 with 1, 3 with 4. */
		{ ENTRY(0, num), 0 },
		{ ENTRY(0, num), 1 },
		{ ENTRY(0, num), 3 },
		{ ENTRY(0, num), 0xffff },
		{ ENTRY(0, last), 0 },
		{ ENTRY(0, last), 3 },
		{ ENTRY(0, last), 0xffff },
		{ ENTRY(0, next), 0 },
		{ ENTRY(0, next), 3 },
		{ ENTRY(0, next), SIZE },
		{ ENTRY(0, inflight), 0 },
		{ ENTRY(1, inflight), 1 },
		{ ENTRY(4, inflight), 1 },
		{ ENTRY(1, id), SIZE },
		{ ENTRY(1, id), 0xffff },
		{ ENTRY(1, id), 2 }, /* that of the other */
		/* A ring that is at another place: nothing is available there. */
		{ HEAD(used), POSITION(5, 1) },
		{ HEAD(used), POSITION(1, 0) },
	};
	struct world w;
	unsigned int i;

	open_busy(&w);
	expect_good(&w, 2);
	world_close(&w);
	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		open_busy(&w);
		memcpy(w.area_bytes + lies[i].at, &lies[i].value, lies[i].bytes);
		expect_broken(&w, i);
		world_close(&w);
	}
}

/* All else is in order: the ring has a descriptor more, too. */
static void test_a_request_with_an_entry_that_is_free(void **state)
{
	struct inflight_packed_region *region;
	struct world w;

	open_busy(&w);
	(void)world_add(&w, 1, 16, false);
	region = world_region(&w);
	region->desc[0].num = 3;
	region->desc[0].last = 2;
	region->desc[2].id = 1;
	expect_broken(&w, 0);
	world_close(&w);
}

/* What breaks no rule of the area, but one of requests: the ring breaks when it is popped. */
static void test_lies_about_descriptors(void **state)
{
	static const struct {
		unsigned int entry;
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} lies[] = {
		{ 0, UINT64_MAX - 1, 16, VRING_DESC_F_WRITE },
		{ 1, 0, 16, VRING_DESC_F_WRITE },
		{ 1, RD_GPA, 16, 0 }, /* readable behind writable */
		{ 0, RD_GPA, 16, VRING_DESC_F_INDIRECT },
		{ 1, RD_GPA, UINT32_MAX, VRING_DESC_F_WRITE },
	};
	unsigned int i;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct inflight_packed_desc *desc;
		struct virtq_req *reqs[SIZE];
		struct virtq *vq;
		struct world w;

		open_busy(&w);
		desc = &world_region(&w)->desc[lies[i].entry];
		desc->addr = lies[i].addr;
		desc->len = lies[i].len;
		desc->flags = lies[i].flags;
		vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
		assert_false(virtq_is_broken(vq));
		assert_int_equal(virtq_pop(vq, reqs, SIZE), 0);
		assert_true(virtq_is_broken(vq));
		virtq_free(vq);
		world_close(&w);
	}
}

/* The front-end says that requests are in flight, and the area is new. */
static void test_base_with_requests(void **state)
{
	struct virtq_req *req;
	struct virtq *vq;
	struct world w;

	world_open(&w, &options, SIZE);
	vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL + 2);
	assert_true(virtq_is_broken(vq));
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_int_equal(world_region(&w)->version, 0);
	virtq_free(vq);
	world_close(&w);
}

/* ---- areas of others ---- */

/* More entries than the ring, as one that was made for a larger queue; a list that is not in order. */
static void test_an_area_of_another_back_end(void **state)
{
	const unsigned int n = 3 * SIZE;
	struct inflight_packed_region *region;
	struct virtq_req *reqs[SIZE];
	struct world w;
	struct virtq *vq;
	unsigned int i;

	world_open(&w, &options, (uint16_t)n);
	region = world_region(&w);
	region->desc_num = (uint16_t)n;
	region->used_wrap_counter = region->old_used_wrap_counter = 1;
	region->free_head = region->old_free_head = (uint16_t)(n - 1);
	for (i = 0; i < n; i++) {
		region->desc[i].next = (uint16_t)(i > 0 ? i - 1 : 0xffff);
	}
	region->version = 1;
	for (i = 0; i < SIZE; i++) {
		(void)world_add(&w, 1, 16, false);
	}
	vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
	assert_int_equal(virtq_pop(vq, reqs, SIZE), SIZE);
	assert_int_equal(region->desc[n - 1].inflight, 1);
	assert_int_equal(region->desc[n - SIZE].inflight, 1);
	assert_int_equal(region->desc[n - SIZE - 1].inflight, 0);
	assert_int_equal(region->old_free_head, n - SIZE - 1);
	virtq_free(vq);
	expect_good(&w, SIZE);
	world_close(&w);
}

/* ---- random bytes ---- */

static void test_random_areas(void **state)
{
	static uint8_t good[sizeof(struct inflight_packed_region) +
			    SIZE * sizeof(struct inflight_packed_desc)];
	static uint8_t ring[SIZE * sizeof(struct packed_desc)];
	unsigned int served = 0;
	unsigned int round;
	unsigned int i;
	struct world w;

	srand(78);
	open_busy(&w);
	memcpy(good, w.area_bytes, sizeof(good));
	memcpy(ring, w.rd.mem, sizeof(ring));
	for (round = 0; round < 20000; round++) {
		struct virtq_req *reqs[SIZE];
		struct virtq *vq;
		unsigned int n;

		memcpy(w.area_bytes, good, sizeof(good));
		memcpy(w.rd.mem, ring, sizeof(ring));
		for (i = 0; i < sizeof(good); i++) {
			/* All of it, or here and there. */
			if (round % 4 == 0 || rand() % 100 == 0) {
				int range = round % 2 == 0 ? 256 : SIZE + 1;

				w.area_bytes[i] = (uint8_t)(rand() % range);
			}
		}
		world_region(&w)->version = round % 8 == 0 ? (uint16_t)rand() : 1;
		vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
		n = virtq_pop(vq, reqs, SIZE);
		for (i = 0; i < n; i++) {
			virtq_push(vq, reqs[i], 0);
		}
		virtq_commit(vq);
		virtq_free(vq);
		served += n;
	}
	assert_true(served > 0);
	world_close(&w);
}

/* Written only: what the front-end scribbles meanwhile leads nowhere. */
static void test_scribbles(void **state)
{
	struct world w;
	struct virtq *vq;
	unsigned int round;
	unsigned int i;

	srand(9);
	world_open(&w, &options, SIZE);
	vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
	for (round = 0; round < 200; round++) {
		struct virtq_req *req;
		uint16_t id;
		uint32_t len;

		(void)world_add(&w, 1 + round % 3, 16, false);
		rd_free_all(&w.rd);
		req = pop_one(vq);
		for (i = 0; i < 32 + 32 * SIZE; i++) {
			w.area_bytes[i] = (uint8_t)rand();
		}
		virtq_push(vq, req, 0);
		assert_int_equal(virtq_commit(vq), 1);
		assert_true(rd_reap(&w.rd, &id, &len));
	}
	virtq_free(vq);
	world_close(&w);
}

/* The driver writes over a descriptor that is in flight: the successor does what was asked for. */
static void test_descriptors_that_change(void **state)
{
	struct world w;
	struct virtq *vq;
	struct virtq_req *req;

	world_open(&w, &options, SIZE);
	vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
	(void)world_add(&w, 1, 16, false);
	req = pop_one(vq);
	w.rd.packed[0].id = htole16(SIZE - 1);
	assert_int_equal(req->head, 0);
	virtq_free(vq);
	vq = world_start(&w, VIRTQ_PACKED_BASE_INITIAL);
	assert_int_equal(pop_one(vq)->head, 0);
	virtq_free(vq);
	world_close(&w);
}

/* ---- no room, cut short ---- */

static void test_no_room(void **state)
{
	struct virtq_config config;
	struct virtq *vq;
	struct world w;

	world_open(&w, &options, SIZE);
	config = rd_config(&w.rd, sizeof(struct virtq_req));
	config.inflight = w.area;
	config.index = 1;
	assert_int_equal(virtq_new(&config, &vq), -EINVAL);
	world_close(&w);

	world_open(&w, &options, SIZE - 1);
	config = rd_config(&w.rd, sizeof(struct virtq_req));
	config.inflight = w.area;
	assert_int_equal(virtq_new(&config, &vq), -EINVAL);
	world_close(&w);
}

/* Rule R9 for the area: no harm, and the session is told. */
static void test_cut_short(void **state)
{
	const struct inflight_shape cut = {
		.size = PAGE, .queue_n = 1, .queue_size = SIZE, .packed = true
	};
	struct inflight_area *area;
	struct virtq_config config;
	struct virtq_req *req;
	struct world w;
	struct virtq *vq;
	int fd = memfd_create("cut", MFD_CLOEXEC);

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	world_open(&w, &options, SIZE);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(inflight_area_map(&cut, fd, &area), 0);
	config = rd_config(&w.rd, sizeof(struct virtq_req));
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	(void)world_add(&w, 1, 16, false);
	(void)world_add(&w, 1, 16, false);
	assert_int_equal(ftruncate(fd, 0), 0);
	req = pop_one(vq);
	virtq_push(vq, req, 0);
	assert_int_equal(virtq_commit(vq), 1);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_true(virtq_is_broken(vq));
	assert_true(virtq_memory_is_lost(vq));
	virtq_free(vq);

	/* At the start. */
	rd_drain(w.rd.err_fd);
	inflight_area_unref(area);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(inflight_area_map(&cut, fd, &area), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	assert_true(virtq_is_broken(vq));
	virtq_free(vq);
	inflight_area_unref(area);
	close(fd);
	world_close(&w);
}

/* vhost-user, "QueueRegionPacked": 32 bytes, and as many for each descriptor. */
static void test_shapes(void **state)
{
	struct inflight_shape shape = { .queue_n = 3, .queue_size = 7, .packed = true };

	assert_int_equal(inflight_area_bytes(&shape), 3 * (32 + 7 * 32));
	shape.queue_size = 8;
	assert_int_equal(inflight_area_bytes(&shape), 3 * (32 + 8 * 32 + 32));
	shape.queue_size = 32768;
	assert_int_equal(inflight_area_bytes(&shape), 3 * (32 + 32768 * 32 + 32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_a_request_with_an_entry_that_is_free),
		cmocka_unit_test(test_lies_about_descriptors),
		cmocka_unit_test(test_base_with_requests),
		cmocka_unit_test(test_an_area_of_another_back_end),
		cmocka_unit_test(test_random_areas),
		cmocka_unit_test(test_scribbles),
		cmocka_unit_test(test_descriptors_that_change),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
