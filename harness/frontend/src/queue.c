/* SPDX-License-Identifier: BSD-3-Clause */
/* What split and packed rings have in common: life, notifications, waiting. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define QUEUE_SIZE_MAX 32768

static bool size_is_valid(unsigned int size, bool packed)
{
	if (size == 0 || size > QUEUE_SIZE_MAX) {
		return false;
	}
	/* virtio 1.2, 2.7: a power of two; 2.8.10.1: any. */
	return packed || (size & (size - 1)) == 0;
}

static int open_eventfds(struct vfe_queue *queue)
{
	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return queue->kick_fd < 0 || queue->call_fd < 0 || queue->err_fd < 0 ? -errno : 0;
}

static int allocate(struct vfe_queue *queue)
{
	struct vfe_memory *memory = queue->session->memory;
	size_t bytes = (size_t)queue->size * queue->segments * sizeof(struct vfe_desc);

	queue->entries = calloc(queue->size, sizeof(*queue->entries));
	if (queue->entries == NULL) {
		return -ENOMEM;
	}
	if (queue->indirect) {
		queue->tables = vfe_memory_alloc(memory, bytes, VFE_CACHE_LINE);
		if (queue->tables == NULL) {
			return vfe_fail(queue->session, -ENOMEM, "no room for indirect tables");
		}
		queue->tables_gpa = vfe_memory_gpa(memory, queue->tables);
	}
	return queue->is_packed ? vfe_packed_init(queue) : vfe_split_init(queue);
}

int vfe_queue_new(struct vfe_session *session, unsigned int index,
		  const struct vfe_queue_options *options, struct vfe_queue **ret_queue)
{
	bool packed = (session->features & VFE_F_RING_PACKED) != 0;
	struct vfe_queue *queue;
	int r;

	if (index >= VFE_QUEUES_MAX || session->queues[index] != NULL || session->memory == NULL ||
	    !size_is_valid(options->size, packed) || options->segments == 0 ||
	    options->segments > QUEUE_SIZE_MAX) {
		return vfe_fail(session, -EINVAL, "queue %u of size %u cannot be", index,
				options->size);
	}
	queue = calloc(1, sizeof(*queue));
	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->session = session;
	queue->index = (uint16_t)index;
	queue->size = (uint16_t)options->size;
	queue->free_n = options->size;
	queue->segments = (uint16_t)options->segments;
	queue->is_packed = packed;
	queue->event_idx = (session->features & VFE_F_EVENT_IDX) != 0;
	queue->indirect = options->indirect && (session->features & VFE_F_INDIRECT_DESC) != 0;
	queue->kick_fd = queue->call_fd = queue->err_fd = -1;
	queue->base = UINT32_MAX;
	r = open_eventfds(queue);
	if (r == 0) {
		r = allocate(queue);
	}
	if (r < 0) {
		vfe_queue_free(queue);
		return r;
	}
	session->queues[index] = queue;
	*ret_queue = queue;
	return 0;
}

static void reset(struct vfe_queue *queue)
{
	if (queue->is_packed) {
		vfe_packed_reset(queue);
	} else {
		vfe_split_reset(queue);
	}
	queue->free_n = queue->size;
	queue->inflight = 0;
}

static bool arm(struct vfe_queue *queue)
{
	return queue->is_packed ? vfe_packed_arm(queue) : vfe_split_arm(queue);
}

static void disarm(struct vfe_queue *queue)
{
	if (queue->is_packed) {
		vfe_packed_disarm(queue);
	} else {
		vfe_split_disarm(queue);
	}
}

static int start_at(struct vfe_queue *queue, uint32_t base)
{
	struct vfe_raw_ring ring;
	int r;

	vfe_raw_ring_of(queue, &ring);
	if (base != UINT32_MAX) {
		ring.base = base;
	}
	disarm(queue);
	r = vfe_raw_ring_start(queue->session, &ring);
	queue->running = r == 0;
	return r;
}

void vfe_raw_queue_ready(struct vfe_queue *queue)
{
	reset(queue);
	disarm(queue);
	queue->running = true;
}

int vfe_queue_start(struct vfe_queue *queue)
{
	struct vfe_session *session = queue->session;
	int r = 0;

	if (queue->running) {
		return -EALREADY;
	}
	if (queue->base == UINT32_MAX) {
		reset(queue);
	}
	if ((session->protocol_features & VFE_PF_INFLIGHT_SHMFD) != 0 && session->inflight.fd < 0) {
		r = vfe_inflight_get(session, queue->size);
	}
	return r == 0 ? start_at(queue, queue->base) : r;
}

/* After a crash of the back-end: where it was can be read from the ring alone. */
int vfe_queue_resume(struct vfe_queue *queue)
{
	uint32_t base = queue->is_packed ? vfe_packed_crash_base(queue) :
					   vfe_split_crash_base(queue);
	int r;

	queue->running = false;
	r = start_at(queue, base);
	if (r == 0) {
		/* A kick that the old one took and did not act on is lost with it. */
		vfe_queue_kick(queue);
	}
	return r;
}

int vfe_queue_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		  unsigned int in_n, void *cookie)
{
	int r = queue->is_packed ? vfe_packed_add(queue, segs, out_n, in_n, cookie) :
				   vfe_split_add(queue, segs, out_n, in_n, cookie);

	if (r == 0) {
		queue->inflight++;
		queue->stats.requests++;
	}
	return r;
}

