/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads, writes and flushes of an aio bdev. Everything here runs on the channel's reactor. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/fd.h"
#include "base/iov.h"
#include "bdev/aio.h"
#include "env/env.h"

/* What the kernel writes into the ring it maps. */
#define RING_MAGIC	0xa10a10a1u
#define EVENTS_PER_CALL 32
/* So many of one call go to the disk one by one. */
#define UNPLUGGED 2

static struct aio_bdev *bdev_of(const struct aio_channel *ch)
{
	return (struct aio_bdev *)ch->base.bdev;
}

/* ---- completion ---- */

static void start_bounce(struct aio_channel *ch, struct aio_request *request);

static void give_back_bounce(struct aio_channel *ch, struct aio_request *request)
{
	struct bdev_io *next = STAILQ_FIRST(&ch->bounce_waiting);

	ch->bounce_free[ch->bounce_free_n++] = request->bounce;
	request->bounce = NULL;
	if (next != NULL) {
		STAILQ_REMOVE_HEAD(&ch->bounce_waiting, link);
		start_bounce(ch, aio_request_of(next));
	}
}

/* Only from poll. */
static void complete(struct aio_channel *ch, struct aio_request *request, int status)
{
	if (request->bounce != NULL) {
		give_back_bounce(ch, request);
	}
	ch->outstanding--;
	ch->outstanding_bytes -= request->io->len;
	bdev_complete(request->io, status);
}

/* From submit and commit: they may not complete anything themselves. */
static void complete_later(struct aio_channel *ch, struct aio_request *request, int status)
{
	request->io->status = status;
	STAILQ_INSERT_TAIL(&ch->ready, request->io, link);
	/* Whoever wants to sleep first must see that there is something to poll for. */
	eventfd_signal(ch->event_fd);
}

/* ---- starting ---- */

static void queue_iocb(struct aio_channel *ch, struct aio_request *request)
{
	struct iocb *iocb = &request->iocb;

	iocb->data = request;
	io_set_eventfd(iocb, ch->event_fd);
	ch->batch[ch->batch_n++] = iocb;
}

static bool is_aligned(const struct aio_bdev *aio, const struct bdev_io *io)
{
	uintptr_t bits = 0;
	size_t lengths = 0;

	for (unsigned int i = 0; i < io->iov_n; i++) {
		bits |= (uintptr_t)io->iov[i].iov_base;
		lengths |= io->iov[i].iov_len;
	}
	return (bits & (aio->memory_align - 1)) == 0 && (lengths & (aio->length_align - 1)) == 0;
}

/* Chooses the next piece of an aligned request: whole elements, or a part of a long one. */
static unsigned int next_elements(struct aio_request *request, const struct iovec **ret_iov)
{
	const struct bdev_io *io = request->io;
	const struct iovec *iov = &io->iov[request->iov_next];
	unsigned int n = 0;

	while (iov->iov_len == 0) { /* something is left, so this ends */
		request->iov_next++;
		iov++;
	}
	request->length = 0;
	if (iov->iov_len > AIO_PIECE_BYTES) {
		size_t left = iov->iov_len - request->part_end;

		request->length = left < AIO_PIECE_BYTES ? left : AIO_PIECE_BYTES;
		request->part.iov_base = (uint8_t *)iov->iov_base + request->part_end;
		request->part.iov_len = request->length;
		request->part_end += request->length;
		if (request->part_end == iov->iov_len) {
			request->part_end = 0;
			request->iov_next++;
		}
		*ret_iov = &request->part;
		return 1;
	}
	while (request->iov_next < io->iov_n && n < AIO_IOV_MAX &&
	       iov[n].iov_len <= AIO_PIECE_BYTES - request->length) {
		request->length += iov[n].iov_len;
		request->iov_next++;
		n++;
	}
	*ret_iov = iov;
	return n;
}

static void start_direct(struct aio_channel *ch, struct aio_request *request)
{
	const struct bdev_io *io = request->io;
	long long offset = (long long)(io->offset + request->done);
	int fd = bdev_of(ch)->fd;
	const struct iovec *iov;
	unsigned int n = next_elements(request, &iov);

	request->cost = (uint32_t)request->length + n * AIO_ELEMENT_BYTES;
	if (io->op == BDEV_READ) {
		io_prep_preadv(&request->iocb, fd, iov, (int)n, offset);
	} else {
		io_prep_pwritev(&request->iocb, fd, iov, (int)n, offset);
	}
	queue_iocb(ch, request);
}

