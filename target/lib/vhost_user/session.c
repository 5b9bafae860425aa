/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

/* Messages handled before other sessions have their turn (case T82). */
#define MESSAGES_PER_TURN 8

int vu_refuse(struct vu_session *session, int error, const char *why)
{
	session->why = why;
	return error;
}

int vu_refuse_fatally(struct vu_session *session, int error, const char *why)
{
	session->fatal = true;
	return vu_refuse(session, error, why);
}

bool vu_any_ring_running(const struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		if (session->slots[i].running) {
			return true;
		}
	}
	return false;
}

/* ---- the watch ---- */

static bool may_read(const struct vu_session *session)
{
	return session->step == VU_STEP_IDLE && session->operation == VU_OPERATION_NONE &&
	       !session->held;
}

/* Messages wait while one is being worked on; the end of the connection is noticed all the same. */
static void update_watch(struct vu_session *session)
{
	bool listen = may_read(session);

	if (session->watch != NULL && listen != session->listening) {
		session->listening = listen;
		loop_watch_set_events(session->watch, listen ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP);
	}
}

static void end_watch(struct vu_session *session)
{
	loop_unwatch(session->watch);
	session->watch = NULL;
}

static void want_close(struct vu_session *session, const char *why)
{
	if (!session->close_wanted) {
		session->close_wanted = true;
		snprintf(session->close_why, sizeof(session->close_why), "%s", why);
	}
}

/* It did what it may not, or asked for what cannot be. */
static void close_for_fault(struct vu_session *session, const char *subject, const char *why)
{
	char line[sizeof(session->close_why)];

	snprintf(line, sizeof(line), "%s%s%s", subject, subject[0] != '\0' ? ": " : "", why);
	session->close_for_fault = session->close_for_fault || !session->close_wanted;
	want_close(session, line);
}

/* ---- operations of the owner ---- */

static void ask_owner(struct vu_session *session, enum vu_operation operation, struct vu_slot *slot)
{
	unsigned int index = slot->ring.index;

	session->operation = operation;
	session->operation_slot = slot;
	switch (operation) {
	case VU_OPERATION_START:
		slot->ring.features = session->features & ~VU_F_OURS;
		slot->ring.mem = session->mem;
		slot->ring.base = vu_slot_base(session, slot);
		slot->ring.inflight = session->inflight;
		slot->ring.log = vu_slot_log(session, slot);
		session->ops->ring_start(session->owner, &slot->ring);
		break;
	case VU_OPERATION_STOP:
		session->ops->ring_stop(session->owner, index, vu_session_peer_gone(session));
		break;
	case VU_OPERATION_SET_CALL:
		session->ops->ring_set_call(session->owner, index, slot->next_call_fd);
		break;
	case VU_OPERATION_SET_MEM:
		session->ops->ring_set_mem(session->owner, index, session->mem);
		break;
	case VU_OPERATION_SET_LOG:
		slot->ring.log = vu_slot_log(session, slot);
		session->ops->ring_set_log(session->owner, index, &slot->ring.log);
		break;
	case VU_OPERATION_CLOSE_FDS:
	case VU_OPERATION_NONE:
		break;
	}
}

/* False: there is nothing to close. */
static bool close_rest(struct vu_session *session)
{
	if (session->rest.n == 0) {
		return false;
	}
	session->operation = VU_OPERATION_CLOSE_FDS;
	session->ops->close_fds(session->owner, &session->rest);
	return true;
}

/* A ring that is not in guest memory may be what has to be expected; the request was carried out then. */
static void ring_failed(struct vu_session *session, int result, const char *why)
{
	if (session->step == VU_STEP_RESUMING) {
		/* Of a ring that is not where the front-end says it is, we have heard before. */
		if (session->resume_result == 0 && result != -EFAULT && result != -EINVAL) {
			session->resume_result = result;
		}
	} else if (!session->spec->rings_may_wait) {
		session->result = vu_refuse(session, result, why);
	}
}

