/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues of devices that do as they are told, on a real reactor. What a device notes down belongs to
 * the reactor; the test reads it when the queues have stopped.
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

#include "bdev/bdev.h"
#include "controller/core.h"
#include "virtio/inflight.h"

#define DEADLINE_SECONDS 20
#define QUEUES		 8
/* Longer than the turn of a device, alone or not. */
#define LONG_POLL_US 1000

/* ---- a device ---- */

struct fake_device {
	struct virtio_device device; /* first */
	atomic_uint *left;	     /* polls until there is no work any more */
	bool counts_down;	     /* each poll is one of them */
	bool restless;
	unsigned int poll_us; /* how long each poll takes */
	unsigned int *tokens; /* a poll takes all there are, as if they were room in a bdev */
	struct bdev_channels *channels;
	bool hurried; /* at the last poll */
	bool started[QUEUES];
	unsigned int polls[QUEUES];
	unsigned int got[QUEUES];
	/* Updates: what there shall be, and what each queue knows. */
	atomic_uint wanted;
	atomic_bool held; /* an update waits */
	atomic_uint known[QUEUES];
};

static void spin(unsigned int us)
{
	uint64_t end = env_ticks() + us * env_ticks_hz() / 1000000;

	while (us > 0 && env_ticks() < end) {
	}
}

static int plain_start(struct virtio_device *device, unsigned int index, struct virtq *vq,
		       struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct device_queue *queue = calloc(1, sizeof(*queue));

	assert_non_null(queue);
	*queue = (struct device_queue){ .device = device, .vq = vq, .index = index };
	*ret_queue = queue;
	return 0;
}

static void plain_stop(struct device_queue *queue)
{
	free(queue);
}

static int fake_start(struct virtio_device *device, unsigned int index, struct virtq *vq,
		      struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct fake_device *fake = (struct fake_device *)device;

	fake->started[index] = true;
	fake->channels = channels;
	assert_int_equal(plain_start(device, index, vq, channels, ret_queue), 0);
	(*ret_queue)->restless = fake->restless;
	return 0;
}

static unsigned int fake_poll(struct device_queue *queue)
{
	struct fake_device *fake = (struct fake_device *)queue->device;

	unsigned int left = atomic_load(fake->left);

	if (left == 0) {
		return 0;
	}
	fake->polls[queue->index]++;
	fake->hurried = fake->channels->hurried;
	if (fake->tokens != NULL) {
		fake->got[queue->index] += *fake->tokens;
		/* There is room again when each has been asked, as after a poll of the bdev. */
		*fake->tokens = (left - 1) % QUEUES == 0;
	}
	spin(fake->poll_us);
	if (fake->counts_down) {
		atomic_store(fake->left, left - 1);
	}
	return 1;
}

static bool fake_update(struct device_queue *queue)
{
	struct fake_device *fake = (struct fake_device *)queue->device;

	if (atomic_load(&fake->held)) {
		return false;
	}
	atomic_store(&fake->known[queue->index], atomic_load(&fake->wanted));
	return true;
}

static void fake_drain(struct device_queue *queue)
{
}

static void fake_stop(struct device_queue *queue)
{
	((struct fake_device *)queue->device)->started[queue->index] = false;
	plain_stop(queue);
}

static const struct virtio_device_ops fake_ops = {
	.type = "fake",
	.queue_start = fake_start,
	.queue_poll = fake_poll,
	.queue_update = fake_update,
	.queue_drain = fake_drain,
	.queue_stop = fake_stop,
};

static struct fake_device fake_new(atomic_uint *left)
{
	return (struct fake_device){
		.device.ops = &fake_ops,
		.left = left,
		.counts_down = true,
	};
}

/* Takes requests and keeps them while it is told to. */
struct holder {
	struct virtio_device device; /* first */
	atomic_uint to_keep;	     /* that many of those taken are not given back */
	atomic_uint taken;
	struct virtq_req *kept[QUEUES]; /* oldest first */
	unsigned int kept_n;
};

