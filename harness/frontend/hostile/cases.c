/* SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>

#include "case.h"

static const struct case_table *const tables[] = {
	&chain_table, &packed_table,	   &address_table, &race_table,	  &blk_table,
	&scsi_table,  &scsi_control_table, &message_table, &memory_table, &session_table,
	&log_table,   &state_table,	   &flood_table,
};

const struct hostile_case *case_at(unsigned int i)
{
	unsigned int t;

	for (t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		if (i < tables[t]->n) {
			return &tables[t]->cases[i];
		}
		i -= tables[t]->n;
	}
	return NULL;
}
