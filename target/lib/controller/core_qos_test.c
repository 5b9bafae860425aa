/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits and coalescing on a real reactor that sleeps: what is held back has to come all the same, in time. */
#include <poll.h>
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
#include "controller/qos.h"

#define DEADLINE_SECONDS 20
#define QUEUES		 2
#define RING		 1024
#define LONG_GAP_US	 (UINT64_C(1000) * 1000000)
#define BURST		 (500 * QOS_BURST_MS / 1000 + 2)

/* ---- a device that does at once what it takes ---- */

struct quick_device {
	struct virtio_device device; /* first */
	bool no_io;
	atomic_uint done[QUEUES];
};

static int quick_start(struct virtio_device *device, unsigned int index, struct virtq *vq,
		       struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct device_queue *queue = calloc(1, sizeof(*queue));

	*queue = (struct device_queue){
		.device = device,
		.vq = vq,
		.index = index,
		.no_io = ((struct quick_device *)device)->no_io,
	};
	*ret_queue = queue;
	return 0;
}

static unsigned int quick_poll(struct device_queue *queue)
{
	struct quick_device *quick = (struct quick_device *)queue->device;
	struct virtq_req *reqs[64];
	unsigned int n = virtq_pop(queue->vq, reqs, 64);

	for (unsigned int i = 0; i < n; i++) {
		virtq_push(queue->vq, reqs[i], 1);
	}
	atomic_fetch_add(&quick->done[queue->index], n);
	return n;
}

static void quick_drain(struct device_queue *queue)
{
}

static void quick_stop(struct device_queue *queue)
{
	free(queue);
}

static const struct virtio_device_ops quick_ops = {
	.type = "quick",
	.queue_start = quick_start,
	.queue_poll = quick_poll,
	.queue_drain = quick_drain,
	.queue_stop = quick_stop,
};

/* ---- its queues on a core ---- */

static struct env_cpuset cores;
static struct loop *loop;
static struct core *core;
static unsigned int answers;
static struct ring_driver rings[QUEUES];
static struct core_queue queues[QUEUES];
static struct quick_device quick;
static struct qos qos;

static int open_core(void **state)
{
	struct reactor_options options = { .mode = REACTOR_EVENT };
	struct env_options env = { .name = "test", .quiet = true };
	unsigned int bad;
	const char *why;

	for (unsigned int i = 0; i < ENV_MAX_CORES && env_cpuset_is_empty(&cores); i++) {
		struct env_cpuset one = { 0 };

		env_cpuset_add(&one, i);
		if (env_cores_usable(&one, &bad)) {
			cores = one;
		}
	}
	env.cores = cores;
	if (env_init(&env, &why) < 0 || loop_new(&loop) < 0 ||
	    reactors_start(&cores, &options) < 0) {
		return -1;
	}
	return core_new(reactor_next(NULL), loop, &core);
}

static int close_core(void **state)
{
	reactors_stop();
	core_free(core);
	loop_free(loop);
	env_done();
	return 0;
}

static void answered(struct core_queue *queue, int result)
{
	assert_int_equal(result, 0);
	answers++;
}

static void broken(struct core_queue *queue)
{
	fail_msg("queue %u is broken", queue->index);
}

static void wait_for_answer(void)
{
	time_t start = time(NULL);

	while (answers < 1) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - start < DEADLINE_SECONDS);
	}
	answers = 0;
}

static int start_queues(void **state)
{
	quick = (struct quick_device){ .device.ops = &quick_ops };
	qos = (struct qos){ 0 };
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct virtq_config config;

		rd_open(&rings[i], &(struct rd_options){ .size = RING });
		config = rd_config(&rings[i], sizeof(struct virtq_req));
		queues[i] = (struct core_queue){
			.device = &quick.device,
			.index = i,
			.qos = &qos,
			.done = answered,
			.moved = answered,
			.broken = broken,
		};
		assert_int_equal(virtq_new(&config, &queues[i].vq), 0);
		core_start_queue(core, &queues[i]);
		wait_for_answer();
	}
	return 0;
}

