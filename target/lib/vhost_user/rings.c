/* SPDX-License-Identifier: BSD-3-Clause */
/* What front-ends say of single rings. session.c starts and stops them accordingly. */
#include <errno.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"
#include "virtio/virtqueue.h"

static int find_slot(struct vu_session *session, uint64_t index, struct vu_slot **ret_slot)
{
	if (index >= session->slot_n) {
		return vu_refuse(session, -EINVAL, "no ring has this index");
	}
	*ret_slot = &session->slots[index];
	return 0;
}

static int decode_state(struct vu_session *session, const struct vu_message *message,
			struct vu_slot **ret_slot, uint32_t *ret_num)
{
	struct vu_vring_state state;
	int r;

	if (vu_decode_vring_state(message, &state) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	r = find_slot(session, state.index, ret_slot);
	if (r == 0) {
		*ret_num = state.num;
	}
	return r;
}

static bool is_packed(const struct vu_session *session)
{
	return (session->features >> VIRTIO_F_RING_PACKED & 1) != 0;
}

/* Before SET_FEATURES: what is wrong for a split ring shows when it starts. */
static bool may_be_packed(const struct vu_session *session)
{
	return !session->features_set || is_packed(session);
}

uint32_t vu_slot_base(const struct vu_session *session, const struct vu_slot *slot)
{
	if (slot->has_base) {
		return slot->ring.base;
	}
	return is_packed(session) ? VIRTQ_PACKED_BASE_INITIAL : 0;
}

static int refuse_running(struct vu_session *session, const struct vu_slot *slot)
{
	return slot->running ? vu_refuse(session, -EBUSY, "the ring is running") : 0;
}

int vu_set_vring_num(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r == 0) {
		r = refuse_running(session, slot);
	}
	if (r < 0) {
		return r;
	}
	if (!virtq_size_is_good(num, may_be_packed(session))) {
		return vu_refuse(session, -EINVAL, "not the size of a ring");
	}
	slot->ring.size = (uint16_t)num;
	slot->has_size = true;
	slot->refused = false;
	return 0;
}

static bool is_where(const struct vu_ring *ring, const struct vu_vring_addr *addr)
{
	return ring->desc_uva == addr->descriptor && ring->avail_uva == addr->available &&
	       ring->used_uva == addr->used;
}

int vu_set_vring_addr(struct vu_session *session, struct vu_message *message)
{
	struct vu_vring_addr addr;
	struct vu_slot *slot;
	int r;

	if (vu_decode_vring_addr(message, &addr) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	r = find_slot(session, addr.index, &slot);
	/* That is how logging of the used ring is switched on and off. */
	if (r == 0 && !is_where(&slot->ring, &addr)) {
		r = refuse_running(session, slot);
	}
	if (r < 0) {
		return r;
	}
	if ((addr.flags & ~VU_VRING_F_LOG) != 0) {
		return vu_refuse(session, -EINVAL, "unknown flags");
	}
	slot->ring.desc_uva = addr.descriptor;
	slot->ring.avail_uva = addr.available;
	slot->ring.used_uva = addr.used;
	slot->log_used = (addr.flags & VU_VRING_F_LOG) != 0;
	slot->log_used_gpa = addr.log;
	slot->has_addr = true;
	slot->refused = false;
	return 0;
}

int vu_set_vring_base(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r == 0) {
		r = refuse_running(session, slot);
	}
	if (r < 0) {
		return r;
	}
	/* Whether both halves of a packed one lie in the ring is known when it starts. */
	if (num > UINT16_MAX && !may_be_packed(session)) {
		return vu_refuse(session, -EINVAL, "an available index has 16 bits");
	}
	slot->ring.base = num;
	slot->has_base = true;
	slot->refused = false;
	return 0;
}

int vu_get_vring_base_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r == 0) {
		slot->stop_first = slot->running;
	}
	return r;
}

