/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what a case works with.
 *
 *   rig       one session with the target, its memory, one request queue, and what the case has found
 *             wrong. A case may end its session and open others.
 *   request   a good read or write of either device, as a list of segments that a case bends before it
 *             offers it.
 *   raw       descriptors and indices are written through the view; otherwise requests go through the
 *             library (rig_submit), on split and on packed rings.
 *   outcome   what the target did with what it was offered: see enum outcome.
 *   want      what it should have done. Strict: what our target documents. Not strict: also what the
 *             specifications leave open; a back-end may end the connection, or let the ring lie.
 *
 * Memory is two regions that are neighbours in guest addresses and not here, and a hole behind them. The
 * library allocates rings from the first one. The second one holds the requests and their data, in its upper half;
 * its lower half is the case's, as scratch. The first page of the first region is no buffer of any request: a target
 * that maps the regions one below the other, as Linux does, hits it when it writes beyond the end of the second.
 */
#ifndef HOSTILE_RIG_H
#define HOSTILE_RIG_H

#include "options.h"
#include "vhost_frontend/blk.h"
#include "vhost_frontend/frontend_raw.h"
#include "vhost_frontend/scsi.h"

#define RIG_GUEST	 (1ull << 30)
#define RIG_REGION	 (8ull << 20)
#define RIG_SCRATCH	 (RIG_GUEST + RIG_REGION)
#define RIG_END		 (RIG_GUEST + 2 * RIG_REGION)
#define RIG_REQUESTS	 (4u << 20) /* where in the second region the requests lie */
#define RIG_CANARY	 4096
#define RIG_SIZE	 64   /* of the queue, unless a case wants another */
#define RIG_FRAMES	 32   /* requests at a time */
#define RIG_DATA	 4096 /* bytes of data buffer behind each frame */
#define RIG_DEADLINE_MS	 5000 /* for what must happen */
#define RIG_SILENCE_MS	 300  /* for what need not happen */
#define RIG_SECTOR	 64   /* where the cases read and write */
#define REQUEST_SEGS_MAX 1030

enum outcome {
	OUTCOME_DONE,	/* all that was waited for has come back */
	OUTCOME_BROKEN, /* the ring was reported as broken */
	OUTCOME_ENDED,	/* the connection was ended */
	OUTCOME_SILENT, /* nothing, in the time that was given */
	OUTCOME_LIED,	/* the ring holds a used element that cannot be */
};

/* What the device says of a request that is done. */
enum answer {
	ANSWER_NONE, /* it did not write a status */
	ANSWER_OK,
	ANSWER_ERROR,
	ANSWER_UNSUPPORTED, /* blk: UNSUPP; scsi: an ILLEGAL REQUEST */
	ANSWER_ODD,	    /* a status that there is not */
};

enum want {
	WANT_OK,
	WANT_OK_HERE,	  /* of our target; others may refuse */
	WANT_ERROR,	  /* an error in the status */
	WANT_UNSUPPORTED, /* that very error */
	WANT_ANSWER,	  /* a status, whatever it says */
	WANT_BROKEN,	  /* a broken ring: it cannot succeed */
	WANT_BROKEN_HERE, /* of our target; others may make sense of it */
	WANT_DEFINED,	  /* a status or a broken ring */
};

/* How the target takes a message. */
enum taken {
	TAKEN_ACCEPTED,
	TAKEN_REFUSED,
	TAKEN_ENDED,
	TAKEN_UNKNOWN, /* it says nothing, and goes on */
	TAKEN_STALLED, /* it says nothing to anything */
};

struct bystander;

struct rig_options {
	uint64_t without; /* features that are not to be negotiated; EVENT_IDX never is */
	uint64_t with;	  /* features without which the case is skipped */
	uint64_t with_protocol;
	bool unsealed;
	unsigned int size; /* of the queue, 0: RIG_SIZE */
	bool indirect;	   /* rig_submit uses indirect tables */
};

struct rig {
	const struct options *options;
	struct bystander *bystander; /* NULL: there is none */
	struct rig_options how;
	struct vfe_memory *memory;
	struct vfe_session *session;
	struct vfe_queue *queue;
	struct vfe_raw_view view;
	struct vfe_blk_info blk;
	struct vfe_scsi_info scsi;
	struct vfe_blk_frame *blk_frames;
	struct vfe_scsi_frame *scsi_frames;
	uint8_t *data;	  /* RIG_DATA bytes for each frame */
	uint8_t *scratch; /* the second region */
	uint8_t *canary;
	uint32_t block;	 /* bytes */
	uint64_t blocks; /* of the disk */
	bool raw;
	uint16_t avail_idx; /* raw */
	uint16_t used_idx;  /* raw */
	unsigned int done;  /* requests that came back since rig_offer or rig_submit */
	bool lied;
	struct vfe_done last; /* the latest one, unless raw */
	/* The verdict. */
	bool failed;
	bool skipped;
	char why[512];
	char note[256];
};

