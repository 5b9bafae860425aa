/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the load: setting up, running, playing the device. */
#ifndef BENCH_LOAD_PRIVATE_H
#define BENCH_LOAD_PRIVATE_H

#include "load.h"
#include "vhost_frontend/blk.h"
#include "vhost_frontend/scsi.h"

#define LOAD_BATCH_MAX 256
#define LOAD_PAGE      4096u

enum load_cdb {
	LOAD_CDB_OTHER,
	LOAD_CDB_READ_10,
	LOAD_CDB_WRITE_10,
};

struct load_slot {
	union {
		struct vfe_blk_frame *blk;
		struct vfe_scsi_frame *scsi;
		void *frame;
	};
	uint64_t data; /* guest address of its buffer */
	uint8_t made;  /* scsi: what its CDB is, enum load_cdb */
	uint64_t start;
};

struct load_lane {
	struct vfe_queue *queue;
	struct load_slot *slots;
	struct load_slot **idle; /* a ring of slot_n: the one that came back first is used first */
	unsigned int slot_n;
	unsigned int idle_first;
	unsigned int idle_end;
	unsigned int inflight;
	uint64_t *buffers; /* stack of those that are not in flight */
	unsigned int buffer_n;
	uint16_t mirrored; /* how far load_mirror has come */
};

struct load {
	struct load_config config;
	struct vfe_memory *memory;
	struct vfe_session *session;
	struct vfe_queue **queues; /* those of the lanes */
	struct vfe_queue *control; /* scsi */
	struct vfe_queue *events;
	struct load_lane *lanes;
	unsigned int lane_n;
	uint64_t random;
	uint64_t position;    /* sequential: the next block */
	uint64_t blocks;      /* that may be used */
	uint64_t capacity;    /* bytes */
	uint32_t block_units; /* what the device counts in: sectors, or its logical blocks */
	struct vfe_scsi_address address;
	const char *why;
};

/* The state of one call of load_run; times are in ticks. */
struct load_run {
	struct load *load;
	struct histogram *latency;
	uint64_t requests;
	uint64_t errors;
	uint64_t counted; /* requests that had come back when the time was over, */
	uint64_t ended;	  /* and when that was */
	uint64_t now;	  /* as of the last look at the clock */
	uint64_t busy_at; /* when something came back last */
	uint64_t look_at; /* when to look at the target if nothing comes back */
	double ns_per_tick;
	/* What came back last and was not looked at yet. */
	struct {
		const struct load_slot *slot;
		uint64_t ticks; /* that it took */
	} taken[LOAD_BATCH_MAX];
	unsigned int taken_n;
	/* Fixed rate: when the next request is due; both with a fraction, for exact rates. */
	double due;
	double step;
	unsigned int lane; /* lanes take turns */
};

/* load_lanes.c */
int load_make_lanes(struct load *load);
int load_make_scsi_queues(struct load *load);
int load_start_lanes(struct load *load);
void load_end_lanes(struct load *load);

/* load_lane.c */
/* Takes up to a batch from one lane; returns how many, or an error. busy_at is the time. */
int load_reap(struct load_run *run, struct load_lane *lane);
/* Looks how each of them ended, and adds its latency to the histogram. Before the next load_reap. */
void load_account(struct load_run *run);
/* Sends up to `max` requests, as many as the depth allows. */
int load_refill(struct load *load, struct load_lane *lane, unsigned int max, uint64_t now);
/* One more request; there must be fewer in flight than the depth. */
int load_send(struct load *load, struct load_lane *lane, uint64_t start);
/* Fixed depth: one turn over all lanes; returns how many requests came back. */
int load_turn(struct load_run *run, bool stopping);
/* Sends as many as the depth allows. */
int load_fill(struct load *load);
unsigned int load_inflight(const struct load *load);
/* Nothing came back: sleep if that is the mode, and see now and then whether the target is still there. */
int load_idle(struct load_run *run);
void load_add_counters(struct load *load, int sign, struct load_result *result);

#endif
