/* SPDX-License-Identifier: BSD-3-Clause */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/msgq.h"

#define PRODUCERS    4
#define PER_PRODUCER 20000
#define DEADLINE_MS  20000

struct note {
	struct msg msg;
	unsigned int producer;
	unsigned int number;
};

static unsigned int order[8];
static unsigned int order_n;

static void remember(struct msg *msg)
{
	order[order_n++] = ((struct note *)msg)->number;
}

static struct msgq queue;

static int init_queue(void **state)
{
	order_n = 0;
	return msgq_init(&queue);
}

static int done_queue(void **state)
{
	msgq_done(&queue);
	return 0;
}

static bool fd_is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void oldest_first(void **state)
{
	struct note notes[3];

	assert_int_equal(msgq_run(&queue), 0);
	for (unsigned int i = 0; i < 3; i++) {
		notes[i] = (struct note){ .msg.fn = remember, .number = i };
		msgq_post(&queue, &notes[i].msg);
	}
	assert_int_equal(order_n, 0);
	assert_int_equal(msgq_run(&queue), 3);
	assert_int_equal(order_n, 3);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(order[i], i);
	}
	assert_int_equal(msgq_run(&queue), 0);
}

static void post_again(struct msg *msg)
{
	remember(msg);
	if (order_n < 3) {
		msgq_post(&queue, msg);
	}
}

static void a_message_may_post_itself_again(void **state)
{
	struct note note = { .msg.fn = post_again };

	msgq_post(&queue, &note.msg);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(msgq_run(&queue), 1); /* the new one waits for the next run */
		assert_int_equal(order_n, i);
	}
	assert_int_equal(msgq_run(&queue), 0);
}

static void free_note(struct msg *msg)
{
	remember(msg);
	free(msg);
}

static void a_message_may_be_freed_by_its_function(void **state)
{
	for (int i = 0; i < 3; i++) {
		struct note *note = calloc(1, sizeof(*note));

		note->msg.fn = free_note;
		msgq_post(&queue, &note->msg);
	}
	assert_int_equal(msgq_run(&queue), 3);
}

static void the_eventfd_is_for_sleepers_only(void **state)
{
	struct note note = { .msg.fn = remember };

	msgq_post(&queue, &note.msg);
	assert_false(fd_is_readable(msgq_fd(&queue)));
	assert_false(msgq_prepare_sleep(&queue)); /* something is there */
	msgq_run(&queue);

	assert_true(msgq_prepare_sleep(&queue));
	assert_false(fd_is_readable(msgq_fd(&queue)));
	msgq_post(&queue, &note.msg);
	assert_true(fd_is_readable(msgq_fd(&queue)));
	msgq_awake(&queue);
	assert_false(fd_is_readable(msgq_fd(&queue)));
	assert_int_equal(msgq_run(&queue), 1);
	msgq_post(&queue, &note.msg);
	assert_false(fd_is_readable(msgq_fd(&queue)));
	msgq_run(&queue);
}

/* ---- many producers, a consumer that sleeps whenever it can ---- */

static unsigned int next_number[PRODUCERS];
static unsigned int out_of_order;

static void check_order(struct msg *msg)
{
	struct note *note = (struct note *)msg;

	if (note->number != next_number[note->producer]) {
		out_of_order++;
	}
	next_number[note->producer] = note->number + 1;
}

static void *produce(void *arg)
{
	struct note *notes = arg;

	for (unsigned int i = 0; i < PER_PRODUCER; i++) {
		msgq_post(&queue, &notes[i].msg);
		if (i % 64 == 0) {
			sched_yield(); /* lets the consumer fall asleep in between */
		}
	}
	return NULL;
}

static void nothing_is_lost_among_threads(void **state)
{
	struct note *notes[PRODUCERS];
	pthread_t threads[PRODUCERS];
	unsigned int received = 0;

	for (unsigned int p = 0; p < PRODUCERS; p++) {
		notes[p] = calloc(PER_PRODUCER, sizeof(struct note));
		for (unsigned int i = 0; i < PER_PRODUCER; i++) {
			notes[p][i] = (struct note){ { .fn = check_order }, p, i };
		}
		assert_int_equal(pthread_create(&threads[p], NULL, produce, notes[p]), 0);
	}
	while (received < PRODUCERS * PER_PRODUCER) {
		struct pollfd fd = { .fd = msgq_fd(&queue), .events = POLLIN };
		unsigned int n = msgq_run(&queue);

		received += n;
		if (n > 0) {
			continue;
		}
		if (msgq_prepare_sleep(&queue)) {
			assert_int_equal(poll(&fd, 1, DEADLINE_MS), 1);
		}
		msgq_awake(&queue);
	}
	for (unsigned int p = 0; p < PRODUCERS; p++) {
		pthread_join(threads[p], NULL);
		assert_int_equal(next_number[p], PER_PRODUCER);
		free(notes[p]);
	}
	assert_int_equal(out_of_order, 0);
	assert_int_equal(msgq_run(&queue), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, init_queue, done_queue)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(oldest_first),
		TEST(a_message_may_post_itself_again),
		TEST(a_message_may_be_freed_by_its_function),
		TEST(the_eventfd_is_for_sleepers_only),
		TEST(nothing_is_lost_among_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