static unsigned int holder_poll(struct device_queue *queue)
{
	struct holder *holder = (struct holder *)queue->device;
	unsigned int n =
		virtq_pop(queue->vq, holder->kept + holder->kept_n, QUEUES - holder->kept_n);

	holder->kept_n += n;
	atomic_fetch_add(&holder->taken, n);
	while (holder->kept_n > atomic_load(&holder->to_keep)) {
		virtq_push(queue->vq, holder->kept[--holder->kept_n], 1);
	}
	return n;
}

static void holder_drain(struct device_queue *queue)
{
	struct holder *holder = (struct holder *)queue->device;

	while (holder->kept_n > 0) {
		virtq_push(queue->vq, holder->kept[--holder->kept_n], 1);
	}
}

static const struct virtio_device_ops holder_ops = {
	.type = "holder",
	.queue_start = plain_start,
	.queue_poll = holder_poll,
	.queue_drain = holder_drain,
	.queue_stop = plain_stop,
};

/* ---- a core, and queues on it ---- */

static struct env_cpuset cores;
static struct loop *loop;
static struct core *core;
static struct ring_driver rd;
static unsigned int answers;
static int expected_result;

static int open_core(void **state)
{
	struct reactor_options options = { .mode = REACTOR_ADAPTIVE };
	struct env_options env = { .name = "test", .quiet = true };
	unsigned int bad;
	const char *why;

	cores = (struct env_cpuset){ 0 };
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
	rd_open(&rd, NULL);
	return core_new(reactor_next(NULL), loop, &core);
}

static int close_core(void **state)
{
	reactors_stop();
	core_free(core);
	loop_free(loop);
	rd_close(&rd);
	env_done();
	return 0;
}

static void answered(struct core_queue *queue, int result)
{
	assert_int_equal(result, expected_result);
	answers++;
}

static void broken(struct core_queue *queue)
{
	fail_msg("queue %u is broken", queue->index);
}

static void wait_for_answers(unsigned int n)
{
	time_t start = time(NULL);

	while (answers < n) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - start < DEADLINE_SECONDS);
	}
	assert_int_equal(answers, n);
	answers = 0;
}

static void start_on(const struct ring_driver *ring, struct core_queue *queue,
		     struct virtio_device *device, unsigned int index)
{
	struct virtq_config config = rd_config(ring, sizeof(struct virtq_req));

	config.kick_fd = -1;
	*queue = (struct core_queue){
		.device = device,
		.index = index,
		.done = answered,
		.broken = broken,
	};
	assert_int_equal(virtq_new(&config, &queue->vq), 0);
	core_start_queue(core, queue);
	wait_for_answers(1);
}

/* All on one ring, which stays empty. */
static void start(struct core_queue *queue, struct fake_device *fake, unsigned int index)
{
	start_on(&rd, queue, &fake->device, index);
}

static void stop(struct core_queue *queue)
{
	core_stop_queue(queue, false);
	wait_for_answers(1);
	virtq_free(queue->vq);
}

static void wait_for_value(const atomic_uint *number, unsigned int value)
{
	const struct timespec interval = { .tv_nsec = 1000000 };
	time_t start_time = time(NULL);

	while (atomic_load(number) != value) {
		nanosleep(&interval, NULL);
		assert_true(time(NULL) - start_time < DEADLINE_SECONDS);
	}
}

static void wait_for_end(const atomic_uint *left)
{
	wait_for_value(left, 0);
}

/* ---- whose turn it is ---- */

/* A guest with many busy queues, and one with a single queue that takes no time. */
static void many_queues_have_one_turn(void **state)
{
	atomic_uint left = 0;
	struct fake_device many = fake_new(&left);
	struct fake_device one = fake_new(&left);
	struct core_queue queues[QUEUES + 1];
	unsigned int sum = 0;

	many.poll_us = LONG_POLL_US;
	one.counts_down = false;
	for (unsigned int i = 0; i < QUEUES; i++) {
		start(&queues[i], &many, i);
	}
	start(&queues[QUEUES], &one, 0);
	atomic_store(&left, 50 * QUEUES);
	wait_for_end(&left);
	for (unsigned int i = 0; i <= QUEUES; i++) {
		stop(&queues[i]);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		sum += many.polls[i];
		/* Each turn goes on where the last one ended. */
		assert_in_range(many.polls[i], 50 - 1, 50 + 1);
	}
	assert_int_equal(sum, 50 * QUEUES);
	/* In the first and the last round it may have been asked before and after the counting. */
	assert_true(one.polls[0] >= sum - 2);
}

