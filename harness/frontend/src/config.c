/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's configuration space. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/*
 * What is asked for when the caller's length is refused. Back-ends compare with the structure they were
 * built with: that of virtio 1.3, 1.2, 1.1 (60), 1.0 (36 with the queue count, 34 before it), and the capacity alone.
 */
static const uint32_t shorter[] = { 96, 72, 60, 36, 34, 24, 8 };

static int read_exactly(struct vfe_session *session, void *buf, uint32_t size)
{
	struct vfe_message message = {
		.header = { VFE_GET_CONFIG, VFE_FLAG_VERSION, VFE_WIRE_CONFIG_HEADER + size },
		.payload.config.size = size,
	};
	struct vfe_message reply;
	int r = vfe_raw_send(session, &message);

	if (r == 0) {
		r = vfe_raw_recv(session, &reply);
	}
	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&reply);
	if (reply.header.request != VFE_GET_CONFIG) {
		return vfe_fail(session, -EPROTO, "GET_CONFIG was answered by request %u",
				reply.header.request);
	}
	/* vhost-user, "VHOST_USER_GET_CONFIG": a zero-length answer is the refusal. */
	if (reply.header.size < VFE_WIRE_CONFIG_HEADER + size) {
		return vfe_fail(session, -EREMOTEIO, "GET_CONFIG of %u bytes was refused", size);
	}
	memcpy(buf, reply.payload.config.bytes, size);
	return 0;
}

int vfe_config_read(struct vfe_session *session, void *buf, size_t size, size_t *ret_got)
{
	uint32_t ask = size < VFE_CONFIG_MAX ? (uint32_t)size : VFE_CONFIG_MAX;
	unsigned int i = 0;
	int r;

	if ((session->protocol_features & VFE_PF_CONFIG) == 0) {
		return vfe_fail(session, -ENOTSUP, "the back-end offers no configuration space");
	}
	memset(buf, 0, size);
	for (;;) {
		r = read_exactly(session, buf, ask);
		if (r != -EREMOTEIO) {
			break;
		}
		while (i < sizeof(shorter) / sizeof(shorter[0]) && shorter[i] >= ask) {
			i++;
		}
		if (i == sizeof(shorter) / sizeof(shorter[0])) {
			break;
		}
		ask = shorter[i];
	}
	if (r == 0) {
		*ret_got = ask;
	}
	return r;
}

int vfe_config_write(struct vfe_session *session, uint32_t offset, const void *buf, size_t size)
{
	struct vfe_message message = { .header = { VFE_SET_CONFIG, 0, 0 } };

	if (size > VFE_CONFIG_MAX) {
		return -E2BIG;
	}
	if ((session->protocol_features & VFE_PF_CONFIG) == 0) {
		return -ENOTSUP;
	}
	message.header.size = VFE_WIRE_CONFIG_HEADER + (uint32_t)size;
	message.payload.config.offset = offset;
	message.payload.config.size = (uint32_t)size;
	memcpy(message.payload.config.bytes, buf, size);
	return vfe_send_checked(session, &message);
}
