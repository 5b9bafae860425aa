/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues go from one core to another while their device changes, a ring is broken, a front-end leaves, after a crash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/core_move_rig.h"
#include "virtio/inflight.h"

/* ---- updates ---- */

static unsigned int updates;

static void updated(struct core_queue *q)
{
	updates++;
}

static void wait_for_update(void)
{
	time_t begin_time = time(NULL);

	while (!core_queue_is_updated(&queue)) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - begin_time < DEADLINE_SECONDS);
	}
}

static void updates_wait_for_the_other_side(void **state)
{
	begin(NULL);
	queue.updated = updated;
	updates = 0;
	leave();
	atomic_store(&device.wanted, 1);
	core_update_queue(&queue);
	assert_false(core_queue_is_updated(&queue));
	enter(sides[1]);
	wait_for_update();
	assert_int_equal(atomic_load(&device.known), 1);
	assert_int_equal(updates, 1);
	assert_int_equal(atomic_load(&device.told), 1);
	end();
}

/* One that waited on the core that is left is told to the queue once more. */
static void an_update_is_cut_short(void **state)
{
	begin(NULL);
	queue.updated = updated;
	atomic_store(&device.held, true);
	core_update_queue(&queue);
	leave();
	assert_false(core_queue_is_updated(&queue));
	atomic_store(&device.wanted, 2);
	core_update_queue(&queue);
	atomic_store(&device.held, false);
	enter(sides[1]);
	wait_for_update();
	assert_int_equal(atomic_load(&device.known), 2);
	assert_int_equal(atomic_load(&device.told), 1);
	/* A queue that stops in between has nothing to be told any more. */
	leave();
	core_update_queue(&queue);
	core_stop_queue(&queue, false);
	wait_for_answer();
	assert_true(core_queue_is_updated(&queue));
	end();
}

/* ---- when things go wrong ---- */

static void a_core_that_cannot_have_it(void **state)
{
	begin(NULL);
	leave();
	atomic_store(&device.refusals, 1);
	core_enter_queue(sides[1], &queue);
	wait_for_move();
	assert_int_equal(outcome, -EAGAIN);
	assert_true(core_queue_may_enter(&queue));
	offer();
	enter(sides[0]);
	wait_until_reaped(1);
	end();
}

/* It is no news on the other side that a ring is broken, and its driver wakes nobody there either. */
static void a_broken_ring_moves(void **state)
{
	begin(NULL);
	rd_offer(&ring, ring.size);
	rd_kick(&ring);
	wait_for(&breaks, 1);
	leave();
	enter(sides[1]);
	rd_kick(&ring);
	core_set_call(&queue, ring.call_fd); /* a round has passed */
	wait_for_answer();
	assert_int_equal(breaks, 1);
	end();
	assert_int_equal(breaks, 1);
}

/* Nothing is published for a front-end that has left, wherever the queue is at that time. */
static void an_abandoned_queue_moves(void **state)
{
	uint16_t used;

	begin(NULL);
	keep_one();
	core_leave_queue(&queue);
	core_abandon_queue(&queue);
	used = *ring.used_idx;
	loop_run_once(loop, 10);
	let_go();
	wait_for_move();
	offer();
	enter(sides[1]);
	core_set_call(&queue, ring.call_fd);
	wait_for_answer();
	core_stop_queue(&queue, true);
	wait_for_answer();
	assert_int_equal(*ring.used_idx, used);
	assert_int_equal(atomic_load(&device.taken), 1);
	end();
}

/* ---- after a crash ---- */

#define LOST 40

/* Leaves requests in the area that a predecessor has fetched. */
static struct inflight_area *crash(void)
{
	struct virtq_config config = rd_config(&ring, sizeof(struct virtq_req));
	struct inflight_shape shape = { .queue_n = 1, .queue_size = config.size };
	struct virtq_req *reqs[LOST];
	struct inflight_area *area;
	struct virtq *vq;
	int fd;

	shape.size = inflight_area_bytes(&shape);
	assert_int_equal(inflight_area_make(&shape, &fd), 0);
	assert_int_equal(inflight_area_map(&shape, fd, &area), 0);
	close(fd);
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	for (unsigned int i = 0; i < LOST; i++) {
		offer();
	}
	assert_int_equal(virtq_pop(vq, reqs, LOST), LOST);
	virtq_free(vq);
	return area;
}

/* A move does not wait for all that a predecessor had fetched: the rest is popped on the other side. */
static void resubmits_go_along(void **state)
{
	struct inflight_area *area;

	rd_open(&ring, NULL);
	area = crash();
	begin_with(area, true);
	wait_for_value(&device.taken, BATCH);
	core_leave_queue(&queue);
	let_go();
	wait_for_move();
	assert_int_equal(atomic_load(&device.taken), BATCH);
	enter(sides[1]);
	wait_for_value(&device.taken, LOST);
	wait_until_reaped(LOST);
	end();
	inflight_area_unref(area);
}

/* A stop does: without the area nobody would find them. Unless the queue is abandoned. */
static void a_stop_with_resubmits(bool abandon)
{
	struct inflight_area *area;

	rd_open(&ring, NULL);
	area = crash();
	begin_with(area, true);
	wait_for_value(&device.taken, BATCH);
	core_leave_queue(&queue);
	let_go();
	wait_for_move();
	core_stop_queue(&queue, false);
	assert_true(core_queue_may_enter(&queue));
	if (abandon) {
		core_abandon_queue(&queue);
	} else {
		core_enter_queue(sides[1], &queue);
	}
	wait_for_answer();
	assert_int_equal(queue.state, CORE_QUEUE_IDLE);
	assert_int_equal(*ring.used_idx, abandon ? BATCH : LOST);
	end();
	inflight_area_unref(area);
}

static void a_stop_finishes_resubmits(void **state)
{
	a_stop_with_resubmits(false);
}

static void an_abandoned_queue_leaves_resubmits(void **state)
{
	a_stop_with_resubmits(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(updates_wait_for_the_other_side),
		cmocka_unit_test(an_update_is_cut_short),
		cmocka_unit_test(a_core_that_cannot_have_it),
		cmocka_unit_test(a_broken_ring_moves),
		cmocka_unit_test(an_abandoned_queue_moves),
		cmocka_unit_test(resubmits_go_along),
		cmocka_unit_test(a_stop_finishes_resubmits),
		cmocka_unit_test(an_abandoned_queue_leaves_resubmits),
	};

	return cmocka_run_group_tests_name("controller.core_move_trouble", tests, open_cores,
					   close_cores);
}
