/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: one call to the daemon's management socket. */
#ifndef VHOSTCTL_CLIENT_H
#define VHOSTCTL_CLIENT_H

#include <jansson.h>

enum client_result {
	CLIENT_OK,
	CLIENT_REFUSED, /* the daemon answered with an error */
	CLIENT_FAILED,	/* there was no usable answer */
};

/* Takes params over (NULL: none). Writes a line to stderr unless CLIENT_OK, then *ret_result is the
 * caller's. */
enum client_result client_call(const char *socket_path, const char *method, json_t *params,
			       json_t **ret_result);

#endif
