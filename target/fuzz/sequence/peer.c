/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../must.h"
#include "base/fd.h"
#include "trace.h"

bool peer_connect(struct peer *peer, const struct sockaddr_un *addr, socklen_t addr_len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	MUST(fd >= 0);
	if (connect(fd, (const struct sockaddr *)addr, addr_len) < 0) {
		fd_close(&fd);
		return false;
	}
	peer->fd = fd;
	peer->reply_ack = false;
	peer->out_of_step = false;
	peer->sent_n = 0;
	peer->got = 0;
	return true;
}

void peer_close(struct peer *peer)
{
	fd_close(&peer->fd);
}

static bool send_all(struct peer *peer, const void *bytes, size_t len, const int *fds,
		     unsigned int fd_n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * (VU_FDS_MAX + 1))];
	} control;
	struct iovec iov = { (void *)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (fd_n > 0) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_n);
	}
	return sendmsg(peer->fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

bool peer_send(struct peer *peer, const struct peer_message *message, const void *payload,
	       uint32_t len, const int *fds, unsigned int fd_n)
{
	struct vu_message m;

	if (peer->sent_n == PEER_SENT_MAX) {
		return false;
	}
	m.header = (struct vu_header){
		.request = message->request,
		.flags = VU_VERSION | (message->acknowledged ? VU_FLAG_NEED_REPLY : 0),
		.size = len,
	};
	memcpy(m.payload, payload, len);
	if (!send_all(peer, m.wire, sizeof(m.header) + len, fds, fd_n)) {
		return false;
	}
	TRACE("  request %u for ring %u, value %#llx\n", message->request, message->ring,
	      (unsigned long long)message->value);
	peer->sent[peer->sent_n++] = *message;
	return true;
}

void peer_send_raw(struct peer *peer, const void *bytes, size_t len, const int *fds,
		   unsigned int fd_n)
{
	peer->out_of_step = true;
	(void)send_all(peer, bytes, len, fds, fd_n);
}

void peer_forget_oldest(struct peer *peer)
{
	peer->sent_n--;
	memmove(peer->sent, peer->sent + 1, peer->sent_n * sizeof(peer->sent[0]));
}

enum peer_got peer_receive(struct peer *peer)
{
	for (;;) {
		size_t want = sizeof(struct vu_header);
		ssize_t n;

		if (peer->got >= want) {
			MUST(peer->reply.header.size <= VU_CONFIG_HEADER_SIZE + VU_CONFIG_MAX);
			want += peer->reply.header.size;
		}
		if (peer->got == want) {
			peer->got = 0;
			return PEER_REPLY;
		}
		n = recv(peer->fd, peer->reply.wire + peer->got, want - peer->got, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			return PEER_END;
		}
		if (n < 0) {
			MUST(errno == EAGAIN);
			return PEER_NOTHING;
		}
		peer->got += (size_t)n;
	}
}
