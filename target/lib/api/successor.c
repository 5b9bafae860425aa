/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process that takes over. It has nothing else to do yet, so it waits for each parcel where it stands. After
 * a failure nothing is put in order: whatever it has is the predecessor's, and its end leaves that alone.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "api/api.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"
#include "controller/handover.h"

/* Longer than any limit of the predecessor's, which would end us. */
#define LIMIT_MS 120000

struct waiting {
	bool done;
	int result;
};

static int wait_for(int fd, short events, const char **ret_why)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n;

	do {
		n = poll(&pfd, 1, LIMIT_MS);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		return 0;
	}
	*ret_why = why("the old process stands still");
	return n == 0 ? -ETIMEDOUT : -errno;
}

static int receive(struct vht_target *t, enum handover_parcel wanted, struct parcel *parcel,
		   const char **ret_why)
{
	uint32_t type = 0;
	int r;

	do {
		r = wait_for(t->successor_fd, POLLIN, ret_why);
		if (r < 0) {
			return r;
		}
		r = parcel_recv(parcel, t->successor_fd, &type);
	} while (r == 0);
	if (r < 0) {
		*ret_why = why("the old process does not hand over: %s", strerror(-r));
		return r;
	}
	if (type != wanted) {
		*ret_why = why("the old process says %u where %u was expected", type, wanted);
		return -EPROTO;
	}
	return 0;
}

static int say(struct vht_target *t, enum handover_parcel type, const char *text)
{
	const char *unheard;
	struct parcel parcel;
	int r;

	parcel_init(&parcel);
	if (text != NULL) {
		parcel_put_text(&parcel, text);
	}
	do {
		r = parcel_send(&parcel, t->successor_fd, type);
	} while (r == -EAGAIN && wait_for(t->successor_fd, POLLOUT, &unheard) == 0);
	parcel_done(&parcel);
	return r;
}

static void waited(void *arg, int result)
{
	struct waiting *waiting = arg;

	waiting->done = true;
	waiting->result = result;
}

static int run_until(struct vht_target *t, const struct waiting *waiting)
{
	int r = 0;

	while (r == 0 && !waiting->done) {
		r = loop_run_once(t->loop, -1);
	}
	return r;
}

/* ---- step by step ---- */

static int start(struct vht_target *t, struct parcel *parcel, const char **ret_why)
{
	uint32_t magic;
	uint32_t version;
	uint32_t level;
	int r = receive(t, HANDOVER_START, parcel, ret_why);

	if (r < 0) {
		return r;
	}
	magic = parcel_get_u32(parcel);
	version = parcel_get_u32(parcel);
	if (magic != HANDOVER_MAGIC || version != HANDOVER_VERSION) {
		*ret_why = why("the old process hands over in format %u, and %s knows %u", version,
			       VHT_VERSION, HANDOVER_VERSION);
		return -EPROTONOSUPPORT;
	}
	r = env_cpuset_parse(parcel_get_name(parcel), &t->cores);
	level = parcel_get_below(parcel, LOG_LEVEL_DEBUG + 1);
	if (r < 0 || !parcel_is_used_up(parcel)) {
		*ret_why = why("the old process names no cores");
		return -EPROTO;
	}
	log_set_level((enum log_level)level);
	return api_start(t, true, ret_why);
}

static int take_config(struct vht_target *t, struct parcel *parcel, const char **ret_why)
{
	const struct mgmt_options opts = api_mgmt_options(t, NULL);
	int r = receive(t, HANDOVER_CONFIG, parcel, ret_why);

	if (r < 0) {
		return r;
	}
	t->handover.count = parcel_get_u64(parcel);
	t->handover.longest_pause_ns = parcel_get_u64(parcel);
	if (parcel_get_bool(parcel)) {
		r = mgmt_restore(&opts, parcel, &t->mgmt, ret_why);
	}
	if (r == 0) {
		r = target_restore_config(t->target, parcel, ret_why);
	}
	if (r == 0 && !parcel_is_used_up(parcel)) {
		*ret_why =
			why("the configuration that the old process sends is longer than it says");
		r = -EPROTO;
	}
	return r;
}

static int take_sessions(struct vht_target *t, struct parcel *parcel, uint64_t *ret_since,
			 const char **ret_why)
{
	struct waiting waiting = { .done = false };
	int r = receive(t, HANDOVER_SESSIONS, parcel, ret_why);

	if (r < 0) {
		return r;
	}
	*ret_since = parcel_get_u64(parcel);
	r = target_restore_sessions(t->target, parcel, waited, &waiting, ret_why);
	if (r == 0 && !parcel_is_used_up(parcel)) {
		*ret_why = why("the sessions that the old process sends are longer than it says");
		r = -EPROTO;
	}
	if (r < 0) {
		return r;
	}
	r = run_until(t, &waiting);
	r = r == 0 ? waiting.result : r;
	if (r < 0) {
		*ret_why = why("a ring cannot be started: %s", strerror(-r));
	}
	return r;
}

/* From here on there is no way back. */
static void release(struct vht_target *t, uint64_t since)
{
	struct waiting waiting = { .done = false };
	unsigned int queues = target_running_queues(t->target);
	struct handover_status *status = &t->handover;

	target_release(t->target, waited, &waiting);
	(void)run_until(t, &waiting);
	status->state = HANDOVER_DONE;
	status->count++;
	status->pause_ns = queues > 0 ? handover_now_ns() - since : 0;
	if (status->pause_ns > status->longest_pause_ns) {
		status->longest_pause_ns = status->pause_ns;
	}
	log_notice("taken over: %u running queue%s, a pause of %.3f ms", queues,
		   queues == 1 ? "" : "s", (double)status->pause_ns / 1e6);
}

static int take_over(struct vht_target *t, uint64_t *ret_since, const char **ret_why)
{
	static int (*const steps[])(struct vht_target * t, struct parcel * parcel,
				    const char **ret_why) = { start, take_config };
	static const enum handover_parcel answers[] = { HANDOVER_READY, HANDOVER_PREPARED };
	struct parcel parcel;
	unsigned int i;
	int r = 0;

	for (i = 0; i < 2 && r == 0; i++) {
		parcel_init(&parcel);
		r = steps[i](t, &parcel, ret_why);
		parcel_done(&parcel);
		if (r == 0) {
			r = say(t, answers[i], NULL);
		}
	}
	parcel_init(&parcel);
	r = r == 0 ? take_sessions(t, &parcel, ret_since, ret_why) : r;
	parcel_done(&parcel);
	r = r == 0 ? say(t, HANDOVER_RESTORED, NULL) : r;
	r = r == 0 ? receive(t, HANDOVER_GO, &parcel, ret_why) : r;
	parcel_done(&parcel);
	return r;
}

int vht_target_take_over(struct vht_target *target, int fd, const char **ret_why)
{
	struct vht_target *t = target;
	uint64_t since = 0;
	int r;

	*ret_why = "the old process is gone";
	t->successor_fd = fd;
	r = take_over(t, &since, ret_why);
	if (r < 0) {
		say(t, HANDOVER_CANNOT, *ret_why);
		return r;
	}
	release(t, since);
	return 0;
}

void successor_serves(struct vht_target *t)
{
	if (t->mgmt != NULL) {
		mgmt_release(t->mgmt);
	}
	say(t, HANDOVER_SERVING, NULL);
	fd_close(&t->successor_fd);
}
