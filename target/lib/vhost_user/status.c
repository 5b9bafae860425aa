/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver resets the device, or says how far it has come with it. */
#include <errno.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

static void stop_all_first(struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].stop_first = session->slots[i].running;
	}
}

/* As GET_VRING_BASE leaves it: it takes a new kick to start it. */
static void leave_stopped(struct vu_slot *slot)
{
	fd_close(&slot->ring.kick_fd);
	slot->refused = false;
}

/* ---- RESET_DEVICE ---- */

int vu_reset_device_prepare(struct vu_session *session, struct vu_message *message)
{
	stop_all_first(session);
	return 0;
}

/*
 * "disable all rings and reset all internal device state to the initial state": what the driver has said.
 * What the front-end has said of itself stays (protocol features, memory, channel, call and error eventfds):
 * QEMU does not repeat that after a reset.
 */
int vu_reset_device(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];

		leave_stopped(slot);
		slot->has_size = false;
		slot->has_addr = false;
		slot->enabled = false;
		slot->has_base = false;
	}
	session->features = 0;
	session->features_set = false;
	session->status = 0;
	if (session->inflight != NULL) {
		inflight_area_forget(session->inflight);
	}
	session->ops->reset(session->owner);
	return 0;
}

/* ---- STATUS ---- */

static int decode_status(struct vu_session *session, const struct vu_message *message,
			 uint8_t *ret_status)
{
	uint64_t value;

	if (vu_decode_u64(message, &value) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (value > VU_STATUS_MAX) {
		return vu_refuse(session, -EINVAL, "a device status has 8 bits");
	}
	*ret_status = (uint8_t)value;
	return 0;
}

int vu_set_status_prepare(struct vu_session *session, struct vu_message *message)
{
	uint8_t status;
	int r = decode_status(session, message, &status);

	if (r == 0 && status == 0) {
		stop_all_first(session);
	}
	return r;
}

/*
 * Rings do not wait for DRIVER_OK: QEMU sends it for some devices only. 0 stops them, but resets no more
 * than that: QEMU sends it whenever it stops the device, also to pause the guest, whose driver goes on
 * afterwards with the cache mode that it chose.
 */
int vu_set_status(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;
	int r = decode_status(session, message, &session->status);

	for (i = 0; r == 0 && session->status == 0 && i < session->slot_n; i++) {
		leave_stopped(&session->slots[i]);
	}
	return r;
}

static bool needs_reset(const struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		if (session->slots[i].broken) {
			return true;
		}
	}
	return false;
}

int vu_get_status(struct vu_session *session, struct vu_message *message)
{
	/* A front-end that adds a bit to what it has read sends our bit back: it means nothing there. */
	uint8_t status = session->status & (uint8_t)~VU_STATUS_NEEDS_RESET;

	if (needs_reset(session)) {
		status |= VU_STATUS_NEEDS_RESET;
	}
	vu_reply_put_u64(&session->reply, status);
	return 0;
}

void vu_session_ring_broken(struct vu_session *session, unsigned int index)
{
	session->slots[index].broken = session->slots[index].running;
	/* virtio 1.2, 2.1.2: "If DRIVER_OK is set, after it sets DEVICE_NEEDS_RESET, the device MUST send
	 * a device configuration change notification to the driver." */
	if (vu_has_protocol_feature(session, VU_PROTOCOL_F_STATUS) &&
	    (session->status & VU_STATUS_DRIVER_OK) != 0) {
		vu_session_config_changed(session);
	}
}
