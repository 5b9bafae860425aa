/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user/scripted_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd_bag.h"
#include "virtio/virtqueue.h"

#define MUST(condition)                                                                          \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: the session broke its contract: %s\n", __FILE__, \
				__LINE__, #condition);                                           \
			abort();                                                                 \
		}                                                                                \
	} while (0)

void scripted_owner_init(struct scripted_owner *owner)
{
	memset(owner, 0, sizeof(*owner));
	owner->features = 1ull << 32 | 1ull << 29 | 1ull << 28;
	owner->max_queues = 4;
	owner->last_call_fd = -1;
}

static void remember(struct scripted_owner *owner, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void remember(struct scripted_owner *owner, const char *fmt, ...)
{
	size_t have = strlen(owner->record);
	va_list args;

	if (have > 0 && have + 3 < sizeof(owner->record)) {
		have += (size_t)snprintf(owner->record + have, sizeof(owner->record) - have, ", ");
	}
	va_start(args, fmt);
	vsnprintf(owner->record + have, sizeof(owner->record) - have, fmt, args);
	va_end(args);
}

static bool fd_open_or_none(int fd)
{
	return fd == -1 || fcntl(fd, F_GETFD) >= 0;
}

/* It is there, and not there for nothing. */
static void check_log(const struct ring_log *log)
{
	if (log->log == NULL) {
		MUST(!log->used && log->event_fd == -1);
		return;
	}
	MUST(!dirty_log_is_lost(log->log));
	MUST(fd_open_or_none(log->event_fd));
}

static uint64_t features(void *arg)
{
	return ((struct scripted_owner *)arg)->features;
}

static void negotiated(void *arg, uint64_t bits)
{
	struct scripted_owner *owner = arg;
	unsigned int i;

	MUST((bits & ~owner->features) == 0);
	for (i = 0; i < owner->max_queues; i++) {
		MUST(!owner->running[i]);
	}
	owner->negotiated = bits;
}

static void reset(void *arg)
{
	struct scripted_owner *owner = arg;
	unsigned int i;

	for (i = 0; i < owner->max_queues; i++) {
		MUST(!owner->running[i]);
	}
	owner->negotiated = 0;
	owner->resets++;
}

static int config_read(void *arg, uint32_t offset, void *buf, uint32_t len)
{
	struct scripted_owner *owner = arg;

	MUST((uint64_t)offset + len <= VU_CONFIG_MAX);
	if (owner->config_result < 0) {
		return owner->config_result;
	}
	memcpy(buf, owner->config + offset, len);
	return 0;
}

static int config_write(void *arg, uint32_t offset, const void *buf, uint32_t len)
{
	struct scripted_owner *owner = arg;

	MUST((uint64_t)offset + len <= VU_CONFIG_MAX);
	if (owner->config_result < 0) {
		return owner->config_result;
	}
	memcpy(owner->config + offset, buf, len);
	return 0;
}

bool scripted_owner_answer(struct scripted_owner *owner)
{
	unsigned int index = owner->pending_index;
	uint32_t base = 0;
	int result = 0;

	if (!owner->pending) {
		return false;
	}
	owner->pending = false;
	if (owner->pending_start) {
		result = owner->start_result;
		owner->running[index] = result == 0;
	} else if (owner->pending_mem != NULL) {
		MUST(!guest_mem_is_lost(owner->pending_mem)); /* and it is there still */
		result = owner->set_mem_result;
		if (result == 0) {
			owner->rings[index].mem = owner->pending_mem;
		}
		owner->pending_mem = NULL;
	} else if (owner->pending_stop) {
		/* Until now everything that belongs to the ring was ours. */
		MUST(fd_open_or_none(owner->rings[index].kick_fd));
		MUST(fd_open_or_none(owner->rings[index].call_fd));
		MUST(fd_open_or_none(owner->rings[index].err_fd));
		base = owner->rings[index].base + owner->progress;
		owner->running[index] = false;
	}
	vu_session_complete(owner->session, result, base);
	return true;
}

static void asked(struct scripted_owner *owner, unsigned int index, bool start, bool stop)
{
	MUST(!owner->pending);
	MUST(index < owner->max_queues);
	owner->pending = true;
	owner->pending_index = index;
	owner->pending_start = start;
	owner->pending_stop = stop;
	if (!owner->delayed) {
		MUST(owner->depth == 0);
		owner->depth++;
		scripted_owner_answer(owner);
		owner->depth--;
	}
}

static void ring_start(void *arg, const struct vu_ring *ring)
{
	struct scripted_owner *owner = arg;

	remember(owner, "start %u", ring->index);
	MUST(!owner->running[ring->index]);
	MUST(!owner->abandoned);
	MUST(ring->mem != NULL);
	/* A power of two or not is for virtq_new() to say. */
	MUST(virtq_size_is_good(ring->size, true));
	MUST(ring->features == owner->negotiated);
	MUST(ring->kick_fd >= 0);
	MUST(fd_open_or_none(ring->kick_fd));
	MUST(fd_open_or_none(ring->call_fd));
	MUST(fd_open_or_none(ring->err_fd));
	MUST(!guest_mem_is_lost(ring->mem));
	check_log(&ring->log);
	owner->rings[ring->index] = *ring;
	if (owner->close_in_start) {
		vu_session_close(owner->session, "closed by the owner");
	}
	asked(owner, ring->index, true, false);
}

static void ring_stop(void *arg, unsigned int index, bool abandon)
{
	struct scripted_owner *owner = arg;

	remember(owner, "%s %u", abandon ? "abandon" : "stop", index);
	MUST(owner->running[index]);
	MUST(abandon || !owner->abandoned);
	asked(owner, index, false, true);
}

static void ring_set_call(void *arg, unsigned int index, int call_fd)
{
	struct scripted_owner *owner = arg;

	remember(owner, "call %u", index);
	MUST(owner->running[index]);
	MUST(fd_open_or_none(call_fd));
	MUST(fd_open_or_none(owner->rings[index].call_fd));
	owner->rings[index].call_fd = call_fd;
	owner->last_call_fd = call_fd;
	asked(owner, index, false, false);
}

static void ring_set_mem(void *arg, unsigned int index, struct guest_mem *mem)
{
	struct scripted_owner *owner = arg;

	remember(owner, "mem %u", index);
	MUST(owner->running[index]);
	MUST(mem != NULL && mem != owner->rings[index].mem);
	MUST(!guest_mem_is_lost(mem));
	owner->pending_mem = mem;
	asked(owner, index, false, false);
}

static void ring_set_log(void *arg, unsigned int index, const struct ring_log *log)
{
	struct scripted_owner *owner = arg;

	remember(owner, "log %u", index);
	MUST(owner->running[index]);
	check_log(log);
	MUST(fd_open_or_none(owner->rings[index].log.event_fd));
	owner->rings[index].log = *log;
	asked(owner, index, false, false);
}

static void close_fds(void *arg, struct fd_bag *bag)
{
	struct scripted_owner *owner = arg;

	MUST(!owner->pending);
	MUST(bag->n > 0);
	owner->closed_fds += bag->n;
	fd_bag_close(bag);
	asked(owner, 0, false, false);
}

static void abandoned(void *arg)
{
	((struct scripted_owner *)arg)->abandoned = true;
}

static void closed(void *arg, const char *why, bool fault)
{
	struct scripted_owner *owner = arg;
	unsigned int i;

	remember(owner, "closed");
	MUST(owner->session != NULL); /* once */
	MUST(!owner->pending);
	for (i = 0; i < owner->max_queues; i++) {
		MUST(!owner->running[i]);
	}
	snprintf(owner->why, sizeof(owner->why), "%s", why);
	owner->fault = fault;
	vu_session_free(owner->session);
	owner->session = NULL;
}

static void suspended(void *arg)
{
	struct scripted_owner *owner = arg;
	unsigned int i;

	remember(owner, "suspended");
	MUST(!owner->pending);
	for (i = 0; i < owner->max_queues; i++) {
		MUST(!owner->running[i]);
	}
}

static void resumed(void *arg, int result)
{
	struct scripted_owner *owner = arg;

	remember(owner, "resumed");
	owner->resume_result = result;
}

const struct vu_owner_ops scripted_owner_ops = {
	.features = features,
	.negotiated = negotiated,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.ring_start = ring_start,
	.ring_stop = ring_stop,
	.ring_set_call = ring_set_call,
	.ring_set_mem = ring_set_mem,
	.ring_set_log = ring_set_log,
	.close_fds = close_fds,
	.abandoned = abandoned,
	.closed = closed,
	.suspended = suspended,
	.resumed = resumed,
};
