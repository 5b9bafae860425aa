/* SPDX-License-Identifier: BSD-3-Clause */
#include "ram.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../must.h"
#include "base/fd.h"

void ram_init(struct ram *ram)
{
	*ram = (struct ram){ .fd = -1 };
}

void ram_open(struct ram *ram)
{
	ram_init(ram);
	ram->fd = memfd_create("guest", MFD_CLOEXEC);
	MUST(ram->fd >= 0 && ftruncate(ram->fd, RAM_SIZE) == 0);
	ram->mem = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
	MUST(ram->mem != MAP_FAILED);
}

void ram_copy(struct ram *ram, const struct ram *from)
{
	ram_open(ram);
	memcpy(ram->mem, from->mem, RAM_SIZE);
}

void ram_freeze(struct ram *ram)
{
	if (ram->fd < 0 || ram->lost || ram->frozen != NULL) {
		return;
	}
	ram->frozen = malloc(RAM_SIZE);
	MUST(ram->frozen != NULL);
	memcpy(ram->frozen, ram->mem, RAM_SIZE);
}

void ram_thaw(struct ram *ram)
{
	if (ram->frozen != NULL) {
		MUST(memcmp(ram->frozen, ram->mem, RAM_SIZE) == 0);
		free(ram->frozen);
		ram->frozen = NULL;
	}
}

void ram_close(struct ram *ram)
{
	if (ram->fd < 0) {
		return;
	}
	ram_thaw(ram);
	munmap(ram->mem, RAM_SIZE);
	fd_close(&ram->fd);
}

void ram_cut_short(struct ram *ram, uint32_t size)
{
	MUST(ftruncate(ram->fd, size) == 0);
	ram->lost = true;
}

unsigned int ram_table(uint32_t cuts, bool shuffled, struct vu_region *regions)
{
	uint32_t units = RAM_SIZE / RAM_UNIT - 1;
	unsigned int n = 0;
	uint32_t start = 0;
	uint32_t i;

	for (i = 1; i <= units; i++) {
		if (i < units && (n + 1 == VU_REGIONS_MAX || (cuts >> i & 1) == 0)) {
			continue;
		}
		regions[n++] = (struct vu_region){
			.guest_address = RAM_GPA + start * RAM_UNIT,
			.size = (i - start) * RAM_UNIT,
			.user_address = RAM_UVA + start * RAM_UNIT,
			.mmap_offset = start * RAM_UNIT,
		};
		start = i;
	}
	if (shuffled) {
		struct vu_region first = regions[0];

		regions[0] = regions[n - 1];
		regions[n - 1] = first;
	}
	return n;
}

struct vu_region ram_spare(void)
{
	const uint32_t at = RAM_SIZE - RAM_UNIT;

	return (struct vu_region){
		.guest_address = RAM_GPA + at,
		.size = RAM_UNIT,
		.user_address = RAM_UVA + at,
		.mmap_offset = at,
	};
}