/* What the first one polled takes is not there for the others: each is the first in its turn. */
static void the_first_is_another_in_each_round(void **state)
{
	atomic_uint left = 0;
	unsigned int tokens = 1;
	struct fake_device fake = fake_new(&left);
	struct core_queue queues[QUEUES];

	fake.tokens = &tokens;
	for (unsigned int i = 0; i < QUEUES; i++) {
		start(&queues[i], &fake, i);
	}
	atomic_store(&left, 100 * QUEUES * QUEUES);
	wait_for_end(&left);
	for (unsigned int i = 0; i < QUEUES; i++) {
		stop(&queues[i]);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_in_range(fake.got[i], 50, 150);
	}
}

/* The same between devices. */
static void the_first_device_is_another_in_each_round(void **state)
{
	atomic_uint left = 0;
	unsigned int tokens = 1;
	struct fake_device fakes[QUEUES];
	struct core_queue queues[QUEUES];

	for (unsigned int i = 0; i < QUEUES; i++) {
		fakes[i] = fake_new(&left);
		fakes[i].tokens = &tokens;
		start(&queues[i], &fakes[i], 0);
	}
	atomic_store(&left, 100 * QUEUES * QUEUES);
	wait_for_end(&left);
	for (unsigned int i = 0; i < QUEUES; i++) {
		stop(&queues[i]);
		assert_in_range(fakes[i].got[0], 50, 150);
	}
}

/* Whoever is alone, or among idle ones, may take his time. */
static void rounds_are_short_for_two(void **state)
{
	atomic_uint left = 0;
	atomic_uint none = 0;
	struct fake_device busy = fake_new(&left);
	struct fake_device other = fake_new(&left);
	struct fake_device idle = fake_new(&none);
	struct fake_device *const others[] = { NULL, &idle, &other, &idle };
	struct core_queue queues[2];

	for (unsigned int i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		start(&queues[0], &busy, 0);
		if (others[i] != NULL) {
			start(&queues[1], others[i], 0);
		}
		atomic_store(&left, 1000); /* longer than it takes until somebody looks */
		wait_for_end(&left);
		for (unsigned int k = 0; k < 1 + (others[i] != NULL); k++) {
			stop(&queues[k]);
		}
		assert_int_equal(busy.hurried, others[i] == &other);
	}
}

/* Of two queues of one device. It is stopped as any other. */
static void an_abandoned_queue_is_left_alone(void **state)
{
	atomic_uint left = 0;
	struct fake_device fake = fake_new(&left);
	struct core_queue queues[2];

	start(&queues[0], &fake, 0);
	core_abandon_queue(&queues[0]);
	start(&queues[1], &fake, 1); /* answered when the round that may have missed it is over */
	atomic_store(&left, 1000);
	wait_for_end(&left);
	stop(&queues[0]);
	stop(&queues[1]);
	assert_int_equal(fake.polls[0], 0);
	assert_int_equal(fake.polls[1], 1000);
	/* It begins anew when it is started again. */
	start(&queues[0], &fake, 0);
	atomic_store(&left, 10);
	wait_for_end(&left);
	stop(&queues[0]);
	assert_int_equal(fake.polls[0], 10);
}

/* ---- updates ---- */

static unsigned int updates;
static bool told_last; /* was the queue up to date then? */

static void updated(struct core_queue *queue)
{
	updates++;
	told_last = core_queue_is_updated(queue);
}

static void wait_for_update(struct core_queue *queue)
{
	time_t begin = time(NULL);

	while (!core_queue_is_updated(queue)) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
}

/* The first one has an eventfd for kicks: alone, it lets its reactor sleep. */
static void start_sleeper(struct core_queue *queue, struct fake_device *fake, unsigned int index)
{
	struct virtq_config config = rd_config(&rd, sizeof(struct virtq_req));

	*queue = (struct core_queue){
		.device = &fake->device,
		.index = index,
		.done = answered,
		.broken = broken,
		.updated = updated,
	};
	config.kick_fd = index == 0 ? config.kick_fd : -1;
	assert_int_equal(virtq_new(&config, &queue->vq), 0);
	core_start_queue(core, queue);
}

