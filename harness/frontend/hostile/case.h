/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a case is one thing that no honest driver does, with a number (T1 to T85, docs/TESTING.md) that
 * groups those of a kind. It gets a rig, talks to the target with it, and says what it did not expect. What
 * every case must leave behind (the target alive, its other session in time, its descriptors closed, the
 * disk usable) is checked by the runner.
 *
 * Cases are tables: a row names the case, what it needs, the function and its argument, often a row of
 * another table.
 */
#ifndef HOSTILE_CASE_H
#define HOSTILE_CASE_H

#include "rig.h"

enum {
	ON_BLK = 1 << 0,
	ON_SCSI = 1 << 1,
	ON_SPLIT = 1 << 2,
	ON_PACKED = 1 << 3,
	ON_DISK = ON_BLK | ON_SCSI,
	ON_RING = ON_SPLIT | ON_PACKED,
	ON_ALL = ON_DISK | ON_RING,
};

struct hostile_case {
	const char *id;
	const char *name;
	unsigned int where;
	void (*run)(struct rig *rig, const void *arg);
	const void *arg;
};

struct case_table {
	const struct hostile_case *cases;
	unsigned int n;
};

#define CASE_TABLE(array)                                                                 \
	{                                                                                 \
		.cases = (array), .n = (unsigned int)(sizeof(array) / sizeof((array)[0])) \
	}

extern const struct case_table address_table;
extern const struct case_table blk_table;
extern const struct case_table chain_table;
extern const struct case_table flood_table;
extern const struct case_table log_table;
extern const struct case_table memory_table;
extern const struct case_table message_table;
extern const struct case_table packed_table;
extern const struct case_table race_table;
extern const struct case_table scsi_table;
extern const struct case_table scsi_control_table;
extern const struct case_table session_table;
extern const struct case_table state_table;

/* All cases, in the order of their numbers; NULL behind the last. */
const struct hostile_case *case_at(unsigned int i);

#endif