/* "[...] and stop ring upon receiving VHOST_USER_GET_VRING_BASE": it takes a new kick to start it. */
int vu_get_vring_base(struct vu_session *session, struct vu_message *message)
{
	struct vu_vring_state state;
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r < 0) {
		return r;
	}
	fd_close(&slot->ring.kick_fd);
	slot->refused = false;
	state.index = slot->ring.index;
	state.num = vu_slot_base(session, slot);
	vu_reply_put(&session->reply, &state, sizeof(state));
	return 0;
}

/*
 * The three messages that bring an eventfd, or say by bit 8 that there is none. Anything but an
 * eventfd is refused: a write to a pipe could block us (cases T66, T84).
 */
static int decode_notifier(struct vu_session *session, const struct vu_message *message,
			   struct vu_slot **ret_slot)
{
	struct vu_slot *slot;
	uint64_t value;
	bool no_fd;
	int r;

	if (vu_decode_u64(message, &value) < 0 || value & ~(VU_VRING_INDEX_MASK | VU_VRING_NO_FD)) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	r = find_slot(session, value & VU_VRING_INDEX_MASK, &slot);
	if (r < 0) {
		return r;
	}
	no_fd = value & VU_VRING_NO_FD;
	if (no_fd != (message->fd_n == 0)) {
		return vu_refuse(session, -EPROTO,
				 "bit 8 and the descriptor contradict each other");
	}
	*ret_slot = slot;
	return 0;
}

static int prepare_notifier(struct vu_session *session, const struct vu_message *message,
			    struct vu_slot **ret_slot)
{
	int r = decode_notifier(session, message, ret_slot);

	if (r < 0 || message->fd_n == 0) {
		return r;
	}
	if (!fd_is_eventfd(message->fds[0])) {
		return vu_refuse(session, -EINVAL, "the descriptor is not an eventfd");
	}
	r = fd_set_nonblock(message->fds[0]);
	return r < 0 ? vu_refuse(session, r, "the eventfd cannot be set up") : 0;
}

int vu_set_vring_kick_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	int r = prepare_notifier(session, message, &slot);

	if (r < 0) {
		return r;
	}
	/* Queues sleep when they are idle: one that nobody can wake is not served. */
	if (message->fd_n == 0) {
		return vu_refuse(session, -EOPNOTSUPP, "a ring without kicks is not supported");
	}
	slot->stop_first = slot->running;
	return 0;
}

int vu_set_vring_kick(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	int r = decode_notifier(session, message, &slot);

	if (r < 0) {
		return r;
	}
	fd_close(&slot->ring.kick_fd);
	slot->ring.kick_fd = vu_message_take_fd(message);
	slot->refused = false;
	return 0;
}

int vu_set_vring_call_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;

	return prepare_notifier(session, message, &slot);
}

/* Front-ends swap it at any time (interrupts being masked), so a running ring goes on running. */
int vu_set_vring_call(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	int r = decode_notifier(session, message, &slot);

	if (r < 0) {
		return r;
	}
	if (slot->running) {
		slot->next_call_fd = vu_message_take_fd(message);
		slot->swap_call = true;
	} else {
		fd_close(&slot->ring.call_fd);
		slot->ring.call_fd = vu_message_take_fd(message);
	}
	return 0;
}

int vu_set_vring_err_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	int r = prepare_notifier(session, message, &slot);

	if (r == 0) {
		slot->stop_first = slot->running;
	}
	return r;
}

int vu_set_vring_err(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	int r = decode_notifier(session, message, &slot);

	if (r < 0) {
		return r;
	}
	fd_close(&slot->ring.err_fd);
	slot->ring.err_fd = vu_message_take_fd(message);
	return 0;
}

int vu_set_vring_enable_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r < 0) {
		return r;
	}
	if (num > 1) {
		return vu_refuse(session, -EINVAL, "a ring is enabled (1) or disabled (0)");
	}
	slot->stop_first = num == 0 && slot->running;
	return 0;
}

int vu_set_vring_enable(struct vu_session *session, struct vu_message *message)
{
	struct vu_slot *slot;
	uint32_t num;
	int r = decode_state(session, message, &slot, &num);

	if (r < 0) {
		return r;
	}
	slot->enabled = num == 1;
	slot->refused = false;
	return 0;
}
