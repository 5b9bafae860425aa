/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues go from one core to another, with requests, and with all that may be asked of a queue meanwhile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/core_move_rig.h"

/* ---- requests ---- */

/* A driver that never pauses; each request comes back once. */
static void moves_under_requests(const struct rd_options *options)
{
	unsigned int offered = 0;
	unsigned int reaped = 0;
	unsigned int side = 0;
	time_t begin_time = time(NULL);

	begin(options);
	core_leave_queue(&queue);
	for (unsigned int done = 0; done < 400;) {
		if (offered - reaped < 64) {
			offer();
			offered++;
		}
		reaped += reap_all();
		loop_run_once(loop, 0);
		if (moves == 0) {
			continue;
		}
		moves = 0;
		done++;
		assert_int_equal(outcome, 0);
		if (queue.state == CORE_QUEUE_AWAY) {
			side = !side;
			core_enter_queue(sides[side], &queue);
		} else {
			core_leave_queue(&queue);
		}
		assert_true(time(NULL) - begin_time < DEADLINE_SECONDS);
	}
	wait_for_move();
	if (queue.state == CORE_QUEUE_AWAY) {
		enter(sides[0]);
	}
	wait_until_reaped(offered - reaped);
	assert_int_equal(atomic_load(&device.taken), offered);
	assert_int_equal(atomic_load(&device.starts), 202);
	end();
}

static void moves_under_requests_of_a_split_ring(void **state)
{
	moves_under_requests(NULL);
}

static void moves_under_requests_of_a_packed_ring(void **state)
{
	moves_under_requests(&(struct rd_options){
		.features = UINT64_C(1) << VIRTIO_F_RING_PACKED |
			    UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX,
		.size = 100,
	});
}

/* What the driver made available while nobody listened is found without a kick. */
static void what_came_meanwhile_is_found(void **state)
{
	begin(NULL);
	for (unsigned int i = 0; i < 50; i++) {
		leave();
		offer();
		enter(sides[(i + 1) % 2]);
		wait_until_reaped(1);
	}
	end();
}

static void a_queue_leaves_with_its_last_request(void **state)
{
	begin(NULL);
	keep_one();
	core_leave_queue(&queue);
	/* Nothing is fetched any more. */
	offer();
	for (unsigned int i = 0; i < 50; i++) {
		loop_run_once(loop, 1);
	}
	assert_int_equal(moves, 0);
	assert_int_equal(atomic_load(&device.taken), 1);
	let_go();
	wait_for_move();
	assert_int_equal(reap_all(), 1);
	enter(sides[1]);
	wait_until_reaped(1);
	end();
}

/* ---- what else its owner asks for ---- */

static void stop_while_it_leaves(void **state)
{
	begin(NULL);
	keep_one();
	core_leave_queue(&queue);
	core_stop_queue(&queue, false);
	loop_run_once(loop, 10);
	let_go();
	wait_for_answer();
	assert_int_equal(queue.state, CORE_QUEUE_IDLE);
	assert_int_equal(reap_all(), 1);
	assert_int_equal(virtq_base(queue.vq), 1);
	end();
}

static void stop_while_it_is_away(void **state)
{
	begin(NULL);
	leave();
	core_stop_queue(&queue, false);
	assert_false(core_queue_may_enter(&queue));
	wait_for_answer();
	assert_int_equal(queue.state, CORE_QUEUE_IDLE);
	end();
}

static void stop_while_it_enters(void **state)
{
	for (unsigned int refused = 0; refused < 2; refused++) {
		begin(NULL);
		leave();
		atomic_store(&device.refusals, refused);
		core_enter_queue(sides[1], &queue);
		core_stop_queue(&queue, false);
		wait_for_answer();
		assert_int_equal(moves, 1);
		assert_int_equal(outcome, refused ? -EAGAIN : 0);
		assert_int_equal(queue.state, CORE_QUEUE_IDLE);
		end();
	}
}

static void another_call_eventfd(void **state)
{
	struct ring_driver other;

	begin(NULL);
	rd_open(&other, NULL);
	/* While it leaves, while it is away, while it enters. */
	keep_one();
	core_leave_queue(&queue);
	core_set_call(&queue, other.call_fd);
	loop_run_once(loop, 10);
	let_go();
	wait_for_answer();
	assert_true(rd_drain(other.call_fd) > 0);
	moves = 0;
	assert_true(core_queue_may_enter(&queue));
	core_set_call(&queue, ring.call_fd);
	assert_false(core_queue_may_enter(&queue));
	wait_for_answer();
	core_enter_queue(sides[1], &queue);
	core_set_call(&queue, other.call_fd);
	wait_for_answer();
	assert_int_equal(moves, 1);
	assert_int_equal(queue.state, CORE_QUEUE_RUNNING);
	rd_drain(other.call_fd);
	rd_drain(ring.call_fd);
	reap_all();
	offer();
	wait_until_reaped(1);
	end();
	assert_true(rd_drain(other.call_fd) > 0);
	rd_close(&other);
}

static struct guest_mem *without_region(unsigned int i)
{
	const struct guest_mem_region region = {
		.gpa = rd_region(&ring, i),
		.size = ring.region_size,
		.uva = RD_UVA + i * ring.region_size,
	};
	struct guest_mem *mem;

	assert_int_equal(guest_mem_without(ring.guest_mem, &region, &mem), 0);
	return mem;
}

static void other_memory(void **state)
{
	struct guest_mem *less;
	struct guest_mem *ringless;

	begin(&(struct rd_options){ .mem_size = 2 << 20, .region_n = 2 });
	less = without_region(1);
	ringless = without_region(0);
	keep_one();
	core_leave_queue(&queue);
	core_set_mem(&queue, less);
	loop_run_once(loop, 10);
	let_go();
	wait_for_answer();
	assert_int_equal(answer, 0);
	moves = 0;
	core_set_mem(&queue, ringless);
	wait_for_answer();
	assert_int_equal(answer, -EFAULT);
	core_set_mem(&queue, ring.guest_mem);
	wait_for_answer();
	assert_int_equal(answer, 0);
	core_enter_queue(sides[1], &queue);
	core_set_mem(&queue, less);
	wait_for_answer();
	assert_int_equal(answer, 0);
	assert_int_equal(queue.state, CORE_QUEUE_RUNNING);
	guest_mem_unref(less);
	guest_mem_unref(ringless);
	reap_all();
	offer();
	wait_until_reaped(1);
	end();
}

/* A change of memory that waits for requests comes first. */
static void no_move_before_an_answer(void **state)
{
	begin(NULL);
	keep_one();
	core_set_mem(&queue, ring.guest_mem);
	assert_false(core_queue_may_leave(&queue));
	keep_no_more();
	wait_for_answer();
	leave();
	enter(sides[1]);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_under_requests_of_a_split_ring),
		cmocka_unit_test(moves_under_requests_of_a_packed_ring),
		cmocka_unit_test(what_came_meanwhile_is_found),
		cmocka_unit_test(a_queue_leaves_with_its_last_request),
		cmocka_unit_test(stop_while_it_leaves),
		cmocka_unit_test(stop_while_it_is_away),
		cmocka_unit_test(stop_while_it_enters),
		cmocka_unit_test(another_call_eventfd),
		cmocka_unit_test(other_memory),
		cmocka_unit_test(no_move_before_an_answer),
	};

	return cmocka_run_group_tests_name("controller.core_move", tests, open_cores, close_cores);
}