unsigned int vfe_queue_room(const struct vfe_queue *queue, unsigned int segments)
{
	unsigned int each = queue->indirect || segments == 0 ? 1 : segments;

	return queue->free_n / each;
}

void vfe_queue_kick(struct vfe_queue *queue)
{
	const uint64_t one = 1;

	/* It fails only if the counter is full, and then the device has a kick to see. */
	if (write(queue->kick_fd, &one, sizeof(one)) == (ssize_t)sizeof(one)) {
		queue->stats.kicks++;
	}
}

void vfe_queue_publish(struct vfe_queue *queue)
{
	bool wanted = queue->is_packed ? vfe_packed_publish(queue) : vfe_split_publish(queue);

	if (wanted) {
		vfe_queue_kick(queue);
	}
}

int vfe_queue_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max)
{
	int n = queue->is_packed ? vfe_packed_reap(queue, done, max) :
				   vfe_split_reap(queue, done, max);

	if (n > 0) {
		queue->inflight -= (unsigned int)n;
	}
	return n;
}

static void take_calls(struct vfe_queue *queue)
{
	uint64_t n;

	if (read(queue->call_fd, &n, sizeof(n)) == (ssize_t)sizeof(n)) {
		queue->stats.calls += n;
	}
}

static int sleep_for_calls(struct vfe_queue *const *queues, unsigned int n, int timeout_ms)
{
	struct pollfd fds[VFE_QUEUES_MAX + 1];
	unsigned int i;
	int r;

	for (i = 0; i < n; i++) {
		fds[i] = (struct pollfd){ .fd = queues[i]->call_fd, .events = POLLIN };
		queues[i]->stats.waits++;
	}
	fds[n] = (struct pollfd){ .fd = queues[0]->session->fd, .events = POLLRDHUP };
	r = poll(fds, n + 1, timeout_ms);
	if (r < 0) {
		return errno == EINTR ? 0 : -errno;
	}
	if (r == 0) {
		return -ETIMEDOUT;
	}
	/* What was published before the end can still be reaped. */
	for (i = 0; i < n; i++) {
		if ((fds[i].revents & POLLIN) != 0) {
			return 0;
		}
	}
	return -ECONNRESET;
}

int vfe_queues_wait(struct vfe_queue *const *queues, unsigned int n, int timeout_ms)
{
	bool empty = true;
	unsigned int i;
	int r;

	if (n == 0 || n > VFE_QUEUES_MAX) {
		return -EINVAL;
	}
	for (i = 0; i < n; i++) {
		empty &= arm(queues[i]);
	}
	r = empty ? sleep_for_calls(queues, n, timeout_ms) : 0;
	for (i = 0; i < n; i++) {
		disarm(queues[i]);
		take_calls(queues[i]);
	}
	return r;
}

int vfe_queue_wait(struct vfe_queue *queue, int timeout_ms)
{
	return vfe_queues_wait(&queue, 1, timeout_ms);
}

int vfe_queue_finish(struct vfe_queue *queue, int timeout_ms, struct vfe_done *ret_done)
{
	int n;
	int r;

	vfe_queue_publish(queue);
	for (;;) {
		n = vfe_queue_reap(queue, ret_done, 1);
		if (n != 0) {
			return n < 0 ? n : 0;
		}
		r = vfe_queue_wait(queue, timeout_ms);
		if (r < 0) {
			return r;
		}
	}
}

unsigned int vfe_queue_inflight(const struct vfe_queue *queue)
{
	return queue->inflight;
}

unsigned int vfe_queue_index(const struct vfe_queue *queue)
{
	return queue->index;
}

struct vfe_session *vfe_queue_session(const struct vfe_queue *queue)
{
	return queue->session;
}

const struct vfe_queue_stats *vfe_queue_stats(struct vfe_queue *queue)
{
	take_calls(queue);
	return &queue->stats;
}

int vfe_queue_stop(struct vfe_queue *queue)
{
	uint32_t base;
	int r;

	if (!queue->running) {
		return 0;
	}
	r = vfe_raw_ring_stop(queue->session, queue->index, &base);
	queue->running = false;
	if (r == 0) {
		queue->base = base;
	}
	return r;
}

unsigned int vfe_queue_abandon(struct vfe_queue *queue, struct vfe_done *done, unsigned int max)
{
	unsigned int n = 0;
	unsigned int i;

	queue->running = false;
	for (i = 0; i < queue->size && n < max && queue->inflight > 0; i++) {
		if (queue->entries[i].n > 0) {
			done[n++] = (struct vfe_done){ .cookie = queue->entries[i].cookie };
			queue->entries[i].n = 0;
			queue->inflight--;
		}
	}
	if (n == 0) {
		queue->base = UINT32_MAX; /* as new: the next start begins at the beginning */
	}
	return n;
}

void vfe_queue_free(struct vfe_queue *queue)
{
	if (queue == NULL) {
		return;
	}
	if (queue->session->queues[queue->index] == queue) {
		queue->session->queues[queue->index] = NULL;
	}
	if (queue->kick_fd >= 0) {
		close(queue->kick_fd);
	}
	if (queue->call_fd >= 0) {
		close(queue->call_fd);
	}
	if (queue->err_fd >= 0) {
		close(queue->err_fd);
	}
	if (queue->is_packed) {
		free(queue->packed.ids);
	} else {
		free(queue->split.next);
	}
	free(queue->entries);
	free(queue);
}
