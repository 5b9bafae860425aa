/* SPDX-License-Identifier: BSD-3-Clause */
#include "mgmt/mgmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/parcel.h"
#include "base/why.h"
#include "controller/listener.h"
#include "mgmt/framer.h"
#include "mgmt/rpc.h"

/* A batch that creates a thousand controllers is a tenth of this. */
#define MAX_REQUEST_BYTES (1u << 20)
/* What is read at once, and so what one client may ask of the control thread in one turn. */
#define READ_BYTES 4096
/* A client that does not read its answers is not asked for more questions beyond this. */
#define MAX_PENDING_BYTES (256u << 10)
/* People and scripts; when there are more, the one that was silent longest has to go. */
#define MAX_CLIENTS 32
#define SOCKET_MODE 0600 /* whoever may connect may do everything */

struct buffer {
	char *data;
	size_t len;
	size_t room;
};

struct client {
	struct mgmt *mgmt;
	int fd;
	struct loop_watch *watch;
	struct framer framer;
	struct buffer in;
	struct buffer out;
	size_t out_pos;
	bool last; /* no more requests: close when the answers are out */
	TAILQ_ENTRY(client) link;
};

struct mgmt {
	struct loop *loop;
	struct rpc_server rpc;
	void (*shutdown)(void *arg);
	void *arg;
	struct listener listener;
	bool paused;
	unsigned int client_n;
	TAILQ_HEAD(client_list, client) clients; /* the one that spoke last is last */
};

static int buffer_reserve(struct buffer *b, size_t more)
{
	size_t room = b->room > 0 ? b->room : READ_BYTES;
	char *grown;

	while (room - b->len < more) {
		room *= 2;
	}
	if (room == b->room) {
		return 0;
	}
	grown = realloc(b->data, room);
	if (grown == NULL) {
		return -ENOMEM;
	}
	b->data = grown;
	b->room = room;
	return 0;
}

static void buffer_drop(struct buffer *b, size_t n)
{
	b->len -= n;
	if (b->len > 0) {
		memmove(b->data, b->data + n, b->len);
		return;
	}
	/* An idle client holds no memory. */
	free(b->data);
	*b = (struct buffer){ 0 };
}

static void client_free(struct client *client)
{
	TAILQ_REMOVE(&client->mgmt->clients, client, link);
	client->mgmt->client_n--;
	loop_unwatch(client->watch);
	fd_close(&client->fd);
	free(client->in.data);
	free(client->out.data);
	free(client);
}

static size_t pending(const struct client *client)
{
	return client->out.len - client->out_pos;
}

/* Writes what the socket takes. -EPIPE and the like: the client is gone. */
static int flush(struct client *client)
{
	while (pending(client) > 0) {
		ssize_t n = send(client->fd, client->out.data + client->out_pos, pending(client),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		}
		client->out_pos += (size_t)n;
	}
	buffer_drop(&client->out, client->out.len);
	client->out_pos = 0;
	return 0;
}

/* Takes the text over; NULL is fine. */
static int queue_answer(struct client *client, char *text_given)
{
	CLEANUP(freep) char *text = text_given;
	size_t len;

	if (text == NULL) {
		return 0;
	}
	len = strlen(text);
	if (buffer_reserve(&client->out, len) < 0) {
		return -ENOMEM;
	}
	memcpy(client->out.data + client->out.len, text, len);
	client->out.len += len;
	return 0;
}

static int refuse(struct client *client, int code, const char *message)
{
	client->last = true;
	return queue_answer(client, rpc_error_answer(code, message));
}

/* Requests are read and carried out. */
static bool may_ask(const struct client *client)
{
	return !client->mgmt->paused && !client->last && pending(client) < MAX_PENDING_BYTES;
}

/* Answers the requests that are complete, as long as the client takes the answers. */
static int handle_requests(struct client *client)
{
	struct mgmt *mgmt = client->mgmt;
	size_t start;
	size_t end;
	int r = 0;

	while (r == 0 && may_ask(client)) {
		r = framer_next(&client->framer, client->in.data, client->in.len, &start, &end);
		if (r == 0) {
			if (client->in.len >= MAX_REQUEST_BYTES) {
				r = refuse(client, RPC_INVALID_REQUEST,
					   "the request is longer than 1 MiB");
			}
			break;
		}
		if (r < 0) {
			r = refuse(client, RPC_PARSE_ERROR,
				   r == -E2BIG ? "nested too deeply" :
						 "a request has to be a JSON object or array");
			break;
		}
		r = queue_answer(client,
				 rpc_answer(&mgmt->rpc, client->in.data + start, end - start));
		buffer_drop(&client->in, end);
		framer_consumed(&client->framer, end);
		if (r == 0) {
			r = flush(client);
		}
	}
	return r;
}

