/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: finds where one JSON object or array ends and the next begins in a stream of bytes,
 * without parsing it: brackets are counted outside of strings. Each byte is looked at once, however
 * the stream was cut.
 */
#ifndef VHT_MGMT_FRAMER_H
#define VHT_MGMT_FRAMER_H

#include <stdbool.h>
#include <stddef.h>

/* No method takes anything nested deeper than a batch of requests with their parameters. */
#define FRAMER_MAX_DEPTH 32

struct framer {
	/* private: */
	size_t pos; /* bytes of the buffer seen so far */
	size_t start;
	unsigned int depth;
	bool in_string;
	bool escaped;
};

/*
 * Looks on in the buffer, which holds what it held at the last call and perhaps more. 1: a document
 * lies at [*ret_start, *ret_end). 0: it is not complete yet. -EBADMSG: neither '{' nor '[' where a
 * document has to begin; -E2BIG: nested too deeply. After an error the stream is lost.
 */
int framer_next(struct framer *framer, const char *buf, size_t len, size_t *ret_start,
		size_t *ret_end);

/* The first n bytes of the buffer were taken away. */
void framer_consumed(struct framer *framer, size_t n);

#endif