/* The next piece, through the request's bounce buffer. */
static void start_piece(struct aio_channel *ch, struct aio_request *request)
{
	const struct bdev_io *io = request->io;
	uint64_t left = io->len - request->done;
	size_t length = left < AIO_BOUNCE_BYTES ? (size_t)left : AIO_BOUNCE_BYTES;
	long long offset = (long long)(io->offset + request->done);
	int fd = bdev_of(ch)->fd;

	request->length = length;
	request->cost = (uint32_t)length + AIO_ELEMENT_BYTES;
	if (io->op == BDEV_READ) {
		io_prep_pread(&request->iocb, fd, request->bounce, length, offset);
	} else {
		iov_gather(io->iov, io->iov_n, request->done, request->bounce, length);
		io_prep_pwrite(&request->iocb, fd, request->bounce, length, offset);
	}
	queue_iocb(ch, request);
}

static void start_bounce(struct aio_channel *ch, struct aio_request *request)
{
	if (ch->bounce_free_n == 0) {
		STAILQ_INSERT_TAIL(&ch->bounce_waiting, request->io, link);
		return;
	}
	request->bounce = ch->bounce_free[--ch->bounce_free_n];
	start_piece(ch, request);
}

static void start_flush(struct aio_channel *ch, struct aio_request *request)
{
	if (ch->flush_by_helper) {
		aio_helper_post(ch, request);
	} else {
		request->cost = AIO_ELEMENT_BYTES;
		io_prep_fdsync(&request->iocb, bdev_of(ch)->fd);
		queue_iocb(ch, request);
	}
}

static void start_transfer(struct aio_channel *ch, struct aio_request *request)
{
	if (request->io->len == 0) {
		complete_later(ch, request, 0);
	} else if (is_aligned(bdev_of(ch), request->io)) {
		start_direct(ch, request);
	} else {
		start_bounce(ch, request);
	}
}

static bool has_room(const struct aio_channel *ch, uint64_t len)
{
	if (ch->outstanding == 0) {
		return true;
	}
	return ch->outstanding < AIO_QUEUE_DEPTH && ch->outstanding_bytes < AIO_QUEUE_BYTES &&
	       len <= AIO_QUEUE_BYTES - ch->outstanding_bytes;
}

int aio_submit(struct bdev_channel *channel, struct bdev_io *io)
{
	struct aio_channel *ch = (struct aio_channel *)channel;
	struct aio_request *request = aio_request_of(io);
	int rc;

	if (!has_room(ch, io->len)) {
		return -EAGAIN;
	}
	ch->outstanding++;
	ch->outstanding_bytes += io->len;
	request->io = io;
	request->done = 0;
	request->length = 0;
	request->bounce = NULL;
	request->part_end = 0;
	request->iov_next = 0;
	rc = bdev_check_io(channel->bdev, io);
	if (rc != 0) {
		complete_later(ch, request, rc);
		return 0;
	}
	switch (io->op) {
	case BDEV_READ:
	case BDEV_WRITE:
		start_transfer(ch, request);
		break;
	case BDEV_FLUSH:
		start_flush(ch, request);
		break;
	case BDEV_DISCARD:
	case BDEV_WRITE_ZEROES:
		if (io->len == 0) {
			complete_later(ch, request, 0); /* fallocate() refuses an empty range */
		} else {
			aio_helper_post(ch, request);
		}
		break;
	}
	return 0;
}

/* The kernel does not even take it. */
static void reject(struct aio_channel *ch, struct aio_request *request, int error)
{
	if (request->io->op == BDEV_FLUSH && error == -EINVAL) {
		/* No asynchronous flush for this file: once told, never asked again. */
		ch->flush_by_helper = true;
		aio_helper_post(ch, request);
	} else {
		complete_later(ch, request, error);
	}
}

/*
 * How many of the batch, from number `first` on, go to the kernel in one call: as have room in the window, of which one
 * always has, and no more than the disk has to do already. The kernel shows those of one call to the disk together when
 * it has prepared the last of them, so an idle disk would wait.
 */
