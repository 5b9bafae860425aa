/* SPDX-License-Identifier: BSD-3-Clause */
/* Offering requests, through the library or behind its back, and waiting for what becomes of them. */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 1

/* ---- offering ---- */

bool rig_submit(struct rig *rig, const struct request *request)
{
	int r;

	rig->raw = false;
	rig->done = 0;
	r = vfe_queue_add(rig->queue, request->segs, request->out_n, request->in_n, rig);
	if (r < 0) {
		rig_fail(rig, "cannot add the request: %s (%s)", strerror(-r),
			 vfe_why(rig->session));
		return false;
	}
	vfe_queue_publish(rig->queue);
	return true;
}

static uint16_t flags_of(const struct request *request, unsigned int i)
{
	return (uint16_t)((i >= request->out_n ? VFE_DESC_WRITE : 0) |
			  (i + 1 < request->out_n + request->in_n ? VFE_DESC_NEXT : 0));
}

void rig_table(struct vfe_desc *table, const struct request *request)
{
	unsigned int i;

	for (i = 0; i < request->out_n + request->in_n; i++) {
		table[i] = (struct vfe_desc){
			.addr = request->segs[i].gpa,
			.len = request->segs[i].len,
			.flags = flags_of(request, i),
			.next = (uint16_t)(i + 1),
		};
	}
}

void rig_chain(struct rig *rig, unsigned int slot, const struct request *request)
{
	unsigned int i;

	rig_table(rig->view.desc + slot, request);
	for (i = 0; i < request->out_n + request->in_n; i++) {
		rig->view.desc[slot + i].next = (uint16_t)(slot + i + 1);
	}
}

void rig_head(struct rig *rig, uint16_t head)
{
	__atomic_store_n(&rig->view.avail->ring[rig->avail_idx % rig->view.size], head,
			 __ATOMIC_RELAXED);
	rig->avail_idx++;
}

