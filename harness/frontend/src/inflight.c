/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-flight area (vhost-user, "Inflight I/O tracking"). The back-end makes it and alone reads and writes
 * it; the front-end keeps it across the back-end's death.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

static int keep(struct vfe_session *session, const struct vfe_message *reply)
{
	struct vfe_inflight *inflight = &session->inflight;
	size_t len = reply->payload.inflight.mmap_size;
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, reply->fds[0],
			 (off_t)reply->payload.inflight.mmap_offset);

	if (map == MAP_FAILED) {
		return vfe_fail(session, -errno, "cannot map the in-flight area: %s",
				strerror(errno));
	}
	inflight->fd = fcntl(reply->fds[0], F_DUPFD_CLOEXEC, 0);
	if (inflight->fd < 0) {
		munmap(map, len);
		return -errno;
	}
	inflight->map = map;
	inflight->map_len = len;
	inflight->wire = reply->payload.inflight;
	return 0;
}

/* The area serves what the caller announced, and all queues that have been made. */
static void measure(const struct vfe_session *session, struct vfe_wire_inflight *ret_wire)
{
	unsigned int i;

	ret_wire->queue_n = session->wish.inflight_queues;
	ret_wire->queue_size = session->wish.inflight_size;
	for (i = 0; i < VFE_QUEUES_MAX; i++) {
		if (session->queues[i] != NULL) {
			if (ret_wire->queue_n < i + 1) {
				ret_wire->queue_n = (uint16_t)(i + 1);
			}
			if (session->queues[i]->size > ret_wire->queue_size) {
				ret_wire->queue_size = session->queues[i]->size;
			}
		}
	}
}

static int get(struct vfe_session *session)
{
	struct vfe_message message = {
		.header = { VFE_GET_INFLIGHT_FD, VFE_FLAG_VERSION,
			    sizeof(struct vfe_wire_inflight) },
	};
	int r;

	measure(session, &message.payload.inflight);
	r = vfe_raw_send(session, &message);

	if (r == 0) {
		r = vfe_raw_recv(session, &message);
	}
	if (r < 0) {
		return r;
	}
	/* The padding behind the last field may be missing. */
	if (message.header.request != VFE_GET_INFLIGHT_FD ||
	    message.header.size < offsetof(struct vfe_wire_inflight, padding) ||
	    message.payload.inflight.mmap_size == 0 || message.fd_n != 1) {
		r = vfe_fail(session, -EPROTO, "GET_INFLIGHT_FD: odd answer");
	} else {
		r = keep(session, &message);
	}
	vfe_raw_close_fds(&message);
	return r == 0 ? vfe_inflight_set(session) : r;
}

int vfe_inflight_need(struct vfe_session *session, const struct vfe_queue *queue)
{
	const struct vfe_inflight *inflight = &session->inflight;

	if ((session->protocol_features & VFE_PF_INFLIGHT_SHMFD) == 0) {
		return 0;
	}
	if (inflight->fd < 0) {
		return get(session);
	}
	if (queue->index >= inflight->wire.queue_n || queue->size > inflight->wire.queue_size) {
		return vfe_fail(
			session, -EINVAL,
			"queue %u was made after the first start: the in-flight area has no room",
			queue->index);
	}
	return 0;
}

int vfe_inflight_set(struct vfe_session *session)
{
	struct vfe_message message = {
		.header = { VFE_SET_INFLIGHT_FD, 0, sizeof(struct vfe_wire_inflight) },
		.payload.inflight = session->inflight.wire,
		.fds = { session->inflight.fd },
		.fd_n = 1,
	};

	return vfe_send_checked(session, &message);
}

void vfe_inflight_drop(struct vfe_session *session)
{
	struct vfe_inflight *inflight = &session->inflight;

	if (inflight->fd >= 0) {
		munmap(inflight->map, inflight->map_len);
		close(inflight->fd);
		inflight->fd = -1;
		inflight->map = NULL;
	}
}