static unsigned int fitting(const struct aio_channel *ch, unsigned int first)
{
	unsigned int busy = ch->in_kernel_n < UNPLUGGED ? UNPLUGGED : ch->in_kernel_n;
	unsigned int end = ch->batch_n - first > busy ? first + busy : ch->batch_n;
	uint64_t sum = ch->in_kernel;
	unsigned int i;

	for (i = first; i < end; i++) {
		const struct aio_request *request = ch->batch[i]->data;

		if (sum > 0 && sum + request->cost > ch->window) {
			break;
		}
		sum += request->cost;
	}
	return i - first;
}

static void count_taken(struct aio_channel *ch, unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++) {
		const struct aio_request *request = ch->batch[i]->data;

		ch->in_kernel += request->cost;
	}
	ch->in_kernel_n += n;
}

void aio_commit(struct bdev_channel *channel)
{
	struct aio_channel *ch = (struct aio_channel *)channel;
	unsigned int done = 0;

	while (done < ch->batch_n) {
		unsigned int fit = fitting(ch, done);
		int n;

		if (fit == 0) {
			break; /* a completion makes room, and wakes whoever sleeps */
		}
		n = io_submit(ch->context, (long)fit, ch->batch + done);
		if (n > 0) {
			count_taken(ch, done, (unsigned int)n);
			done += (unsigned int)n;
		} else if (n == -EINTR) {
			continue;
		} else if (n == 0 || n == -EAGAIN) {
			/* The kernel is short of something. Stay awake and try again next round. */
			eventfd_signal(ch->event_fd);
			break;
		} else {
			/* The error is about the first of them. */
			reject(ch, ch->batch[done]->data, n);
			done++;
		}
	}
	ch->batch_n -= done;
	if (done > 0 && ch->batch_n > 0) {
		memmove(ch->batch, ch->batch + done, ch->batch_n * sizeof(ch->batch[0]));
	}
}

/* ---- polling ---- */

/* Returns true when the request is complete, false when more of it is under way. */
static bool transfer_done(struct aio_channel *ch, struct aio_request *request, uint64_t n)
{
	const struct bdev_io *io = request->io;
	bool all = n == request->length;

	if (!all) {
		/* What follows must begin at a boundary; a bit less than that is done again. */
		n &= ~(uint64_t)(bdev_of(ch)->length_align - 1);
	}
	if (n == 0) {
		complete(ch, request, -EIO); /* the file has become shorter than the disk */
		return true;
	}
	if (request->bounce != NULL && io->op == BDEV_READ) {
		iov_scatter(io->iov, io->iov_n, request->done, request->bounce, n);
	}
	request->done += n;
	if (request->done == io->len) {
		complete(ch, request, 0);
		return true;
	}
	if (request->bounce != NULL) {
		start_piece(ch, request);
	} else if (all) {
		start_direct(ch, request);
	} else {
		start_bounce(ch, request);
	}
	return false;
}

static unsigned int handle_event(struct aio_channel *ch, const struct io_event *event)
{
	struct aio_request *request = event->data;
	long result = (long)event->res;

	ch->in_kernel -= request->cost;
	ch->in_kernel_n--;
	if (result < 0) {
		/* -EAGAIN would be understood as "submit again", which this is not. */
		complete(ch, request, result == -EAGAIN ? -EIO : (int)result);
		return 1;
	}
	if (request->io->op == BDEV_FLUSH) {
		complete(ch, request, 0);
		return 1;
	}
	return transfer_done(ch, request, (uint64_t)result) ? 1 : 0;
}

/* Reads completions where the kernel puts them: no system call. */
static unsigned int poll_ring(struct aio_channel *ch)
{
	struct aio_ring *ring = ch->ring;
	unsigned int head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	/* Acquire: the kernel writes an event before the tail that covers it. */
	unsigned int tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	unsigned int completed = 0;

	while (head != tail) {
		struct io_event event = ring->events[head];

		head = head + 1 == ring->nr ? 0 : head + 1;
		/* Release: the event was read before the kernel may write over it. */
		atomic_store_explicit(&ring->head, head, memory_order_release);
		completed += handle_event(ch, &event);
	}
	return completed;
}

static unsigned int poll_kernel(struct aio_channel *ch)
{
	struct io_event events[EVENTS_PER_CALL];
	struct timespec at_once = { 0 };
	unsigned int completed = 0;
	int n = io_getevents(ch->context, 0, EVENTS_PER_CALL, events, &at_once);

	for (int i = 0; i < n; i++) {
		completed += handle_event(ch, &events[i]);
	}
	return completed;
}

