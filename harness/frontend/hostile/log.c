/* SPDX-License-Identifier: BSD-3-Clause */
/* T75: dirty logs (vhost-user, "Migration"). Skipped where the target does not offer them. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "case.h"

#define F_LOG_ALL      (1ull << 26)
#define PF_LOG_SHMFD   (1ull << 1)
#define VRING_F_LOG    1
#define LOG_PAGE       4096
#define LOG_BYTE_PAGES 8
#define SWITCHES       100

/* The library does not take it by itself. */
static bool take_log(struct rig *rig)
{
	struct vfe_message reply;
	struct vfe_message set = { .header = { VFE_SET_PROTOCOL_FEATURES, VFE_FLAG_VERSION, 8 } };
	uint64_t offered;

	if (vfe_raw_query(rig->session, VFE_GET_PROTOCOL_FEATURES, &reply) < 0) {
		rig_fail(rig, "GET_PROTOCOL_FEATURES: %s", vfe_why(rig->session));
		return false;
	}
	offered = reply.payload.u64;
	vfe_raw_close_fds(&reply);
	if ((offered & PF_LOG_SHMFD) == 0 ||
	    (vfe_features_offered(rig->session) & F_LOG_ALL) == 0) {
		rig_skip(rig, "the target does not offer the dirty log (LOG_SHMFD, LOG_ALL)");
		return false;
	}
	set.payload.u64 = vfe_protocol_features(rig->session) | PF_LOG_SHMFD;
	return vfe_raw_send(rig->session, &set) == 0;
}

struct log_message {
	uint64_t size;
	uint64_t offset;
};

/* Of all of memory a log would need one bit for each page. */
#define LOG_WHOLE (RIG_END / LOG_PAGE / LOG_BYTE_PAGES)
/* And the file is a page longer. */
#define LOG_FILE ((LOG_WHOLE + LOG_PAGE - 1) / LOG_PAGE * LOG_PAGE + LOG_PAGE)

static int make_log(uint8_t **ret_map)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	void *map;

	if (fd < 0 || ftruncate(fd, LOG_FILE) < 0) {
		return -1;
	}
	map = mmap(NULL, LOG_FILE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		close(fd);
		return -1;
	}
	*ret_map = map;
	return fd;
}

static enum taken set_log(struct rig *rig, const struct log_message *log, int fd)
{
	struct vfe_message message = { .header = { VFE_SET_LOG_BASE, 0, 16 },
				       .fds = { fd },
				       .fd_n = 1 };

	memcpy(message.payload.bytes, log, sizeof(*log));
	return rig_ask(rig, &message);
}

static enum taken log_all(struct rig *rig, bool on)
{
	struct vfe_message features = { .header = { VFE_SET_FEATURES, 0, 8 } };

	features.payload.u64 = vfe_features(rig->session) | (on ? F_LOG_ALL : 0);
	return rig_ask(rig, &features);
}

/* The used ring is logged as if it lay there. */
static enum taken log_ring(struct rig *rig, uint64_t gpa)
{
	struct vfe_message addr = { .header = { VFE_SET_VRING_ADDR, 0,
						sizeof(struct vfe_wire_addr) } };
	struct vfe_raw_ring ring;

	vfe_raw_ring_of(rig->queue, &ring);
	addr.payload.addr = ring.addr;
	addr.payload.addr.flags = VRING_F_LOG;
	addr.payload.addr.log = gpa;
	return rig_ask(rig, &addr);
}

static void begin_logging(struct rig *rig, uint64_t ring_gpa)
{
	if (log_all(rig, true) == TAKEN_STALLED ||
	    (rig_alive(rig) && log_ring(rig, ring_gpa) == TAKEN_STALLED)) {
		rig_fail(rig, "the start of logging was followed by silence");
	}
}

/* The device writes to memory, and to its ring, while logging is on. */
static void work_with_log(struct rig *rig)
{
	begin_logging(rig, RIG_SCRATCH);
	if (!rig->failed && rig_alive(rig)) {
		rig_expect_usable(rig);
	}
}

