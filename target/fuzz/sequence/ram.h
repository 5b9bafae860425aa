/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the memory of a guest: one file, mapped here as a whole and by the target in as many
 * regions as its memory table says. Frozen: nobody may write to it any more.
 */
#ifndef VHT_FUZZ_RAM_H
#define VHT_FUZZ_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost_user/message.h"

#define RAM_SIZE 0x64000u
#define RAM_GPA	 UINT64_C(0x40000000)
#define RAM_UVA	 UINT64_C(0x7f5500000000)
/* Regions may be cut at multiples of it. */
#define RAM_UNIT 0x4000u

struct ram {
	int fd; /* -1: there is none */
	uint8_t *mem;
	uint8_t *frozen; /* what it held when it was frozen, NULL: it is not */
	bool lost;	 /* its file was cut short: it cannot be touched */
};

void ram_init(struct ram *ram); /* there is none */
void ram_open(struct ram *ram);
void ram_copy(struct ram *ram, const struct ram *from);
void ram_close(struct ram *ram); /* none is fine; checks it if it is frozen */
void ram_freeze(struct ram *ram);
void ram_thaw(struct ram *ram); /* checks it */
void ram_cut_short(struct ram *ram, uint32_t size);

/*
 * A memory table of all but the last unit, cut where a bit of `cuts` is set. The regions name the
 * file's parts out of order if `shuffled`. Returns how many there are.
 */
unsigned int ram_table(uint32_t cuts, bool shuffled, struct vu_region *regions);
/* The region of the last unit, which no ring and no request uses. */
struct vu_region ram_spare(void);

#endif
