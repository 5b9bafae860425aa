/* SPDX-License-Identifier: BSD-3-Clause */
/* The messages that start and stop a ring, and the views of frontend_raw.h. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static int send_state(struct vfe_session *session, enum vfe_request request, uint32_t index,
		      uint32_t num)
{
	struct vfe_message message = {
		.header = { request, 0, sizeof(struct vfe_wire_state) },
		.payload.state = { index, num },
	};

	return vfe_send_checked(session, &message);
}

static int send_fd(struct vfe_session *session, enum vfe_request request, uint32_t index, int fd)
{
	struct vfe_message message = {
		.header = { request, 0, sizeof(uint64_t) },
		.payload.u64 = fd < 0 ? index | VFE_VRING_NO_FD : index,
		.fds = { fd },
		.fd_n = fd < 0 ? 0 : 1,
	};

	return vfe_send_checked(session, &message);
}

int vfe_raw_ring_start(struct vfe_session *session, const struct vfe_raw_ring *ring)
{
	struct vfe_message addr = {
		.header = { VFE_SET_VRING_ADDR, 0, sizeof(struct vfe_wire_addr) },
		.payload.addr = ring->addr,
	};
	int r = send_state(session, VFE_SET_VRING_NUM, ring->index, ring->size);

	if (r == 0) {
		r = send_state(session, VFE_SET_VRING_BASE, ring->index, ring->base);
	}
	if (r == 0) {
		r = vfe_send_checked(session, &addr);
	}
	if (r == 0) {
		r = send_fd(session, VFE_SET_VRING_ERR, ring->index, ring->err_fd);
	}
	if (r == 0) {
		r = send_fd(session, VFE_SET_VRING_KICK, ring->index, ring->kick_fd);
	}
	if (r == 0) {
		r = send_fd(session, VFE_SET_VRING_CALL, ring->index, ring->call_fd);
	}
	/* vhost-user, "Ring states": without protocol features rings are enabled from the start. */
	if (r == 0 && ring->enable && (session->features & VFE_F_PROTOCOL_FEATURES) != 0) {
		r = send_state(session, VFE_SET_VRING_ENABLE, ring->index, 1);
	}
	return r;
}

int vfe_raw_ring_stop(struct vfe_session *session, uint32_t index, uint32_t *ret_base)
{
	struct vfe_message message = {
		.header = { VFE_GET_VRING_BASE, VFE_FLAG_VERSION, sizeof(struct vfe_wire_state) },
		.payload.state = { index, 0 },
	};
	int r = vfe_raw_send(session, &message);

	if (r == 0) {
		r = vfe_raw_recv(session, &message);
	}
	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&message);
	if (message.header.request != VFE_GET_VRING_BASE ||
	    message.header.size != sizeof(struct vfe_wire_state) ||
	    message.payload.state.index != index) {
		return vfe_fail(session, -EPROTO, "GET_VRING_BASE of ring %u: odd answer", index);
	}
	*ret_base = message.payload.state.num;
	return 0;
}

void vfe_raw_view(struct vfe_queue *queue, struct vfe_raw_view *ret_view)
{
	*ret_view = (struct vfe_raw_view){
		.size = queue->size,
		.kick_fd = queue->kick_fd,
		.call_fd = queue->call_fd,
		.err_fd = queue->err_fd,
	};
	if (queue->is_packed) {
		ret_view->packed = queue->packed.ring;
		ret_view->driver_event = queue->packed.driver;
		ret_view->device_event = queue->packed.device;
	} else {
		ret_view->desc = queue->split.desc;
		ret_view->avail = queue->split.avail;
		ret_view->used = queue->split.used;
		ret_view->used_event = queue->split.used_event;
		ret_view->avail_event = queue->split.avail_event;
	}
}

void vfe_raw_ring_of(const struct vfe_queue *queue, struct vfe_raw_ring *ret_ring)
{
	const struct vfe_memory *memory = queue->session->memory;
	const void *desc = queue->split.desc;
	const void *avail = queue->split.avail;
	const void *used = queue->split.used;

	if (queue->is_packed) {
		desc = queue->packed.ring;
		avail = queue->packed.driver;
		used = queue->packed.device;
	}
	*ret_ring = (struct vfe_raw_ring){
		.index = queue->index,
		.size = queue->size,
		.base = queue->is_packed ? 0x80008000u : 0,
		.addr = { .index = queue->index,
			  .desc = vfe_raw_memory_uva(memory, desc),
			  .avail = vfe_raw_memory_uva(memory, avail),
			  .used = vfe_raw_memory_uva(memory, used) },
		.kick_fd = queue->kick_fd,
		.call_fd = queue->call_fd,
		.err_fd = queue->err_fd,
		.enable = true,
	};
}

void *vfe_raw_inflight(struct vfe_session *session, size_t *ret_size)
{
	if (session->inflight.map == NULL) {
		return NULL;
	}
	*ret_size = session->inflight.wire.mmap_size;
	return session->inflight.map;
}

void vfe_raw_inflight_drop(struct vfe_session *session)
{
	vfe_inflight_drop(session);
}
