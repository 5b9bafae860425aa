/* SPDX-License-Identifier: BSD-3-Clause */
#include "client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

/* The daemon answers at once; creating a large ramdisk is the slowest it can do. */
#define ANSWER_LIMIT_S 30
/* Only a daemon that stands still lets a connection wait: for room in its backlog. */
#define CONNECT_LIMIT_S	 5
#define MAX_ANSWER_BYTES (256u << 20)

static int open_socket(const char *path)
{
	const struct timeval answer_limit = { .tv_sec = ANSWER_LIMIT_S };
	const struct timeval connect_limit = { .tv_sec = CONNECT_LIMIT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "vhostctl: the path of the management socket is too long: %s\n",
			path);
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_limit, sizeof(answer_limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &connect_limit, sizeof(connect_limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		fprintf(stderr,
			"vhostctl: no daemon answers at %s: %s. Start vhost, or name its management "
			"socket (vhost -r) with -s\n",
			path, strerror(errno == EAGAIN ? ETIMEDOUT : errno));
		fd_close(&fd);
	}
	return fd;
}

static bool send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return false;
		}
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* An answer ends with a newline, and compact JSON has none inside. */
static char *receive_line(int fd)
{
	CLEANUP(freep) char *text = NULL;
	size_t room = 0;
	size_t len = 0;
	ssize_t n;

	for (;;) {
		if (room - len < 2) {
			char *grown;

			room = room > 0 ? room * 2 : 4096;
			grown = room <= MAX_ANSWER_BYTES ? realloc(text, room) : NULL;
			if (grown == NULL) {
				errno = ENOMEM;
				return NULL;
			}
			text = grown;
		}
		n = recv(fd, text + len, room - len - 1, 0);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			errno = n == 0 ? ECONNRESET : (errno == EAGAIN ? ETIMEDOUT : errno);
			return NULL;
		}
		len += (size_t)n;
		if (text[len - 1] == '\n') {
			text[len] = '\0';
			return STEAL(text);
		}
	}
}

static char *exchange(const char *path, const char *request)
{
	CLEANUP(fd_close) int fd = open_socket(path);
	char *text;

	if (fd < 0) {
		return NULL;
	}
	text = send_all(fd, request, strlen(request)) ? receive_line(fd) : NULL;
	if (text == NULL) {
		fprintf(stderr, "vhostctl: no answer from %s: %s\n", path, strerror(errno));
	}
	return text;
}

enum client_result client_call(const char *socket_path, const char *method, json_t *params,
			       json_t **ret_result)
{
	CLEANUP(freep) char *request = NULL;
	CLEANUP(freep) char *text = NULL;
	json_t *json;
	json_t *error;
	json_t *answer;

	json = json_pack("{s:s, s:i, s:s, s:o*}", "jsonrpc", "2.0", "id", 1, "method", method,
			 "params", params);
	request = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (request == NULL) {
		fprintf(stderr,
			"vhostctl: the request cannot be written as JSON; is all of it UTF-8?\n");
		return CLIENT_FAILED;
	}
	text = exchange(socket_path, request);
	if (text == NULL) {
		return CLIENT_FAILED;
	}
	answer = json_loads(text, 0, NULL);
	error = json_object_get(answer, "error");
	*ret_result = json_incref(json_object_get(answer, "result"));
	if (*ret_result != NULL) {
		json_decref(answer);
		return CLIENT_OK;
	}
	if (error != NULL) {
		fprintf(stderr, "vhostctl: %s: %s (code %lld)\n", method,
			json_string_value(json_object_get(error, "message")),
			(long long)json_integer_value(json_object_get(error, "code")));
		json_decref(answer);
		return CLIENT_REFUSED;
	}
	fprintf(stderr, "vhostctl: the answer of %s is no JSON-RPC answer\n", socket_path);
	json_decref(answer);
	return CLIENT_FAILED;
}
