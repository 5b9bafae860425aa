/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The malloc bdev: a ramdisk. A request is a copy. Those that are short are made on the spot, the others when
 * the channel is polled, and of all together a bounded part in each round: other guests' disks share the
 * reactor.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/iov.h"
#include "base/parcel.h"
#include "base/why.h"
#include "bdev/driver.h"
#include "env/env.h"

#define MAX_DISCARD (UINT64_C(16) << 20)
/* What a disk may grow to: its memory does not move, so the addresses are set aside. They cost nothing. */
#define ROOM	    (UINT64_C(64) << 30)
#define ROOM_FACTOR 4
/*
 * What is done in one round at most, in bytes: some 0.2 ms of copying. A guest can have thousands of requests
 * of 64 MiB under way, and whoever shares its reactor would wait seconds for all of them. Requests and
 * their iovecs cost time, too, so each counts as some bytes more; pages that are given back cost less
 * than what they hold.
 */
#define ROUND_BYTES	 (UINT64_C(1) << 20)
#define REQUEST_BYTES	 512
#define IOVEC_BYTES	 64
#define RELEASE_DISCOUNT 16
/* The same while others wait for the end of the round: about as long as a short request of theirs takes. */
#define HURRIED_BYTES (UINT64_C(32) << 10)
/*
 * What a channel takes at a time; more waits in the rings. A queue that is to stop, perhaps because its
 * guest has gone or the daemon ends, has to wait for all of this; and a queue that shares the disk with
 * a greedy one waits for no more than this.
 */
#define QUEUE_DEPTH 256
#define QUEUE_BYTES (UINT64_C(64) << 20)
/* The tail of what a round may do is not worth a smaller copy than this. */
#define MIN_COPY UINT64_C(4096)
/* Below this, clearing is cheaper than a system call and the page faults that follow it. */
#define MIN_RELEASE (UINT64_C(64) << 10)

struct malloc_bdev {
	struct bdev bdev;
	uint8_t *memory; /* area.ptr */
	struct env_area area;
};

struct malloc_channel {
	struct bdev_channel base;
	struct bdev_io_list submitted;
	unsigned int submitted_n;
	uint64_t submitted_bytes;
	uint64_t budget; /* what is left of round_bytes() */
};

static uint64_t round_bytes(const struct bdev_channel *channel)
{
	return channel->hurried ? HURRIED_BYTES : ROUND_BYTES;
}

static int malloc_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct malloc_channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL) {
		return -ENOMEM;
	}
	STAILQ_INIT(&channel->submitted);
	channel->budget = ROUND_BYTES;
	*ret_channel = &channel->base;
	return 0;
}

static void malloc_channel_close(struct bdev_channel *channel)
{
	free(channel);
}

/* How far a request has come; lives in bdev_io.driver. */
struct malloc_progress {
	uint64_t done; /* bytes */
};

static struct malloc_progress *progress_of(struct bdev_io *io)
{
	return (struct malloc_progress *)(void *)io->driver;
}

/* Whole pages go back to the system, which supplies zeroed ones on demand. */
static void release(struct malloc_bdev *m, const struct bdev_io *io)
{
	if (io->len < MIN_RELEASE) {
		memset(m->memory + io->offset, 0, io->len);
	} else {
		env_area_clear(&m->area, io->offset, io->len);
	}
}

static void spend(uint64_t *budget, uint64_t bytes)
{
	*budget -= bytes < *budget ? bytes : *budget;
}

static bool is_release(const struct bdev_io *io)
{
	return io->op == BDEV_DISCARD ||
	       (io->op == BDEV_WRITE_ZEROES && (io->flags & BDEV_IO_MAY_UNMAP) != 0);
}

/* The next `len` bytes of a request that was checked. */
static void copy_piece(const struct malloc_bdev *m, const struct bdev_io *io, uint64_t done,
		       uint64_t len)
{
	uint8_t *start = m->memory + io->offset + done;

	switch (io->op) {
	case BDEV_READ:
		iov_scatter(io->iov, io->iov_n, done, start, len);
		break;
	case BDEV_WRITE:
		iov_gather(io->iov, io->iov_n, done, start, len);
		break;
	default: /* BDEV_WRITE_ZEROES */
		memset(start, 0, len);
		break;
	}
}

/* Goes on with a request as far as *budget lasts. False: something is left of it. */
static bool carry_out(struct malloc_bdev *m, struct bdev_io *io, uint64_t *budget)
{
	struct malloc_progress *progress = progress_of(io);
	uint64_t len = *budget > MIN_COPY ? *budget : MIN_COPY;

	spend(budget, REQUEST_BYTES);
	/* For the next piece once more: the disk may have shrunk meanwhile, and its memory has gone. */
	io->status = bdev_check_io(&m->bdev, io);
	/* Memory is as stable as it will ever be: there is nothing to flush. */
	if (io->status != 0 || io->op == BDEV_FLUSH) {
		return true;
	}
	if (is_release(io)) {
		release(m, io);
		spend(budget, io->len / RELEASE_DISCOUNT);
		return true;
	}
	if (len > io->len - progress->done) {
		len = io->len - progress->done;
	}
	copy_piece(m, io, progress->done, len);
	progress->done += len;
	spend(budget, len + (uint64_t)io->iov_n * IOVEC_BYTES);
	return progress->done == io->len;
}

/* One is always taken, whatever its length. */
static bool has_room(const struct malloc_channel *channel, uint64_t len)
{
	if (channel->submitted_n == 0) {
		return true;
	}
	return channel->submitted_n < QUEUE_DEPTH && channel->submitted_bytes < QUEUE_BYTES &&
	       len <= QUEUE_BYTES - channel->submitted_bytes;
}