static void operation_done(struct vu_session *session, int result, uint32_t base)
{
	struct vu_slot *slot = session->operation_slot;

	switch (session->operation) {
	case VU_OPERATION_START:
		slot->running = result == 0;
		slot->refused = result < 0;
		slot->broken = false;
		if (result < 0) {
			slot->ring.mem = NULL;
			ring_failed(session, result, "a ring cannot be started");
		}
		break;
	case VU_OPERATION_STOP:
		slot->running = false;
		/* One that is broken stays so for whoever goes on with it: nothing else has changed. */
		slot->refused = session->step == VU_STEP_SUSPENDING ? slot->broken : slot->refused;
		slot->broken = session->step == VU_STEP_SUSPENDING && slot->broken;
		slot->ring.base = base;
		slot->has_base = true;
		slot->ring.mem = NULL;
		slot->ring.log.log = NULL;
		break;
	case VU_OPERATION_SET_CALL:
		fd_close(&slot->ring.call_fd);
		slot->ring.call_fd = slot->next_call_fd;
		slot->next_call_fd = -1;
		slot->swap_call = false;
		break;
	case VU_OPERATION_SET_MEM:
		if (result == 0) {
			slot->ring.mem = session->mem;
		} else {
			slot->refused = true;
			ring_failed(session, result, "a ring lies outside of the new memory");
		}
		break;
	case VU_OPERATION_SET_LOG:
	case VU_OPERATION_CLOSE_FDS:
	case VU_OPERATION_NONE:
		break;
	}
	session->operation = VU_OPERATION_NONE;
	session->operation_slot = NULL;
}

/* ---- steps ---- */

/* Nothing may be written that would have to be logged. QEMU sends SET_FEATURES first and the log last when it
 * starts a device in the middle of a migration. */
static bool log_is_there(const struct vu_session *session)
{
	return (session->features & VU_F_LOG_ALL) == 0 || session->log != NULL;
}

static bool can_run(const struct vu_session *session, const struct vu_slot *slot)
{
	return slot->has_size && slot->has_addr && slot->ring.kick_fd >= 0 && slot->enabled &&
	       session->features_set && session->mem != NULL && log_is_there(session);
}

/*
 * A front-end that has left may have given its memory to somebody else: what it asked for last does
 * not make us touch its rings once more. True: the session closes instead.
 */
static bool front_end_left(struct vu_session *session)
{
	if (vu_session_peer_gone(session)) {
		session->peer_gone = true;
		want_close(session, "end of connection");
	}
	return session->close_wanted;
}

static void step_stop(struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];

		if (slot->stop_first) {
			if (!front_end_left(session)) {
				slot->stop_first = false;
				ask_owner(session, VU_OPERATION_STOP, slot);
			}
			return;
		}
	}
	session->step = VU_STEP_APPLY;
}

static void step_apply(struct vu_session *session)
{
	session->result = session->spec->apply(session, &session->message);
	session->step = VU_STEP_SETTLE;
}

static bool logs_something_else(const struct vu_session *session, const struct vu_slot *slot)
{
	const struct ring_log now = slot->ring.log;
	const struct ring_log then = vu_slot_log(session, slot);

	return now.log != then.log || now.used != then.used || now.used_gpa != then.used_gpa ||
	       now.event_fd != then.event_fd;
}

/* What has to be done for a ring before the message at hand can be answered. */
static enum vu_operation still_to_do(const struct vu_session *session, const struct vu_slot *slot)
{
	if (slot->swap_call) {
		return VU_OPERATION_SET_CALL;
	}
	if (!slot->running) {
		return !slot->refused && can_run(session, slot) ? VU_OPERATION_START :
								  VU_OPERATION_NONE;
	}
	if (slot->ring.mem != session->mem) {
		return session->mem == NULL || slot->refused ? VU_OPERATION_STOP :
							       VU_OPERATION_SET_MEM;
	}
	return logs_something_else(session, slot) ? VU_OPERATION_SET_LOG : VU_OPERATION_NONE;
}

/* False: the owner has to answer first, or the session closes. */
static bool settle(struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];
		enum vu_operation operation = still_to_do(session, slot);

		if (operation != VU_OPERATION_NONE) {
			if (operation == VU_OPERATION_SET_CALL || !front_end_left(session)) {
				ask_owner(session, operation, slot);
			}
			return false;
		}
	}
	return true;
}