/* 0: the client lives. */
static int receive(struct client *client)
{
	ssize_t n;

	if (buffer_reserve(&client->in, READ_BYTES) < 0) {
		return -ENOMEM;
	}
	n = recv(client->fd, client->in.data + client->in.len, READ_BYTES, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	}
	if (n == 0) {
		/* It may have shut down its side only and still wait for answers. */
		client->last = true;
		return 0;
	}
	client->in.len += (size_t)n;
	return 0;
}

static uint32_t wanted_events(const struct client *client)
{
	/* What is paused may be in another process's hands already, answers too. */
	if (client->mgmt->paused) {
		return 0;
	}
	return (may_ask(client) ? EPOLLIN : 0u) | (pending(client) > 0 ? EPOLLOUT : 0u);
}

static void client_ready(void *arg, uint32_t events)
{
	struct client *client = arg;
	struct mgmt *mgmt = client->mgmt;
	int r = 0;

	if (mgmt->paused) {
		/* Seen in the round in which it was paused: nothing may be read any more. Or it hangs up, which
		 * would be reported again and again. */
		loop_unwatch(client->watch);
		client->watch = NULL;
		return;
	}
	TAILQ_REMOVE(&mgmt->clients, client, link);
	TAILQ_INSERT_TAIL(&mgmt->clients, client, link);
	if ((events & EPOLLOUT) != 0) {
		r = flush(client);
	}
	if (r == 0 && (events & EPOLLIN) != 0) {
		r = receive(client);
	}
	if (r == 0) {
		r = handle_requests(client);
	}
	if (r == 0) {
		r = flush(client);
	}
	if (r < 0 || (client->last && pending(client) == 0) ||
	    ((events & (EPOLLHUP | EPOLLERR)) != 0 && (events & EPOLLIN) == 0)) {
		client_free(client);
	} else {
		loop_watch_set_events(client->watch, wanted_events(client));
	}
	if (mgmt->rpc.shutdown_requested) {
		mgmt->rpc.shutdown_requested = false;
		mgmt->shutdown(mgmt->arg);
	}
}

/* Takes the connection over, also on failure. */
static struct client *client_new(struct mgmt *mgmt, int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		fd_close(&fd);
		return NULL;
	}
	if (mgmt->client_n == MAX_CLIENTS) {
		client_free(TAILQ_FIRST(&mgmt->clients));
	}
	client->mgmt = mgmt;
	client->fd = fd;
	mgmt->client_n++;
	TAILQ_INSERT_TAIL(&mgmt->clients, client, link);
	if (loop_watch(mgmt->loop, fd, wanted_events(client), client_ready, client,
		       &client->watch) < 0) {
		client_free(client);
		return NULL;
	}
	return client;
}

static void client_waits(void *arg)
{
	struct mgmt *mgmt = arg;
	int fd;

	if (mgmt->paused) {
		listener_pause(&mgmt->listener, true);
		return;
	}
	fd = listener_accept(&mgmt->listener);
	if (fd >= 0) {
		(void)client_new(mgmt, fd);
	}
}

DEFINE_CLEANUP(struct mgmt *, mgmt_free)

static struct mgmt *make(const struct mgmt_options *opts)
{
	struct mgmt *mgmt = calloc(1, sizeof(*mgmt));

	if (mgmt != NULL) {
		TAILQ_INIT(&mgmt->clients);
		mgmt->loop = opts->loop;
		mgmt->rpc = (struct rpc_server){
			.target = opts->target,
			.hand_over = opts->hand_over,
			.handover_status = opts->handover_status,
			.arg = opts->arg,
		};
		mgmt->shutdown = opts->shutdown;
		mgmt->arg = opts->arg;
	}
	return mgmt;
}

