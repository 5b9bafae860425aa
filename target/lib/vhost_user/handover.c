/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session goes on in another process. All that the front-end and the driver have said travels, with every
 * descriptor; what is in flight does not, since the rings have been stopped as GET_VRING_BASE does it.
 */
#include <errno.h>

#include "base/fd.h"
#include "base/parcel.h"
#include "vhost_user/session_private.h"
#include "virtio/virtqueue.h"

enum slot_flags {
	SLOT_HAS_SIZE = 1 << 0,
	SLOT_HAS_ADDR = 1 << 1,
	SLOT_HAS_BASE = 1 << 2,
	SLOT_ENABLED = 1 << 3,
	SLOT_BROKEN = 1 << 4,
	SLOT_REFUSED = 1 << 5,
	SLOT_LOGS_USED = 1 << 6,
};

/* ---- here ---- */

void vu_session_suspend(struct vu_session *session)
{
	session->suspend_wanted = true;
	vu_session_advance(session);
}

void vu_session_resume(struct vu_session *session)
{
	session->suspend_wanted = false;
	session->resume_result = 0;
	if (session->step == VU_STEP_SUSPENDED) {
		session->step = VU_STEP_RESUMING;
	}
	vu_session_advance(session);
}

void vu_session_release(struct vu_session *session)
{
	session->held = false;
	if (session->transport != NULL) {
		session->transport->shared = false;
	}
	if (session->doomed != NULL) {
		vu_session_close(session, session->doomed);
	} else {
		vu_session_advance(session);
	}
}

/* ---- packing ---- */

static void save_mem(const struct guest_mem *mem, struct parcel *parcel)
{
	unsigned int n = mem != NULL ? guest_mem_region_n(mem) : 0;
	unsigned int i;

	parcel_put_u32(parcel, n);
	for (i = 0; i < n; i++) {
		struct guest_mem_region region;

		guest_mem_get_region(mem, i, &region);
		parcel_put_u64(parcel, region.gpa);
		parcel_put_u64(parcel, region.size);
		parcel_put_u64(parcel, region.uva);
		parcel_put_u64(parcel, region.fd_offset);
		parcel_put_fd(parcel, region.fd);
	}
}

static void save_inflight(const struct inflight_area *area, struct parcel *parcel)
{
	struct inflight_shape shape;
	int fd;

	parcel_put_u8(parcel, area != NULL);
	if (area == NULL) {
		return;
	}
	fd = inflight_area_get(area, &shape);
	parcel_put_fd(parcel, fd);
	parcel_put_u64(parcel, shape.offset);
	parcel_put_u64(parcel, shape.size);
	parcel_put_u32(parcel, shape.queue_n);
	parcel_put_u32(parcel, shape.queue_size);
	parcel_put_u8(parcel, shape.packed);
}

static void save_log(const struct vu_session *session, struct parcel *parcel)
{
	uint64_t offset;
	uint64_t size;

	parcel_put_fd(parcel, session->log_event_fd);
	parcel_put_u8(parcel, session->log != NULL);
	if (session->log != NULL) {
		parcel_put_fd(parcel, dirty_log_get(session->log, &offset, &size));
		parcel_put_u64(parcel, offset);
		parcel_put_u64(parcel, size);
	}
}

static void save_slot(const struct vu_slot *slot, struct parcel *parcel)
{
	const struct vu_ring *ring = &slot->ring;

	parcel_put_u8(parcel, (uint8_t)((slot->has_size ? SLOT_HAS_SIZE : 0) |
					(slot->has_addr ? SLOT_HAS_ADDR : 0) |
					(slot->has_base ? SLOT_HAS_BASE : 0) |
					(slot->enabled ? SLOT_ENABLED : 0) |
					(slot->broken ? SLOT_BROKEN : 0) |
					(slot->refused ? SLOT_REFUSED : 0) |
					(slot->log_used ? SLOT_LOGS_USED : 0)));
	parcel_put_u32(parcel, ring->size);
	parcel_put_u32(parcel, ring->base);
	parcel_put_u64(parcel, ring->desc_uva);
	parcel_put_u64(parcel, ring->avail_uva);
	parcel_put_u64(parcel, ring->used_uva);
	parcel_put_fd(parcel, ring->kick_fd);
	parcel_put_fd(parcel, ring->call_fd);
	parcel_put_fd(parcel, ring->err_fd);
	parcel_put_u64(parcel, slot->log_used_gpa);
}

void vu_session_save(const struct vu_session *session, struct parcel *parcel)
{
	unsigned int i;

	if (session->transport->ops->save == NULL || session->step != VU_STEP_SUSPENDED) {
		parcel->failed = true;
		return;
	}
	session->transport->ops->save(session->transport, parcel);
	parcel_put_u8(parcel, session->features_set);
	parcel_put_u64(parcel, session->features);
	parcel_put_u64(parcel, session->protocol_features);
	parcel_put_u8(parcel, session->status);
	parcel_put_fd(parcel, session->backend_fd);
	save_mem(session->mem, parcel);
	save_inflight(session->inflight, parcel);
	save_log(session, parcel);
	parcel_put_u32(parcel, session->slot_n);
	for (i = 0; i < session->slot_n; i++) {
		save_slot(&session->slots[i], parcel);
	}
}

/* ---- unpacking ---- */

/*
 * The front-end may have cut its file short in this moment, as it may at any other: that ends its own
 * session and nothing else.
 */