static void step_settle(struct vu_session *session)
{
	if (settle(session)) {
		session->step = VU_STEP_ANSWER;
	}
}

/* False: the owner has to answer first. */
static bool stop_all(struct vu_session *session)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		if (session->slots[i].running) {
			ask_owner(session, VU_OPERATION_STOP, &session->slots[i]);
			return false;
		}
	}
	return true;
}

static void step_suspending(struct vu_session *session)
{
	if (!session->suspend_wanted) {
		session->step = VU_STEP_RESUMING;
	} else if (stop_all(session)) {
		session->step = VU_STEP_SUSPENDED;
		session->tell_suspended = true;
	}
}

static void step_resuming(struct vu_session *session)
{
	if (settle(session)) {
		session->step = VU_STEP_IDLE;
		session->tell_resumed = true;
	}
}

/* vhost-user, "VHOST_USER_PROTOCOL_F_REPLY_ACK" */
static bool wants_ack(const struct vu_session *session)
{
	return (session->message.header.flags & VU_FLAG_NEED_REPLY) &&
	       vu_has_protocol_feature(session, VU_PROTOCOL_F_REPLY_ACK);
}

/*
 * A request that failed is told so if there is a way to. Otherwise the connection ends: the front-end
 * would go on in the belief that all is well. Unknown requests without an acknowledgement are ignored.
 */
static void answer_failure(struct vu_session *session, const char *name, bool *ret_send)
{
	const struct vu_request_spec *spec = session->spec;

	log_limited(&session->limiter, LOG_LEVEL_DEBUG, "vhost-user request %u (%s) refused: %s",
		    session->message.header.request, name, session->why);
	if (session->fatal) {
		close_for_fault(session, name, session->why);
	} else if (spec != NULL && spec->empty_reply_is_error) {
		session->reply.header.size = 0;
		*ret_send = true;
	} else if (wants_ack(session) && (spec == NULL || !spec->replies || spec->reply_is_ack)) {
		vu_reply_put_u64(&session->reply, (uint64_t)-session->result);
		*ret_send = true;
	} else if (spec != NULL) {
		close_for_fault(session, name, session->why);
	}
}

static void send_reply(struct vu_session *session, const char *name)
{
	int r = session->transport->ops->send(session->transport, &session->reply);

	if (r == -EPIPE || r == -ECONNRESET) {
		/* It has left while we were at it. */
		session->peer_gone = true;
		want_close(session, "end of connection");
	} else if (r < 0) {
		close_for_fault(session, name, "the reply cannot be sent");
	}
}

static void step_answer(struct vu_session *session)
{
	const struct vu_request_spec *spec = session->spec;
	const char *name = spec != NULL ? spec->name : "unknown";
	bool send = false;

	if (session->result < 0) {
		answer_failure(session, name, &send);
	} else if (spec->replies) {
		send = true;
	} else if (wants_ack(session)) {
		vu_reply_put_u64(&session->reply, 0);
		send = true;
	}
	if (send) {
		send_reply(session, name);
	}
	session->step = VU_STEP_IDLE;
	vu_logs_settled(session);
	vu_message_drop_fds(&session->reply, NULL);
	vu_message_drop_fds(&session->message, &session->rest);
	if (!session->close_wanted) {
		close_rest(session);
	}
}

/* Whatever the message at hand had in the works is dropped. */
static void begin_closing(struct vu_session *session)
{
	session->tell_resumed = session->tell_resumed || session->step == VU_STEP_RESUMING;
	session->step = VU_STEP_CLOSING;
	end_watch(session);
	if (vu_session_peer_gone(session)) {
		session->ops->abandoned(session->owner);
	}
	vu_message_drop_fds(&session->message, &session->rest);
}

