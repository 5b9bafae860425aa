/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: messages between threads. A message is a small struct embedded in whatever it is about
 * (so posting allocates nothing and cannot fail) with the function that the receiving thread calls.
 * Many producers, one consumer, first in first out per producer. The queue has an eventfd which is
 * written only when the consumer has said that it sleeps.
 *
 * The protocol of a hand-over: the poster gives the message (and what it points to) away; the
 * receiver answers by posting a message back. A message may be posted again once it was delivered.
 */
#ifndef VHT_BASE_MSGQ_H
#define VHT_BASE_MSGQ_H

#include <stdatomic.h>
#include <stdbool.h>

struct msg {
	void (*fn)(struct msg *msg); /* called on the receiving thread */
	/* private: */
	struct msg *next;
};

struct msgq {
	/* private: */
	_Atomic(struct msg *) head; /* newest first */
	atomic_bool sleeping;
	int eventfd;
};

int msgq_init(struct msgq *q);
void msgq_done(struct msgq *q);

/* Any thread. Wakes the consumer when it sleeps. Everything written before is visible to fn. */
void msgq_post(struct msgq *q, struct msg *msg);

/* Consumer only: calls fn of all messages that are there now, oldest first; returns how many. */
unsigned int msgq_run(struct msgq *q);

/* Consumer only: say that it is about to sleep on msgq_fd(). Returns false when messages are there
 * (then it must not sleep). msgq_awake() ends the sleep and drains the eventfd. */
bool msgq_prepare_sleep(struct msgq *q);
void msgq_awake(struct msgq *q);
int msgq_fd(const struct msgq *q);

#endif
