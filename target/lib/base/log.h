/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: one line per event to stderr, "vhost: <level>: <text>". Library code logs at debug level
 * only; whoever has the context (config, controller, app) logs once. Every line that a guest or a
 * front-end can trigger goes through a limiter (reference rule R12), so nobody can fill the log.
 * Thread: any. A line is written with one write(2), never from the data path.
 */
#ifndef VHT_BASE_LOG_H
#define VHT_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/* Lines above this level are dropped. Default: notice. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* At most `burst` lines in each `interval_ms`; the first line of a new interval says how many were
 * suppressed. Zero-initialised = 10 lines in 10 seconds. Owner: one thread at a time. */
struct log_limiter {
	uint32_t burst;
	uint32_t interval_ms;
	/* private: */
	uint64_t window_start_ms;
	uint32_t used;
	uint32_t suppressed;
};

void log_limited(struct log_limiter *limiter, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
