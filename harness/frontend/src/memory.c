/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that both sides see. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_GUEST_ADDRESS (1ull << 30)

/* memfd_create takes the size in the same bits as mmap does. */
static unsigned int huge_flag(size_t page)
{
	return page == 0 ? 0 : MFD_HUGETLB | (unsigned int)__builtin_ctzl(page) << MAP_HUGE_SHIFT;
}

static int map_region(struct vfe_raw_region *region, const struct vfe_memory_options *options,
		      size_t size)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | huge_flag(options->huge_page);
	void *map;

	region->fd = memfd_create("guest", flags);
	if (region->fd < 0 || ftruncate(region->fd, (off_t)size) < 0) {
		return -errno;
	}
	/* A back-end need not fear that the file is cut under its feet. */
	if (!options->unsealed && fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
		return -errno;
	}
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, region->fd, 0);
	if (map == MAP_FAILED) {
		return -errno;
	}
	region->map = map;
	region->wire.size = size;
	region->wire.user_address = (uint64_t)(uintptr_t)map;
	return 0;
}

int vfe_memory_new(const struct vfe_memory_options *options, struct vfe_memory **ret_memory)
{
	unsigned int n = options->regions == 0 ? 1 : options->regions;
	size_t page = options->huge_page == 0 ? (size_t)sysconf(_SC_PAGESIZE) : options->huge_page;
	uint64_t guest = options->guest_address == 0 ? DEFAULT_GUEST_ADDRESS :
						       options->guest_address;
	struct vfe_memory *memory;
	size_t size;
	unsigned int i;
	int r;

	if (n > VFE_MEMORY_REGIONS_MAX || options->size == 0 || (page & (page - 1)) != 0) {
		return -EINVAL;
	}
	size = (options->size / n + page - 1) / page * page;
	memory = calloc(1, sizeof(*memory));
	if (memory == NULL) {
		return -ENOMEM;
	}
	for (i = 0; i < n; i++) {
		memory->region_n = i + 1;
		r = map_region(&memory->regions[i], options, size);
		if (r < 0) {
			vfe_memory_free(memory);
			return r;
		}
		memory->regions[i].wire.guest_address = guest;
		guest += size + options->gap;
	}
	*ret_memory = memory;
	return 0;
}

void *vfe_memory_alloc(struct vfe_memory *memory, size_t size, size_t align)
{
	unsigned int i;

	for (i = 0; i < memory->region_n; i++) {
		size_t at = (memory->taken[i] + align - 1) & ~(align - 1);

		if (at <= memory->regions[i].wire.size &&
		    size <= memory->regions[i].wire.size - at) {
			memory->taken[i] = at + size;
			return memory->regions[i].map + at;
		}
	}
	return NULL;
}

size_t vfe_memory_room(const struct vfe_memory *memory)
{
	size_t room = 0;
	unsigned int i;

	for (i = 0; i < memory->region_n; i++) {
		room += memory->regions[i].wire.size - memory->taken[i];
	}
	return room;
}

static const struct vfe_raw_region *region_of(const struct vfe_memory *memory, const void *p,
					      uint64_t *ret_offset)
{
	unsigned int i;

	for (i = 0; i < memory->region_n; i++) {
		const struct vfe_raw_region *region = &memory->regions[i];
		uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)region->map);

		if (offset < region->wire.size) {
			*ret_offset = offset;
			return region;
		}
	}
	return NULL;
}

uint64_t vfe_memory_gpa(const struct vfe_memory *memory, const void *p)
{
	uint64_t offset;
	const struct vfe_raw_region *region = region_of(memory, p, &offset);

	return region == NULL ? UINT64_MAX : region->wire.guest_address + offset;
}

uint64_t vfe_raw_memory_uva(const struct vfe_memory *memory, const void *p)
{
	uint64_t offset;
	const struct vfe_raw_region *region = region_of(memory, p, &offset);

	return region == NULL ? UINT64_MAX : region->wire.user_address + offset;
}

unsigned int vfe_raw_memory_regions(const struct vfe_memory *memory,
				    const struct vfe_raw_region **ret_regions)
{
	*ret_regions = memory->regions;
	return memory->region_n;
}

void vfe_memory_free(struct vfe_memory *memory)
{
	unsigned int i;

	if (memory == NULL) {
		return;
	}
	for (i = 0; i < memory->region_n; i++) {
		struct vfe_raw_region *region = &memory->regions[i];

		if (region->map != NULL) {
			munmap(region->map, region->wire.size);
		}
		if (region->fd >= 0) {
			close(region->fd);
		}
	}
	free(memory);
}

/* ---- showing it to a back-end ---- */

static int send_table(struct vfe_session *session)
{
	const struct vfe_memory *memory = session->memory;
	struct vfe_message message = { .header = { VFE_SET_MEM_TABLE, 0, 0 } };
	struct vfe_wire_mem_table *table = &message.payload.mem_table;
	unsigned int i;

	for (i = 0; i < memory->region_n; i++) {
		table->regions[i] = memory->regions[i].wire;
		message.fds[i] = memory->regions[i].fd;
	}
	table->region_n = memory->region_n;
	message.fd_n = memory->region_n;
	message.header.size = (uint32_t)(offsetof(struct vfe_wire_mem_table, regions) +
					 memory->region_n * sizeof(table->regions[0]));
	return vfe_send_checked(session, &message);
}

static int send_regions(struct vfe_session *session)
{
	const struct vfe_memory *memory = session->memory;
	unsigned int i;
	int r = 0;

	for (i = 0; i < memory->region_n && r == 0; i++) {
		struct vfe_message message = {
			.header = { VFE_ADD_MEM_REG, 0, sizeof(struct vfe_wire_mem_reg) },
			.payload.mem_reg.region = memory->regions[i].wire,
			.fds = { memory->regions[i].fd },
			.fd_n = 1,
		};

		r = vfe_send_checked(session, &message);
	}
	return r;
}

/* Not every back-end has slots: CONFIGURE_MEM_SLOTS decides which messages speak of memory. */
int vfe_memory_show(struct vfe_session *session)
{
	return (session->protocol_features & VFE_PF_CONFIGURE_MEM_SLOTS) != 0 ?
		       send_regions(session) :
		       send_table(session);
}

int vfe_share(struct vfe_session *session, struct vfe_memory *memory)
{
	int r;

	session->memory = memory;
	r = vfe_memory_show(session);
	if (r < 0) {
		session->memory = NULL;
	}
	return r;
}
