/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues that go from one core to another, on real reactors (both cores on one reactor where the machine has no
 * second processor), with requests, and with everything else that may be asked of a queue at the same time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <ring_driver.h>

#include "controller/core.h"
#include "virtio/inflight.h"

#define DEADLINE_SECONDS 20
#define BATCH		 16

/* ---- a device that takes requests and gives them back in order, unless it is told to keep them ---- */

struct device {
	struct virtio_device device; /* first */
	atomic_bool keeps;
	atomic_uint taken; /* in all */
	atomic_uint starts;
	atomic_uint refusals; /* so many starts fail */
	/* Updates: what there shall be, and what the queue knows. */
	atomic_uint wanted;
	atomic_uint known;
	atomic_bool held; /* an update waits */
	atomic_uint told; /* updates */
};

struct taker {
	struct device_queue dq; /* first */
	struct virtq_req *kept[BATCH];
	unsigned int kept_n;
};

static int start(struct virtio_device *device, unsigned int index, struct virtq *vq,
		 struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct device *d = (struct device *)device;
	struct taker *taker;

	if (atomic_load(&d->refusals) > 0) {
		atomic_fetch_sub(&d->refusals, 1);
		return -EAGAIN;
	}
	taker = calloc(1, sizeof(*taker));
	if (taker == NULL) {
		return -ENOMEM;
	}
	taker->dq = (struct device_queue){ .device = device, .vq = vq, .index = index };
	atomic_store(&d->known, atomic_load(&d->wanted));
	atomic_fetch_add(&d->starts, 1);
	*ret_queue = &taker->dq;
	return 0;
}

static void give_back(struct taker *taker)
{
	const struct device *d = (const struct device *)taker->dq.device;

	if (atomic_load(&d->keeps)) {
		return;
	}
	for (unsigned int i = 0; i < taker->kept_n; i++) {
		virtq_push(taker->dq.vq, taker->kept[i], 1);
	}
	taker->kept_n = 0;
}

static unsigned int poll(struct device_queue *queue)
{
	struct device *d = (struct device *)queue->device;
	struct taker *taker = (struct taker *)queue;
	unsigned int n = virtq_pop(queue->vq, taker->kept + taker->kept_n, BATCH - taker->kept_n);

	taker->kept_n += n;
	atomic_fetch_add(&d->taken, n);
	give_back(taker);
	return n;
}

static void drain(struct device_queue *queue)
{
	give_back((struct taker *)queue);
}

static bool update(struct device_queue *queue)
{
	struct device *d = (struct device *)queue->device;

	if (atomic_load(&d->held)) {
		return false;
	}
	atomic_store(&d->known, atomic_load(&d->wanted));
	atomic_fetch_add(&d->told, 1);
	return true;
}

static void stop(struct device_queue *queue)
{
	free(queue);
}

static const struct virtio_device_ops ops = {
	.type = "taker",
	.queue_start = start,
	.queue_poll = poll,
	.queue_drain = drain,
	.queue_update = update,
	.queue_stop = stop,
};

/* ---- two cores, a ring, a queue ---- */

static struct loop *loop;
static struct core *sides[2];
static struct env_cpuset cores;
static struct ring_driver ring;
static struct device device;
static struct core_queue queue;
static unsigned int answers;
static unsigned int moves;
static unsigned int breaks;
static int answer;
static int outcome; /* of the last move */

static int open_cores(void **state)
{
	struct reactor_options options = { .mode = REACTOR_ADAPTIVE };
	struct env_options env = { .name = "test", .quiet = true };
	struct reactor *first;
	struct reactor *second;
	unsigned int n = 0;
	const char *why;

	for (unsigned int i = 0; i < ENV_MAX_CORES && n < 2; i++) {
		struct env_cpuset one = { 0 };
		unsigned int bad;

		env_cpuset_add(&one, i);
		if (env_cores_usable(&one, &bad)) {
			env_cpuset_add(&cores, i);
			n++;
		}
	}
	env.cores = cores;
	if (env_init(&env, &why) < 0 || loop_new(&loop) < 0 ||
	    reactors_start(&cores, &options) < 0) {
		return -1;
	}
	first = reactor_next(NULL);
	second = n > 1 ? reactor_next(first) : first;
	return core_new(first, loop, &sides[0]) < 0 ? -1 : core_new(second, loop, &sides[1]);
}

static int close_cores(void **state)
{
	reactors_stop();
	core_free(sides[0]);
	core_free(sides[1]);
	loop_free(loop);
	env_done();
	return 0;
}

static void answered(struct core_queue *q, int result)
{
	answer = result;
	answers++;
}

static void moved(struct core_queue *q, int result)
{
	outcome = result;
	moves++;
}

static void broke(struct core_queue *q)
{
	breaks++;
}

