/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/inflight.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "virtio/shared_area.h"
#include "virtio/virtqueue.h"

/* "Queue region": header and entry of each format. Regions begin on a multiple of 64 bytes, so that an area
 * can be handed on to the back-ends that others have written; the specification leaves that open. */
#define SPLIT_HEADER  16
#define SPLIT_ENTRY   16
#define PACKED_HEADER 32
#define PACKED_ENTRY  32
#define REGION_ALIGN  64

/* The same place in all layouts. */
struct region_head {
	uint64_t features;
	uint16_t version;
};

struct inflight_area {
	atomic_uint refs;
	struct inflight_shape shape;
	uint64_t bytes; /* that may be used */
	struct shared_area area;
};

static uint64_t region_bytes(bool packed, uint16_t queue_size)
{
	uint64_t header = packed ? PACKED_HEADER : SPLIT_HEADER;
	uint64_t entry = packed ? PACKED_ENTRY : SPLIT_ENTRY;

	return (header + entry * queue_size + REGION_ALIGN - 1) & ~(uint64_t)(REGION_ALIGN - 1);
}

uint64_t inflight_area_bytes(const struct inflight_shape *shape)
{
	if (shape->queue_size > VIRTQ_MAX_SIZE || shape->queue_size == 0) {
		return 0;
	}
	return shape->queue_n * region_bytes(shape->packed, shape->queue_size);
}

int inflight_area_make(const struct inflight_shape *shape, int *ret_fd)
{
	uint64_t bytes = inflight_area_bytes(shape);
	int fd;
	int r;

	if (bytes == 0) {
		return -EINVAL;
	}
	fd = memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0) {
		return -errno;
	}
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		r = -errno;
		fd_close(&fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int inflight_area_map(const struct inflight_shape *shape, int fd, struct inflight_area **ret_area)
{
	struct inflight_area *area = calloc(1, sizeof(*area));
	struct inflight_shape most = *shape;
	uint64_t need = inflight_area_bytes(shape);
	int r;

	if (area == NULL) {
		return -ENOMEM;
	}
	most.packed = true; /* the larger of the layouts */
	if (shape->size >= inflight_area_bytes(&most)) {
		need = inflight_area_bytes(&most);
	}
	r = shared_area_map(&area->area, fd, shape->offset, shape->size, need);
	if (r < 0) {
		free(area);
		return r;
	}
	atomic_init(&area->refs, 1);
	area->shape = *shape;
	area->bytes = need;
	*ret_area = area;
	return 0;
}

struct inflight_area *inflight_area_ref(struct inflight_area *area)
{
	if (area != NULL) {
		atomic_fetch_add_explicit(&area->refs, 1, memory_order_relaxed);
	}
	return area;
}

void inflight_area_unref(struct inflight_area *area)
{
	/* Acquire and release: whoever frees it sees what the others did to it. */
	if (area == NULL || atomic_fetch_sub_explicit(&area->refs, 1, memory_order_acq_rel) != 1) {
		return;
	}
	shared_area_unmap(&area->area);
	free(area);
}

int inflight_area_get(const struct inflight_area *area, struct inflight_shape *ret_shape)
{
	*ret_shape = area->shape;
	return area->area.fd;
}

/* NULL: the area is too small. */
static struct region_head *region_at(const struct inflight_area *area, unsigned int index,
				     bool packed)
{
	uint64_t stride = region_bytes(packed, area->shape.queue_size);

	return area->shape.queue_n * stride > area->bytes ?
		       NULL :
		       (struct region_head *)(area->area.map + index * stride);
}

static void forget_region(struct region_head *region)
{
	if (region != NULL) {
		__atomic_store_n(&region->version, 0, __ATOMIC_RELAXED);
	}
}

void inflight_area_forget(struct inflight_area *area)
{
	unsigned int i;

	for (i = 0; i < area->shape.queue_n; i++) {
		forget_region(region_at(area, i, false));
		forget_region(region_at(area, i, true));
	}
}

bool inflight_area_is_lost(const struct inflight_area *area)
{
	return shared_area_is_lost(&area->area);
}

uint16_t inflight_area_queue_size(const struct inflight_area *area)
{
	return area->shape.queue_size;
}

void *inflight_area_region(const struct inflight_area *area, unsigned int index, bool packed,
			   uint16_t queue_size)
{
	if (index >= area->shape.queue_n || queue_size > area->shape.queue_size) {
		return NULL;
	}
	return region_at(area, index, packed);
}
