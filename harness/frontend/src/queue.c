/* SPDX-License-Identifier: BSD-3-Clause */
/* What split and packed rings have in common: their life, and the way of requests through them. */
#include <errno.h>
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

static int start_at(struct vfe_queue *queue, uint32_t base)
{
	struct vfe_raw_ring ring;

	vfe_raw_ring_of(queue, &ring);
	if (base != UINT32_MAX) {
		ring.base = base;
	}
	vfe_calls_off(queue);
	return vfe_raw_ring_start(queue->session, &ring);
}

void vfe_raw_queue_ready(struct vfe_queue *queue)
{
	reset(queue);
	vfe_calls_off(queue);
	queue->running = true;
}

int vfe_queue_start(struct vfe_queue *queue)
{
	int r;

	if (queue->running) {
		return -EALREADY;
	}
	if (queue->base == UINT32_MAX) {
		reset(queue);
	}
	r = vfe_inflight_need(queue->session, queue);
	if (r == 0) {
		r = start_at(queue, queue->base);
	}
	queue->running = r == 0;
	return r;
}

/* After a crash of the back-end: where it was can be read from the ring alone. */
int vfe_queue_resume(struct vfe_queue *queue)
{
	uint32_t base = queue->is_packed ? vfe_packed_crash_base(queue) :
					   vfe_split_crash_base(queue);
	int r = start_at(queue, base);

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

int vfe_queue_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max)
{
	int n = queue->is_packed ? vfe_packed_reap(queue, done, max) :
				   vfe_split_reap(queue, done, max);

	if (n > 0) {
		queue->inflight -= (unsigned int)n;
	}
	return n;
}

bool vfe_queue_ready(const struct vfe_queue *queue)
{
	return queue->is_packed ? vfe_packed_ready(queue) : vfe_split_ready(queue);
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
