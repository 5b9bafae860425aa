/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <time.h>

#define REAP_MAX 64
/* The wait is cut into pieces, to notice that nothing comes. */
#define WAIT_MS	  1000
#define STALLED_S 30
/* Looks for completions between two looks at the clock and at the connection. */
#define SPINS 65536

int io_new_unit(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit)
{
	const char *why = fioabi_check_new_unit(layout, unit, job->frame_n);

	if (why != NULL) {
		job_say(job->plan.name, "made for another build of fio: %s", why);
		return -ENOEXEC;
	}
	if (job->frame_n == job->plan.depth) {
		job_say(job->plan.name, "fio uses more requests than iodepth=%u", job->plan.depth);
		return -ENOMEM;
	}
	fioabi_set_ptr(unit, layout->unit.engine_data,
		       job->frames + job->frame_n++ * disk_frame_size(job->plan.options->device));
	return 0;
}

/* ---- queueing ---- */

static int complete(const struct fioabi_layout *layout, struct fio_unit *unit, int error)
{
	fioabi_set_u32(unit, layout->unit.error, (uint32_t)error);
	return FIOABI_COMPLETED;
}

static bool check_first(struct job *job, const struct fioabi_layout *layout,
			const struct fio_unit *unit)
{
	const struct fioabi_expect expect = {
		.disk = job->file,
		.buffer = job->buffer,
		.buffer_len = job->buffer_len,
		.capacity = job->plan.info.capacity,
		.max_len = job->plan.max_len,
		.does = job->plan.does,
	};
	const char *why = fioabi_check_unit(layout, unit, &expect);

	if (why != NULL) {
		job_say(job->plan.name, "made for another build of fio: %s", why);
		return false;
	}
	job->checked = true;
	return true;
}

/* 0, or the error with which the request ends at once. */
static int check_fit(struct job *job, const struct disk_request *request)
{
	const struct disk_info *info = &job->plan.info;
	bool discards = request->op == DISK_DISCARD;

	if ((request->offset | request->len) % info->block_size != 0) {
		if (!job->said_size) {
			job->said_size = true;
			job_say(job->plan.name,
				"a request of %llu bytes at %llu: the disk has blocks of %u bytes",
				(unsigned long long)request->len,
				(unsigned long long)request->offset, info->block_size);
		}
		return EINVAL;
	}
	if (info->read_only && request->op != DISK_READ) {
		return EROFS;
	}
	if (request->len > (discards ? info->discard_max : info->transfer_max)) {
		if (!job->said_size) {
			job->said_size = true;
			job_say(job->plan.name, "a %s of %llu bytes: the disk takes at most %llu",
				discards ? "trim" : "request", (unsigned long long)request->len,
				(unsigned long long)(discards ? info->discard_max :
								info->transfer_max));
		}
		return discards && info->discard_max == 0 ? EOPNOTSUPP : EINVAL;
	}
	return 0;
}

/* One queue after the other; FIOABI_BUSY: all of them are full. */
static int add(struct job *job, const struct disk_request *request, int *ret_error)
{
	unsigned int tried;
	int r;

	for (tried = 0; tried < job->queue_n; tried++) {
		unsigned int n = job->next_queue;

		job->next_queue = n + 1 == job->queue_n ? 0 : n + 1;
		r = disk_add(job->plan.options, &job->plan.info, job->queues[n], request);
		if (r == 0) {
			job->pending[n] = true;
			return FIOABI_QUEUED;
		}
		if (r != -ENOSPC) {
			*ret_error = -r;
			return FIOABI_COMPLETED;
		}
	}
	return FIOABI_BUSY;
}

static int queue_flush(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit)
{
	const struct disk_request request = {
		.op = DISK_FLUSH,
		.frame = fioabi_ptr(unit, layout->unit.engine_data),
		.cookie = unit,
	};
	int error;
	int r;

	if (!job->plan.info.flush) {
		return complete(layout, unit, 0);
	}
	r = add(job, &request, &error);
	return r == FIOABI_COMPLETED ? complete(layout, unit, error) : r;
}

