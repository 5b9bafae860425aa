/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "../must.h"
#include "base/fd.h"
#include "base/iov.h"
#include "trace.h"

struct disk_channel {
	struct bdev_channel base;
	int event_fd;
	STAILQ_HEAD(, bdev_io) queue;
	unsigned int outstanding;
	LIST_ENTRY(disk_channel) of_disk;
};

/* ---- claims ---- */

static bool is_free(const struct disk *d, uint64_t offset, uint32_t len, bool of_readers)
{
	uint64_t s;

	for (s = offset / DISK_SECTOR; s < (offset + len) / DISK_SECTOR; s++) {
		if (d->writer[s] || (of_readers && d->readers[s] > 0)) {
			return false;
		}
	}
	return true;
}

bool disk_claim_read(struct disk *d, uint64_t offset, uint32_t len)
{
	uint64_t s;

	if (!is_free(d, offset, len, false)) {
		return false;
	}
	for (s = offset / DISK_SECTOR; s < (offset + len) / DISK_SECTOR; s++) {
		d->readers[s]++;
	}
	return true;
}

bool disk_claim_write(struct disk *d, uint64_t offset, uint32_t len, const void *data)
{
	if (!is_free(d, offset, len, true)) {
		return false;
	}
	memset(d->writer + offset / DISK_SECTOR, true, len / DISK_SECTOR);
	if (data != NULL) {
		memcpy(d->pending + offset, data, len);
	} else {
		memset(d->pending + offset, 0, len);
	}
	return true;
}

void disk_read_done(struct disk *d, uint64_t offset, uint32_t len)
{
	uint64_t s;

	for (s = offset / DISK_SECTOR; s < (offset + len) / DISK_SECTOR; s++) {
		MUST(d->readers[s] > 0);
		d->readers[s]--;
	}
}

static bool sector_holds(const struct disk *d, uint64_t s, const uint8_t *contents)
{
	return memcmp(d->data + s * DISK_SECTOR, contents + s * DISK_SECTOR, DISK_SECTOR) == 0;
}

void disk_write_done(struct disk *d, uint64_t offset, uint32_t len, bool done)
{
	uint64_t s;

	for (s = offset / DISK_SECTOR; s < (offset + len) / DISK_SECTOR; s++) {
		MUST(d->writer[s]);
		MUST(sector_holds(d, s, d->pending) || (!done && sector_holds(d, s, d->shadow)));
		d->writer[s] = false;
	}
	memcpy(d->shadow + offset, d->data + offset, len);
}

void disk_settle(struct disk *d)
{
	uint64_t s;

	MUST(d->outstanding == 0);
	for (s = 0; s < DISK_SECTORS && !d->unwatched; s++) {
		MUST(sector_holds(d, s, d->shadow) ||
		     (d->writer[s] && sector_holds(d, s, d->pending)));
	}
	memset(d->writer, 0, sizeof(d->writer));
	memset(d->readers, 0, sizeof(d->readers));
	memcpy(d->shadow, d->data, sizeof(d->shadow));
	d->unwatched = false;
}

/* ---- the bdev ---- */

static void check(const struct disk *d, const struct bdev_io *io)
{
	const struct bdev_info *info = &d->bdev.info;
	uint64_t s;

	MUST(io->op <= BDEV_WRITE_ZEROES);
	if (io->op == BDEV_FLUSH) {
		return;
	}
	/* It may have become smaller since it was checked. */
	MUST(io->len > 0 && io->offset <= DISK_SIZE && io->len <= DISK_SIZE - io->offset);
	MUST((io->offset | io->len) % info->block_size == 0);
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		MUST(io->len == iov_length(io->iov, io->iov_n));
	} else {
		MUST(io->len <= info->max_discard);
	}
	MUST(io->op == BDEV_READ || !info->read_only);
	MUST(io->op != BDEV_DISCARD || info->can_discard);
	MUST(io->op != BDEV_WRITE_ZEROES || info->can_write_zeroes);
	for (s = io->offset / DISK_SECTOR; s < (io->offset + io->len) / DISK_SECTOR; s++) {
		MUST(d->unwatched || d->writer[s] || (io->op == BDEV_READ && d->readers[s] > 0));
	}
}

static int disk_submit(struct bdev_channel *base, struct bdev_io *io)
{
	struct disk_channel *channel = (struct disk_channel *)base;
	struct disk *d = (struct disk *)base->bdev;

	check(d, io);
	TRACE("  %s: op %d at %llu, %llu bytes\n", d->bdev.name, io->op,
	      (unsigned long long)io->offset, (unsigned long long)io->len);
	if (d->depth > 0 && channel->outstanding >= d->depth) {
		d->refusals++;
		return -EAGAIN;
	}
	channel->outstanding++;
	d->outstanding++;
	STAILQ_INSERT_TAIL(&channel->queue, io, link);
	return 0;
}

