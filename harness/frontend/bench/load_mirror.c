/* SPDX-License-Identifier: BSD-3-Clause */
/* The other side of the ring, played as cheaply as can be: what remains is the cost of the driver side. */
#include "load_private.h"
#include "vhost_frontend/frontend_raw.h"

void load_mirror(struct load *load)
{
	struct load_lane *lane = &load->lanes[0];
	struct vfe_raw_view view;
	uint16_t end;

	vfe_raw_view(lane->queue, &view);
	end = view.avail->idx;
	for (; lane->mirrored != end; lane->mirrored++) {
		uint16_t at = lane->mirrored & (uint16_t)(view.size - 1);

		view.used->ring[at] =
			(struct vfe_used_elem){ .id = view.avail->ring[at], .len = 1 };
	}
	__atomic_store_n(&view.used->idx, end, __ATOMIC_RELEASE);
	*view.avail_event = (uint16_t)(end - 1); /* no kicks */
}
