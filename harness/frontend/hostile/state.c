/* SPDX-License-Identifier: BSD-3-Clause */
/* T76 to T78: in-flight areas. Skipped where the target does not offer them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "case.h"

#define INFLIGHT_ROUNDS 40

/* ---- T76, T77 ---- */

static void enormous_inflight_areas(struct rig *rig, const void *arg)
{
	static const struct vfe_wire_inflight wishes[] = {
		{ 0, 0, 65535, 65535, 0 }, { 0, 0, 0, 65535, 0 },
		{ 0, 0, 65535, 0, 0 },	   { 0, 0, 0, 0, 0 },
		{ 0, 0, 1, 3, 0 },	   { UINT64_MAX, UINT64_MAX, 1, 128, 0 },
	};
	const struct rig_options how = { .with_protocol = VFE_PF_INFLIGHT_SHMFD };
	unsigned int i;

	(void)arg;
	for (i = 0; i < sizeof(wishes) / sizeof(wishes[0]) && !rig->failed; i++) {
		struct vfe_message message = {
			.header = { VFE_GET_INFLIGHT_FD, 0, sizeof(wishes[0]) },
			.payload.inflight = wishes[i],
		};

		rig_close(rig);
		if (!rig_open(rig, &how)) {
			return;
		}
		if (rig_ask(rig, &message) == TAKEN_STALLED) {
			rig_fail(rig, "GET_INFLIGHT_FD of %u queues of %u was followed by silence",
				 wishes[i].queue_n, wishes[i].queue_size);
		}
	}
}

static void areas_that_do_not_fit(struct rig *rig, const void *arg)
{
	static const struct vfe_wire_inflight areas[] = {
		{ 0, 0, 1, RIG_SIZE, 0 },
		{ 4096, 0, 0, RIG_SIZE, 0 },
		{ 4096, 0, 65535, 65535, 0 },
		{ 64, 0, 1, 32768, 0 },
		{ UINT64_MAX, 0, 1, RIG_SIZE, 0 },
		{ 4096, UINT64_MAX - 4095, 1, RIG_SIZE, 0 },
		{ 1ull << 40, 0, 1, RIG_SIZE, 0 },
		{ 4096, 1, 1, RIG_SIZE, 0 },
		{ 4096, 1ull << 40, 1, RIG_SIZE, 0 },
	};
	const struct rig_options how = { .with_protocol = VFE_PF_INFLIGHT_SHMFD };
	unsigned int i;

	(void)arg;
	for (i = 0; i < sizeof(areas) / sizeof(areas[0]) && !rig->failed; i++) {
		struct vfe_message message = {
			.header = { VFE_SET_INFLIGHT_FD, 0, sizeof(areas[0]) },
			.payload.inflight = areas[i],
			.fd_n = 1,
		};

		rig_close(rig);
		if (!rig_open(rig, &how)) {
			return;
		}
		message.fds[0] = memfd_create("inflight", MFD_CLOEXEC);
		if (message.fds[0] < 0 || ftruncate(message.fds[0], 4096) < 0) {
			rig_fail(rig, "no file for an in-flight area");
			return;
		}
		(void)rig_expect_refused(rig, "an in-flight area that does not fit",
					 rig_ask(rig, &message));
		vfe_raw_close_fds(&message);
	}
}

/* ---- T78 ---- */

/* vhost-user, "Inflight I/O tracking": what lies before the entries of each queue. */
#define SPLIT_HEADER  16
#define PACKED_HEADER sizeof(struct packed_area)

