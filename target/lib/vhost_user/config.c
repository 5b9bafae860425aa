/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's config space (vhost-user, "Virtio device config space"). */
#include <errno.h>

#include "base/checked.h"
#include "vhost_user/session_private.h"

/* Case T79: offset and size are checked together, in 64 bits. */
static int check_range(struct vu_session *session, const struct vu_config *config)
{
	if (!range_inside(config->offset, config->size, VU_CONFIG_MAX)) {
		return vu_refuse(session, -EINVAL, "offset or size beyond the config space");
	}
	return 0;
}

/*
 * Some front-ends send room for the answer along with the request, others only the description: what
 * counts is its size field. "payload size MUST match the front-end's request".
 */
int vu_get_config(struct vu_session *session, struct vu_message *message)
{
	uint8_t data[VU_CONFIG_MAX] = { 0 };
	struct vu_config config;
	const uint8_t *sent;
	size_t sent_len;
	int r;

	if (vu_decode_config(message, &config, &sent, &sent_len) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	r = check_range(session, &config);
	if (r < 0) {
		return r;
	}
	r = session->ops->config_read(session->owner, config.offset, data, config.size);
	if (r < 0) {
		return vu_refuse(session, r, "config space cannot be read there");
	}
	vu_reply_put(&session->reply, &config, sizeof(config));
	vu_reply_put(&session->reply, data, config.size);
	return 0;
}

/*
 * The two legal values of flags ask for the same here: the device decides which fields are writable,
 * and nothing of its config space is state that a migration would have to carry.
 */
int vu_set_config(struct vu_session *session, struct vu_message *message)
{
	struct vu_config config;
	const uint8_t *data;
	size_t data_len;
	int r;

	if (vu_decode_config(message, &config, &data, &data_len) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (config.flags != VU_CONFIG_FLAG_WRITABLE && config.flags != VU_CONFIG_FLAG_MIGRATION) {
		return vu_refuse(session, -EINVAL, "unknown flags");
	}
	r = check_range(session, &config);
	if (r < 0) {
		return r;
	}
	if (data_len < config.size) {
		return vu_refuse(session, -EPROTO, "less data than its size says");
	}
	r = session->ops->config_write(session->owner, config.offset, data, config.size);
	if (r < 0) {
		return vu_refuse(session, r, "config space cannot be written there");
	}
	return 0;
}