static int carry_out(struct disk *d, const struct bdev_io *io)
{
	if (d->fail != 0) {
		d->failures++;
		return d->fail;
	}
	if (io->offset + io->len > d->bdev.info.size) {
		d->failures++;
		return -EINVAL;
	}
	switch (io->op) {
	case BDEV_READ:
		iov_scatter(io->iov, io->iov_n, 0, d->data + io->offset, io->len);
		break;
	case BDEV_WRITE:
		iov_gather(io->iov, io->iov_n, 0, d->data + io->offset, io->len);
		break;
	case BDEV_DISCARD:
	case BDEV_WRITE_ZEROES:
		memset(d->data + io->offset, 0, io->len);
		break;
	case BDEV_FLUSH:
		break;
	}
	return 0;
}

static struct bdev_io *take(struct disk_channel *channel, bool newest)
{
	struct bdev_io *io = STAILQ_FIRST(&channel->queue);

	while (newest && STAILQ_NEXT(io, link) != NULL) {
		io = STAILQ_NEXT(io, link);
	}
	STAILQ_REMOVE(&channel->queue, io, bdev_io, link);
	return io;
}

static unsigned int disk_poll(struct bdev_channel *base)
{
	struct disk_channel *channel = (struct disk_channel *)base;
	struct disk *d = (struct disk *)base->bdev;
	unsigned int all = channel->outstanding;
	unsigned int n = d->automatic || d->due > all ? all : d->due;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct bdev_io *io = take(channel, d->newest_first);

		TRACE("  %s: completes op %d at %llu\n", d->bdev.name, io->op,
		      (unsigned long long)io->offset);
		channel->outstanding--;
		d->outstanding--;
		io->status = carry_out(d, io);
		io->done(io);
	}
	d->due -= d->due < n ? d->due : n;
	return n;
}

static int disk_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct disk *d = (struct disk *)bdev;
	struct disk_channel *channel = malloc(sizeof(*channel));

	MUST(channel != NULL);
	STAILQ_INIT(&channel->queue);
	channel->outstanding = 0;
	channel->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(channel->event_fd >= 0);
	LIST_INSERT_HEAD(&d->channels, channel, of_disk);
	*ret_channel = &channel->base;
	return 0;
}

static void disk_channel_close(struct bdev_channel *base)
{
	struct disk_channel *channel = (struct disk_channel *)base;
	struct disk *d = (struct disk *)base->bdev;

	MUST(channel->outstanding == 0);
	LIST_REMOVE(channel, of_disk);
	if (LIST_EMPTY(&d->channels)) {
		d->due = 0;
	}
	fd_close(&channel->event_fd);
	free(channel);
}

static int disk_event_fd(struct bdev_channel *base)
{
	return ((struct disk_channel *)base)->event_fd;
}

static void disk_bdev_close(struct bdev *bdev)
{
	struct disk *d = (struct disk *)bdev;

	MUST(!d->closed && LIST_EMPTY(&d->channels) && d->outstanding == 0);
	d->closed = true;
}

static int disk_resize(struct bdev *bdev, uint64_t size, const char **ret_why)
{
	return 0;
}

static const struct bdev_ops disk_ops = {
	.driver = "fuzz",
	.close = disk_bdev_close,
	.resize = disk_resize,
	.channel_open = disk_channel_open,
	.channel_close = disk_channel_close,
	.submit = disk_submit,
	.poll = disk_poll,
	.event_fd = disk_event_fd,
};

void disk_release(struct disk *d, unsigned int n)
{
	struct disk_channel *channel;

	d->due += n;
	LIST_FOREACH (channel, &d->channels, of_disk) {
		if (channel->outstanding > 0) {
			eventfd_signal(channel->event_fd);
		}
	}
}

void disk_set_automatic(struct disk *d, bool automatic)
{
	d->automatic = automatic;
	disk_release(d, 0);
}

/* ---- life ---- */

void disk_open(struct disk *d, const struct disk_options *opts)
{
	const char *why;

	memset(d, 0, sizeof(*d));
	d->automatic = true;
	d->bdev.ops = &disk_ops;
	snprintf(d->bdev.name, sizeof(d->bdev.name), "%s", opts->name);
	snprintf(d->bdev.product, sizeof(d->bdev.product), "Fuzz disk");
	snprintf(d->bdev.serial, sizeof(d->bdev.serial), "%s", opts->name);
	d->bdev.info = (struct bdev_info){
		.size = DISK_SIZE,
		.block_size = opts->block_size,
		.physical_block_size = opts->block_size,
		.max_discard = opts->max_discard,
		.read_only = opts->read_only,
		.write_cache = opts->write_cache,
		.can_discard = !opts->no_discard,
		.can_write_zeroes = !opts->no_write_zeroes,
	};
	MUST(bdev_register(&d->bdev, &why) == 0);
}

bool disk_is_open(const struct disk *d)
{
	return bdev_find(d->bdev.name) == &d->bdev;
}

void disk_reopen(struct disk *d)
{
	const char *why;

	MUST(d->closed);
	d->closed = false;
	d->bdev.deleted = false;
	MUST(bdev_register(&d->bdev, &why) == 0);
}

void disk_close(struct disk *d)
{
	const char *why;

	MUST(d->outstanding == 0 && LIST_EMPTY(&d->channels));
	MUST(d->bdev.claims == 0 && d->bdev.leaving == 0);
	MUST(!disk_is_open(d) || bdev_delete(d->bdev.name, &why) == 0);
	MUST(d->closed);
}