int mgmt_new(const struct mgmt_options *opts, struct mgmt **ret_mgmt, const char **ret_why)
{
	CLEANUP(mgmt_freep) struct mgmt *mgmt = make(opts);
	CLEANUP(freep) char *path = NULL;
	int r;

	if (mgmt == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	r = listener_path(NULL, opts->path, &path, ret_why);
	if (r == 0) {
		r = listener_open(&mgmt->listener, opts->loop, path, -1, SOCKET_MODE, client_waits,
				  mgmt, ret_why);
	}
	if (r < 0) {
		*ret_why = why("management: %s", *ret_why);
		return r;
	}
	*ret_mgmt = STEAL(mgmt);
	return 0;
}

void mgmt_free(struct mgmt *mgmt)
{
	struct client *client;

	if (mgmt == NULL) {
		return;
	}
	while ((client = TAILQ_FIRST(&mgmt->clients)) != NULL) {
		client_free(client);
	}
	listener_close(&mgmt->listener);
	free(mgmt);
}

/* ---- a planned hand-over ---- */

static int watch(struct client *client)
{
	return client->watch != NULL ?
		       loop_watch_set_events(client->watch, wanted_events(client)) :
		       loop_watch(client->mgmt->loop, client->fd, wanted_events(client),
				  client_ready, client, &client->watch);
}

void mgmt_pause(struct mgmt *mgmt, bool paused)
{
	struct client *client;
	unsigned int n;

	mgmt->paused = paused;
	listener_pause(&mgmt->listener, paused);
	/* Each goes to the end of the list once, and perhaps away. */
	for (n = mgmt->client_n; n > 0; n--) {
		client = TAILQ_FIRST(&mgmt->clients);
		TAILQ_REMOVE(&mgmt->clients, client, link);
		TAILQ_INSERT_TAIL(&mgmt->clients, client, link);
		if (watch(client) < 0) {
			client_free(client);
		} else if (!paused && client->in.len > 0) {
			client_ready(client, 0); /* requests that were read already */
		}
	}
}

void mgmt_save(const struct mgmt *mgmt, struct parcel *parcel)
{
	const struct client *client;

	listener_save(&mgmt->listener, parcel);
	parcel_put_u32(parcel, mgmt->client_n);
	TAILQ_FOREACH (client, &mgmt->clients, link) {
		parcel_put_fd(parcel, client->fd);
		parcel_put_u8(parcel, client->last);
		parcel_put_block(parcel, client->in.data, client->in.len);
		parcel_put_block(parcel,
				 pending(client) > 0 ? client->out.data + client->out_pos : NULL,
				 pending(client));
	}
}

static int restore_buffer(struct buffer *b, struct parcel *parcel)
{
	size_t len;
	const uint8_t *data = parcel_get_block(parcel, PARCEL_MAX_BYTES, &len);

	if (len == 0) {
		return 0;
	}
	if (buffer_reserve(b, len) < 0) {
		return -ENOMEM;
	}
	memcpy(b->data, data, len);
	b->len = len;
	return 0;
}

static int restore_client(struct mgmt *mgmt, struct parcel *parcel)
{
	int fd = parcel_get_fd(parcel);
	struct client *client = fd >= 0 ? client_new(mgmt, fd) : NULL;

	if (client == NULL) {
		return -ENOMEM;
	}
	client->last = parcel_get_bool(parcel);
	if (restore_buffer(&client->in, parcel) < 0 || restore_buffer(&client->out, parcel) < 0) {
		return -ENOMEM;
	}
	return 0;
}

int mgmt_restore(const struct mgmt_options *opts, struct parcel *parcel, struct mgmt **ret_mgmt,
		 const char **ret_why)
{
	CLEANUP(mgmt_freep) struct mgmt *mgmt = make(opts);
	uint32_t n;
	int r;

	if (mgmt == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	mgmt->paused = true;
	r = listener_restore(&mgmt->listener, opts->loop, parcel, client_waits, mgmt, ret_why);
	if (r < 0) {
		*ret_why = why("management: %s", *ret_why);
		return r;
	}
	n = parcel_get_below(parcel, MAX_CLIENTS + 1);
	for (; n > 0 && r == 0; n--) {
		r = restore_client(mgmt, parcel);
	}
	if (r < 0 || parcel->failed) {
		*ret_why = why("management: its clients cannot be taken over");
		return r < 0 ? r : -EPROTO;
	}
	*ret_mgmt = STEAL(mgmt);
	return 0;
}

void mgmt_release(struct mgmt *mgmt)
{
	listener_release(&mgmt->listener);
	mgmt_pause(mgmt, false);
}