static void release(struct vu_session *session)
{
	unsigned int i;

	end_watch(session);
	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];

		fd_close(&slot->ring.kick_fd);
		fd_close(&slot->ring.call_fd);
		fd_close(&slot->ring.err_fd);
		fd_close(&slot->next_call_fd);
	}
	vu_message_drop_fds(&session->message, &session->rest);
	vu_message_drop_fds(&session->reply, NULL);
	guest_mem_unref(session->next_mem);
	guest_mem_unref(session->mem);
	session->next_mem = NULL;
	session->mem = NULL;
	inflight_area_unref(session->next_inflight);
	inflight_area_unref(session->inflight);
	session->next_inflight = NULL;
	session->inflight = NULL;
	dirty_log_unref(session->next_log);
	dirty_log_unref(session->log);
	session->next_log = NULL;
	session->log = NULL;
	fd_close(&session->log_event_fd);
	vu_logs_settled(session);
	fd_bag_put(&session->rest, &session->backend_fd);
	if (session->transport != NULL) {
		session->transport->ops->free(session->transport);
		session->transport = NULL;
	}
}

/* The socket is closed last: a front-end that sees the end may hand its memory to somebody else. */
static void step_closing(struct vu_session *session)
{
	if (!stop_all(session)) {
		return;
	}
	release(session);
	if (!close_rest(session)) {
		session->step = VU_STEP_CLOSED;
	}
}

/* What the owner is told when all else is done, since it may do anything then. */
static void tell_owner(struct vu_session *session)
{
	bool suspended = session->tell_suspended;
	bool resumed = session->tell_resumed;

	session->tell_suspended = false;
	session->tell_resumed = false;
	if (suspended && session->ops->suspended != NULL) {
		session->ops->suspended(session->owner);
	}
	if (resumed && session->ops->resumed != NULL) {
		session->ops->resumed(session->owner, session->resume_result);
	}
}

/*
 * Goes on until the owner has something to answer or nothing is left to do. False: the connection is
 * over and closed() was called; the session may be gone.
 *
 * An owner that answers at once comes back here by vu_session_complete(); it finds `advancing` and leaves
 * the rest to the call that is on the stack already.
 */
bool vu_session_advance(struct vu_session *session)
{
	if (session->advancing) {
		return true;
	}
	session->advancing = true;
	while (session->operation == VU_OPERATION_NONE && session->step != VU_STEP_CLOSED) {
		if (session->close_wanted && session->step != VU_STEP_CLOSING) {
			begin_closing(session);
		}
		if (session->step == VU_STEP_IDLE && session->suspend_wanted) {
			session->step = VU_STEP_SUSPENDING;
		}
		if (session->step == VU_STEP_IDLE || session->step == VU_STEP_SUSPENDED) {
			break;
		}
		switch (session->step) {
		case VU_STEP_STOP:
			step_stop(session);
			break;
		case VU_STEP_APPLY:
			step_apply(session);
			break;
		case VU_STEP_SETTLE:
			step_settle(session);
			break;
		case VU_STEP_ANSWER:
			step_answer(session);
			break;
		case VU_STEP_SUSPENDING:
			step_suspending(session);
			break;
		case VU_STEP_RESUMING:
			step_resuming(session);
			break;
		case VU_STEP_CLOSING:
			step_closing(session);
			break;
		case VU_STEP_IDLE:
		case VU_STEP_SUSPENDED:
		case VU_STEP_CLOSED:
			break;
		}
	}
	session->advancing = false;
	if (session->step == VU_STEP_CLOSED) {
		session->ops->closed(session->owner, session->close_why, session->close_for_fault);
		return false;
	}
	update_watch(session);
	tell_owner(session);
	return true;
}

/* ---- messages ---- */

static void begin_message(struct vu_session *session)
{
	struct vu_message *message = &session->message;
	int r;

	session->spec = vu_dispatch_find(message->header.request);
	session->fatal = false;
	session->why = "";
	vu_reply_init(&session->reply, message->header.request);
	if (session->spec == NULL) {
		r = vu_refuse(session, -EOPNOTSUPP, "unknown request");
	} else {
		r = vu_dispatch_check(session, session->spec, message);
	}
	if (r == 0 && session->spec->prepare != NULL) {
		r = session->spec->prepare(session, message);
	}
	session->result = r;
	session->step = r < 0 ? VU_STEP_ANSWER : VU_STEP_STOP;
}

static void cannot_read(struct vu_session *session, int error)
{
	switch (error) {
	case -EPROTO:
		close_for_fault(session, "", "not a vhost-user message");
		break;
	case -EMFILE:
		close_for_fault(session, "", "its descriptors find no room: too many open files");
		break;
	default:
		session->peer_gone = true;
		want_close(session, "end of connection");
		break;
	}
}

