/* SPDX-License-Identifier: BSD-3-Clause */
#include "bystander.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rig.h"

#define PAUSE_NS   1000000
#define PATIENCE_S 30
#define BYTES	   RIG_DATA

struct bystander {
	struct options options; /* of its own socket */
	struct rig rig;
	pthread_t thread;
	bool running; /* the thread */
	/* Shared with the thread. */
	pthread_mutex_t lock;
	pthread_cond_t progress;
	struct bystander_report report;
	uint64_t turn;	   /* requests and messages ever */
	uint64_t since_ns; /* when the one under way began */
	bool stop;
	bool failed;
	char why[600];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool can_write(const struct bystander *b)
{
	return b->options.device == VFE_SCSI || !b->rig.blk.read_only;
}

enum turn {
	WRITE_BLOCK,
	READ_IT_BACK,
	SEND_MESSAGE,
	TURNS,
};

/* Whoever answers messages is another thread of some targets than whoever serves rings. */
static void one_message(struct rig *rig)
{
	struct vfe_message reply;
	int r = vfe_raw_query(rig->session, VFE_GET_FEATURES, &reply);

	if (r < 0) {
		rig_fail(rig, "no reply to GET_FEATURES: %s", strerror(-r));
	} else {
		vfe_raw_close_fds(&reply);
	}
}

static void check_block(struct rig *rig, uint8_t pattern)
{
	const uint8_t *data = rig_data(rig, 0);
	unsigned int i;

	for (i = 0; !rig->failed && i < BYTES; i++) {
		if (data[i] != pattern) {
			rig_fail(rig, "byte %u of a block is 0x%02x instead of 0x%02x", i, data[i],
				 pattern);
		}
	}
}

static void one_request(struct rig *rig, uint8_t pattern, bool write)
{
	struct request request;
	struct vfe_done done;
	int r;

	memset(rig_data(rig, 0), write ? pattern : (uint8_t)~pattern, BYTES);
	if (write) {
		rig_write(rig, 0, RIG_SECTOR, BYTES, &request);
	} else {
		rig_read(rig, 0, RIG_SECTOR, BYTES, &request);
	}
	if (!rig_submit(rig, &request)) {
		return;
	}
	r = vfe_queue_finish(rig->queue, PATIENCE_S * 1000, &done);
	if (r < 0) {
		rig_fail(rig, "%s", strerror(-r));
	} else if (rig_answer(rig, 0) != ANSWER_OK) {
		rig_fail(rig, "status %u", rig_status(rig, 0));
	}
}

static void take_turn(struct bystander *b, uint64_t turn)
{
	uint8_t pattern = (uint8_t)(turn / TURNS + 1);
	struct rig *rig = &b->rig;

	switch ((enum turn)(turn % TURNS)) {
	case WRITE_BLOCK:
		one_request(rig, pattern, can_write(b));
		break;
	case READ_IT_BACK:
		one_request(rig, pattern, false);
		if (can_write(b)) {
			check_block(rig, pattern);
		}
		break;
	default:
		one_message(rig);
	}
}

/* False: it shall end. */
static bool account(struct bystander *b, uint64_t took_ns)
{
	bool go_on;

	pthread_mutex_lock(&b->lock);
	b->report.requests++;
	b->report.sum_ns += took_ns;
	if (took_ns > b->report.worst_ns) {
		b->report.worst_ns = took_ns;
	}
	b->turn++;
	b->since_ns = now_ns();
	if (b->rig.failed && !b->failed) {
		b->failed = true;
		snprintf(b->why, sizeof(b->why), "%s", b->rig.why);
	}
	go_on = !b->stop && !b->failed;
	pthread_cond_broadcast(&b->progress);
	pthread_mutex_unlock(&b->lock);
	return go_on;
}

/* Between two requests, so that it does not keep the target busy itself; cut short by the stop. */
static void pause_a_little(struct bystander *b)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	nanosleep(&pause, NULL);
	pthread_mutex_lock(&b->lock);
	b->since_ns = now_ns();
	pthread_mutex_unlock(&b->lock);
}