static void wait_for(const unsigned int *number, unsigned int value)
{
	time_t begin = time(NULL);

	while (*number < value) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
	assert_int_equal(*number, value);
}

static void wait_for_answer(void)
{
	wait_for(&answers, 1);
	answers = 0;
}

static void wait_for_move(void)
{
	wait_for(&moves, 1);
	moves = 0;
}

static void wait_for_value(const atomic_uint *number, unsigned int value)
{
	const struct timespec interval = { .tv_nsec = 1000000 };
	time_t begin = time(NULL);

	while (atomic_load(number) != value) {
		nanosleep(&interval, NULL);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
}

static void begin_with(struct inflight_area *area, bool keeps)
{
	struct virtq_config config = rd_config(&ring, sizeof(struct virtq_req));

	config.inflight = area;
	if (area != NULL) {
		config.base = 0; /* what is in flight there does not count */
	}
	device = (struct device){ .device.ops = &ops, .keeps = keeps };
	queue = (struct core_queue){
		.device = &device.device,
		.done = answered,
		.broken = broke,
		.moved = moved,
	};
	answers = moves = breaks = 0;
	assert_int_equal(virtq_new(&config, &queue.vq), 0);
	core_start_queue(sides[0], &queue);
	wait_for_answer();
	assert_int_equal(answer, 0);
}

static void begin(const struct rd_options *options)
{
	rd_open(&ring, options);
	begin_with(NULL, false);
}

/* It is idle, with everything answered. */
static void end(void)
{
	if (queue.state != CORE_QUEUE_IDLE) {
		core_stop_queue(&queue, false);
		wait_for_answer();
	}
	assert_int_equal(queue.state, CORE_QUEUE_IDLE);
	virtq_free(queue.vq);
	rd_close(&ring);
}

static void leave(void)
{
	assert_true(core_queue_may_leave(&queue));
	core_leave_queue(&queue);
	assert_false(core_queue_may_leave(&queue));
	wait_for_move();
	assert_int_equal(outcome, 0);
	assert_true(core_queue_may_enter(&queue));
}

static void enter(struct core *core)
{
	core_enter_queue(core, &queue);
	wait_for_move();
	assert_int_equal(outcome, 0);
	assert_int_equal(queue.state, CORE_QUEUE_RUNNING);
	assert_ptr_equal(queue.core, core);
}

static void offer(void)
{
	const struct rd_buf buf = { rd_region(&ring, 0) + ring.region_size / 2, 1, true };
	uint16_t old = ring.next_avail;

	assert_true(rd_add(&ring, &buf, 1) >= 0);
	if (rd_wants_kick(&ring, old)) {
		rd_kick(&ring);
	}
}

static unsigned int reap_all(void)
{
	unsigned int n = 0;
	uint16_t head;
	uint32_t len;

	while (rd_reap(&ring, &head, &len)) {
		assert_int_equal(len, 1);
		n++;
	}
	return n;
}

static void wait_until_reaped(unsigned int n)
{
	time_t start_time = time(NULL);
	unsigned int got = 0;

	while (got < n) {
		got += reap_all();
		assert_true(time(NULL) - start_time < DEADLINE_SECONDS);
	}
	assert_int_equal(got, n);
}

static void keep_one(void)
{
	atomic_store(&device.keeps, true);
	offer();
	wait_for_value(&device.taken, 1);
}

static atomic_uint nudged;

static void note_nudge(struct msg *msg)
{
	atomic_fetch_add(&nudged, 1);
}

/* No kick and no completion tells a reactor that sleeps. */
static void keep_no_more(void)
{
	struct msg msg = { .fn = note_nudge };

	atomic_store(&device.keeps, false);
	atomic_store(&nudged, 0);
	for (unsigned int i = 0; i < 2; i++) {
		reactor_post(core_reactor(sides[i]), &msg);
		wait_for_value(&nudged, i + 1);
	}
}

/* Until then the queue is still leaving. */
static void let_go(void)
{
	assert_int_equal(queue.state, CORE_QUEUE_LEAVING);
	assert_int_equal(answers, 0);
	keep_no_more();
}

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
		cmocka_unit_test(updates_wait_for_the_other_side),
		cmocka_unit_test(an_update_is_cut_short),
		cmocka_unit_test(a_core_that_cannot_have_it),
		cmocka_unit_test(a_broken_ring_moves),
		cmocka_unit_test(an_abandoned_queue_moves),
		cmocka_unit_test(resubmits_go_along),
		cmocka_unit_test(a_stop_finishes_resubmits),
		cmocka_unit_test(an_abandoned_queue_leaves_resubmits),
	};

	return cmocka_run_group_tests_name("controller.core_move", tests, open_cores, close_cores);
}