static void stop(struct core_queue *queue)
{
	core_stop_queue(queue, false);
	wait_for_answer();
}

static int stop_queues(void **state)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		if (queues[i].state == CORE_QUEUE_RUNNING) {
			stop(&queues[i]);
		}
		virtq_free(queues[i].vq);
		rd_close(&rings[i]);
	}
	return 0;
}

/* ---- the driver ---- */

static void offer(unsigned int queue, unsigned int n)
{
	struct ring_driver *rd = &rings[queue];
	struct rd_buf buf = { rd_alloc(rd, 4096, 4096), 4096, true };
	uint16_t old = rd->next_avail;

	while (n-- > 0) {
		assert_true(rd_add(rd, &buf, 1) >= 0);
	}
	atomic_thread_fence(memory_order_seq_cst);
	if (rd_wants_kick(rd, old)) {
		rd_kick(rd);
	}
}

static void wait_for(const atomic_uint *number, unsigned int value)
{
	const struct timespec interval = { .tv_nsec = 100000 };
	time_t start = time(NULL);

	while (atomic_load(number) < value) {
		nanosleep(&interval, NULL);
		assert_true(time(NULL) - start < DEADLINE_SECONDS);
	}
}

static void wait_for_call(unsigned int queue)
{
	struct pollfd fd = { .fd = rings[queue].call_fd, .events = POLLIN };

	assert_int_equal(poll(&fd, 1, DEADLINE_SECONDS * 1000), 1);
	rd_drain(fd.fd);
}

static double seconds_since(uint64_t start)
{
	return (double)(env_ticks() - start) / (double)env_ticks_hz();
}

static struct reactor_stats stats(void)
{
	struct reactor_stats now;

	reactor_get_stats(core_reactor(core), &now);
	return now;
}

static void change(void (*fn)(struct qos *qos, uint64_t a, uint64_t b), uint64_t a, uint64_t b)
{
	fn(&qos, a, b);
	for (unsigned int i = 0; i < QUEUES; i++) {
		core_poke_queue(&queues[i]);
	}
}

/* ---- limits ---- */

/* Two greedy queues share what there is, and the reactor sleeps in between. */
static void a_limit_is_kept_and_shared(void **state)
{
	struct reactor_stats before = stats();
	struct reactor_stats after;
	unsigned int limited;
	unsigned int first;
	unsigned int second;
	uint64_t start;

	change(qos_set_limits, 0, 1); /* one request goes through: none has a start of its own */
	offer(0, RING);
	offer(1, RING);
	start = env_ticks();
	change(qos_set_limits, 500, 0);
	wait_for(&quick.done[0], 100);
	second = atomic_load(&quick.done[1]);
	first = atomic_load(&quick.done[0]);
	/* Turn by turn; one of them may have had the first burst. */
	assert_true(second < first + BURST);
	second = atomic_load(&quick.done[1]);
	assert_true(second + BURST > first);
	/* Never faster, whatever else the machine does. */
	limited = first + second - 2 * BURST;
	assert_true(seconds_since(start) * 500 >= limited);
	after = stats();
	assert_true(after.sleeps - before.sleeps > 20);
	/* It woke up for requests, and not to look whether the time had come. */
	assert_true(after.rounds - before.rounds < 10 * (first + second));
	change(qos_set_limits, 0, 0);
	wait_for(&quick.done[0], RING);
	wait_for(&quick.done[1], RING);
}

/* A reactor that sleeps until the limit allows more hears of a new one. */
static void a_limit_is_lifted(void **state)
{
	uint64_t sleeps;
	uint16_t old;

	change(qos_set_limits, 0, 1);
	offer(0, 64); /* hours */
	wait_for(&quick.done[0], 1);
	sleeps = stats().sleeps;
	old = rings[0].next_avail;
	offer(0, 1);
	/* A kick could not help. */
	assert_false(rd_wants_kick(&rings[0], old));
	assert_int_equal(atomic_load(&quick.done[0]), 1);
	assert_true(stats().sleeps <= sleeps + 2);
	change(qos_set_limits, 0, 0);
	wait_for(&quick.done[0], 65);
}