static void *live(void *arg)
{
	struct bystander *b = arg;
	uint64_t turn = 0;
	uint64_t begin;

	do {
		pause_a_little(b);
		begin = now_ns();
		take_turn(b, turn++);
	} while (account(b, now_ns() - begin));
	return NULL;
}

/* Waits for `turn` requests in all; false: not within the time. */
static bool wait_turn(struct bystander *b, uint64_t turn, unsigned int timeout_ms)
{
	uint64_t deadline = now_ns() + (uint64_t)timeout_ms * 1000000;
	struct timespec t = { (time_t)(deadline / 1000000000), (long)(deadline % 1000000000) };
	int r = 0;

	while (b->turn < turn && !b->failed && r == 0) {
		r = pthread_cond_timedwait(&b->progress, &b->lock, &t);
	}
	return r == 0;
}

int bystander_start(const struct options *options, struct bystander **ret_bystander, char *ret_why,
		    size_t why_len)
{
	const struct rig_options how = { 0 };
	struct bystander *b = calloc(1, sizeof(*b));
	pthread_condattr_t monotonic;

	if (b == NULL) {
		return -ENOMEM;
	}
	b->options = *options;
	b->options.socket = options->bystander;
	b->options.device = options->bystander_device;
	b->options.packed = false;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->progress, &monotonic);
	pthread_condattr_destroy(&monotonic);
	rig_init(&b->rig, &b->options);
	b->since_ns = now_ns();
	if (!rig_start(&b->rig, &how)) {
		snprintf(ret_why, why_len, "%s", b->rig.why);
		bystander_stop(b);
		return -EIO;
	}
	b->running = pthread_create(&b->thread, NULL, live, b) == 0;
	pthread_mutex_lock(&b->lock);
	if (!b->running || !wait_turn(b, 1, RIG_DEADLINE_MS) || b->failed) {
		snprintf(ret_why, why_len, "%s", b->failed ? b->why : "no request came back");
		pthread_mutex_unlock(&b->lock);
		bystander_stop(b);
		return -EIO;
	}
	pthread_mutex_unlock(&b->lock);
	*ret_bystander = b;
	return 0;
}

void bystander_begin(struct bystander *b)
{
	pthread_mutex_lock(&b->lock);
	b->report = (struct bystander_report){ 0 };
	pthread_mutex_unlock(&b->lock);
}

struct bystander_report bystander_look(struct bystander *b)
{
	struct bystander_report report;

	pthread_mutex_lock(&b->lock);
	report = b->report;
	pthread_mutex_unlock(&b->lock);
	return report;
}

bool bystander_end(struct bystander *b, unsigned int limit_ms, struct bystander_report *ret_report,
		   char *ret_why, size_t why_len)
{
	uint64_t waited;
	bool ok;

	pthread_mutex_lock(&b->lock);
	/* The one under way, and one that began behind the case. */
	ok = wait_turn(b, b->turn + 2, 2 * limit_ms);
	waited = now_ns() - b->since_ns;
	*ret_report = b->report;
	if (waited > ret_report->worst_ns) {
		ret_report->worst_ns = waited;
	}
	if (b->failed) {
		snprintf(ret_why, why_len, "the other session: %s", b->why);
	} else if (!ok || ret_report->worst_ns > (uint64_t)limit_ms * 1000000) {
		snprintf(ret_why, why_len, "the other session waited for %llu ms",
			 (unsigned long long)(ret_report->worst_ns / 1000000));
		ok = false;
	}
	ok = ok && !b->failed;
	pthread_mutex_unlock(&b->lock);
	return ok;
}

void bystander_stop(struct bystander *b)
{
	if (b == NULL) {
		return;
	}
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	pthread_mutex_unlock(&b->lock);
	if (b->running) {
		pthread_join(b->thread, NULL);
	}
	rig_close(&b->rig);
	pthread_cond_destroy(&b->progress);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
