/* SPDX-License-Identifier: BSD-3-Clause */
/* What a queue writes to guest memory is noted in the front-end's log. Nothing here runs while that is off. */
#include "base/notify.h"
#include "virtio/ring.h"

/* The part of the ring that is the device's own. */
static uint64_t used_bytes(const struct virtq *vq)
{
	if (vq->is_packed) {
		return sizeof(struct packed_event);
	}
	return sizeof(struct vring_used) + vq->size * sizeof(struct vring_used_elem) +
	       (vq->event_idx ? sizeof(uint16_t) : 0);
}

void virtq_log_init(struct virtq *vq, const struct ring_log *log)
{
	vq->log = *log;
	dirty_log_ref(vq->log.log);
	/* vhost-user, "Migration": this may be outside of guest memory, but not outside of the log. */
	if (log->log != NULL && log->used &&
	    !dirty_log_covers(log->log, log->used_gpa, used_bytes(vq))) {
		virtq_break(vq, "the used ring lies outside of the dirty log");
	}
}

void virtq_set_log(struct virtq *vq, const struct ring_log *log)
{
	struct dirty_log *old = vq->log.log;

	virtq_log_init(vq, log);
	dirty_log_unref(old);
}

/* What of [host, host + len) lies in one region, and where that is for the guest. False: it is nowhere. */
static bool guest_address(const struct virtq *vq, const uint8_t *host, uint64_t *ret_gpa,
			  uint64_t *ret_left)
{
	return guest_mem_address(vq->mem, host, ret_gpa, ret_left) ||
	       /* Fetched before the memory was changed. */
	       (vq->old_mem != NULL && guest_mem_address(vq->old_mem, host, ret_gpa, ret_left));
}

void virtq_log_memory(struct virtq *vq, const void *host, uint64_t len)
{
	const uint8_t *at = host;

	/* Pieces that are contiguous here need not be so for the guest. */
	while (len > 0) {
		uint64_t gpa;
		uint64_t n;

		if (!guest_address(vq, at, &gpa, &n)) {
			virtq_break(vq, "what was written is not guest memory any more");
			return;
		}
		n = n < len ? n : len;
		if (!dirty_log_mark(vq->log.log, gpa, n)) {
			virtq_break(vq, "guest memory lies outside of the dirty log");
			return;
		}
		at += n;
		len -= n;
	}
}

/*
 * All that the device was given to write to, as it was translated from the private copy of the descriptors.
 * For requests that went well this is what was written. After an error nobody knows how much of the data has come.
 */
void virtq_log_request(struct virtq *vq, const struct virtq_req *req)
{
	const struct iovec *iov;
	uint64_t left = req->in_len;

	for (iov = req->in; iov < req->end; iov++) {
		/* A device may have cut the last piece, of which it keeps a part for a status byte. */
		uint64_t n = iov + 1 == req->end ? left : iov->iov_len;

		virtq_log_memory(vq, iov->iov_base, n);
		left -= n;
	}
}

void virtq_log_used(struct virtq *vq, uint64_t offset, uint64_t len)
{
	if (vq->log.used) {
		/* Inside of the log, or the ring would be broken. */
		dirty_log_mark(vq->log.log, vq->log.used_gpa + offset, len);
	}
}

void virtq_log_done(struct virtq *vq)
{
	if (dirty_log_is_lost(vq->log.log)) {
		virtq_break(vq, "the dirty log is gone: its file was cut short");
	}
	if (vq->log.event_fd >= 0) {
		notify_eventfd(vq->log.event_fd);
	}
}
