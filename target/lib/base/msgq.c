/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/msgq.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>

#include "base/fd.h"

int msgq_init(struct msgq *q)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0) {
		return -errno;
	}
	atomic_init(&q->head, NULL);
	atomic_init(&q->sleeping, false);
	q->eventfd = fd;
	return 0;
}

void msgq_done(struct msgq *q)
{
	fd_close(&q->eventfd);
}

void msgq_post(struct msgq *q, struct msg *msg)
{
	struct msg *head = atomic_load_explicit(&q->head, memory_order_relaxed);

	do {
		msg->next = head;
		/* Release: what the poster wrote before is seen by the acquire in msgq_run(). Sequentially
		 * consistent: the push comes before the look at `sleeping`; its mirror is
		 * msgq_prepare_sleep(), which sets `sleeping` before it looks at `head`. */
	} while (!atomic_compare_exchange_weak_explicit(&q->head, &head, msg, memory_order_seq_cst,
							memory_order_relaxed));
	if (atomic_load_explicit(&q->sleeping, memory_order_seq_cst)) {
		eventfd_signal(q->eventfd);
	}
}

unsigned int msgq_run(struct msgq *q)
{
	struct msg *newest;
	struct msg *oldest = NULL;
	unsigned int n = 0;

	if (atomic_load_explicit(&q->head, memory_order_relaxed) == NULL) {
		return 0;
	}
	newest = atomic_exchange_explicit(&q->head, NULL, memory_order_acquire);
	while (newest != NULL) {
		struct msg *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL) {
		/* fn may post the message again or free it. */
		struct msg *next = oldest->next;

		oldest->fn(oldest);
		oldest = next;
		n++;
	}
	return n;
}

bool msgq_prepare_sleep(struct msgq *q)
{
	atomic_store_explicit(&q->sleeping, true, memory_order_seq_cst);
	if (atomic_load_explicit(&q->head, memory_order_seq_cst) != NULL) {
		atomic_store_explicit(&q->sleeping, false, memory_order_relaxed);
		return false;
	}
	return true;
}

void msgq_awake(struct msgq *q)
{
	atomic_store_explicit(&q->sleeping, false, memory_order_relaxed);
	eventfd_drain(q->eventfd);
}

int msgq_fd(const struct msgq *q)
{
	return q->eventfd;
}
