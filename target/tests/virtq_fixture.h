/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: a virtqueue and the driver of its ring, for unit tests. */
#ifndef VHT_TESTS_VIRTQ_FIXTURE_H
#define VHT_TESTS_VIRTQ_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ring_driver.h"

#define INDIRECT  (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define PACKED	  (UINT64_C(1) << VIRTIO_F_RING_PACKED)

struct fixture {
	struct ring_driver rd;
	struct virtq *vq;
};

static inline void fixture_open(struct fixture *f, const struct rd_options *opts)
{
	struct virtq_config config;

	rd_open(&f->rd, opts);
	config = rd_config(&f->rd, sizeof(struct virtq_req));
	assert_int_equal(virtq_new(&config, &f->vq), 0);
}

static inline void fixture_close(struct fixture *f)
{
	virtq_free(f->vq);
	rd_close(&f->rd);
}

static inline struct virtq_req *pop_one(struct virtq *vq)
{
	struct virtq_req *req = NULL;

	assert_int_equal(virtq_pop(vq, &req, 1), 1);
	return req;
}

#endif
