/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/why.h"
#include "config/config.h"

/* Far above any real file (a line is some 20 bytes); bounds what a wrong path can make us read. */
#define FILE_MAX_BYTES (16u << 20)

/* Reads to the end, whatever kind of file it is; *ret_text is the caller's. */
static int read_file(int fd, char **ret_text, size_t *ret_len)
{
	CLEANUP(freep) char *text = NULL;
	size_t room = 0;
	size_t len = 0;

	for (;;) {
		ssize_t n;

		if (len == room) {
			char *grown;

			room = room > 0 ? room * 2 : 16384;
			grown = room <= FILE_MAX_BYTES ? realloc(text, room) : NULL;
			if (grown == NULL) {
				return room <= FILE_MAX_BYTES ? -ENOMEM : -EFBIG;
			}
			text = grown;
		}
		n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		if (n == 0) {
			break;
		}
		len += (size_t)n;
	}
	*ret_text = STEAL(text);
	*ret_len = len;
	return 0;
}

int config_load(const char *path, bool strict, struct config **ret_config, const char **ret_why)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(fd_close) int fd = -1;
	size_t len;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : read_file(fd, &text, &len);
	if (r < 0) {
		*ret_why = why("cannot read the configuration file %s: %s", path, strerror(-r));
		return r;
	}
	return config_parse(path, text, len, strict, ret_config, ret_why);
}
