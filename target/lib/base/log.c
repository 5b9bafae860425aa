/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Longer lines are cut; a log line is for people. */
#define LINE_MAX_BYTES 1024

#define DEFAULT_BURST	    10
#define DEFAULT_INTERVAL_MS 10000

static atomic_int level_shown = LOG_LEVEL_NOTICE;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_shown, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&level_shown, memory_order_relaxed);
}

static void write_line(enum log_level level, const char *fmt, va_list args)
{
	static const char *const names[] = { "error", "warning", "notice", "info", "debug" };
	char line[LINE_MAX_BYTES];
	int saved_errno = errno;
	int n = snprintf(line, sizeof(line), "vhost: %s: ", names[level]);
	int body = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);

	if (body < 0) {
		errno = saved_errno;
		return;
	}
	n += body;
	if (n > (int)sizeof(line) - 2) {
		n = (int)sizeof(line) - 2;
	}
	line[n++] = '\n';
	/* One write, so that lines of several threads do not mix; a failing stderr is no reason to stop. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0) {
		errno = saved_errno;
		return;
	}
	errno = saved_errno;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level > log_get_level()) {
		return;
	}
	va_start(args, fmt);
	write_line(level, fmt, args);
	va_end(args);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void log_limited(struct log_limiter *limiter, enum log_level level, const char *fmt, ...)
{
	uint32_t burst = limiter->burst != 0 ? limiter->burst : DEFAULT_BURST;
	uint32_t interval = limiter->interval_ms != 0 ? limiter->interval_ms : DEFAULT_INTERVAL_MS;
	uint64_t now = now_ms();
	va_list args;

	if (level > log_get_level()) {
		return;
	}
	if (limiter->used == 0 || now - limiter->window_start_ms >= interval) {
		if (limiter->suppressed > 0) {
			log_write(level, "%u similar lines suppressed", limiter->suppressed);
		}
		limiter->window_start_ms = now;
		limiter->used = 0;
		limiter->suppressed = 0;
	}
	if (limiter->used == burst) {
		limiter->suppressed++;
		return;
	}
	limiter->used++;
	va_start(args, fmt);
	write_line(level, fmt, args);
	va_end(args);
}