int io_queue(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit)
{
	__typeof__(&layout->unit) at = &layout->unit;
	struct disk_request request = {
		.offset = fioabi_u64(unit, at->offset),
		.len = fioabi_u64(unit, at->xfer_buflen),
		.frame = fioabi_ptr(unit, at->engine_data),
		.cookie = unit,
	};
	uint32_t direction = fioabi_u32(unit, at->ddir);
	int error;
	int r;

	switch (direction) {
	case FIOABI_READ:
		request.op = DISK_READ;
		break;
	case FIOABI_WRITE:
		request.op = DISK_WRITE;
		break;
	case FIOABI_TRIM:
		request.op = DISK_DISCARD;
		break;
	case FIOABI_SYNC:
	case FIOABI_DATASYNC:
		return queue_flush(job, layout, unit);
	default:
		return complete(layout, unit, EINVAL);
	}
	if (!job->checked && !check_first(job, layout, unit)) {
		return complete(layout, unit, ENOEXEC);
	}
	error = check_fit(job, &request);
	if (error != 0) {
		return complete(layout, unit, error);
	}
	if (request.op != DISK_DISCARD) {
		size_t in_buffer = (size_t)((char *)fioabi_ptr(unit, at->xfer_buf) - job->buffer);

		if (request.len > job->buffer_len || in_buffer > job->buffer_len - request.len) {
			return complete(layout, unit, EFAULT);
		}
		request.gpa = job->buffer_gpa + in_buffer;
	}
	r = add(job, &request, &error);
	return r == FIOABI_COMPLETED ? complete(layout, unit, error) : r;
}

void io_commit(struct job *job)
{
	unsigned int i;

	for (i = 0; i < job->queue_n; i++) {
		if (job->pending[i]) {
			job->pending[i] = false;
			vfe_queue_publish(job->queues[i]);
		}
	}
}

/* ---- completing ---- */

static void take(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit,
		 unsigned int n)
{
	int r = disk_result(job->plan.options->device, fioabi_ptr(unit, layout->unit.engine_data));

	if (r < 0) {
		fioabi_set_u32(unit, layout->unit.error, (uint32_t)-r);
	}
	job->events[n] = unit;
}

static int reap(struct job *job, const struct fioabi_layout *layout, unsigned int have,
		unsigned int max)
{
	struct vfe_done done[REAP_MAX];
	unsigned int n = have;
	unsigned int i;

	for (i = 0; i < job->queue_n; i++) {
		int got = 1;

		while (got > 0 && n < max) {
			unsigned int room = max - n < REAP_MAX ? max - n : REAP_MAX;
			int k;

			got = vfe_queue_reap(job->queues[i], done, room);
			for (k = 0; k < got; k++) {
				take(job, layout, done[k].cookie, n++);
			}
			if (got < 0 && !job->said_lost) {
				job->said_lost = true;
				job_say(job->plan.name, "the target has broken queue %u",
					vfe_queue_index(job->queues[i]));
			}
			if (got < 0) {
				return got;
			}
			if ((unsigned int)got < room) {
				break;
			}
		}
	}
	return (int)n;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

struct patience {
	int64_t begin;	  /* 0: not yet waiting */
	int64_t deadline; /* INT64_MAX: none */
};

/* Waits a little. 0: look again; -ETIMEDOUT: the caller's time is over; others: the connection is. */
static int wait_a_little(struct job *job, struct patience *patience, const struct timespec *timeout,
			 unsigned int *spins)
{
	int64_t now;
	int r;

	if (job->plan.options->poll != 0 && patience->begin != 0 && ++*spins % SPINS != 0) {
		relax();
		return 0;
	}
	now = now_ns();
	if (patience->begin == 0) {
		patience->begin = now;
		patience->deadline =
			timeout == NULL ? INT64_MAX :
					  now + timeout->tv_sec * 1000000000ll + timeout->tv_nsec;
	}
	if (now >= patience->deadline) {
		return -ETIMEDOUT;
	}
	if (!job->said_stalled && now - patience->begin > STALLED_S * 1000000000ll) {
		job->said_stalled = true;
		job_say(job->plan.name, "no request has completed for %d seconds", STALLED_S);
	}
	if (job->plan.options->poll != 0) {
		return vfe_alive(vfe_queue_session(job->queues[0])) ? 0 : -ECONNRESET;
	}
	if (patience->deadline - now < WAIT_MS * 1000000ll) {
		r = (int)((patience->deadline - now) / 1000000 + 1);
	} else {
		r = WAIT_MS;
	}
	r = vfe_queues_wait(job->queues, job->queue_n, r);
	return r == -ETIMEDOUT ? 0 : r;
}

int io_getevents(struct job *job, const struct fioabi_layout *layout, unsigned int min,
		 unsigned int max, const struct timespec *timeout)
{
	struct patience patience = { .begin = 0 };
	unsigned int spins = 0;
	int n = 0;
	int r = 0;

	max = max < job->plan.depth ? max : job->plan.depth;
	for (;;) {
		n = reap(job, layout, (unsigned int)n, max);
		if (n < 0) {
			return n;
		}
		if ((unsigned int)n >= min || (unsigned int)n >= max) {
			return n;
		}
		if (r < 0) {
			break;
		}
		/* On an error one more look: what was completed before it counts. */
		r = wait_a_little(job, &patience, timeout, &spins);
	}
	if (r == -ETIMEDOUT || n > 0) {
		return n;
	}
	if (!job->said_lost) {
		job->said_lost = true;
		job_say(job->plan.name, "the target has closed the connection");
	}
	return r;
}