void rig_kick(struct rig *rig)
{
	const uint64_t one = 1;

	/* It fails when the counter is full, and then there is a kick to see. */
	if (write(rig->view.kick_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) {
		rig_fail(rig, "cannot kick: %s", strerror(errno));
	}
}

void rig_offer(struct rig *rig)
{
	rig->raw = true;
	rig->done = 0;
	rig->view.avail->flags = 0; /* calls, please: they end the wait below */
	/* Descriptors and ring entries before the index that shows them. */
	__atomic_store_n(&rig->view.avail->idx, rig->avail_idx, __ATOMIC_RELEASE);
	rig_kick(rig);
}

/* ---- waiting ---- */

static void take_done(struct rig *rig)
{
	struct vfe_done done[RIG_FRAMES];
	uint16_t used;
	int n;

	if (rig->raw && rig->view.packed != NULL) {
		/* Raw packed requests begin at the first descriptor of the first round. */
		used = __atomic_load_n(&rig->view.packed[0].flags, __ATOMIC_ACQUIRE);
		rig->done = (used & VFE_DESC_AVAIL) != 0 && (used & VFE_DESC_USED) != 0;
		return;
	}
	if (rig->raw) {
		/* The index before the status bytes that it shows. */
		used = __atomic_load_n(&rig->view.used->idx, __ATOMIC_ACQUIRE);
		rig->done += (uint16_t)(used - rig->used_idx);
		rig->used_idx = used;
		return;
	}
	n = vfe_queue_reap(rig->queue, done, RIG_FRAMES);
	if (n < 0) {
		rig->lied = true;
	} else if (n > 0) {
		rig->done += (unsigned int)n;
		rig->last = done[n - 1];
	}
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

enum outcome rig_await(struct rig *rig, unsigned int n, int timeout_ms)
{
	uint64_t deadline = now_ms() + (uint64_t)timeout_ms;
	struct pollfd fds[3] = {
		{ .fd = rig->view.err_fd, .events = POLLIN },
		{ .fd = vfe_socket(rig->session), .events = POLLRDHUP },
		{ .fd = rig->view.call_fd, .events = POLLIN },
	};
	uint64_t calls;

	for (;;) {
		bool late = now_ms() >= deadline;

		/* What the device did before it gave up is looked at after that it did. */
		bool woken = poll(fds, 3, rig->done < n ? POLL_MS : 0) > 0;

		if (woken && (fds[2].revents & POLLIN) != 0 &&
		    read(rig->view.call_fd, &calls, sizeof(calls)) < 0 && errno != EAGAIN) {
			rig_fail(rig, "cannot take a call: %s", strerror(errno));
		}
		take_done(rig);
		if (rig->lied) {
			return OUTCOME_LIED;
		}
		if (rig->done >= n) {
			return OUTCOME_DONE;
		}
		if (woken && (fds[0].revents & POLLIN) != 0) {
			return OUTCOME_BROKEN;
		}
		if (woken && (fds[1].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
			return OUTCOME_ENDED;
		}
		if (late) {
			return OUTCOME_SILENT;
		}
	}
}

static const char *outcome_name(enum outcome outcome)
{
	static const char *const names[] = {
		[OUTCOME_DONE] = "the request came back",
		[OUTCOME_BROKEN] = "the ring was given up",
		[OUTCOME_ENDED] = "the connection was ended",
		[OUTCOME_SILENT] = "nothing happened",
		[OUTCOME_LIED] = "the target returned what it did not have",
	};

	return names[outcome];
}

static const char *answer_name(enum answer answer)
{
	static const char *const names[] = {
		[ANSWER_NONE] = "without a status",
		[ANSWER_OK] = "as a success",
		[ANSWER_ERROR] = "as an error",
		[ANSWER_UNSUPPORTED] = "as unsupported",
		[ANSWER_ODD] = "with a status that there is not",
	};

	return names[answer];
}

static const char *want_name(enum want want)
{
	static const char *const names[] = {
		[WANT_OK] = "success",
		[WANT_OK_HERE] = "success",
		[WANT_ERROR] = "an error status",
		[WANT_UNSUPPORTED] = "the status for what is not supported",
		[WANT_ANSWER] = "a status",
		[WANT_BROKEN] = "a broken ring",
		[WANT_BROKEN_HERE] = "a broken ring",
		[WANT_DEFINED] = "a status or a broken ring",
	};

	return names[want];
}

static bool is_error(enum answer answer)
{
	return answer == ANSWER_ERROR || answer == ANSWER_UNSUPPORTED;
}

static bool is_answer(enum answer answer)
{
	return answer == ANSWER_OK || is_error(answer);
}

/* What our target documents. */
static bool strictly_fine(enum want want, enum outcome outcome, enum answer answer)
{
	switch (want) {
	case WANT_OK:
	case WANT_OK_HERE:
		return outcome == OUTCOME_DONE && answer == ANSWER_OK;
	case WANT_ERROR:
		return outcome == OUTCOME_DONE && is_error(answer);
	case WANT_UNSUPPORTED:
		return outcome == OUTCOME_DONE && answer == ANSWER_UNSUPPORTED;
	case WANT_ANSWER:
		return outcome == OUTCOME_DONE && is_answer(answer);
	case WANT_BROKEN:
	case WANT_BROKEN_HERE:
		return outcome == OUTCOME_BROKEN;
	case WANT_DEFINED:
		return outcome == OUTCOME_BROKEN || (outcome == OUTCOME_DONE && is_answer(answer));
	}
	return false;
}

/* Any target: nothing may succeed that cannot, and what must work may be refused, but not corrupted. */
static bool fine(enum want want, enum outcome outcome, enum answer answer)
{
	switch (outcome) {
	case OUTCOME_DONE:
		break;
	case OUTCOME_BROKEN:
	case OUTCOME_ENDED:
	case OUTCOME_SILENT:
		return want != WANT_OK;
	case OUTCOME_LIED:
		return false;
	}
	switch (want) {
	case WANT_OK:
		return answer == ANSWER_OK;
	case WANT_ERROR:
	case WANT_UNSUPPORTED:
	case WANT_BROKEN:
		return answer != ANSWER_OK;
	case WANT_OK_HERE:
	case WANT_ANSWER:
	case WANT_BROKEN_HERE:
	case WANT_DEFINED:
		return true;
	}
	return false;
}

void rig_expect(struct rig *rig, int frame, enum want want)
{
	bool strict = rig->options->strict;
	bool silence_is_fine = !strict && want != WANT_OK;
	enum outcome outcome =
		rig_await(rig, 1, silence_is_fine ? RIG_SILENCE_MS : RIG_DEADLINE_MS);
	enum answer answer = frame < 0 ? ANSWER_ERROR : rig_answer(rig, (unsigned int)frame);

	if (strict ? strictly_fine(want, outcome, answer) : fine(want, outcome, answer)) {
		return;
	}
	if (outcome == OUTCOME_DONE && frame >= 0) {
		rig_fail(rig, "the request came back %s (%u) instead of: %s", answer_name(answer),
			 rig_status(rig, (unsigned int)frame), want_name(want));
	} else {
		rig_fail(rig, "%s instead of: %s", outcome_name(outcome), want_name(want));
	}
}

void rig_expect_usable(struct rig *rig)
{
	struct request request;

	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK);
	}
}

uint8_t rig_pattern(unsigned int i)
{
	return (uint8_t)(i * 7 + i / 256 * 13 + 1);
}

bool rig_fill(struct rig *rig, uint64_t sector, uint32_t bytes)
{
	uint8_t *data = rig_data(rig, 0);
	struct request request;
	unsigned int i;

	for (i = 0; i < bytes; i++) {
		data[i] = rig_pattern(i);
	}
	rig_write(rig, 0, sector, bytes, &request);
	if (!rig_submit(rig, &request)) {
		return false;
	}
	rig_expect(rig, 0, WANT_OK);
	memset(data, 0, bytes);
	return !rig->failed;
}

void rig_expect_pattern(struct rig *rig, const uint8_t *data, uint32_t bytes)
{
	unsigned int i;

	for (i = 0; i < bytes && !rig->failed; i++) {
		if (data[i] != rig_pattern(i)) {
			rig_fail(rig, "byte %u is 0x%02x and not what was written, 0x%02x", i,
				 data[i], rig_pattern(i));
		}
	}
}