static int malloc_submit(struct bdev_channel *base, struct bdev_io *io)
{
	struct malloc_bdev *m = (struct malloc_bdev *)base->bdev;
	struct malloc_channel *channel = (struct malloc_channel *)base;

	/* None overtakes another. */
	if (channel->submitted_n == 0 && !is_release(io) && io->len <= channel->budget) {
		progress_of(io)->done = 0;
		carry_out(m, io, &channel->budget);
		return BDEV_DONE;
	}
	if (!has_room(channel, io->len)) {
		return -EAGAIN;
	}
	channel->submitted_n++;
	channel->submitted_bytes += io->len;
	progress_of(io)->done = 0;
	STAILQ_INSERT_TAIL(&channel->submitted, io, link);
	return 0;
}

static unsigned int malloc_poll(struct bdev_channel *base)
{
	struct malloc_bdev *m = (struct malloc_bdev *)base->bdev;
	struct malloc_channel *channel = (struct malloc_channel *)base;
	struct bdev_io_list batch = STAILQ_HEAD_INITIALIZER(batch);
	uint64_t budget = channel->budget;
	unsigned int completed = 0;
	struct bdev_io *io;

	/* What done() submits belongs to the next round. */
	channel->budget = round_bytes(base);
	STAILQ_CONCAT(&batch, &channel->submitted);
	while (budget > 0 && (io = STAILQ_FIRST(&batch)) != NULL) {
		if (!carry_out(m, io, &budget)) {
			break;
		}
		STAILQ_REMOVE_HEAD(&batch, link);
		channel->submitted_n--;
		channel->submitted_bytes -= io->len;
		bdev_complete(io, io->status);
		completed++;
	}
	if (STAILQ_EMPTY(&batch)) {
		return completed;
	}
	/* The rest comes first in the next round. There is no event that would wake the reactor for it,
	 * so it must not look as if nothing had been done. */
	STAILQ_CONCAT(&batch, &channel->submitted);
	STAILQ_CONCAT(&channel->submitted, &batch);
	return completed > 0 ? completed : 1;
}

static void malloc_close(struct bdev *bdev)
{
	struct malloc_bdev *m = (struct malloc_bdev *)bdev;

	env_area_free(&m->area);
	free(m);
}

/* Smaller is a matter of trim. */
static int malloc_resize(struct bdev *bdev, uint64_t size, const char **ret_why)
{
	struct malloc_bdev *m = (struct malloc_bdev *)bdev;
	int rc = size > m->area.size ? env_area_resize(&m->area, size) : 0;

	if (rc == -ENOSPC) {
		*ret_why = why("%s: it can grow to %zu MiB at most: create a larger one instead",
			       bdev->name, env_area_room(&m->area) >> 20);
	} else if (rc != 0) {
		*ret_why = why("%s: %" PRIu64 " MiB more do not fit into the %" PRIu64
			       " MiB of memory that are available",
			       bdev->name, (size - m->area.size) >> 20,
			       env_memory_available() >> 20);
	}
	return rc;
}

static void malloc_trim(struct bdev *bdev)
{
	struct malloc_bdev *m = (struct malloc_bdev *)bdev;

	if (bdev->info.size < m->area.size) {
		(void)env_area_resize(&m->area, bdev->info.size); /* cannot fail: it shrinks */
	}
}

static void malloc_save(const struct bdev *bdev, struct parcel *parcel)
{
	const struct malloc_bdev *m = (const struct malloc_bdev *)bdev;

	parcel_put_fd(parcel, m->area.fd);
	parcel_put_u64(parcel, env_area_room(&m->area));
	parcel_put_u32(parcel, (uint32_t)m->area.numa_node);
}

static const struct bdev_ops malloc_ops = {
	.driver = "malloc",
	.close = malloc_close,
	.resize = malloc_resize,
	.trim = malloc_trim,
	.channel_open = malloc_channel_open,
	.channel_close = malloc_channel_close,
	.submit = malloc_submit,
	.poll = malloc_poll,
	.save = malloc_save,
};

int bdev_malloc_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
			const char **ret_why)
{
	struct malloc_bdev *m = calloc(1, sizeof(*m));
	int fd = parcel_get_fd(parcel);
	uint64_t room = parcel_get_u64(parcel);
	int node = (int)parcel_get_u32(parcel);
	int rc = m == NULL ? -ENOMEM : -EINVAL;

	if (m != NULL && !parcel->failed) {
		rc = env_area_adopt(&m->area, fd, room, node);
	}
	if (rc != 0 || m->area.size < as->info.size) {
		*ret_why = why("its memory cannot be taken over: %s",
			       strerror(rc != 0 ? -rc : EINVAL));
		if (rc != 0) {
			fd_close(&fd);
		} else {
			env_area_free(&m->area);
		}
		free(m);
		return rc != 0 ? rc : -EINVAL;
	}
	m->memory = m->area.ptr;
	m->bdev = *as;
	m->bdev.ops = &malloc_ops;
	*ret_bdev = &m->bdev;
	return 0;
}

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
	uint64_t room = opts->size > ROOM / ROOM_FACTOR ? opts->size * ROOM_FACTOR : ROOM;
	int rc = env_area_alloc(&m->area, opts->size, room, opts->numa_node);

	if (rc == -ENOMEM) {
		*ret_why = why("%s: %" PRIu64 " MiB do not fit into the %" PRIu64
			       " MiB of memory that are available",
			       name, opts->size >> 20, env_memory_available() >> 20);
	} else if (rc != 0) {
		*ret_why = why("%s: no memory on NUMA node %d: %s", name, opts->numa_node,
			       strerror(-rc));
	} else {
		m->memory = m->area.ptr;
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
