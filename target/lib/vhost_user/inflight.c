/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-flight area travels twice: we make it, the front-end keeps it and hands it to whoever serves its rings,
 * before the first of them starts. What comes back is checked like anything else that comes from there.
 */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"
#include "virtio/inflight.h"

#define VIRTIO_F_RING_PACKED (1ull << 34)

/* Both numbers within what we serve, so that nothing else depends on the front-end's word (rule R10). */
static int decode(struct vu_session *session, const struct vu_message *message,
		  struct inflight_shape *ret_shape)
{
	struct vu_inflight wire;

	if (vu_decode_inflight(message, &wire) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	*ret_shape = (struct inflight_shape){
		.offset = wire.mmap_offset,
		.size = wire.mmap_size,
		.queue_n = wire.num_queues,
		.queue_size = wire.queue_size,
		.packed = (session->features & VIRTIO_F_RING_PACKED) != 0,
	};
	if (wire.num_queues > session->slot_n || inflight_area_bytes(ret_shape) == 0) {
		return vu_refuse(session, -EINVAL, "an in-flight area for rings that cannot be");
	}
	return 0;
}

int vu_get_inflight_fd(struct vu_session *session, struct vu_message *message)
{
	uint8_t payload[VU_INFLIGHT_PADDED_SIZE] = { 0 };
	struct inflight_shape shape;
	struct vu_inflight wire;
	int fd;
	int r = decode(session, message, &shape);

	if (r < 0) {
		return r;
	}
	/* The larger layout: vhost-user-scsi of QEMU 7.2 asks before it negotiates the ring format. */
	shape.packed = true;
	r = inflight_area_make(&shape, &fd);
	if (r < 0) {
		return vu_refuse(session, r, "no memory for an in-flight area");
	}
	wire = (struct vu_inflight){
		.mmap_size = inflight_area_bytes(&shape),
		.num_queues = shape.queue_n,
		.queue_size = shape.queue_size,
	};
	memcpy(payload, &wire, VU_INFLIGHT_SIZE);
	/* As long as the front-end thinks that the structure is. */
	vu_reply_put(&session->reply, payload, message->header.size);
	session->reply.fds[0] = fd;
	session->reply.fd_n = 1;
	return 0;
}

int vu_set_inflight_fd_prepare(struct vu_session *session, struct vu_message *message)
{
	struct inflight_shape shape;
	int r = decode(session, message, &shape);

	if (r < 0) {
		return r;
	}
	if (vu_any_ring_running(session)) {
		return vu_refuse(session, -EBUSY, "a ring is running");
	}
	if (!fd_is_local_memory(message->fds[0])) {
		return vu_refuse(session, -EINVAL,
				 "an area that is neither shared memory nor of a local file");
	}
	r = inflight_area_map(&shape, message->fds[0], &session->next_inflight);
	return r < 0 ? vu_refuse(session, r, "an in-flight area that cannot be mapped") : 0;
}

int vu_set_inflight_fd(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;

	inflight_area_unref(session->inflight);
	session->inflight = session->next_inflight;
	session->next_inflight = NULL;
	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].refused = false;
	}
	return 0;
}
