/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   limit       how many requests, and how much payload, a controller may have carried out in a second, all its
 *               queues together. Each limit is a bucket that is kept as one number, the time at which what was
 *               taken is paid for: nothing is popped before that. What goes beyond the limit is owed, and an
 *               idle controller saves up QOS_BURST_MS.
 *   coalescing  while the controller has more than so many requests in a second, two calls of one queue lie at
 *               least `gap` apart (virtio/virtqueue.h).
 *
 * Owner: the control thread sets it at any time, the reactors of the controller's queues use it; so all of it
 * is atomic, and no number depends on another one being of the same moment.
 */
#ifndef VHT_CONTROLLER_QOS_H
#define VHT_CONTROLLER_QOS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct virtq_meter;

/* Long enough for a reactor that wakes up late, short enough not to be a burst to anybody. */
#define QOS_BURST_MS 10
/* How often the rate of requests is looked at. */
#define QOS_WINDOW_MS 10

struct qos_bucket {
	_Atomic uint64_t cost;	  /* of one, in ticks << QOS_FRACTION; 0: no limit */
	_Atomic uint64_t paid_at; /* ticks */
};

struct qos {
	atomic_bool on; /* anything at all */
	struct qos_bucket requests;
	struct qos_bucket bytes;
	_Atomic uint64_t gap; /* ticks; 0: no coalescing */
	_Atomic uint64_t threshold;
	_Atomic uint64_t window_start;
	_Atomic uint64_t window_requests;
	atomic_bool busy; /* above the threshold in the last window */
};

/* ---- control thread; all zeroes: off ---- */

void qos_set_limits(struct qos *qos, uint64_t requests_per_s, uint64_t bytes_per_s);
/* threshold: requests per second; 0: always */
void qos_set_coalescing(struct qos *qos, uint64_t gap_us, uint64_t threshold);

/* ---- reactors ---- */

static inline bool qos_is_on(const struct qos *qos)
{
	return atomic_load_explicit(&qos->on, memory_order_relaxed);
}

bool qos_has_limit(const struct qos *qos);
/* What may be popped now. */
void qos_fill(const struct qos *qos, uint64_t now, struct virtq_meter *meter);
/* What has been popped. */
void qos_pay(struct qos *qos, uint64_t now, uint64_t requests, uint64_t bytes);
/* Nothing may be popped before that. */
uint64_t qos_paid_at(const struct qos *qos);
/* The gap that holds now, after so many more requests. */
uint64_t qos_gap(struct qos *qos, uint64_t now, uint64_t requests);

#endif