bool vu_session_process(struct vu_session *session)
{
	unsigned int i;
	int r;

	for (i = 0; i < MESSAGES_PER_TURN && may_read(session); i++) {
		r = session->transport->ops->recv(session->transport, &session->message);
		if (r == 0) {
			break;
		}
		if (r == 1) {
			begin_message(session);
		} else {
			cannot_read(session, r);
		}
		if (!vu_session_advance(session)) {
			return false;
		}
	}
	return true;
}

static void socket_ready(void *arg, uint32_t events)
{
	struct vu_session *session = arg;

	if (may_read(session)) {
		vu_session_process(session);
	} else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		/* It would be reported again and again until the owner has answered. */
		end_watch(session);
		session->peer_gone = true;
		want_close(session, "end of connection");
		session->ops->abandoned(session->owner);
	}
}

/* ---- life ---- */

int vu_session_make(struct loop *loop, struct vu_transport *transport, unsigned int queues,
		    const struct vu_owner_ops *ops, void *owner, bool held,
		    struct vu_session **ret_session)
{
	struct vu_session *session = calloc(1, sizeof(*session));
	int fd = transport->ops->fd(transport);
	unsigned int i;
	int r = 0;

	if (session == NULL) {
		transport->ops->free(transport);
		return -ENOMEM;
	}
	session->loop = loop;
	session->transport = transport;
	session->ops = ops;
	session->owner = owner;
	session->backend_fd = -1;
	session->mem_slots = GUEST_MEM_MAX_REGIONS;
	session->log_event_fd = session->old_log_event_fd = -1;
	transport->rest = &session->rest;
	session->held = held;
	session->listening = !held;
	session->slots = calloc(queues, sizeof(session->slots[0]));
	if (session->slots == NULL || queues > VU_RINGS_MAX) {
		r = session->slots == NULL ? -ENOMEM : -EINVAL;
	} else {
		session->slot_n = queues;
	}
	for (i = 0; i < session->slot_n; i++) {
		struct vu_slot *slot = &session->slots[i];

		slot->ring.index = i;
		slot->ring.kick_fd = slot->ring.call_fd = slot->ring.err_fd = -1;
		slot->next_call_fd = -1;
	}
	if (r == 0 && fd >= 0) {
		r = loop_watch(loop, fd, held ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP, socket_ready,
			       session, &session->watch);
	}
	if (r < 0) {
		vu_session_free(session);
		return r;
	}
	*ret_session = session;
	return 0;
}

int vu_session_new(struct loop *loop, struct vu_transport *transport, unsigned int queues,
		   const struct vu_owner_ops *ops, void *owner, struct vu_session **ret_session)
{
	return vu_session_make(loop, transport, queues, ops, owner, false, ret_session);
}

void vu_session_limit_mem_slots(struct vu_session *session, unsigned int slots)
{
	if (slots > 0 && slots < GUEST_MEM_MAX_REGIONS) {
		session->mem_slots = slots;
	}
}

void vu_session_close(struct vu_session *session, const char *why)
{
	if (session->step == VU_STEP_CLOSED) {
		return;
	}
	want_close(session, why);
	vu_session_advance(session);
}

void vu_session_free(struct vu_session *session)
{
	if (session == NULL) {
		return;
	}
	release(session);
	fd_bag_close(&session->rest);
	free(session->slots);
	free(session);
}

void vu_session_complete(struct vu_session *session, int result, uint32_t base)
{
	operation_done(session, result, base);
	vu_session_advance(session);
}

bool vu_session_peer_gone(const struct vu_session *session)
{
	struct pollfd pfd = { .events = POLLRDHUP };

	if (session->peer_gone || session->transport == NULL) {
		return true;
	}
	pfd.fd = session->transport->ops->fd(session->transport);
	return pfd.fd >= 0 && poll(&pfd, 1, 0) > 0;
}

bool vu_session_ring_running(const struct vu_session *session, unsigned int index)
{
	return index < session->slot_n && session->slots[index].running;
}
