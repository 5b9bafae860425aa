/* SPDX-License-Identifier: BSD-3-Clause */
/* T82, T83, T84: too many messages, too many kicks, calls that nobody takes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bystander.h"
#include "case.h"

#define FLOOD_MS 1000
#define PART_MS	 100
#define NOISE_MS 2 /* that other programs on the machine may cost */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- T82 ---- */

enum kind {
	CHEAP,	/* for both sides */
	COSTLY, /* for the target: memory tables, of which each stops the ring and maps memory */
};

/* As much as there is room for, perhaps a part of a message. False: the connection has been ended. */
static bool send_many(struct rig *rig, uint64_t *bytes)
{
	struct vfe_wire_header owner[256];
	size_t at = *bytes % sizeof(owner);
	unsigned int i;
	ssize_t n;

	for (i = 0; i < sizeof(owner) / sizeof(owner[0]); i++) {
		owner[i] = (struct vfe_wire_header){ VFE_SET_OWNER, VFE_FLAG_VERSION, 0 };
	}
	n = send(vfe_socket(rig->session), (uint8_t *)owner + at, sizeof(owner) - at, MSG_NOSIGNAL);
	*bytes += n > 0 ? (uint64_t)n : 0;
	return n >= 0;
}

static bool send_table(struct rig *rig, uint64_t *bytes)
{
	const struct vfe_raw_region *regions;
	struct vfe_message message = {
		.header = { VFE_SET_MEM_TABLE, VFE_FLAG_VERSION,
			    8 + 2 * sizeof(struct vfe_wire_region) },
		.payload.mem_table.region_n = 2,
		.fd_n = 2,
	};
	unsigned int i;

	vfe_raw_memory_regions(rig->memory, &regions);
	for (i = 0; i < 2; i++) {
		message.payload.mem_table.regions[i] = regions[i].wire;
		message.fds[i] = regions[i].fd;
	}
	*bytes += sizeof(struct vfe_wire_header);
	return vfe_raw_send(rig->session, &message) == 0;
}

static bool flood(struct rig *rig, enum kind kind, unsigned int ms, uint64_t *bytes)
{
	uint64_t end = now_ms() + ms;
	bool alive = true;

	while (alive && now_ms() < end) {
		alive = kind == CHEAP ? send_many(rig, bytes) : send_table(rig, bytes);
	}
	return alive;
}

/* How long a request of the other session took in the mean, since `from`. */
static double mean_ms(struct rig *rig, struct bystander_report *from)
{
	struct bystander_report now = bystander_look(rig->bystander);
	uint64_t requests = now.requests - from->requests;
	uint64_t ns = now.sum_ns - from->sum_ns;

	*from = now;
	return requests == 0 ? FLOOD_MS : (double)ns / (double)requests / 1e6;
}

static void flood_of_messages(struct rig *rig, const void *arg)
{
	const struct timespec quiet_time = { .tv_nsec = PART_MS * 1000000 };
	const struct rig_options how = { 0 };
	struct bystander_report seen = { 0 };
	double quiet = 0, flooded = FLOOD_MS;
	const enum kind kind = *(const enum kind *)arg;
	uint64_t bytes = 0;
	bool alive = true;
	unsigned int i;

	if (!rig_start(rig, &how)) {
		return;
	}
	if (rig->bystander != NULL) {
		(void)mean_ms(rig, &seen);
		nanosleep(&quiet_time, NULL);
		quiet = mean_ms(rig, &seen);
	}
	/* The best part of the flood counts: what other programs on the machine cost comes and goes. */
	for (i = 0; i < FLOOD_MS / PART_MS && alive; i++) {
		alive = flood(rig, kind, PART_MS, &bytes);
		if (rig->bystander != NULL) {
			double mean = mean_ms(rig, &seen);

			flooded = mean < flooded ? mean : flooded;
		}
	}
	rig_note(rig, "%llu messages in %u ms",
		 (unsigned long long)(bytes / sizeof(struct vfe_wire_header)), FLOOD_MS);
	if (rig->options->strict && !alive) {
		rig_fail(rig, "the connection was ended: %s", strerror(errno));
	} else if (rig->options->strict && rig->bystander != NULL &&
		   flooded > 2 * quiet + NOISE_MS) {
		rig_fail(rig, "the other session's requests took %.2f ms instead of %.2f", flooded,
			 quiet);
	}
}

#define KIND(what)         \
	&(const enum kind) \
	{                  \
		what       \
	}

/* ---- T83 ---- */

