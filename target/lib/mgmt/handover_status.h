/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what management shows of planned hand-overs. It goes along with them. */
#ifndef VHT_MGMT_HANDOVER_STATUS_H
#define VHT_MGMT_HANDOVER_STATUS_H

#include <stdint.h>

enum handover_state {
	HANDOVER_NEVER,
	HANDOVER_RUNNING,
	HANDOVER_DONE,
	HANDOVER_FAILED,
};

struct handover_status {
	enum handover_state state; /* of the last one */
	uint64_t count;		   /* how many have succeeded */
	uint64_t pause_ns;	   /* of the last that has */
	uint64_t longest_pause_ns; /* of all that have */
	char reason[256];	   /* why the last one failed */
};

#endif
