/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a file or block device through Linux AIO.
 *   aio.c          opens and closes it
 *   aio_probe.c    finds out what it can do
 *   aio_channel.c  reads, writes and flushes: one kernel AIO context for each reactor
 *   aio_helper.c   the calls that block (discard, write-zeroes, sometimes flush): one thread
 *
 * Direct I/O wants aligned buffers and a guest may use any. Such requests, and the rest of one that
 * the kernel cut short, go through a pool of aligned buffers, a piece at a time.
 */
#ifndef VHT_BDEV_AIO_H
#define VHT_BDEV_AIO_H

#include <libaio.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/msgq.h"
#include "bdev/driver.h"

/*
 * Requests of one channel that may be under way (17.07 had the same) and their bytes, beyond which only
 * a single one is taken. A queue that is to stop, perhaps because its guest has gone or the daemon
 * ends, has to wait for all of them.
 */
#define AIO_QUEUE_DEPTH 128
#define AIO_QUEUE_BYTES (UINT64_C(128) << 20)
/* Half of the queue can be misaligned at once; larger requests are cut. */
#define AIO_BOUNCE_BYTES ((size_t)64 << 10)
#define AIO_BOUNCE_COUNT 64
/* The kernel takes at most this many elements in one request (UIO_MAXIOV). */
#define AIO_IOV_MAX 1024
/*
 * io_submit() waits when the device below has no place for more: requests of a guest that ask for
 * gigabytes would hold up the reactor, and all guests on it, for seconds. So the kernel gets pieces,
 * and of these no more at a time than keeps a fast device busy. Each element may become a command of
 * its own, hence counts as some bytes more.
 */
#define AIO_PIECE_BYTES	  ((size_t)1 << 20)
#define AIO_ELEMENT_BYTES 4096
#define AIO_WINDOW_BYTES  (UINT64_C(16) << 20)
/* Without direct I/O, io_submit() does all of the copying: this is what a round of the reactor bears. */
#define AIO_CACHED_WINDOW_BYTES (UINT64_C(2) << 20)

struct aio_helper {
	struct msgq jobs;
	struct msg stop_msg;
	pthread_t thread;
	/* Owner: the helper thread. */
	bool stop;
	bool no_zero_range; /* the file system has said so */
	bool no_punch;
};

struct aio_bdev {
	struct bdev bdev;
	int fd;
	bool direct;
	bool is_block_device;
	uint32_t memory_align; /* of buffer addresses */
	uint32_t length_align; /* of offsets and of each buffer's length */
	struct aio_helper helper;
};

/* The kernel's completion ring, mapped at the address that io_setup() gives as the context. */
struct aio_ring {
	unsigned int id;
	unsigned int nr;
	_Atomic unsigned int head; /* ours */
	_Atomic unsigned int tail; /* the kernel's */
	unsigned int magic;
	unsigned int compat_features;
	unsigned int incompat_features;
	unsigned int header_length;
	struct io_event events[];
};

struct aio_request; /* lives in bdev_io.driver */

struct aio_channel {
	struct bdev_channel base;
	io_context_t context;
	struct aio_ring *ring; /* NULL: ask the kernel for completions */
	int event_fd;
	bool flush_by_helper;	  /* the kernel cannot flush this file asynchronously */
	unsigned int outstanding; /* taken and not completed */
	uint64_t outstanding_bytes;
	uint64_t window; /* what the kernel may have at a time, and what it has: bytes */
	uint64_t in_kernel;
	unsigned int in_kernel_n; /* requests there */
	unsigned int batch_n;
	struct iocb *batch[AIO_QUEUE_DEPTH]; /* for the next commit */
	struct bdev_io_list ready;	     /* status is set, to be completed by the next poll */
	uint8_t *bounce;
	unsigned int bounce_free_n;
	uint8_t *bounce_free[AIO_BOUNCE_COUNT];
	struct bdev_io_list bounce_waiting; /* first come, first served */
	/* The helper's answers, newest first. */
	_Atomic(struct aio_request *) helped;
	atomic_bool helper_is_here; /* it still needs the channel, if only to signal event_fd */
};

struct aio_request {
	union {
		struct iocb iocb;
		struct {
			struct msg msg;
			struct aio_channel *channel;
			struct aio_request *next;
			int result;
		} job;
	};
	struct bdev_io *io;
	uint64_t done;	       /* bytes that are through */
	uint64_t length;       /* bytes under way */
	uint8_t *bounce;       /* the buffer they are in; NULL: the guest's own */
	struct iovec part;     /* under way: a part of an element that is too long for one piece */
	size_t part_end;       /* where in element iov_next the next part begins */
	unsigned int iov_next; /* element after those under way */
	uint32_t cost;	       /* of what is under way, counted in channel.in_kernel */
};

_Static_assert(sizeof(struct aio_request) <= BDEV_IO_DRIVER_BYTES, "no room in struct bdev_io");

static inline struct aio_request *aio_request_of(struct bdev_io *io)
{
	return (struct aio_request *)(void *)io->driver;
}

/* Fills in bdev.info and the alignments from the open file. *ret_why does not name the file. */
int aio_probe(struct aio_bdev *aio, const struct bdev_aio_options *opts, const char **ret_why);
/* The size that it has now. The same for *ret_why. */
int aio_probe_size(const struct aio_bdev *aio, uint64_t *ret_size, const char **ret_why);

int aio_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel);
void aio_channel_close(struct bdev_channel *channel);
int aio_submit(struct bdev_channel *channel, struct bdev_io *io);
void aio_commit(struct bdev_channel *channel);
unsigned int aio_poll(struct bdev_channel *channel);
int aio_event_fd(struct bdev_channel *channel);

/* Control thread: starts the thread, ends and joins it (no job is left). */
int aio_helper_start(struct aio_helper *helper);
void aio_helper_stop(struct aio_helper *helper);

/* Reactor: hands the request over; it comes back on channel->helped with job.result. */
void aio_helper_post(struct aio_channel *channel, struct aio_request *request);

#endif
