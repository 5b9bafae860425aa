/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: one queue that goes from one core to another, on real reactors (both cores on one reactor where the
 * machine has no second processor), and its driver. The device takes requests and gives them back in order, unless
 * it is told to keep them. Used by the tests of core_move.c only; what is not atomic belongs to the test's thread.
 */
#ifndef VHT_CONTROLLER_CORE_MOVE_RIG_H
#define VHT_CONTROLLER_CORE_MOVE_RIG_H

#include <ring_driver.h>

#include "controller/core.h"

#define DEADLINE_SECONDS 20
#define BATCH		 16 /* it keeps no more */

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

/* The test looks at these: answers to what it asked for, moves, broken rings, results of the last. */
extern struct loop *loop;
extern struct core *sides[2];
extern struct ring_driver ring;
extern struct device device;
extern struct core_queue queue;
extern unsigned int answers;
extern unsigned int moves;
extern unsigned int breaks;
extern int answer;
extern int outcome; /* of the last move */

/* Of the group. */
int open_cores(void **state);
int close_cores(void **state);

/* On core 0, on a ring of its own; keeps: the device does, from the start. */
void begin(const struct rd_options *options);
void begin_with(struct inflight_area *area, bool keeps); /* on the ring that is open */
void end(void);						 /* stops it, if nobody has */

/* Each sets the counter back, that of the moves or of the answers. */
void wait_for_answer(void);
void wait_for_move(void);
void wait_for(const unsigned int *number, unsigned int value);
void wait_for_value(const atomic_uint *number, unsigned int value);
void leave(void);
void enter(struct core *core);

void offer(void);
unsigned int reap_all(void);
void wait_until_reaped(unsigned int n);
void keep_one(void);	 /* offers one, which the device keeps */
void keep_no_more(void); /* nor do reactors sleep on it */
void let_go(void);	 /* the same, of a queue that has been leaving all the time */

#endif
