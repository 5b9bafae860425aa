/* SPDX-License-Identifier: BSD-3-Clause */
/* The malloc bdev: a ramdisk. A request is one copy, made when the channel is polled. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/why.h"
#include "bdev/driver.h"
#include "env/env.h"

/*
 * Discard and write-zeroes run on the reactor, between the requests of other guests: this is about
 * three milliseconds of memset.
 */
#define MAX_DISCARD (UINT64_C(16) << 20)
/* Below this, clearing is cheaper than a system call and the page faults that follow it. */
#define MIN_RELEASE ((size_t)64 << 10)

struct malloc_bdev {
	struct bdev bdev;
	uint8_t *memory;
	size_t page;
};

struct malloc_channel {
	struct bdev_channel base;
	struct bdev_io_list submitted;
};

static int malloc_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct malloc_channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL) {
		return -ENOMEM;
	}
	STAILQ_INIT(&channel->submitted);
	*ret_channel = &channel->base;
	return 0;
}

static void malloc_channel_close(struct bdev_channel *channel)
{
	free(channel);
}

static int malloc_submit(struct bdev_channel *base, struct bdev_io *io)
{
	struct malloc_channel *channel = (struct malloc_channel *)base;

	STAILQ_INSERT_TAIL(&channel->submitted, io, link);
	return 0;
}

/* Clears the range; gives whole pages back to the system, which supplies zeroed ones on demand. */
static void release(const struct malloc_bdev *m, uint8_t *start, size_t len)
{
	size_t head = (m->page - (uintptr_t)start % m->page) % m->page;
	size_t pages;

	if (len < head + MIN_RELEASE) {
		memset(start, 0, len);
		return;
	}
	pages = (len - head) / m->page * m->page;
	if (madvise(start + head, pages, MADV_DONTNEED) != 0) {
		memset(start + head, 0, pages);
	}
	memset(start, 0, head);
	memset(start + head + pages, 0, len - head - pages);
}

static int carry_out(const struct malloc_bdev *m, const struct bdev_io *io)
{
	int rc = bdev_check_io(&m->bdev, io);
	uint8_t *start;

	if (rc != 0 || io->op == BDEV_FLUSH) {
		return rc; /* memory is as stable as it will ever be */
	}
	start = m->memory + io->offset;
	switch (io->op) {
	case BDEV_READ:
		iov_scatter(io->iov, io->iov_n, 0, start, io->len);
		break;
	case BDEV_WRITE:
		iov_gather(io->iov, io->iov_n, 0, start, io->len);
		break;
	case BDEV_DISCARD:
		release(m, start, io->len);
		break;
	case BDEV_WRITE_ZEROES:
		if ((io->flags & BDEV_IO_MAY_UNMAP) != 0) {
			release(m, start, io->len);
		} else {
			memset(start, 0, io->len);
		}
		break;
	case BDEV_FLUSH:
		break;
	}
	return 0;
}

static unsigned int malloc_poll(struct bdev_channel *base)
{
	const struct malloc_bdev *m = (const struct malloc_bdev *)base->bdev;
	struct malloc_channel *channel = (struct malloc_channel *)base;
	struct bdev_io_list batch = STAILQ_HEAD_INITIALIZER(batch);
	unsigned int completed = 0;
	struct bdev_io *io;

	/* What done() submits belongs to the next round. */
	STAILQ_CONCAT(&batch, &channel->submitted);
	while ((io = STAILQ_FIRST(&batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch, link);
		bdev_complete(io, carry_out(m, io));
		completed++;
	}
	return completed;
}

static void malloc_close(struct bdev *bdev)
{
	struct malloc_bdev *m = (struct malloc_bdev *)bdev;

	env_big_free(m->memory, bdev->info.size);
	free(m);
}

static const struct bdev_ops malloc_ops = {
	.driver = "malloc",
	.close = malloc_close,
	.channel_open = malloc_channel_open,
	.channel_close = malloc_channel_close,
	.submit = malloc_submit,
	.poll = malloc_poll,
};

/* The lowest free "MallocN". */
static void choose_name(char *name, size_t len)
{
	unsigned int n = 0;

	do {
		snprintf(name, len, "Malloc%u", n++);
	} while (bdev_find(name) != NULL);
}

static int allocate(struct malloc_bdev *m, const char *name, const struct bdev_malloc_options *opts,
		    const char **ret_why)
{
	void *memory;
	int rc = env_big_alloc(opts->size, opts->numa_node, &memory);

	if (rc == -ENOMEM) {
		*ret_why = why("%s: %" PRIu64 " MiB do not fit into the %" PRIu64
			       " MiB of memory that are available",
			       name, opts->size >> 20, env_memory_available() >> 20);
	} else if (rc != 0) {
		*ret_why = why("%s: no memory on NUMA node %d: %s", name, opts->numa_node,
			       strerror(-rc));
	} else {
		m->memory = memory;
	}
	return rc;
}

int bdev_malloc_create(const struct bdev_malloc_options *opts, struct bdev **ret_bdev,
		       const char **ret_why)
{
	uint32_t block_size = opts->block_size != 0 ? opts->block_size : BDEV_DEFAULT_BLOCK_SIZE;
	char chosen[BDEV_NAME_MAX + 1];
	const char *name = opts->name;
	struct malloc_bdev *m;
	int rc;

	if (name == NULL) {
		choose_name(chosen, sizeof(chosen));
		name = chosen;
	}
	rc = bdev_check_new(name, opts->size, block_size, ret_why);
	if (rc != 0) {
		return rc;
	}
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		*ret_why = why("%s: out of memory", name);
		return -ENOMEM;
	}
	rc = allocate(m, name, opts, ret_why);
	if (rc != 0) {
		free(m);
		return rc;
	}
	m->page = (size_t)sysconf(_SC_PAGESIZE);
	bdev_init(&m->bdev, &malloc_ops, name, "Malloc disk");
	m->bdev.info = (struct bdev_info){
		.size = opts->size,
		.block_size = block_size,
		.physical_block_size = block_size,
		.max_discard = MAX_DISCARD,
		.write_cache = true, /* as 17.07 had it; a flush costs nothing here */
		.can_discard = true,
		.can_write_zeroes = true,
	};
	rc = bdev_register(&m->bdev, ret_why);
	if (rc != 0) {
		malloc_close(&m->bdev);
		return rc;
	}
	*ret_bdev = &m->bdev;
	return 0;
}
