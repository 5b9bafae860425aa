/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: one thread that keeps one target busy.
 *
 *   lane   a queue with its request slots. All lanes of a load are served in turn by the calling thread.
 *   slot   room of one request: frame, start time; a data buffer while it is in flight. There are a batch more of them
 *          than the depth, so that answers are checked when the next requests are out already: the lines that hold
 *          them are on their way meanwhile.
 *   fixed depth: each lane has `depth` requests in flight; what comes back is sent again at once. The latency
 *          counts from the submission.
 *   fixed rate: request k is due at k / rate, whatever the target does, and its latency counts from then, even if
 *          it had to wait for a free slot; so a stall of the target is seen in all requests that it held up.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"
#include "vhost_frontend/frontend.h"

struct load_config {
	bool scsi;
	unsigned int target; /* scsi: the number of the target; LUN 0 */
	bool packed;
	bool indirect;
	bool no_event_idx;
	bool inflight; /* an in-flight area, if the target offers that */
	bool event;    /* sleep for calls instead of polling */
	bool random;
	unsigned int read_percent;
	uint32_t block;
	uint64_t span; /* bytes of the disk to use, from its start; 0: all */
	unsigned int depth;
	unsigned int batch; /* at most so many completions are taken, and requests shown, at a time */
	unsigned int queues;
	unsigned int queue_size; /* 0: what the depth needs */
	double rate;		 /* requests per second; 0: fixed depth */
	size_t huge_page;
	uint64_t seed;
	unsigned int timeout_ms;
};

struct load_result {
	uint64_t requests;
	uint64_t errors;
	uint64_t ns;
	uint64_t kicks;
	uint64_t calls;
	uint64_t batches;
	uint64_t waits;
	uint64_t missed; /* fixed rate: due within the run and not sent when it ended */
};

struct load;

/* Connects and starts the queues. On failure ret_why says more than the error number. */
int load_open(const struct load_config *config, const char *path, struct load **ret_load,
	      char *ret_why, size_t why_len);
/* A load whose device is played by this thread; only load_run_mirrored works on it. Split rings. */
int load_open_mirror(const struct load_config *config, struct load **ret_load);
/* Requests per second of the driver side alone: the time in which the device is played is not counted. */
int load_run_mirrored(struct load *load, uint64_t ns, double *ret_rate);

/*
 * Runs for `ns`, then waits until nothing is in flight. Adds to the histogram unless it is NULL. -ETIMEDOUT:
 * a request did not come back in ten seconds; -ECONNRESET; -EPROTO: the target broke the ring.
 */
int load_run(struct load *load, uint64_t ns, struct histogram *latency,
	     struct load_result *ret_result);
/* Writes every block that the load uses once. -EIO: some could not be written. */
int load_prefill(struct load *load);
/*
 * Sends `requests` in batches of config.batch, each when the one before has come back and `ready`, called in
 * between, has returned 0.
 */
int load_run_batches(struct load *load, uint64_t requests, int (*ready)(void *arg), void *arg,
		     struct load_result *ret_result);
/* Does the target want a kick for the next request of the first queue? */
bool load_target_is_armed(const struct load *load);

const char *load_why(const struct load *load);
uint64_t load_capacity(const struct load *load);
/* The process that listens on the socket; 0: not known. */
pid_t load_peer(const struct load *load);
bool load_is_packed(const struct load *load);
bool load_has_event_idx(const struct load *load);
void load_close(struct load *load);

#endif
