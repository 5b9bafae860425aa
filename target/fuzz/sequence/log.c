/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../must.h"
#include "base/fd.h"

#define FIRST_PAGE (RAM_GPA / LOG_PAGE)

static void file_close(struct log_file *file)
{
	if (file->fd >= 0) {
		munmap(file->map, LOG_FILE);
		fd_close(&file->fd);
	}
}

void log_init(struct log *log)
{
	*log = (struct log){ .now.fd = -1, .next.fd = -1, .epoch = 1 };
}

void log_off(struct log *log)
{
	log->said = false;
	log->on = false;
	log->epoch++;
}

void log_forget(struct log *log)
{
	log_off(log);
	file_close(&log->now);
	file_close(&log->next);
	memset(log->seen, 0, sizeof(log->seen));
}

int log_send(struct log *log)
{
	struct log_file *file = &log->next;

	if (file->fd >= 0) {
		return -1;
	}
	file->fd = memfd_create("log", MFD_CLOEXEC);
	MUST(file->fd >= 0 && ftruncate(file->fd, LOG_FILE) == 0);
	file->map = mmap(NULL, LOG_FILE, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	MUST(file->map != MAP_FAILED);
	return file->fd;
}

/* Takes the marks out, as a front-end does that copies the pages. */
static void take(struct log *log, const struct log_file *file)
{
	unsigned int page;

	for (page = 0; file->fd >= 0 && page < RAM_SIZE / LOG_PAGE; page++) {
		uint8_t *byte = &file->map[(FIRST_PAGE + page) / 8];
		uint8_t bit = (uint8_t)(1u << (FIRST_PAGE + page) % 8);

		if ((*byte & bit) != 0) {
			__atomic_fetch_and(byte, (uint8_t)~bit, __ATOMIC_ACQUIRE);
			log->seen[page] = true;
		}
	}
}

void log_sent(struct log *log)
{
	take(log, &log->now);
	file_close(&log->now);
	log->now = log->next;
	log->next.fd = -1;
}

void log_confirmed(struct log *log, uint32_t epoch)
{
	/* Unless another message, which is on its way, switches it off. */
	log->on = log->said && epoch == log->epoch;
}

void log_cut_short(struct log *log)
{
	MUST(log->now.fd < 0 || ftruncate(log->now.fd, 0) == 0);
	MUST(log->next.fd < 0 || ftruncate(log->next.fd, 0) == 0);
	file_close(&log->now);
	file_close(&log->next);
}

void log_at_rest(struct log *log)
{
	take(log, &log->now);
	take(log, &log->next);
	memset(log->seen, 0, sizeof(log->seen));
}

void log_expect(struct log *log, uint64_t offset, uint32_t len)
{
	uint64_t page;

	take(log, &log->now);
	take(log, &log->next);
	for (page = offset / LOG_PAGE; len > 0 && page <= (offset + len - 1) / LOG_PAGE; page++) {
		MUST(log->seen[page]);
	}
}
