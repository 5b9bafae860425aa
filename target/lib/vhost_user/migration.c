/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live migration: the log of the pages that we write to. It comes and goes, and is replaced by a longer one, while
 * rings run; session.c hands it to them. The answer comes when all of them have it, so nothing more is written
 * to the log before, and the front-end may look at that for the last time. SET_FEATURES and SET_VRING_ADDR
 * switch logging on and off (negotiate.c, rings.c).
 */
#include <errno.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

struct ring_log vu_slot_log(const struct vu_session *session, const struct vu_slot *slot)
{
	if ((session->features & VU_F_LOG_ALL) == 0) {
		return (struct ring_log){ .event_fd = -1 };
	}
	return (struct ring_log){
		.log = session->log,
		.used = slot->log_used,
		.used_gpa = slot->log_used_gpa,
		.event_fd = session->log_event_fd,
	};
}

void vu_logs_settled(struct vu_session *session)
{
	dirty_log_unref(session->old_log);
	session->old_log = NULL;
	fd_close(&session->old_log_event_fd);
}

int vu_set_log_base_prepare(struct vu_session *session, struct vu_message *message)
{
	struct vu_log wire;
	int r;

	if (vu_decode_log(message, &wire) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (!fd_is_local_memory(message->fds[0])) {
		return vu_refuse(session, -EINVAL,
				 "a log that is neither shared memory nor of a local file");
	}
	r = dirty_log_map(wire.mmap_offset, wire.mmap_size, message->fds[0], &session->next_log);
	if (r < 0) {
		return vu_refuse(session, r, "a log that cannot be mapped");
	}
	/* "large enough to cover all known guest addresses" (case T75). Memory that comes later may lie outside:
	 * front-ends send a longer log before it, and who does not loses the rings that write there. */
	if (session->mem != NULL &&
	    !dirty_log_covers(session->next_log, 0, guest_mem_end(session->mem))) {
		dirty_log_unref(session->next_log);
		session->next_log = NULL;
		return vu_refuse(session, -EINVAL, "a log that does not cover guest memory");
	}
	return 0;
}

int vu_set_log_base(struct vu_session *session, struct vu_message *message)
{
	session->old_log = session->log;
	session->log = session->next_log;
	session->next_log = NULL;
	vu_reply_put_u64(&session->reply, 0);
	return 0;
}

int vu_set_log_fd_prepare(struct vu_session *session, struct vu_message *message)
{
	int r;

	if (!fd_is_eventfd(message->fds[0])) {
		return vu_refuse(session, -EINVAL, "the descriptor is not an eventfd");
	}
	r = fd_set_nonblock(message->fds[0]);
	return r < 0 ? vu_refuse(session, r, "the eventfd cannot be set up") : 0;
}

int vu_set_log_fd(struct vu_session *session, struct vu_message *message)
{
	session->old_log_event_fd = session->log_event_fd;
	session->log_event_fd = vu_message_take_fd(message);
	return 0;
}
