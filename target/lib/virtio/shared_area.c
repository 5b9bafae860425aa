/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/shared_area.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fd.h"
#include "virtio/mem_fault.h"

/* Large pages are mapped as a whole. -EINVAL: the file does not hold all of the area. */
static int measure(int fd, uint64_t offset, uint64_t size, uint64_t need, size_t *ret_map_len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;

	if (need == 0 || size < need || fstat(fd, &st) < 0 || st.st_size < 0 ||
	    !range_inside(offset, size, (uint64_t)st.st_size)) {
		return -EINVAL;
	}
	if (st.st_blksize > (blksize_t)page && is_power_of_two((uint64_t)st.st_blksize)) {
		page = (uint64_t)st.st_blksize;
	}
	*ret_map_len = (need + page - 1) & ~(page - 1);
	return 0;
}

int shared_area_map(struct shared_area *area, int fd, uint64_t offset, uint64_t size, uint64_t need)
{
	size_t map_len;
	void *map = MAP_FAILED;
	int r = measure(fd, offset, size, need, &map_len);

	if (r < 0) {
		return r;
	}
	area->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (area->fd >= 0) {
		/* No more than is needed, however long the front-end says it is. */
		map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			   (off_t)offset);
	}
	if (map == MAP_FAILED) {
		r = -errno;
		fd_close(&area->fd);
		return r;
	}
	atomic_init(&area->lost, false);
	area->fault_slot = mem_fault_watch(map, map_len, &area->lost);
	if (area->fault_slot < 0) {
		r = area->fault_slot;
		munmap(map, map_len);
		fd_close(&area->fd);
		return r;
	}
	area->map = map;
	area->map_len = map_len;
	return 0;
}

void shared_area_unmap(struct shared_area *area)
{
	mem_fault_unwatch(area->fault_slot);
	munmap(area->map, area->map_len);
	fd_close(&area->fd);
}
