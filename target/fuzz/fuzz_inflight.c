/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F7: an in-flight area as it comes, under a ring as it comes, when a queue starts, and while it runs. The
 * input is
 *
 *	u8 size | u8 features | u16 base | u16 used index | u8 length of the area | u8[] the area
 *	| then operations: u8, some with a u8 behind (enum op)
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
#include "virtio/split_inflight.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SIZE_MAX_LOG 6
#define SIZE_MAX_N   (1 << SIZE_MAX_LOG)
#define MEM_SIZE     (64u << 10)
#define OPS_MAX	     300

enum op {
	OP_OFFER,
	OP_OFFER_HEAD, /* whatever it is */
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

static void start(struct run *run, uint16_t base)
{
	struct virtq_config config = rd_config(&run->rd, sizeof(struct virtq_req));

	config.base = base;
	config.inflight = run->area;
	MUST(virtq_new(&config, &run->vq) == 0);
	run->out_n = run->newest_n = 0;
}

static void check_popped(const struct run *run, const struct virtq_req *req)
{
	unsigned int i;

	MUST(req->head < run->rd.size);
	for (i = 0; i < run->out_n; i++) {
		MUST(run->out[i]->head != req->head);
	}
	if (run->honest) {
		MUST(region(run)->desc[req->head].inflight != 0);
	}
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
		n += region(run)->desc[i].inflight != 0;
	}
	return n;
}

static void commit(struct run *run)
{
	unsigned int before = marked(run);
	unsigned int n = virtq_commit(run->vq);

	if (run->honest) {
		MUST(marked(run) == before - n);
		MUST(n == 0 || region(run)->used_idx == le16toh(*run->rd.used_idx));
	}
}

static void restart(struct run *run)
{
	uint16_t base = virtq_base(run->vq);
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
	run->honest = !virtq_is_broken(run->vq);
}

static void offer(struct run *run)
{
	const struct rd_buf buf = { rd_region(&run->rd, 0) + MEM_SIZE - 16, 16, true };

	rd_add(&run->rd, &buf, 1);
}

static void operate(struct run *run)
{
	switch (get_u8(&run->in) % OP_N) {
	case OP_OFFER:
		offer(run);
		break;
	case OP_OFFER_HEAD:
		rd_offer(&run->rd, get_u8(&run->in));
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
	default: {
		size_t n = sizeof(*region(run)) + run->rd.size * sizeof(struct inflight_split_desc);
		uint16_t at = get_u16(&run->in);

		run->bytes[at % n] = get_u8(&run->in);
		run->honest = false;
		break;
	}
	}
}

static void area_open(struct run *run)
{
	struct inflight_shape shape = { .queue_n = 1, .queue_size = run->rd.size };
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct run run = { .in = bytes_reader(data, len) };
	struct rd_options options = { .mem_size = MEM_SIZE };
	uint16_t base;
	uint16_t used;
	unsigned int i;

	options.size = (uint16_t)(1u << get_u8(&run.in) % (SIZE_MAX_LOG + 1));
	options.features = (uint64_t)(get_u8(&run.in) & 1) << VIRTIO_RING_F_EVENT_IDX;
	base = get_u16(&run.in);
	used = get_u16(&run.in);
	options.start = base;
	rd_open(&run.rd, &options);
	*run.rd.used_idx = htole16(used);
	area_open(&run);
	start(&run, base);
	for (i = 0; i < OPS_MAX && bytes_left(&run.in) > 0; i++) {
		operate(&run);
	}
	virtq_free(run.vq);
	munmap(run.bytes, inflight_area_bytes(&(struct inflight_shape){
				  .queue_n = 1, .queue_size = run.rd.size }));
	inflight_area_unref(run.area);
	rd_close(&run.rd);
	return 0;
}
