/* SPDX-License-Identifier: BSD-3-Clause */
#include "leaks.h"

#include <dirent.h>

#include "must.h"

/* Of the sanitizers' allocator; not there in a build without them. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static unsigned int count_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	MUST(dir != NULL);
	while (readdir(dir) != NULL) {
		n++;
	}
	closedir(dir);
	return n;
}

static size_t allocated_bytes(void)
{
	return __sanitizer_get_current_allocated_bytes != NULL ?
		       __sanitizer_get_current_allocated_bytes() :
		       0;
}

struct leaks leaks_start(void)
{
	struct leaks now = { .fds = count_open_fds(), .bytes = allocated_bytes() };

	return now;
}

void leaks_check(const struct leaks *before)
{
	struct leaks now = leaks_start();

	if (now.fds != before->fds || now.bytes > before->bytes) {
		fprintf(stderr, "before: %u descriptors, %zu bytes; after: %u, %zu\n", before->fds,
			before->bytes, now.fds, now.bytes);
	}
	MUST(now.fds == before->fds);
	/* The fuzzer's own threads may free something of theirs meanwhile. */
	MUST(now.bytes <= before->bytes);
}
