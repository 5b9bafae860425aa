/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory table. The new snapshot is made and checked before anything is touched, so a table that is
 * refused disturbs nobody. Then all rings stop, the snapshots are swapped, and the rings start again
 * where they stood; the acknowledgement comes after that, so the front-end may then free the old memory.
 */
#include <errno.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

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
		if (!fd_is_local_memory(message->fds[i])) {
			return vu_refuse(session, -EINVAL,
					 "memory that is neither shared nor of a local file");
		}
		regions[i] = (struct guest_mem_region){
			.gpa = wire[i].guest_address,
			.size = wire[i].size,
			.uva = wire[i].user_address,
			.fd_offset = wire[i].mmap_offset,
			.fd = message->fds[i],
		};
	}
	r = guest_mem_new(regions, n, &session->next_mem);
	if (r < 0) {
		return vu_refuse(session, r, "memory regions that cannot be mapped");
	}
	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].stop_first = session->slots[i].running;
	}
	return 0;
}

int vu_set_mem_table(struct vu_session *session, struct vu_message *message)
{
	unsigned int i;

	guest_mem_unref(session->mem);
	session->mem = session->next_mem;
	session->next_mem = NULL;
	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].refused = false;
	}
	return 0;
}