static void wait_for_sleep(void)
{
	const struct timespec interval = { .tv_nsec = 1000000 };
	struct reactor_stats stats;
	uint64_t rounds = 0;
	time_t begin = time(NULL);

	/* It has slept, and no round has passed since. */
	for (;;) {
		reactor_get_stats(core_reactor(core), &stats);
		if (stats.sleeps > 0 && stats.rounds == rounds) {
			return;
		}
		rounds = stats.rounds;
		nanosleep(&interval, NULL);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
}

static void queues_are_told_of_changes(void **state)
{
	atomic_uint left = 0;
	struct fake_device fake = fake_new(&left);
	struct core_queue queues[2];

	updates = 0;
	start_sleeper(&queues[0], &fake, 0);
	wait_for_answers(1);
	start_sleeper(&queues[1], &fake, 1);
	/* While it is being started: it may have begun with what there was before. */
	atomic_store(&fake.wanted, 1);
	core_update_queue(&queues[0]);
	core_update_queue(&queues[1]);
	assert_false(core_queue_is_updated(&queues[1]));
	wait_for_answers(1);
	wait_for_update(&queues[0]);
	wait_for_update(&queues[1]);
	assert_int_equal(atomic_load(&fake.known[0]), 1);
	assert_int_equal(atomic_load(&fake.known[1]), 1);
	assert_int_equal(updates, 2);
	assert_true(told_last);
	stop(&queues[0]);
	stop(&queues[1]);
	/* Nobody to tell. */
	core_update_queue(&queues[0]);
	assert_true(core_queue_is_updated(&queues[0]));
}

/* What comes while an update waits is not forgotten, and does not wait for an event of its own. */
static void a_change_during_an_update(void **state)
{
	atomic_uint left = 0;
	struct fake_device fake = fake_new(&left);
	struct core_queue queue;

	updates = 0;
	start_sleeper(&queue, &fake, 0);
	wait_for_answers(1);
	atomic_store(&fake.held, true);
	atomic_store(&fake.wanted, 1);
	core_update_queue(&queue);
	wait_for_sleep();
	assert_int_equal(atomic_load(&fake.known[0]), 0);
	for (unsigned int i = 2; i < 100; i++) {
		atomic_store(&fake.wanted, i);
		atomic_store(&fake.held, i % 10 != 9);
		core_update_queue(&queue);
		if (i % 10 == 9) {
			wait_for_update(&queue);
			assert_int_equal(atomic_load(&fake.known[0]), i);
		}
		assert_int_equal(core_queue_is_updated(&queue), i % 10 == 9);
	}
	assert_int_equal(updates, 10);
	stop(&queue);
}

/* Something of it goes on, and no event tells. It would idle for far fewer rounds than these. */
static void a_restless_queue_keeps_its_reactor_awake(void **state)
{
	atomic_uint left = 0;
	struct fake_device fake = fake_new(&left);
	struct reactor_stats stats;
	struct core_queue queue;
	time_t begin = time(NULL);

	fake.restless = true;
	start_sleeper(&queue, &fake, 0);
	wait_for_answers(1);
	do {
		reactor_get_stats(core_reactor(core), &stats);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	} while (stats.rounds < 500000);
	stop(&queue);
}

/* A queue whose update waits is stopped all the same; the update is answered first. */
static void a_stop_during_an_update(void **state)
{
	atomic_uint left = 0;
	struct fake_device fake = fake_new(&left);
	struct core_queue queue;

	start_sleeper(&queue, &fake, 0);
	wait_for_answers(1);
	core_stop_queue(&queue, false);
	core_update_queue(&queue);
	assert_false(core_queue_is_updated(&queue)); /* it may be at work still */
	wait_for_answers(1);
	assert_true(core_queue_is_updated(&queue));
	virtq_free(queue.vq);
	for (unsigned int due = 0; due < 2; due++) {
		updates = 0;
		start_sleeper(&queue, &fake, 0);
		wait_for_answers(1);
		atomic_store(&fake.held, true);
		core_update_queue(&queue);
		if (due) {
			core_update_queue(&queue);
		}
		core_stop_queue(&queue, false);
		core_update_queue(&queue);
		assert_false(core_queue_is_updated(&queue));
		wait_for_answers(1);
		assert_true(core_queue_is_updated(&queue));
		assert_int_equal(updates, 1);
		assert_false(told_last);
		virtq_free(queue.vq);
	}
}

/* Queues come and go while the others are polled, in every order. */
static void queues_come_and_go(void **state)
{
	static struct fake_device fakes[3];
	static struct core_queue queues[3][QUEUES];
	bool running[3][QUEUES] = { 0 };
	atomic_uint left = UINT32_MAX;
	uint32_t x = 1;

	for (unsigned int i = 0; i < 3; i++) {
		fakes[i] = fake_new(&left);
		fakes[i].poll_us = 20;
	}
	for (unsigned int turn = 0; turn < 2000; turn++) {
		unsigned int d;
		unsigned int q;

		x = x * 1664525 + 1013904223;
		d = (x >> 16) % 3;
		q = (x >> 20) % QUEUES;
		if (running[d][q]) {
			stop(&queues[d][q]);
		} else {
			start(&queues[d][q], &fakes[d], q);
		}
		running[d][q] = !running[d][q];
		assert_int_equal(fakes[d].started[q], running[d][q]);
	}
	for (unsigned int i = 0; i < 3 * QUEUES; i++) {
		if (running[i / QUEUES][i % QUEUES]) {
			stop(&queues[i / QUEUES][i % QUEUES]);
		}
	}
}

/* ---- memory ---- */

static struct guest_mem *without_region(const struct ring_driver *ring, unsigned int i)
{
	struct guest_mem_region region = {
		.gpa = rd_region(ring, i),
		.size = ring->region_size,
		.uva = RD_UVA + i * ring->region_size,
	};
	struct guest_mem *mem;

	assert_int_equal(guest_mem_without(ring->guest_mem, &region, &mem), 0);
	return mem;
}

static void offer(struct ring_driver *ring, uint64_t gpa)
{
	assert_true(rd_add(ring, &(struct rd_buf){ gpa, 1, true }, 1) >= 0);
}

/* No answer for some time: many rounds of the reactor. */
static void assert_no_answer(struct holder *holder, struct ring_driver *ring)
{
	unsigned int taken = atomic_load(&holder->taken);

	for (unsigned int i = 0; i < 100; i++) {
		offer(ring, RD_GPA + ring->region_size / 2);
		wait_for_value(&holder->taken, ++taken);
		while (!rd_reap(ring, &(uint16_t){ 0 }, &(uint32_t){ 0 })) {
		}
		loop_run_once(loop, 0);
		assert_int_equal(answers, 0);
	}
}

/* Others go on meanwhile, and the answer comes with the last request that was there before. */
static void memory_changes_under_requests(void **state)
{
	struct ring_driver ring;
	struct holder holder = { .device.ops = &holder_ops };
	struct core_queue queue;
	struct guest_mem *less;

	rd_open(&ring, &(struct rd_options){ .mem_size = 2 << 20, .region_n = 2 });
	start_on(&ring, &queue, &holder.device, 0);
	atomic_store(&holder.to_keep, 1);
	offer(&ring, rd_region(&ring, 1));
	wait_for_value(&holder.taken, 1);
	less = without_region(&ring, 1);
	core_set_mem(&queue, less);
	assert_no_answer(&holder, &ring);
	atomic_store(&holder.to_keep, 0);
	wait_for_answers(1);
	/* Nothing is out: at once. */
	core_set_mem(&queue, ring.guest_mem);
	wait_for_answers(1);
	guest_mem_unref(less);
	less = without_region(&ring, 0);
	expected_result = -EFAULT;
	core_set_mem(&queue, less);
	wait_for_answers(1);
	expected_result = 0;
	guest_mem_unref(less);
	offer(&ring, rd_region(&ring, 1));
	wait_for_value(&holder.taken, 102);
	stop(&queue);
	rd_close(&ring);
}

/* The front-end has left: nothing is fetched or published any more, but the change comes to its end. */
static void memory_changes_of_an_abandoned_queue(void **state)
{
	struct ring_driver ring;
	struct holder holder = { .device.ops = &holder_ops };
	struct core_queue queue;
	struct guest_mem *less;

	rd_open(&ring, &(struct rd_options){ .mem_size = 2 << 20, .region_n = 2 });
	start_on(&ring, &queue, &holder.device, 0);
	atomic_store(&holder.to_keep, 1);
	offer(&ring, rd_region(&ring, 1));
	wait_for_value(&holder.taken, 1);
	less = without_region(&ring, 1);
	core_set_mem(&queue, less);
	assert_no_answer(&holder, &ring);
	core_abandon_queue(&queue);
	wait_for_answers(1);
	/* The one that is out still has its memory. */
	*(volatile uint8_t *)holder.kept[0]->out[0].iov_base = 1;
	stop(&queue);
	guest_mem_unref(less);
	rd_close(&ring);
}

/* ---- after a crash ---- */

/* What a predecessor had fetched is finished before a queue stops, also what was not popped again yet:
 * without the in-flight area nobody would find it. */
static void stop_with_resubmits(uint64_t features)
{
	const struct rd_options options = { .features = features };
	struct inflight_shape shape = { .queue_n = 1, .packed = features != 0 };
	struct holder holder = { .device.ops = &holder_ops, .to_keep = QUEUES };
	struct virtq_req *lost[QUEUES + 4];
	struct core_queue queue = { .device = &holder.device, .done = answered, .broken = broken };
	struct virtq_config config;
	struct inflight_area *area;
	struct ring_driver ring;
	unsigned int i;
	int fd;

	rd_open(&ring, &options);
	config = rd_config(&ring, sizeof(struct virtq_req));
	config.kick_fd = -1;
	shape.queue_size = config.size;
	shape.size = inflight_area_bytes(&shape);
	assert_int_equal(inflight_area_make(&shape, &fd), 0);
	assert_int_equal(inflight_area_map(&shape, fd, &area), 0);
	close(fd);
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &queue.vq), 0);
	for (i = 0; i < QUEUES + 4; i++) {
		const struct rd_buf buf = { rd_alloc(&ring, 16, 16), 16, true };

		assert_true(rd_add(&ring, &buf, 1) >= 0);
	}
	assert_int_equal(virtq_pop(queue.vq, lost, QUEUES + 4), QUEUES + 4);
	virtq_free(queue.vq);

	assert_int_equal(virtq_new(&config, &queue.vq), 0);
	core_start_queue(core, &queue);
	wait_for_answers(1);
	wait_for_value(&holder.taken, QUEUES);
	core_stop_queue(&queue, false);
	atomic_store(&holder.to_keep, 0);
	wait_for_answers(1);
	assert_int_equal(atomic_load(&holder.taken), QUEUES + 4);
	if (ring.is_packed) {
		assert_int_equal(virtq_base(queue.vq),
				 VIRTQ_PACKED_BASE_INITIAL + (QUEUES + 4) * UINT32_C(0x10001));
	} else {
		assert_int_equal(virtq_base(queue.vq), QUEUES + 4);
		assert_int_equal(*ring.used_idx, QUEUES + 4);
	}
	virtq_free(queue.vq);
	inflight_area_unref(area);
	rd_close(&ring);
}

static void a_stop_with_resubmits(void **state)
{
	stop_with_resubmits(0);
	stop_with_resubmits(UINT64_C(1) << VIRTIO_F_RING_PACKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_queues_have_one_turn),
		cmocka_unit_test(the_first_is_another_in_each_round),
		cmocka_unit_test(the_first_device_is_another_in_each_round),
		cmocka_unit_test(rounds_are_short_for_two),
		cmocka_unit_test(an_abandoned_queue_is_left_alone),
		cmocka_unit_test(queues_are_told_of_changes),
		cmocka_unit_test(a_change_during_an_update),
		cmocka_unit_test(a_restless_queue_keeps_its_reactor_awake),
		cmocka_unit_test(a_stop_during_an_update),
		cmocka_unit_test(queues_come_and_go),
		cmocka_unit_test(memory_changes_under_requests),
		cmocka_unit_test(memory_changes_of_an_abandoned_queue),
		cmocka_unit_test(a_stop_with_resubmits),
	};

	return cmocka_run_group_tests_name("controller.core", tests, open_core, close_core);
}