static void check_log(struct rig *rig, const struct log_message *log, const uint8_t *map)
{
	uint64_t i;

	for (i = 0; i < LOG_FILE && !rig->failed; i++) {
		if (map[i] != 0 && (i < log->offset || i - log->offset >= log->size)) {
			rig_fail(rig,
				 "byte %llu was written, outside of a log of %llu bytes at %llu",
				 (unsigned long long)i, (unsigned long long)log->size,
				 (unsigned long long)log->offset);
		}
	}
}

/* A log that does not cover memory is refused, or nothing outside of it is written. */
static void log_too_small(struct rig *rig, const void *arg)
{
	static const struct log_message logs[] = {
		{ 0, 0 },
		{ 1, 0 },
		/* Of the first 128 MiB, where there is no memory. */
		{ 4096, 0 },
		/* One byte too few. */
		{ LOG_WHOLE - 1, 0 },
		{ 4096, 4096 },
		{ 4096, 1 },
		{ LOG_WHOLE, LOG_FILE - 1 },
		{ LOG_WHOLE, UINT64_MAX - 4095 },
		{ UINT64_MAX, 0 },
		{ UINT64_MAX - 4095, 4096 },
		{ 1ull << 40, 0 },
	};
	const struct rig_options how = { .with_protocol = VFE_PF_REPLY_ACK };
	uint8_t *map = NULL;
	enum taken taken;
	unsigned int i;
	int fd = make_log(&map);

	(void)arg;
	if (fd < 0) {
		rig_fail(rig, "no file for a log");
		return;
	}
	for (i = 0; i < sizeof(logs) / sizeof(logs[0]) && !rig->failed; i++) {
		rig_close(rig);
		if (!rig_start(rig, &how) || !take_log(rig)) {
			break;
		}
		taken = set_log(rig, &logs[i], fd);
		if (taken == TAKEN_STALLED) {
			rig_fail(rig, "SET_LOG_BASE was followed by silence");
		} else if (rig->options->strict && taken == TAKEN_ACCEPTED) {
			rig_fail(rig, "a log of %llu bytes at %llu was accepted",
				 (unsigned long long)logs[i].size,
				 (unsigned long long)logs[i].offset);
		} else if (taken != TAKEN_ENDED) {
			work_with_log(rig);
		}
		check_log(rig, &logs[i], map);
		memset(map, 0, LOG_FILE);
	}
	munmap(map, LOG_FILE);
	close(fd);
}

/* ---- logs that are good at first ---- */

struct good_log {
	int fd;
	uint8_t *map;
};

static const struct log_message whole = { LOG_WHOLE, 0 };

/* A session that has one; false: the case has been failed or skipped. */
static bool open_with_log(struct rig *rig, struct good_log *log)
{
	const struct rig_options how = { .with_protocol = VFE_PF_REPLY_ACK };

	log->fd = make_log(&log->map);
	if (log->fd < 0) {
		rig_fail(rig, "no file for a log");
		return false;
	}
	if (!rig_start(rig, &how) || !take_log(rig)) {
		return false;
	}
	if (set_log(rig, &whole, log->fd) != TAKEN_ACCEPTED) {
		rig_fail(rig, "a log of all of memory was not accepted");
	}
	return !rig->failed;
}

static void forget_log(struct good_log *log)
{
	if (log->fd >= 0) {
		munmap(log->map, LOG_FILE);
		close(log->fd);
	}
}

static bool is_dirty(const struct good_log *log, uint64_t gpa)
{
	return (log->map[gpa / LOG_PAGE / LOG_BYTE_PAGES] >> gpa / LOG_PAGE % LOG_BYTE_PAGES & 1) !=
	       0;
}

