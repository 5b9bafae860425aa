/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread of an aio bdev for what has no asynchronous call. Jobs come as messages; an answer is
 * pushed on the list of the channel it came from, and the channel's event fd is signalled.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/fd.h"
#include "bdev/aio.h"

#define STACK_BYTES ((size_t)256 << 10)
#define ZERO_BYTES  ((size_t)256 << 10)

/* Never written. */
static uint8_t zeroes[ZERO_BYTES] __attribute__((aligned(BDEV_MAX_BLOCK_SIZE)));

static int file_allocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	do {
		rc = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	} while (rc != 0 && errno == EINTR);
	return rc == 0 ? 0 : -errno;
}

static bool is_unsupported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENOTTY;
}

static int write_zero_buffers(int fd, uint64_t offset, uint64_t len)
{
	while (len > 0) {
		size_t size = len < ZERO_BYTES ? (size_t)len : ZERO_BYTES;
		ssize_t n = pwrite(fd, zeroes, size, (off_t)offset);

		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		if (n == 0) {
			return -EIO;
		}
		if (n > 0) {
			offset += (uint64_t)n;
			len -= (uint64_t)n;
		}
	}
	return 0;
}

/* From the cheapest way to the one that always works. */
static int write_zeroes(struct aio_bdev *aio, const struct bdev_io *io)
{
	struct aio_helper *helper = &aio->helper;
	uint64_t range[2] = { io->offset, io->len };
	int rc;

	/* A hole reads as zeroes. On block devices the kernel promises the same or refuses. */
	if ((io->flags & BDEV_IO_MAY_UNMAP) != 0 && !helper->no_punch) {
		rc = file_allocate(aio->fd, FALLOC_FL_PUNCH_HOLE, io->offset, io->len);
		if (!is_unsupported(rc)) {
			return rc;
		}
		helper->no_punch = true;
	}
	if (!helper->no_zero_range) {
		if (aio->is_block_device) {
			rc = ioctl(aio->fd, BLKZEROOUT, range) == 0 ? 0 : -errno;
		} else {
			rc = file_allocate(aio->fd, FALLOC_FL_ZERO_RANGE, io->offset, io->len);
		}
		if (!is_unsupported(rc)) {
			return rc;
		}
		helper->no_zero_range = true;
	}
	return write_zero_buffers(aio->fd, io->offset, io->len);
}

static int discard(struct aio_bdev *aio, const struct bdev_io *io)
{
	uint64_t range[2] = { io->offset, io->len };

	if (aio->is_block_device) {
		return ioctl(aio->fd, BLKDISCARD, range) == 0 ? 0 : -errno;
	}
	return file_allocate(aio->fd, FALLOC_FL_PUNCH_HOLE, io->offset, io->len);
}

static int carry_out(struct aio_bdev *aio, const struct bdev_io *io)
{
	switch (io->op) {
	case BDEV_FLUSH:
		return fdatasync(aio->fd) == 0 ? 0 : -errno;
	case BDEV_DISCARD:
		return discard(aio, io);
	case BDEV_WRITE_ZEROES:
		return write_zeroes(aio, io);
	default:
		return -ENOTSUP;
	}
}

static void answer(struct aio_channel *channel, struct aio_request *request)
{
	struct aio_request *head = atomic_load_explicit(&channel->helped, memory_order_relaxed);

	/* As soon as the answer is on the list, the reactor may complete the request and close the
	 * channel. aio_channel_close() waits for the flag, so that event_fd is still ours. */
	atomic_store_explicit(&channel->helper_is_here, true, memory_order_relaxed);
	do {
		request->job.next = head;
		/* Release: orders job.result and the flag before the list, for take_answers(). */
	} while (!atomic_compare_exchange_weak_explicit(
		&channel->helped, &head, request, memory_order_release, memory_order_relaxed));
	eventfd_signal(channel->event_fd);
	/* Release: orders the use of event_fd before the flag, for aio_channel_close(). */
	atomic_store_explicit(&channel->helper_is_here, false, memory_order_release);
}

static void run_job(struct msg *msg)
{
	struct aio_request *request = (struct aio_request *)msg;
	struct aio_channel *channel = request->job.channel;
	struct aio_bdev *aio = (struct aio_bdev *)channel->base.bdev;

	request->job.result = carry_out(aio, request->io);
	answer(channel, request);
}

void aio_helper_post(struct aio_channel *channel, struct aio_request *request)
{
	struct aio_bdev *aio = (struct aio_bdev *)channel->base.bdev;

	request->job.msg.fn = run_job;
	request->job.channel = channel;
	msgq_post(&aio->helper.jobs, &request->job.msg);
}

static void stop_helper(struct msg *msg)
{
	struct aio_helper *helper =
		(struct aio_helper *)(void *)((char *)msg - offsetof(struct aio_helper, stop_msg));

	helper->stop = true;
}

static void *helper_main(void *arg)
{
	struct aio_helper *helper = arg;
	struct pollfd fd = { .fd = msgq_fd(&helper->jobs), .events = POLLIN };

	pthread_setname_np(pthread_self(), "aio-helper");
	while (!helper->stop) {
		if (msgq_run(&helper->jobs) > 0) {
			continue;
		}
		if (msgq_prepare_sleep(&helper->jobs)) {
			(void)poll(&fd, 1, -1);
		}
		msgq_awake(&helper->jobs);
	}
	return NULL;
}

int aio_helper_start(struct aio_helper *helper)
{
	sigset_t saved;
	pthread_attr_t attr;
	int rc = msgq_init(&helper->jobs);

	if (rc != 0) {
		return rc;
	}
	helper->stop_msg.fn = stop_helper;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are for the control thread. */
	confine_block_signals(&saved);
	rc = pthread_create(&helper->thread, &attr, helper_main, helper);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0) {
		msgq_done(&helper->jobs);
	}
	return -rc;
}

void aio_helper_stop(struct aio_helper *helper)
{
	msgq_post(&helper->jobs, &helper->stop_msg);
	pthread_join(helper->thread, NULL);
	msgq_done(&helper->jobs);
}