/* "DescStatePacked" and "QueueRegionPacked" */
struct packed_area_entry {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

struct packed_area {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[10];
	struct packed_area_entry entries[];
};

enum damage {
	DAMAGE_ALL,
	DAMAGE_SOME,	/* here and there */
	DAMAGE_ENTRIES, /* behind a header that is good */
	DAMAGE_ONES,	/* the same: everything is in flight, and all at the same time */
	DAMAGE_GHOST,	/* packed: all is in order, but for a request that never was */
	DAMAGES,
};

/* The area says that it was fetched, the ring that it was offered; only its descriptor is nonsense. */
static void conjure(const struct rig *rig, struct packed_area *area, unsigned int *seed)
{
	static const uint16_t flags[] = { 0, VFE_DESC_WRITE, VFE_DESC_INDIRECT, VFE_DESC_NEXT };
	uint16_t at = area->free_head;
	struct packed_area_entry *entry = &area->entries[at];

	if (at >= area->desc_num || area->used_idx >= rig->view.size) {
		return; /* the target keeps something else there */
	}
	area->free_head = area->old_free_head = entry->next;
	*entry = (struct packed_area_entry){
		.inflight = 1,
		.next = entry->next,
		.last = at,
		.num = 1,
		.counter = (uint64_t)rand_r(seed),
		.id = (uint16_t)(rand_r(seed) % (int)(rig->view.size + 1)),
		.flags = flags[rand_r(seed) % 4],
		.len = (uint32_t)(rand_r(seed) % 8192),
		.addr = rig_data_gpa(rig, 0) + (uint64_t)(rand_r(seed) % 65536),
	};
	rig->view.packed[area->used_idx].flags = area->used_wrap_counter != 0 ? VFE_DESC_AVAIL :
										VFE_DESC_USED;
}

static void damage_area(const struct rig *rig, enum damage damage, uint8_t *area, size_t size,
			unsigned int *seed)
{
	size_t header = rig->options->packed ? PACKED_HEADER : SPLIT_HEADER;
	size_t of_queue = size / (rig_queue_index(rig) + 1);
	size_t i;

	if (damage == DAMAGE_GHOST && rig->options->packed) {
		conjure(rig, (struct packed_area *)(area + of_queue * rig_queue_index(rig)), seed);
		return;
	}
	for (i = 0; i < size; i++) {
		bool keep = damage == DAMAGE_SOME ? rand_r(seed) % 32 != 0 :
						    damage != DAMAGE_ALL && i % of_queue < header;

		if (!keep) {
			area[i] = damage == DAMAGE_ONES ? 1 : (uint8_t)rand_r(seed);
		}
	}
}

static void random_inflight_area(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with_protocol = VFE_PF_INFLIGHT_SHMFD };
	unsigned int seed = 78;
	unsigned int round;
	size_t size;

	(void)arg;
	for (round = 0; round < INFLIGHT_ROUNDS && !rig->failed; round++) {
		uint8_t *area;
		int r;

		rig_close(rig);
		if (!rig_start(rig, &how)) {
			return;
		}
		rig_expect_usable(rig);
		area = vfe_raw_inflight(rig->session, &size);
		if (area == NULL) {
			rig_fail(rig, "there is no in-flight area");
			return;
		}
		vfe_disconnect(rig->session);
		damage_area(rig, round % DAMAGES, area, size, &seed);
		r = vfe_reconnect(rig->session);
		if (r == 0) {
			/* Requests that there never were may come back, or the ring breaks. */
			rig_kick(rig);
			(void)rig_await(rig, UINT32_MAX, 50);
		} else if (r == -ETIMEDOUT) {
			rig_fail(rig, "the area was followed by silence: %s",
				 vfe_why(rig->session));
		}
	}
	rig_close(rig);
	if (!rig->failed && rig_start(rig, &how)) {
		rig_expect_usable(rig);
	}
}

static const struct hostile_case cases[] = {
	{ "T76", "an in-flight area for 65535 queues of 65535", ON_DISK | ON_RING,
	  enormous_inflight_areas, NULL },
	{ "T77", "in-flight areas that do not fit", ON_DISK | ON_RING, areas_that_do_not_fit,
	  NULL },
	{ "T78", "in-flight areas of random bytes", ON_DISK | ON_RING, random_inflight_area, NULL },
};

const struct case_table state_table = CASE_TABLE(cases);