static unsigned int take_answers(struct aio_channel *ch)
{
	struct aio_request *newest, *oldest = NULL;
	unsigned int completed = 0;

	if (atomic_load_explicit(&ch->helped, memory_order_relaxed) == NULL) {
		return 0;
	}
	/* Acquire: the mirror of the release in the helper's answer(). */
	newest = atomic_exchange_explicit(&ch->helped, NULL, memory_order_acquire);
	while (newest != NULL) {
		struct aio_request *next = newest->job.next;

		newest->job.next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL) {
		struct aio_request *next = oldest->job.next;

		complete(ch, oldest, oldest->job.result);
		oldest = next;
		completed++;
	}
	return completed;
}

static unsigned int take_ready(struct aio_channel *ch)
{
	struct bdev_io_list batch = STAILQ_HEAD_INITIALIZER(batch);
	unsigned int completed = 0;
	struct bdev_io *io;

	STAILQ_CONCAT(&batch, &ch->ready);
	while ((io = STAILQ_FIRST(&batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch, link);
		complete(ch, aio_request_of(io), io->status);
		completed++;
	}
	return completed;
}

unsigned int aio_poll(struct bdev_channel *channel)
{
	struct aio_channel *ch = (struct aio_channel *)channel;
	unsigned int completed = take_ready(ch);

	completed += ch->ring != NULL ? poll_ring(ch) : poll_kernel(ch);
	completed += take_answers(ch);
	if (ch->batch_n > 0) {
		/* Further pieces. The reactor may see no completion and go to sleep: start them. */
		aio_commit(channel);
	}
	return completed;
}

int aio_event_fd(struct bdev_channel *channel)
{
	return ((struct aio_channel *)channel)->event_fd;
}

/* ---- opening and closing ---- */

static struct aio_ring *find_ring(io_context_t context)
{
	struct aio_ring *ring = (struct aio_ring *)(void *)context;

	/* Another kernel may use another layout, and must say so here. */
	if (ring->magic != RING_MAGIC || ring->incompat_features != 0 ||
	    ring->header_length != sizeof(struct aio_ring) || ring->nr == 0) {
		return NULL;
	}
	return ring;
}

static int open_bounce(struct aio_channel *ch)
{
	void *memory;
	int rc = env_big_alloc(AIO_BOUNCE_COUNT * AIO_BOUNCE_BYTES, ENV_ANY_NODE, &memory);

	if (rc != 0) {
		return rc;
	}
	ch->bounce = memory;
	for (unsigned int i = 0; i < AIO_BOUNCE_COUNT; i++) {
		ch->bounce_free[i] = ch->bounce + i * AIO_BOUNCE_BYTES;
	}
	ch->bounce_free_n = AIO_BOUNCE_COUNT;
	return 0;
}

int aio_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct aio_channel *ch = calloc(1, sizeof(*ch));
	int rc;

	if (ch == NULL) {
		return -ENOMEM;
	}
	ch->base.bdev = bdev;
	ch->window = ((struct aio_bdev *)bdev)->direct ? AIO_WINDOW_BYTES : AIO_CACHED_WINDOW_BYTES;
	STAILQ_INIT(&ch->ready);
	STAILQ_INIT(&ch->bounce_waiting);
	ch->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = ch->event_fd < 0 ? -errno : open_bounce(ch);
	if (rc == 0) {
		rc = io_setup(AIO_QUEUE_DEPTH, &ch->context);
	}
	if (rc != 0) {
		aio_channel_close(&ch->base);
		return rc;
	}
	ch->ring = find_ring(ch->context);
	*ret_channel = &ch->base;
	return 0;
}

void aio_channel_close(struct bdev_channel *channel)
{
	struct aio_channel *ch = (struct aio_channel *)channel;

	if (ch->context != NULL) {
		io_destroy(ch->context);
	}
	/* Acquire: the mirror of the second release in the helper's answer(). This takes as long as
	 * one write to an eventfd. */
	while (atomic_load_explicit(&ch->helper_is_here, memory_order_acquire)) {
		sched_yield();
	}
	env_big_free(ch->bounce, AIO_BOUNCE_COUNT * AIO_BOUNCE_BYTES);
	fd_close(&ch->event_fd);
	free(ch);
}
