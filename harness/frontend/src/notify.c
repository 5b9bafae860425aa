/* SPDX-License-Identifier: BSD-3-Clause */
/* Kicks and calls: telling the device, and being told. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "internal.h"

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

static bool arm(struct vfe_queue *queue)
{
	return queue->is_packed ? vfe_packed_arm(queue) : vfe_split_arm(queue);
}

void vfe_calls_off(struct vfe_queue *queue)
{
	if (queue->is_packed) {
		vfe_packed_disarm(queue);
	} else {
		vfe_split_disarm(queue);
	}
}

static void take_calls(struct vfe_queue *queue)
{
	uint64_t n;

	if (read(queue->call_fd, &n, sizeof(n)) == (ssize_t)sizeof(n)) {
		queue->stats.calls += n;
	}
}

bool vfe_queue_failed(const struct vfe_queue *queue)
{
	struct pollfd p = { .fd = queue->err_fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static int sleep_for_calls(struct vfe_queue *const *queues, unsigned int n, int timeout_ms)
{
	struct vfe_session *session = queues[0]->session;
	struct pollfd fds[2 * VFE_QUEUES_MAX + 1];
	unsigned int i;
	int r;

	for (i = 0; i < n; i++) {
		fds[i] = (struct pollfd){ .fd = queues[i]->call_fd, .events = POLLIN };
		fds[n + i] = (struct pollfd){ .fd = queues[i]->err_fd, .events = POLLIN };
		queues[i]->stats.waits++;
	}
	fds[2 * n] = (struct pollfd){ .fd = session->fd, .events = POLLRDHUP };
	r = poll(fds, 2 * n + 1, timeout_ms);
	if (r < 0) {
		return errno == EINTR ? 0 : -errno;
	}
	if (r == 0) {
		return -ETIMEDOUT;
	}
	/* What was published before an end can still be reaped. */
	for (i = 0; i < n; i++) {
		if ((fds[i].revents & POLLIN) != 0) {
			return 0;
		}
	}
	for (i = 0; i < n; i++) {
		if ((fds[n + i].revents & POLLIN) != 0) {
			return vfe_fail(session, -EREMOTEIO, "the device has given ring %u up",
					queues[i]->index);
		}
	}
	return vfe_fail(session, -ECONNRESET, "the back-end closed the connection");
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
		vfe_calls_off(queues[i]);
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

const struct vfe_queue_stats *vfe_queue_stats(struct vfe_queue *queue)
{
	take_calls(queue);
	return &queue->stats;
}