struct request {
	struct vfe_seg segs[REQUEST_SEGS_MAX];
	unsigned int out_n;
	unsigned int in_n;
	unsigned int data_at; /* the segment with the data */
};

/* ---- the verdict: the first one counts ---- */

__attribute__((format(printf, 2, 3))) void rig_fail(struct rig *rig, const char *format, ...);
__attribute__((format(printf, 2, 3))) void rig_skip(struct rig *rig, const char *format, ...);
/* Printed whatever the verdict. */
__attribute__((format(printf, 2, 3))) void rig_note(struct rig *rig, const char *format, ...);

/* ---- life. False: the case has been failed or skipped ---- */

void rig_init(struct rig *rig, const struct options *options);
/* Connected, and nothing else. */
bool rig_connect(struct rig *rig);
/* Negotiated, with memory shared. */
bool rig_open(struct rig *rig, const struct rig_options *how);
/* And the request queue runs. */
bool rig_start(struct rig *rig, const struct rig_options *how);
/*
 * Stops the queue, makes it new and starts it again: what a driver does that resets its device. False without
 * a failure: the session is over.
 */
bool rig_restart(struct rig *rig);
/* The same, in a new session if the target has ended this one. */
bool rig_recover(struct rig *rig);
/* Ends the session as a crash would; the memory stays for the next one. */
void rig_leave(struct rig *rig);
void rig_close(struct rig *rig);
bool rig_alive(struct rig *rig);
unsigned int rig_queue_index(const struct rig *rig);

/* ---- requests ---- */

/* `bytes` from or to rig->data of this frame, at this sector; without data: FLUSH or TEST UNIT READY. */
void rig_read(struct rig *rig, unsigned int frame, uint64_t sector, uint32_t bytes,
	      struct request *ret_request);
void rig_write(struct rig *rig, unsigned int frame, uint64_t sector, uint32_t bytes,
	       struct request *ret_request);
/* A SCSI command; `in`: its data comes from the device. */
void rig_command(struct rig *rig, unsigned int frame, const uint8_t *cdb, size_t cdb_len, bool in,
		 uint32_t bytes, struct request *ret_request);
uint8_t *rig_data(struct rig *rig, unsigned int frame);
uint64_t rig_data_gpa(const struct rig *rig, unsigned int frame);
enum answer rig_answer(const struct rig *rig, unsigned int frame);
/* The status of one that is done: blk status, or the SCSI response. */
uint8_t rig_status(const struct rig *rig, unsigned int frame);

/* Through the library. */
bool rig_submit(struct rig *rig, const struct request *request);
/* Raw: the request as a chain of descriptors from `slot` on. */
void rig_chain(struct rig *rig, unsigned int slot, const struct request *request);
/* Raw: the request as a table in shared memory. */
void rig_table(struct vfe_desc *table, const struct request *request);
/* Raw: puts a head into the available ring, without showing it. */
void rig_head(struct rig *rig, uint16_t head);
/* Raw: shows all heads so far, and kicks. */
void rig_offer(struct rig *rig);
void rig_kick(struct rig *rig);

/* Waits until `n` have come back, the ring is broken, or nothing more can be expected. */
enum outcome rig_await(struct rig *rig, unsigned int n, int timeout_ms);
/* Awaits one request and judges it; frame -1: there is no status to look at. */
void rig_expect(struct rig *rig, int frame, enum want want);
/* A good read works, on this queue. */
void rig_expect_usable(struct rig *rig);
/* Fills that part of the disk; what lies there is then rig_pattern(0), (1) and so on. */
bool rig_fill(struct rig *rig, uint64_t sector, uint32_t bytes);
/* Is this what rig_fill wrote? Fails the case if not. */
void rig_expect_pattern(struct rig *rig, const uint8_t *data, uint32_t bytes);
uint8_t rig_pattern(unsigned int i);

/* ---- messages ---- */

/* Sends it, asking for an acknowledgement, and waits for what comes of it. */
enum taken rig_ask(struct rig *rig, struct vfe_message *message);
/* Strict: it was refused, or the connection ended. Opens the session again if it is needed. */
bool rig_expect_refused(struct rig *rig, const char *what, enum taken taken);
const char *taken_name(enum taken taken);

#endif