static int restore_mem(struct vu_session *session, struct parcel *parcel)
{
	uint32_t n = parcel_get_below(parcel, GUEST_MEM_MAX_REGIONS + 1);
	struct guest_mem_region regions[GUEST_MEM_MAX_REGIONS];
	uint32_t i;
	int r = 0;

	for (i = 0; i < n; i++) {
		regions[i].gpa = parcel_get_u64(parcel);
		regions[i].size = parcel_get_u64(parcel);
		regions[i].uva = parcel_get_u64(parcel);
		regions[i].fd_offset = parcel_get_u64(parcel);
		regions[i].fd = parcel_get_fd(parcel);
	}
	if (parcel->failed) {
		r = -EPROTO;
	} else if (n > 0) {
		r = guest_mem_new(regions, n, &session->mem);
	}
	/* The mappings have their own. */
	for (i = 0; i < n; i++) {
		fd_close(&regions[i].fd);
	}
	if (r == -EINVAL) {
		session->doomed = "its memory cannot be mapped any more";
		r = 0;
	}
	return r;
}

static int restore_inflight(struct vu_session *session, struct parcel *parcel)
{
	struct inflight_shape shape;
	int fd;
	int r;

	if (!parcel_get_bool(parcel)) {
		return 0;
	}
	fd = parcel_get_fd(parcel);
	shape.offset = parcel_get_u64(parcel);
	shape.size = parcel_get_u64(parcel);
	shape.queue_n = (uint16_t)parcel_get_below(parcel, VU_RINGS_MAX + 1);
	shape.queue_size = (uint16_t)parcel_get_below(parcel, VIRTQ_MAX_SIZE + 1);
	shape.packed = parcel_get_bool(parcel);
	r = parcel->failed ? -EPROTO : inflight_area_map(&shape, fd, &session->inflight);
	fd_close(&fd);
	if (r == -EINVAL) {
		session->doomed = "its in-flight area cannot be mapped any more";
		r = 0;
	}
	return r;
}

static int restore_log(struct vu_session *session, struct parcel *parcel)
{
	uint64_t offset;
	uint64_t size;
	int fd;
	int r;

	session->log_event_fd = parcel_get_fd(parcel);
	if (!parcel_get_bool(parcel)) {
		return 0;
	}
	fd = parcel_get_fd(parcel);
	offset = parcel_get_u64(parcel);
	size = parcel_get_u64(parcel);
	r = parcel->failed ? -EPROTO : dirty_log_map(offset, size, fd, &session->log);
	fd_close(&fd);
	if (r == -EINVAL) {
		session->doomed = "its dirty log cannot be mapped any more";
		r = 0;
	}
	return r;
}

static void restore_slot(struct vu_slot *slot, struct parcel *parcel)
{
	struct vu_ring *ring = &slot->ring;
	uint8_t flags = parcel_get_u8(parcel);

	slot->has_size = (flags & SLOT_HAS_SIZE) != 0;
	slot->has_addr = (flags & SLOT_HAS_ADDR) != 0;
	slot->has_base = (flags & SLOT_HAS_BASE) != 0;
	slot->enabled = (flags & SLOT_ENABLED) != 0;
	slot->broken = (flags & SLOT_BROKEN) != 0;
	slot->refused = (flags & SLOT_REFUSED) != 0;
	slot->log_used = (flags & SLOT_LOGS_USED) != 0;
	ring->size = (uint16_t)parcel_get_below(parcel, VIRTQ_MAX_SIZE + 1);
	ring->base = parcel_get_u32(parcel);
	ring->desc_uva = parcel_get_u64(parcel);
	ring->avail_uva = parcel_get_u64(parcel);
	ring->used_uva = parcel_get_u64(parcel);
	ring->kick_fd = parcel_get_fd(parcel);
	ring->call_fd = parcel_get_fd(parcel);
	ring->err_fd = parcel_get_fd(parcel);
	slot->log_used_gpa = parcel_get_u64(parcel);
}

static int restore_negotiated(struct vu_session *session, struct parcel *parcel)
{
	uint64_t offered = session->ops->features(session->owner) | VU_F_OURS;

	session->features_set = parcel_get_bool(parcel);
	session->features = parcel_get_u64(parcel);
	session->protocol_features = parcel_get_u64(parcel);
	session->status = parcel_get_u8(parcel);
	session->backend_fd = parcel_get_fd(parcel);
	if (parcel->failed) {
		return -EPROTO;
	}
	/* Another version of this program may have fewer. */
	if ((session->features & ~offered) != 0 ||
	    (session->protocol_features & ~vu_protocol_features()) != 0) {
		return -ENOTSUP;
	}
	return 0;
}

static int restore(struct vu_session *session, struct parcel *parcel)
{
	unsigned int i;
	int r = restore_negotiated(session, parcel);

	r = r < 0 ? r : restore_mem(session, parcel);
	r = r < 0 ? r : restore_inflight(session, parcel);
	r = r < 0 ? r : restore_log(session, parcel);
	if (r < 0) {
		return r;
	}
	if (parcel_get_u32(parcel) != session->slot_n) {
		return -EPROTO;
	}
	for (i = 0; i < session->slot_n; i++) {
		restore_slot(&session->slots[i], parcel);
	}
	return parcel->failed ? -EPROTO : 0;
}

int vu_session_restore(struct loop *loop, struct parcel *parcel, unsigned int queues,
		       const struct vu_owner_ops *ops, void *owner, struct vu_session **ret_session)
{
	struct vu_transport *transport;
	struct vu_session *session;
	int r = vu_socket_restore(parcel, &transport);

	if (r == 0) {
		r = vu_session_make(loop, transport, queues, ops, owner, true, &session);
	}
	if (r < 0) {
		return r;
	}
	session->step = VU_STEP_SUSPENDED;
	session->suspend_wanted = true;
	r = restore(session, parcel);
	if (r < 0) {
		vu_session_free(session);
		return r;
	}
	*ret_session = session;
	return 0;
}
