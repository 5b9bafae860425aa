/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F7: an in-flight area as it comes, under a ring as it comes, when a queue starts, and while it runs. The
 * input is
 *
 *	u8 size | u8 features | u16 base | u16 used index | u8 length of the area | u8[] the area
 *	| then operations: u8, some with a u8 behind (enum op)
 *
 * With FEATURE_PACKED the ring is a packed one, of any size, that begins at `base`; with FEATURE_OFFERED the driver has
 * made all of it available before the queue starts, which is what an area with requests in it needs.
 *
 * Whatever it is: the queue starts, broken or not; it pops no head twice without publishing it in between,
 * and none that there is not; what it resubmits comes first; what was published is not in flight any more, and
 * what was not is found by the next one that starts.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ring_driver.h>

#include "base/bytes.h"
#include "must.h"
#include "virtio/inflight.h"
#include "virtio/packed_inflight.h"
#include "virtio/split_inflight.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SIZE_MAX_LOG 6
#define SIZE_MAX_N   (1 << SIZE_MAX_LOG)
#define MEM_SIZE     (64u << 10)
#define OPS_MAX	     300

#define FEATURE_EVENT_IDX 1
#define FEATURE_PACKED	  2
#define FEATURE_OFFERED	  4

enum op {
	OP_OFFER,
	OP_OFFER_HEAD, /* whatever it is; packed: a byte of the ring, whatever it becomes */
	OP_POP,
	OP_UNPOP,
	OP_PUSH,
	OP_COMMIT,
	OP_RESTART, /* as after a crash */
	OP_SCRIBBLE,
	OP_N,
};

struct run {
	struct bytes_reader in;
	struct ring_driver rd;
	struct inflight_area *area;
	uint8_t *bytes; /* of the area, as the front-end sees it */
	struct virtq *vq;
	struct virtq_req *out[SIZE_MAX_N]; /* oldest first */
	unsigned int out_n;
	unsigned int newest_n; /* so many of the newest are all out */
	bool honest;	       /* the area is the queue's own: nobody has written to it since */
	bool confused; /* packed: driver and device need not be of one mind about what is in flight */
};

static uint8_t get_u8(struct bytes_reader *in)
{
	uint8_t v = 0;

	bytes_get(in, &v, sizeof(v));
	return v;
}

static uint16_t get_u16(struct bytes_reader *in)
{
	uint8_t low = get_u8(in);

	return (uint16_t)(low | get_u8(in) << 8);
}

static struct inflight_split_region *region(const struct run *run)
{
	return (struct inflight_split_region *)run->bytes;
}

static struct inflight_packed_region *packed_region(const struct run *run)
{
	return (struct inflight_packed_region *)run->bytes;
}

static void start(struct run *run, uint32_t base)
{
	struct virtq_config config = rd_config(&run->rd, sizeof(struct virtq_req));

	config.base = base;
	config.inflight = run->area;
	MUST(virtq_new(&config, &run->vq) == 0);
	run->out_n = run->newest_n = 0;
}

static void check_popped(const struct run *run, const struct virtq_req *req)
{
	bool found = false;
	unsigned int i;

	MUST(req->head < run->rd.size);
	for (i = 0; i < run->out_n; i++) {
		MUST(run->out[i]->head != req->head);
	}
	if (!run->honest) {
		return;
	}
	if (!run->rd.is_packed) {
		MUST(region(run)->desc[req->head].inflight != 0);
		return;
	}
	for (i = 0; i < run->rd.size; i++) {
		const struct inflight_packed_desc *desc = &packed_region(run)->desc[i];

		found |= desc->inflight != 0 && desc->id == req->head;
	}
	MUST(found);
}

static void pop(struct run *run)
{
	bool first = virtq_has_resubmits(run->vq);
	struct virtq_req *req;

	if (run->out_n == run->rd.size || virtq_pop(run->vq, &req, 1) == 0) {
		return;
	}
	check_popped(run, req);
	MUST(virtq_req_is_resubmitted(req) == first);
	run->out[run->out_n++] = req;
	run->newest_n++;
}

static void push(struct run *run, unsigned int which)
{
	unsigned int i = run->out_n > 0 ? which % run->out_n : 0;

	if (run->out_n == 0) {
		return;
	}
	virtq_push(run->vq, run->out[i], 1);
	memmove(&run->out[i], &run->out[i + 1], (run->out_n - i - 1) * sizeof(run->out[0]));
	run->out_n--;
	if (run->newest_n > run->out_n - i) {
		run->newest_n = run->out_n - i;
	}
}

static unsigned int marked(const struct run *run)
{
	unsigned int n = 0;
	unsigned int i;

	for (i = 0; i < run->rd.size; i++) {
		n += (run->rd.is_packed ? packed_region(run)->desc[i].inflight :
					  region(run)->desc[i].inflight) != 0;
	}
	return n;
}

/* A driver that a hostile area has confused stops. */
static void packed_reap(struct run *run)
{
	uint16_t id;
	uint32_t len;

	do {
		id = le16toh(run->rd.packed[run->rd.next_used & ~(unsigned int)RD_WRAP].id);
	} while (id < run->rd.size && run->rd.chain_n[id] > 0 &&
		 rd_packed_reap(&run->rd, &id, &len));
}

static bool used_is_known(const struct run *run)
{
	const struct inflight_packed_region *area = packed_region(run);

	if (!run->rd.is_packed) {
		return region(run)->used_idx == le16toh(*run->rd.used_idx);
	}
	return area->used_idx == (virtq_base(run->vq) & 0x7fff) &&
	       area->used_idx == area->old_used_idx && area->free_head == area->old_free_head &&
	       area->used_wrap_counter == area->old_used_wrap_counter;
}