/* What a queue left in the ring is the next owner's. */
static void a_stop_does_not_wait_for_a_limit(void **state)
{
	change(qos_set_limits, 0, 1);
	offer(0, 64);
	wait_for(&quick.done[0], 1);
	stop(&queues[0]);
	assert_int_equal(virtq_base(queues[0].vq), 1);
}

static void control_queues_are_not_limited(void **state)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		stop(&queues[i]);
	}
	quick.no_io = true;
	for (unsigned int i = 0; i < QUEUES; i++) {
		core_start_queue(core, &queues[i]);
		wait_for_answer();
	}
	change(qos_set_limits, 0, 1);
	change(qos_set_coalescing, LONG_GAP_US, 0);
	for (unsigned int i = 0; i < 3; i++) {
		offer(0, 64);
		wait_for(&quick.done[0], 64 * (i + 1));
		wait_for_call(0);
	}
}

/* ---- coalescing ---- */

/* Nothing else happens: the reactor sleeps, and has to wake up for the call. */
static void a_call_that_is_held_back_comes(void **state)
{
	uint64_t start;
	uint64_t sleeps;

	change(qos_set_coalescing, 100000, 0);
	start = env_ticks();
	offer(0, 1);
	wait_for_call(0);
	offer(0, 1);
	wait_for(&quick.done[0], 2);
	sleeps = stats().sleeps;
	wait_for_call(0);
	assert_true(seconds_since(start) >= 0.1);
	assert_true(stats().sleeps - sleeps < 20);
	/* Alone again, at once. */
	change(qos_set_coalescing, LONG_GAP_US, UINT32_MAX);
	offer(0, 1);
	wait_for_call(0);
	offer(0, 1);
	wait_for_call(0);
}

static void a_stop_makes_the_call(void **state)
{
	change(qos_set_coalescing, LONG_GAP_US, 0);
	offer(0, 1);
	wait_for_call(0);
	offer(0, 1);
	wait_for(&quick.done[0], 2);
	stop(&queues[0]);
	assert_int_equal(rd_drain(rings[0].call_fd), 1);
}

/* One that goes to another core leaves neither a call nor a debt of others behind. */
static void a_move_makes_the_call(void **state)
{
	change(qos_set_coalescing, LONG_GAP_US, 0);
	offer(0, 1);
	wait_for_call(0);
	offer(0, 1);
	wait_for(&quick.done[0], 2);
	change(qos_set_limits, 0, 1);
	core_leave_queue(&queues[0]);
	wait_for_answer();
	assert_int_equal(rd_drain(rings[0].call_fd), 1);
	/* The other queue ends with its device's place on the core, where the meter is. */
	stop(&queues[1]);
	core_enter_queue(core, &queues[0]);
	wait_for_answer();
	offer(0, 64);
	wait_for(&quick.done[0], 3);
	change(qos_set_limits, 0, 0);
	wait_for(&quick.done[0], 66);
}

static void an_end_of_coalescing_makes_the_call(void **state)
{
	change(qos_set_coalescing, LONG_GAP_US, 0);
	offer(1, 1);
	wait_for_call(1);
	offer(1, 1);
	wait_for(&quick.done[1], 2);
	change(qos_set_coalescing, 0, 0);
	wait_for_call(1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_queues, stop_queues)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_limit_is_kept_and_shared),
		TEST(a_limit_is_lifted),
		TEST(a_stop_does_not_wait_for_a_limit),
		TEST(control_queues_are_not_limited),
		TEST(a_call_that_is_held_back_comes),
		TEST(a_stop_makes_the_call),
		TEST(a_move_makes_the_call),
		TEST(an_end_of_coalescing_makes_the_call),
	};

	return cmocka_run_group_tests_name("controller.core_qos", tests, open_core, close_core);
}
