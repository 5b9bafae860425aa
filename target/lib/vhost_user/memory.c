/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: as a whole table, or region by region. The new snapshot is made and checked before
 * anything is touched, so what is refused disturbs nobody. Then session.c hands it to the rings that run,
 * which go on without a pause; the acknowledgement comes when none of them uses the old one any more, so
 * the front-end may then free the memory that it took away.
 */
#include <errno.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

static int check_memory(struct vu_session *session, int fd)
{
	return fd_is_local_memory(fd) ?
		       0 :
		       vu_refuse(session, -EINVAL,
				 "memory that is neither shared nor of a local file");
}

static struct guest_mem_region region_of(const struct vu_region *wire, int fd)
{
	return (struct guest_mem_region){
		.gpa = wire->guest_address,
		.size = wire->size,
		.uva = wire->user_address,
		.fd_offset = wire->mmap_offset,
		.fd = fd,
	};
}

static void swap_memory(struct vu_session *session)
{
	guest_mem_unref(session->mem);
	session->mem = session->next_mem;
	session->next_mem = NULL;
}

/* ---- the whole table ---- */

int vu_set_mem_table_prepare(struct vu_session *session, struct vu_message *message)
{
	struct guest_mem_region regions[VU_REGIONS_MAX];
	struct vu_region wire[VU_REGIONS_MAX];
	unsigned int n;
	unsigned int i;
	int r;

	if (vu_decode_mem_table(message, wire, &n) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (message->fd_n != n) {
		return vu_refuse(session, -EPROTO, "as many descriptors as regions are needed");
	}
	for (i = 0; i < n; i++) {
		r = check_memory(session, message->fds[i]);
		if (r < 0) {
			return r;
		}
		regions[i] = region_of(&wire[i], message->fds[i]);
	}
	r = guest_mem_new(regions, n, &session->next_mem);
	return r < 0 ? vu_refuse(session, r, "memory regions that cannot be mapped") : 0;
}

int vu_set_mem_table(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;

	swap_memory(session);
	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].refused = false;
	}
	return 0;
}

/* ---- region by region ---- */

int vu_get_max_mem_slots(struct vu_session *session, struct vu_message *message)
{
	vu_reply_put_u64(&session->reply, session->mem_slots);
	return 0;
}

int vu_add_mem_reg_prepare(struct vu_session *session, struct vu_message *message)
{
	struct guest_mem_region region;
	struct vu_region wire;
	int r;

	if (vu_decode_mem_reg(message, &wire) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	r = check_memory(session, message->fds[0]);
	if (r < 0) {
		return r;
	}
	region = region_of(&wire, message->fds[0]);
	if (session->mem != NULL && guest_mem_region_n(session->mem) >= session->mem_slots) {
		return vu_refuse(session, -EINVAL, "more memory regions than there are slots");
	}
	r = guest_mem_with(session->mem, &region, &session->next_mem);
	return r < 0 ? vu_refuse(session, r, "a memory region that cannot be added") : 0;
}

/* Where its parts begin; whoever starts it looks closer. */
static bool ring_is_inside(const struct guest_mem *mem, const struct vu_ring *ring)
{
	return guest_mem_ring_ptr(mem, ring->desc_uva, 1, 1) != NULL &&
	       guest_mem_ring_ptr(mem, ring->avail_uva, 1, 1) != NULL &&
	       guest_mem_ring_ptr(mem, ring->used_uva, 1, 1) != NULL;
}

/* The region may be one of several that a ring waits for: front-ends build a table up, or take regions
 * away and bring them back in other pieces while rings run (QEMU does, when firmware moves memory). */
int vu_add_mem_reg(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;

	swap_memory(session);
	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];

		if (!slot->running) {
			slot->refused = !ring_is_inside(session->mem, &slot->ring);
		}
	}
	return 0;
}

int vu_rem_mem_reg_prepare(struct vu_session *session, struct vu_message *message)
{
	struct guest_mem_region region;
	struct vu_region wire;
	int r;

	if (vu_decode_mem_reg(message, &wire) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	region = region_of(&wire, -1);
	r = session->mem != NULL ? guest_mem_without(session->mem, &region, &session->next_mem) :
				   -ENOENT;
	return r < 0 ? vu_refuse(session, r, "a memory region that there is not") : 0;
}

int vu_rem_mem_reg(struct vu_session *session, struct vu_message *message)
{
	swap_memory(session);
	return 0;
}