/* "the bit offset of the last byte of the ring must fall within the size supplied" */
static void ring_outside_of_log(struct rig *rig, const void *arg)
{
	static const uint64_t places[] = {
		RIG_END,    RIG_END - 4,    LOG_WHOLE * LOG_BYTE_PAGES * LOG_PAGE - 2,
		UINT64_MAX, UINT64_MAX - 7, 1ull << 63,
		1ull << 40,
	};
	struct good_log log = { .fd = -1 };
	unsigned int i;

	(void)arg;
	for (i = 0; i < sizeof(places) / sizeof(places[0]) && !rig->failed && !rig->skipped; i++) {
		rig_close(rig);
		forget_log(&log);
		if (!open_with_log(rig, &log)) {
			break;
		}
		begin_logging(rig, places[i]);
		rig_kick(rig);
		if (!rig->failed && rig->options->strict &&
		    rig_await(rig, 1, RIG_SILENCE_MS) != OUTCOME_BROKEN) {
			rig_fail(rig, "a ring is logged at %#llx", (unsigned long long)places[i]);
		}
		check_log(rig, &whole, log.map);
	}
	forget_log(&log);
}

/* Rule R9: the session may end, and nothing else. */
static void log_cut_short(struct rig *rig, const void *arg)
{
	struct good_log log = { .fd = -1 };
	struct request request;
	struct vfe_message message;
	unsigned int i;
	int r;

	(void)arg;
	if (open_with_log(rig, &log)) {
		begin_logging(rig, RIG_SCRATCH);
		for (i = 0; i < RIG_FRAMES && !rig->failed; i++) {
			rig_read(rig, i, RIG_SECTOR, VFE_SECTOR, &request);
			rig_submit(rig, &request);
			if (i == RIG_FRAMES / 2 && ftruncate(log.fd, 0) < 0) {
				rig_fail(rig, "cannot cut the file");
			}
		}
		rig_kick(rig);
	}
	if (!rig->failed && !rig->skipped && rig->options->strict) {
		r = vfe_raw_recv(rig->session, &message);
		if (r == 0 || r == -ETIMEDOUT) {
			rig_fail(rig, "the session goes on without its log");
		}
	}
	forget_log(&log);
}

static void check_mark(struct rig *rig, const struct good_log *log)
{
	struct request request;

	memset(log->map, 0, LOG_FILE);
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK);
	}
	if (!rig->failed && !is_dirty(log, rig_data_gpa(rig, 0))) {
		rig_fail(rig, "data was written, and its page is not in the log");
	}
}

/* On, off, and another log, while requests are under way. */
static void log_changes_during_requests(struct rig *rig, const void *arg)
{
	struct good_log logs[2] = { { .fd = -1 }, { .fd = -1 } };
	struct request request;
	unsigned int i;

	(void)arg;
	if (!open_with_log(rig, &logs[0])) {
		forget_log(&logs[0]);
		return;
	}
	logs[1].fd = make_log(&logs[1].map);
	begin_logging(rig, RIG_SCRATCH);
	for (i = 0; i < SWITCHES && !rig->failed && logs[1].fd >= 0; i++) {
		unsigned int frame = i % RIG_FRAMES;

		rig_read(rig, frame, RIG_SECTOR, VFE_SECTOR, &request);
		if (!rig_submit(rig, &request)) {
			break;
		}
		if (set_log(rig, &whole, logs[i % 2].fd) != TAKEN_ACCEPTED ||
		    log_all(rig, i % 3 != 0) != TAKEN_ACCEPTED) {
			rig_fail(rig, "a change of the log was not accepted");
			break;
		}
		rig_expect(rig, (int)frame, WANT_OK);
	}
	if (!rig->failed && (log_all(rig, true) != TAKEN_ACCEPTED ||
			     set_log(rig, &whole, logs[0].fd) != TAKEN_ACCEPTED)) {
		rig_fail(rig, "a change of the log was not accepted");
	}
	if (!rig->failed) {
		check_mark(rig, &logs[0]);
	}
	forget_log(&logs[0]);
	forget_log(&logs[1]);
}

static const struct hostile_case cases[] = {
	{ "T75", "dirty logs that are too small", ON_DISK | ON_RING, log_too_small, NULL },
	{ "T75", "rings that are logged outside of the log", ON_DISK | ON_RING, ring_outside_of_log,
	  NULL },
	{ "T75", "a dirty log that is cut short", ON_DISK | ON_RING, log_cut_short, NULL },
	{ "T75", "dirty logs that change during requests", ON_DISK | ON_RING,
	  log_changes_during_requests, NULL },
};

const struct case_table log_table = CASE_TABLE(cases);