static void commit(struct run *run)
{
	unsigned int before = marked(run);
	unsigned int n = virtq_commit(run->vq);

	if (run->honest) {
		MUST(marked(run) == before - n);
		MUST(n == 0 || used_is_known(run));
	}
	if (run->rd.is_packed) {
		packed_reap(run);
	}
}

static void restart(struct run *run)
{
	uint32_t base = virtq_base(run->vq);
	unsigned int n = marked(run);
	unsigned int found = 0;
	struct virtq_req *req;
	bool honest = run->honest && !virtq_is_broken(run->vq);

	virtq_free(run->vq);
	start(run, base);
	MUST(!honest || !virtq_is_broken(run->vq));
	while (virtq_has_resubmits(run->vq) && virtq_pop(run->vq, &req, 1) == 1) {
		check_popped(run, req);
		run->out[run->out_n++] = req;
		run->newest_n++;
		found++;
	}
	MUST(!honest || virtq_is_broken(run->vq) || found == n);
	run->honest = !virtq_is_broken(run->vq) && !run->confused;
}

static void offer(struct run *run)
{
	const struct rd_buf buf = { rd_region(&run->rd, 0) + MEM_SIZE - 16, 16, true };
	const struct rd_buf bufs[] = { buf, buf, buf };

	rd_add(&run->rd, bufs, run->rd.is_packed ? 1 + get_u8(&run->in) % 3u : 1);
}

static void offer_head(struct run *run)
{
	uint8_t at = get_u8(&run->in);

	if (!run->rd.is_packed) {
		rd_offer(&run->rd, at);
		return;
	}
	((uint8_t *)run->rd.packed)[at % (run->rd.size * sizeof(*run->rd.packed))] =
		get_u8(&run->in);
	run->honest = false;
	run->confused = true;
}

static void scribble(struct run *run)
{
	size_t n = run->rd.is_packed ?
			   sizeof(*packed_region(run)) +
				   run->rd.size * sizeof(struct inflight_packed_desc) :
			   sizeof(*region(run)) + run->rd.size * sizeof(struct inflight_split_desc);
	uint16_t at = get_u16(&run->in);

	run->bytes[at % n] = get_u8(&run->in);
	run->honest = false;
	run->confused = run->rd.is_packed;
}

static void operate(struct run *run)
{
	switch (get_u8(&run->in) % OP_N) {
	case OP_OFFER:
		offer(run);
		break;
	case OP_OFFER_HEAD:
		offer_head(run);
		break;
	case OP_POP:
		pop(run);
		break;
	case OP_UNPOP:
		if (run->newest_n > 0) {
			virtq_unpop(run->vq, run->out[--run->out_n]);
			run->newest_n--;
		}
		break;
	case OP_PUSH:
		push(run, get_u8(&run->in));
		break;
	case OP_COMMIT:
		commit(run);
		break;
	case OP_RESTART:
		restart(run);
		break;
	default:
		scribble(run);
		break;
	}
}

static uint64_t area_open(struct run *run)
{
	struct inflight_shape shape = { .queue_n = 1,
					.queue_size = run->rd.size,
					.packed = run->rd.is_packed };
	uint8_t n = get_u8(&run->in);
	uint8_t i;
	int fd;

	shape.size = inflight_area_bytes(&shape);
	MUST(inflight_area_make(&shape, &fd) == 0);
	MUST(inflight_area_map(&shape, fd, &run->area) == 0);
	run->bytes = mmap(NULL, shape.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(run->bytes != MAP_FAILED);
	close(fd);
	for (i = 0; i < n && i < shape.size; i++) {
		run->bytes[i] = get_u8(&run->in);
	}
	run->confused = run->rd.is_packed && n > 0;
	return shape.size;
}

static void ring_open(struct run *run, uint8_t size, uint8_t features, uint16_t base)
{
	bool packed = (features & FEATURE_PACKED) != 0;
	struct rd_options options = {
		.mem_size = MEM_SIZE,
		.size = (uint16_t)(packed ? 1u + size % SIZE_MAX_N :
					    1u << size % (SIZE_MAX_LOG + 1)),
		.features = (features & FEATURE_EVENT_IDX ? UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX :
							    0) |
			    (packed ? UINT64_C(1) << VIRTIO_F_RING_PACKED : 0),
		.start = base,
	};

	if (packed) {
		options.start = (uint16_t)((base & RD_WRAP) | (base & ~RD_WRAP) % options.size);
	}
	rd_open(&run->rd, &options);
	while ((features & FEATURE_OFFERED) != 0 && run->rd.free_n > 0) {
		const struct rd_buf buf = { rd_region(&run->rd, 0) + MEM_SIZE - 16, 16, true };

		MUST(rd_add(&run->rd, &buf, 1) >= 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct run run = { .in = bytes_reader(data, len) };
	uint8_t size = get_u8(&run.in);
	uint8_t features = get_u8(&run.in);
	uint32_t base = get_u16(&run.in);
	uint16_t used = get_u16(&run.in);
	uint64_t area_bytes;
	unsigned int i;

	ring_open(&run, size, features, (uint16_t)base);
	if (run.rd.is_packed) {
		base = run.rd.next_used | (uint32_t)run.rd.next_used << 16;
	} else {
		*run.rd.used_idx = htole16(used);
	}
	area_bytes = area_open(&run);
	start(&run, base);
	for (i = 0; i < OPS_MAX && bytes_left(&run.in) > 0; i++) {
		operate(&run);
	}
	virtq_free(run.vq);
	munmap(run.bytes, area_bytes);
	inflight_area_unref(run.area);
	rd_close(&run.rd);
	return 0;
}
