/* SPDX-License-Identifier: BSD-3-Clause */
/* A running queue goes on with another snapshot of guest memory. */
#include <string.h>

#include "virtio/ring.h"

/*
 * Requests carry pointers into the snapshot that they were popped with. Those are not marked one by one,
 * which would cost every request something: the heads that are busy at the switch are remembered, and
 * each drops out when it is seen idle for the first time. Heads become idle in virtq_commit() only, so
 * who looks after each commit misses none, even if the driver offers the same head again at once.
 */
int virtq_set_mem(struct virtq *vq, struct guest_mem *mem)
{
	int r = vq->is_packed ? packed_find(vq, mem) : split_find(vq, mem);

	if (r < 0) {
		return r;
	}
	memset(&vq->cache, 0, sizeof(vq->cache));
	memcpy(vq->old_busy, vq->busy, vq->size);
	/* What waits to be resubmitted carries nothing yet. */
	if (vq->is_packed) {
		packed_forget_resubmits(vq, vq->old_busy);
	} else {
		split_forget_resubmits(vq, vq->old_busy);
	}
	vq->old_mem = vq->mem;
	vq->mem = guest_mem_ref(mem);
	return 0;
}

bool virtq_mem_settled(struct virtq *vq)
{
	uint8_t busy = 0;
	unsigned int i;

	for (i = 0; i < vq->size; i++) {
		vq->old_busy[i] &= vq->busy[i];
		busy |= vq->old_busy[i];
	}
	if (busy != 0) {
		return false;
	}
	guest_mem_unref(vq->old_mem);
	vq->old_mem = NULL;
	return true;
}
