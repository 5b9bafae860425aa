/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/qos.h"

#include <limits.h>

#include "env/env.h"
#include "virtio/virtqueue.h"

/* The cost of a byte is less than a tick. 64 requests of 64 MiB at 1 MiB/s still fit 64 bits. */
#define QOS_FRACTION 20

static uint64_t load(const _Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static void store(_Atomic uint64_t *number, uint64_t value)
{
	atomic_store_explicit(number, value, memory_order_relaxed);
}

static uint64_t ms_to_ticks(uint64_t ms)
{
	return ms * env_ticks_hz() / 1000;
}

/* ---- control thread ---- */

static void set_on(struct qos *qos)
{
	atomic_store_explicit(&qos->on, qos_has_limit(qos) || load(&qos->gap) > 0,
			      memory_order_relaxed);
}

static void set_bucket(struct qos_bucket *bucket, uint64_t per_s)
{
	uint64_t cost = 0;

	if (per_s > 0) {
		cost = (env_ticks_hz() << QOS_FRACTION) / per_s;
		cost = cost > 0 ? cost : 1;
	}
	store(&bucket->cost, cost);
	/* A debt from before was reckoned at another rate. */
	store(&bucket->paid_at, 0);
}

void qos_set_limits(struct qos *qos, uint64_t requests_per_s, uint64_t bytes_per_s)
{
	set_bucket(&qos->requests, requests_per_s);
	set_bucket(&qos->bytes, bytes_per_s);
	set_on(qos);
}

void qos_set_coalescing(struct qos *qos, uint64_t gap_us, uint64_t threshold)
{
	store(&qos->threshold, threshold);
	/* The next look decides anew. */
	store(&qos->window_start, 0);
	atomic_store_explicit(&qos->busy, false, memory_order_relaxed);
	store(&qos->gap, gap_us * env_ticks_hz() / 1000000);
	set_on(qos);
}

/* ---- limits ---- */

bool qos_has_limit(const struct qos *qos)
{
	return load(&qos->requests.cost) > 0 || load(&qos->bytes.cost) > 0;
}

/* From when on what was saved up counts. */
static uint64_t saved_from(uint64_t paid_at, uint64_t now)
{
	uint64_t burst = ms_to_ticks(QOS_BURST_MS);
	uint64_t oldest = now > burst ? now - burst : 0;

	return paid_at > oldest ? paid_at : oldest;
}

/* The last one need not be paid for in full. */
static uint64_t affordable(const struct qos_bucket *bucket, uint64_t now)
{
	uint64_t cost = load(&bucket->cost);
	uint64_t from = saved_from(load(&bucket->paid_at), now);

	if (cost == 0) {
		return UINT64_MAX;
	}
	return from > now ? 0 : ((now - from) << QOS_FRACTION) / cost + 1;
}

void qos_fill(const struct qos *qos, uint64_t now, struct virtq_meter *meter)
{
	uint64_t requests = affordable(&qos->requests, now);

	*meter = (struct virtq_meter){
		.parts = 1,
		.requests = requests < UINT_MAX ? (unsigned int)requests : UINT_MAX,
		.bytes = affordable(&qos->bytes, now),
	};
}

static void pay(struct qos_bucket *bucket, uint64_t now, uint64_t n)
{
	uint64_t ticks = (n * load(&bucket->cost)) >> QOS_FRACTION;
	uint64_t old = load(&bucket->paid_at);

	/* Other reactors pay, too. */
	while (ticks > 0 && !atomic_compare_exchange_weak_explicit(
				    &bucket->paid_at, &old, saved_from(old, now) + ticks,
				    memory_order_relaxed, memory_order_relaxed)) {
	}
}

void qos_pay(struct qos *qos, uint64_t now, uint64_t requests, uint64_t bytes)
{
	pay(&qos->requests, now, requests);
	pay(&qos->bytes, now, bytes);
}

uint64_t qos_paid_at(const struct qos *qos)
{
	uint64_t requests = load(&qos->requests.cost) > 0 ? load(&qos->requests.paid_at) : 0;
	uint64_t bytes = load(&qos->bytes.cost) > 0 ? load(&qos->bytes.paid_at) : 0;

	return requests > bytes ? requests : bytes;
}

/* ---- coalescing ---- */

uint64_t qos_gap(struct qos *qos, uint64_t now, uint64_t requests)
{
	uint64_t hz = env_ticks_hz();
	uint64_t gap = load(&qos->gap);
	uint64_t start = load(&qos->window_start);
	uint64_t n;
	uint64_t elapsed;

	if (gap == 0) {
		return 0;
	}
	n = atomic_fetch_add_explicit(&qos->window_requests, requests, memory_order_relaxed) +
	    requests;
	elapsed = now - start;
	/* One of the reactors ends the window. */
	if (now > start && elapsed >= ms_to_ticks(QOS_WINDOW_MS) &&
	    atomic_compare_exchange_strong_explicit(&qos->window_start, &start, now,
						    memory_order_relaxed, memory_order_relaxed)) {
		store(&qos->window_requests, 0);
		elapsed = elapsed < hz ? elapsed : hz;
		atomic_store_explicit(&qos->busy, n * hz >= load(&qos->threshold) * elapsed,
				      memory_order_relaxed);
	}
	return atomic_load_explicit(&qos->busy, memory_order_relaxed) ? gap : 0;
}
