/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the two halves of the fake back-end: the protocol, and the queues with their in-flight area. */
#ifndef TESTS_FAKE_PRIVATE_H
#define TESTS_FAKE_PRIVATE_H

#include "fake_backend.h"
#include "model.h"

#define FAKE_QUEUES_MAX 4
#define FAKE_BATCH	8
#define FAKE_OPEN_MAX	1024 /* requests that a queue has fetched */

/* Spec: "Inflight I/O tracking", split: one entry per descriptor. */
struct fake_split_entry {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct fake_split_area {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct fake_split_entry entries[];
};

/* Ours: chains in the order in which they were fetched, and how far the ring has been used. */
struct fake_packed_area {
	uint16_t version;
	uint16_t used_pos; /* where the used descriptor of the next completion goes */
	uint16_t used_wrap;
	uint16_t publishing; /* 1 + the buffer id whose publication is under way; 0: none */
	uint64_t counter;
	struct {
		uint64_t counter; /* 0: not in flight */
		struct model_chain chain;
	} entries[]; /* by buffer id */
};

struct fake_queue {
	struct model_ring model;
	uint32_t base;
	int kick_fd;
	int call_fd;
	bool running;
	void *area; /* NULL: no in-flight area */
	uint64_t counter;
	struct model_chain open[FAKE_OPEN_MAX];
	unsigned int open_n;
};

struct fake {
	struct fake_config config;
	uint64_t features;
	uint64_t random;
	int fd;
	int backend_fd;
	uint8_t *inflight;
	uint16_t inflight_queue_size;
	unsigned int served;
	unsigned int region_n;
	struct {
		struct vfe_wire_region wire;
		uint8_t *map;
	} regions[VFE_MEMORY_REGIONS_MAX];
	struct fake_queue queues[FAKE_QUEUES_MAX];
};

/* fake_backend.c */
void *fake_from_guest(void *arg, uint64_t address);
void fake_announce_config(struct fake *f);

/* fake_queue.c */
uint64_t fake_inflight_size(uint16_t queue_size);
void fake_queue_start(struct fake *f, struct fake_queue *queue);
uint32_t fake_queue_stop(struct fake_queue *queue);
void fake_queue_serve(struct fake *f, struct fake_queue *queue);

#endif
