/* SPDX-License-Identifier: BSD-3-Clause */
/* A split ring that others have served, who publish late, or do not know of in-flight areas. */
#include <unistd.h>

#include "virtio/split_inflight.h"
#include <virtq_fixture.h>

#define SIZE 8

/* The memory that is handed from one target to the next. */
struct world {
	struct ring_driver rd;
	int fd;
	struct inflight_area *area;
	struct inflight_split_region *region;
};

static void world_open(struct world *w)
{
	struct inflight_shape shape = { .queue_n = 1, .queue_size = SIZE };

	rd_open(&w->rd, &(struct rd_options){ .size = SIZE, .mem_size = 1 << 16 });
	shape.size = inflight_area_bytes(&shape);
	assert_int_equal(inflight_area_make(&shape, &w->fd), 0);
	assert_int_equal(inflight_area_map(&shape, w->fd, &w->area), 0);
	w->region = inflight_area_region(w->area, 0, false, SIZE);
	assert_non_null(w->region);
}

static void world_close(struct world *w)
{
	close(w->fd);
	inflight_area_unref(w->area);
	rd_close(&w->rd);
}

static struct virtq *start(struct world *w, uint16_t base)
{
	struct virtq_config config = rd_config(&w->rd, sizeof(struct virtq_req));
	struct virtq *vq;

	config.base = base;
	config.inflight = w->area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	return vq;
}

static void add_one(struct world *w)
{
	const struct rd_buf buf = { rd_alloc(&w->rd, 16, 16), 16, true };

	assert_true(rd_add(&w->rd, &buf, 1) >= 0);
}

/* Somebody else served the ring meanwhile, and did not keep the area: it says that nothing is in flight, and where
 * the ring was long ago. */
static void test_a_stranger_in_between(void **state)
{
	static const uint16_t distances[] = { 1, SIZE, SIZE + 1, 1000, 32768, 65535 };
	struct virtq_req *req;
	struct world w;
	struct virtq *vq;
	size_t i;

	world_open(&w);
	for (i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		uint16_t used = le16toh(*w.rd.used_idx);
		uint16_t head;
		uint32_t len;

		vq = start(&w, used);
		virtq_free(vq);
		w.region->used_idx = (uint16_t)(used - distances[i]);
		vq = start(&w, used);
		assert_false(virtq_is_broken(vq));
		assert_false(virtq_has_resubmits(vq));
		assert_int_equal(w.region->used_idx, used);
		add_one(&w);
		req = pop_one(vq);
		virtq_push(vq, req, 0);
		virtq_commit(vq);
		assert_true(rd_reap(&w.rd, &head, &len));
		assert_int_equal(w.region->used_idx, (uint16_t)(used + 1));
		virtq_free(vq);
	}
	world_close(&w);
}

/* A front-end that looked at the used index before its target had published the last: nothing is done twice. */
static void test_a_base_that_is_old(void **state)
{
	struct virtq_req *req;
	struct world w;
	struct virtq *vq;
	int i;

	world_open(&w);
	vq = start(&w, 0);
	for (i = 0; i < 4; i++) {
		add_one(&w);
	}
	for (i = 0; i < 3; i++) {
		req = pop_one(vq);
		if (i > 0) {
			virtq_push(vq, req, 0);
		}
	}
	virtq_commit(vq);
	virtq_free(vq);
	vq = start(&w, 1); /* it is 2 */
	assert_int_equal(pop_one(vq)->head, 0);
	assert_int_equal(pop_one(vq)->head, 3);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(virtq_base(vq), 2);
	virtq_free(vq);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stranger_in_between),
		cmocka_unit_test(test_a_base_that_is_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
