/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the log of dirty pages that a guest's front-end gives to the target, and what it expects of it: when
 * a request comes back that was made while logging was confirmed, the pages that its answer lies in are marked,
 * and so are those of the ring.
 *
 *   seen   marks that were taken out of the logs. They are forgotten when nothing is out, so that a
 *          request is not excused by one of before.
 */
#ifndef VHT_FUZZ_LOG_H
#define VHT_FUZZ_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "ram.h"

#define LOG_PAGE  4096u
#define LOG_BYTES ((uint32_t)((RAM_GPA + RAM_SIZE) / LOG_PAGE / 8 + 1))
#define LOG_FILE  ((LOG_BYTES + LOG_PAGE - 1) / LOG_PAGE * LOG_PAGE)

struct log_file {
	int fd; /* -1: there is none */
	uint8_t *map;
};

struct log {
	struct log_file now;  /* the target has it */
	struct log_file next; /* it has been sent */
	bool said;	      /* VHOST_F_LOG_ALL, in the last SET_FEATURES */
	bool on;	      /* and it was confirmed */
	uint32_t epoch;	      /* another one each time that it is switched off */
	bool seen[RAM_SIZE / LOG_PAGE];
};

void log_init(struct log *log);
/* The session is over, or the device has been reset: nothing is expected of requests that are out. */
void log_off(struct log *log);
void log_forget(struct log *log);
/* A file for the next one; -1: one is on its way already. */
int log_send(struct log *log);
void log_sent(struct log *log); /* and it was taken */
/* SET_FEATURES with VHOST_F_LOG_ALL was, which was sent in this epoch. */
void log_confirmed(struct log *log, uint32_t epoch);
/* The files become empty; the front-end forgets them. */
void log_cut_short(struct log *log);
/* Nothing is out. */
void log_at_rest(struct log *log);
/* Fails if a page of [offset, offset + len) of memory has not been marked. */
void log_expect(struct log *log, uint64_t offset, uint32_t len);

#endif