struct storm {
	int fd;
	bool stop;
	uint64_t kicks;
};

static void *kick_all_the_time(void *arg)
{
	const uint64_t one = 1;
	struct storm *storm = arg;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_RELAXED)) {
		storm->kicks += write(storm->fd, &one, sizeof(one)) > 0;
	}
	return NULL;
}

static void storm_of_kicks(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	uint64_t end = now_ms() + FLOOD_MS;
	struct storm storm = { 0 };
	unsigned int requests = 0;
	pthread_t thread;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	storm.fd = rig->view.kick_fd;
	if (pthread_create(&thread, NULL, kick_all_the_time, &storm) != 0) {
		rig_fail(rig, "no second thread");
		return;
	}
	while (now_ms() < end && !rig->failed) {
		rig_expect_usable(rig);
		requests++;
	}
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	rig_note(rig, "%llu kicks, %u requests", (unsigned long long)storm.kicks, requests);
}

/* The counter at its maximum, and blocking: whoever writes into it waits for ever. */
static void kick_counter_at_its_end(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const uint64_t most = UINT64_MAX - 1;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	for (i = 0; i < 50 && !rig->failed; i++) {
		if (write(rig->view.kick_fd, &most, sizeof(most)) < 0 && errno != EAGAIN) {
			rig_fail(rig, "cannot kick: %s", strerror(errno));
		}
		rig_expect_usable(rig);
	}
}

/* ---- T84 ---- */

static bool set_call(struct rig *rig, int fd, enum taken *ret_taken)
{
	struct vfe_message message = {
		.header = { VFE_SET_VRING_CALL, 0, sizeof(uint64_t) },
		.payload.u64 = rig_queue_index(rig),
		.fds = { fd },
		.fd_n = 1,
	};

	*ret_taken = rig_ask(rig, &message);
	return *ret_taken == TAKEN_ACCEPTED || *ret_taken == TAKEN_UNKNOWN;
}

/* Ten requests, with calls on: each would have to be signalled. */
static void with_calls(struct rig *rig)
{
	struct request request;
	unsigned int i;

	/* Another target may end the connection of somebody whom it cannot call. */
	for (i = 0; i < 10 && !rig->failed && rig_alive(rig); i++) {
		rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
		rig_chain(rig, 0, &request);
		rig_head(rig, 0);
		rig_offer(rig);
		rig_expect(rig, 0, WANT_OK_HERE);
	}
}

static void call_into_a_full_pipe(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	char rubbish[4096] = { 0 };
	enum taken taken;
	int pair[2];

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0) {
		rig_fail(rig, "no pipe");
		return;
	}
	while (write(pair[1], rubbish, sizeof(rubbish)) > 0) {
	}
	/* The end that it gets is a blocking one. */
	(void)fcntl(pair[1], F_SETFL, 0);
	if (set_call(rig, pair[1], &taken) && !rig->options->strict) {
		with_calls(rig);
	} else if (rig_expect_refused(rig, "a pipe for calls", taken) && rig->queue != NULL) {
		with_calls(rig);
	}
	close(pair[0]);
	close(pair[1]);
}

static void call_into_a_full_eventfd(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const uint64_t most = UINT64_MAX - 1;
	enum taken taken;
	int fd;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0 || write(fd, &most, sizeof(most)) < 0) {
		rig_fail(rig, "no eventfd");
	} else if (!set_call(rig, fd, &taken)) {
		rig_fail(rig, "a full eventfd was %s", taken_name(taken));
	} else {
		/* The target may have made it non-blocking: take that back. */
		(void)fcntl(fd, F_SETFL, 0);
		with_calls(rig);
	}
	close(fd);
}

static const struct hostile_case cases[] = {
	{ "T82", "as many messages as go through the socket", ON_DISK | ON_SPLIT, flood_of_messages,
	  KIND(CHEAP) },
	{ "T82", "as many memory tables", ON_DISK | ON_SPLIT, flood_of_messages, KIND(COSTLY) },
	{ "T83", "kicks without a pause", ON_ALL, storm_of_kicks, NULL },
	{ "T83", "the kick counter at its end", ON_ALL, kick_counter_at_its_end, NULL },
	{ "T84", "a full pipe for calls", ON_DISK | ON_SPLIT, call_into_a_full_pipe, NULL },
	{ "T84", "a full eventfd for calls, which blocks", ON_DISK | ON_SPLIT,
	  call_into_a_full_eventfd, NULL },
};

const struct case_table flood_table = CASE_TABLE(cases);
