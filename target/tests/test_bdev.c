/* SPDX-License-Identifier: BSD-3-Clause */
#include "test_bdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"

struct test_channel {
	struct bdev_channel base;
	STAILQ_HEAD(, bdev_io) queue;
};

static int channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct test_bdev *t = (struct test_bdev *)bdev;
	struct test_channel *channel;

	if (t->fail_open != 0) {
		return t->fail_open;
	}
	channel = calloc(1, sizeof(*channel));
	if (!channel) {
		return -ENOMEM;
	}
	STAILQ_INIT(&channel->queue);
	t->channels++;
	*ret_channel = &channel->base;
	return 0;
}

static void channel_close(struct bdev_channel *channel)
{
	((struct test_bdev *)channel->bdev)->channels--;
	free(channel);
}

/* The contract of bdev.h, which submitters must keep: a test that breaks it shall end here. */
static void check(const struct test_bdev *t, const struct bdev_io *io)
{
	const struct bdev_info *info = &t->bdev.info;
	bool good = true;

	if (io->op != BDEV_FLUSH) {
		good = io->len > 0 && io->offset <= info->size &&
		       io->len <= info->size - io->offset &&
		       (io->offset | io->len) % info->block_size == 0;
	}
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		good = good && io->len == iov_length(io->iov, io->iov_n);
	}
	if (io->op == BDEV_DISCARD || io->op == BDEV_WRITE_ZEROES) {
		good = good && io->len <= info->max_discard;
	}
	if (!good) {
		fprintf(stderr, "test_bdev: op %d offset %llu len %llu breaks the contract\n",
			io->op, (unsigned long long)io->offset, (unsigned long long)io->len);
		abort();
	}
}

static int submit(struct bdev_channel *base, struct bdev_io *io)
{
	struct test_bdev *t = (struct test_bdev *)base->bdev;
	struct test_channel *channel = (struct test_channel *)base;

	check(t, io);
	if (t->check_io) {
		t->check_io(t->check_arg, io);
	}
	if (t->depth > 0 && t->outstanding >= t->depth) {
		t->refused++;
		return -EAGAIN;
	}
	t->log[t->log_n++ % TEST_BDEV_LOG] = (struct test_bdev_entry){
		.op = io->op,
		.flags = io->flags,
		.offset = io->offset,
		.len = io->len,
		.iov_n = io->iov_n,
	};
	t->outstanding++;
	if (t->newest_first) {
		STAILQ_INSERT_HEAD(&channel->queue, io, link);
	} else {
		STAILQ_INSERT_TAIL(&channel->queue, io, link);
	}
	return 0;
}

static int carry_out(struct test_bdev *t, const struct bdev_io *io)
{
	if (t->fail != 0 && (t->fail_op < 0 || t->fail_op == (int)io->op)) {
		return t->fail;
	}
	switch (io->op) {
	case BDEV_READ:
		iov_scatter(io->iov, io->iov_n, 0, t->data + io->offset, io->len);
		break;
	case BDEV_WRITE:
		iov_gather(io->iov, io->iov_n, 0, t->data + io->offset, io->len);
		break;
	case BDEV_WRITE_ZEROES:
	case BDEV_DISCARD:
		memset(t->data + io->offset, 0, io->len);
		break;
	case BDEV_FLUSH:
		break;
	}
	return 0;
}

static unsigned int poll(struct bdev_channel *base)
{
	struct test_bdev *t = (struct test_bdev *)base->bdev;
	struct test_channel *channel = (struct test_channel *)base;
	unsigned int due = t->outstanding > t->hold ? t->outstanding - t->hold : 0;
	unsigned int n = 0;
	struct bdev_io *io;

	while (n < due && (io = STAILQ_FIRST(&channel->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&channel->queue, link);
		t->outstanding--;
		n++;
		io->status = carry_out(t, io);
		io->done(io);
	}
	return n;
}

static const struct bdev_ops ops = {
	.driver = "test",
	.channel_open = channel_open,
	.channel_close = channel_close,
	.submit = submit,
	.poll = poll,
};

void test_bdev_init(struct test_bdev *t, uint64_t size, uint32_t block_size)
{
	memset(t, 0, sizeof(*t));
	t->data = calloc(1, size);
	if (!t->data) {
		perror("test_bdev_init");
		abort();
	}
	t->fail_op = -1;
	t->bdev.ops = &ops;
	snprintf(t->bdev.name, sizeof(t->bdev.name), "Test0");
	snprintf(t->bdev.product, sizeof(t->bdev.product), "Test disk");
	snprintf(t->bdev.serial, sizeof(t->bdev.serial), "Test0");
	t->bdev.info = (struct bdev_info){
		.size = size,
		.block_size = block_size,
		.physical_block_size = block_size,
		.max_discard = size,
		.can_discard = true,
		.can_write_zeroes = true,
	};
}

void test_bdev_done(struct test_bdev *t)
{
	free(t->data);
}
