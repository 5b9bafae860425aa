/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/core_move_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* ---- a device that takes requests and gives them back in order, unless it is told to keep them ---- */

struct taker {
	struct device_queue dq; /* first */
	struct virtq_req *kept[BATCH];
	unsigned int kept_n;
};

static int start(struct virtio_device *of, unsigned int index, struct virtq *vq,
		 struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct device *d = (struct device *)of;
	struct taker *taker;

	if (atomic_load(&d->refusals) > 0) {
		atomic_fetch_sub(&d->refusals, 1);
		return -EAGAIN;
	}
	taker = calloc(1, sizeof(*taker));
	if (taker == NULL) {
		return -ENOMEM;
	}
	taker->dq = (struct device_queue){ .device = of, .vq = vq, .index = index };
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

static unsigned int poll(struct device_queue *dq)
{
	struct device *d = (struct device *)dq->device;
	struct taker *taker = (struct taker *)dq;
	unsigned int n = virtq_pop(dq->vq, taker->kept + taker->kept_n, BATCH - taker->kept_n);

	taker->kept_n += n;
	atomic_fetch_add(&d->taken, n);
	give_back(taker);
	return n;
}

static void drain(struct device_queue *dq)
{
	give_back((struct taker *)dq);
}

static bool update(struct device_queue *dq)
{
	struct device *d = (struct device *)dq->device;

	if (atomic_load(&d->held)) {
		return false;
	}
	atomic_store(&d->known, atomic_load(&d->wanted));
	atomic_fetch_add(&d->told, 1);
	return true;
}

static void stop(struct device_queue *dq)
{
	free(dq);
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

struct loop *loop;
struct core *sides[2];
static struct env_cpuset cores;
struct ring_driver ring;
struct device device;
struct core_queue queue;
unsigned int answers;
unsigned int moves;
unsigned int breaks;
int answer;
int outcome; /* of the last move */

int open_cores(void **state)
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

int close_cores(void **state)
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

void wait_for(const unsigned int *number, unsigned int value)
{
	time_t begin = time(NULL);

	while (*number < value) {
		loop_run_once(loop, 100);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
	assert_int_equal(*number, value);
}

void wait_for_answer(void)
{
	wait_for(&answers, 1);
	answers = 0;
}

void wait_for_move(void)
{
	wait_for(&moves, 1);
	moves = 0;
}

void wait_for_value(const atomic_uint *number, unsigned int value)
{
	const struct timespec interval = { .tv_nsec = 1000000 };
	time_t begin = time(NULL);

	while (atomic_load(number) != value) {
		nanosleep(&interval, NULL);
		assert_true(time(NULL) - begin < DEADLINE_SECONDS);
	}
}

void begin_with(struct inflight_area *area, bool keeps)
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

void begin(const struct rd_options *options)
{
	rd_open(&ring, options);
	begin_with(NULL, false);
}

/* It is idle, with everything answered. */
void end(void)
{
	if (queue.state != CORE_QUEUE_IDLE) {
		core_stop_queue(&queue, false);
		wait_for_answer();
	}
	assert_int_equal(queue.state, CORE_QUEUE_IDLE);
	virtq_free(queue.vq);
	rd_close(&ring);
}

void leave(void)
{
	assert_true(core_queue_may_leave(&queue));
	core_leave_queue(&queue);
	assert_false(core_queue_may_leave(&queue));
	wait_for_move();
	assert_int_equal(outcome, 0);
	assert_true(core_queue_may_enter(&queue));
}

void enter(struct core *core)
{
	core_enter_queue(core, &queue);
	wait_for_move();
	assert_int_equal(outcome, 0);
	assert_int_equal(queue.state, CORE_QUEUE_RUNNING);
	assert_ptr_equal(queue.core, core);
}

void offer(void)
{
	const struct rd_buf buf = { rd_region(&ring, 0) + ring.region_size / 2, 1, true };
	uint16_t old = ring.next_avail;

	assert_true(rd_add(&ring, &buf, 1) >= 0);
	if (rd_wants_kick(&ring, old)) {
		rd_kick(&ring);
	}
}

unsigned int reap_all(void)
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

void wait_until_reaped(unsigned int n)
{
	time_t start_time = time(NULL);
	unsigned int got = 0;

	while (got < n) {
		got += reap_all();
		assert_true(time(NULL) - start_time < DEADLINE_SECONDS);
	}
	assert_int_equal(got, n);
}

void keep_one(void)
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
void keep_no_more(void)
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
void let_go(void)
{
	assert_int_equal(queue.state, CORE_QUEUE_LEAVING);
	assert_int_equal(answers, 0);
	keep_no_more();
}
