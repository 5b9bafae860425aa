/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user-blk back-end whose protocol side is DPDK's librte_vhost: another implementation to test the front-end
 * against, with packed rings and an in-flight area. The rings are served by the model of the tests; the disk is a file.
 *
 *   rte-backend SOCKET FILE STEPS
 *
 * Completions come in random order. STEPS: after so many steps (fetched, executed, published, unmarked) it kills
 * itself; 0: never.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_vhost.h>

#include "model.h"
#include "random.h"
#include "vhost_frontend/blk.h"

#define QUEUES	 4
#define OPEN_MAX 256
#define BATCH	 8

/* Protocol features and messages as rte_vhost names them, beside the ones that it handles itself. */
#define FEATURES                                                                       \
	(VFE_F_VERSION_1 | VFE_F_INDIRECT_DESC | VFE_F_EVENT_IDX | VFE_F_RING_PACKED | \
	 VFE_F_PROTOCOL_FEATURES | VFE_F_BLK_MQ | VFE_F_BLK_FLUSH)
#define PROTOCOL (VFE_PF_MQ | VFE_PF_REPLY_ACK | VFE_PF_CONFIG | VFE_PF_INFLIGHT_SHMFD)

struct open_request {
	struct model_chain chain;
	uint16_t entry; /* of the in-flight area */
};

struct queue {
	struct model_ring model;
	struct open_request open[OPEN_MAX];
	unsigned int open_n;
	int call_fd;
	atomic_bool enabled;
};

static struct queue queues[QUEUES];
static struct rte_vhost_memory *memory;
static uint8_t *disk;
static uint64_t disk_size;
static unsigned int steps_left; /* 0: lives on */
static uint64_t state = 1;
static int device = -1;
static pthread_t worker;
static atomic_bool stopping;

static void *translate(void *arg, uint64_t gpa)
{
	uint64_t len = 1;
	uint64_t p = rte_vhost_va_from_guest_pa(memory, gpa, &len);

	if (p == 0) {
		abort();
	}
	return (void *)(uintptr_t)p;
}

static void step(void)
{
	if (steps_left > 0 && --steps_left == 0) {
		kill(getpid(), SIGKILL);
	}
}

/* ---- queues ---- */

static void mark(unsigned int q, struct open_request *request, uint16_t first, uint16_t last)
{
	if (queues[q].model.packed) {
		rte_vhost_set_inflight_desc_packed(device, (uint16_t)q, first, last,
						   &request->entry);
	} else {
		request->entry = request->chain.id;
		rte_vhost_set_inflight_desc_split(device, (uint16_t)q, request->chain.id);
	}
}

static void fetch(unsigned int q)
{
	struct queue *queue = &queues[q];
	struct open_request *request;
	uint16_t first, last;

	while (queue->open_n < OPEN_MAX) {
		request = &queue->open[queue->open_n];
		first = queue->model.avail_pos;
		if (!model_pop(&queue->model, &request->chain)) {
			break;
		}
		last = (uint16_t)((queue->model.avail_pos + queue->model.view.size - 1) %
				  queue->model.view.size);
		mark(q, request, first, last);
		queue->open_n++;
		step();
	}
}

static uint32_t execute(const struct model_chain *chain)
{
	const struct vfe_blk_frame *header = translate(NULL, chain->segs[0].gpa);
	uint8_t *status = translate(NULL, chain->segs[chain->seg_n - 1].gpa);
	uint64_t at = header->sector * VFE_SECTOR;
	uint32_t written = 1;
	unsigned int i;

	*status = VFE_BLK_OK;
	for (i = 1; i + 1 < chain->seg_n; i++) {
		uint8_t *data = translate(NULL, chain->segs[i].gpa);
		uint32_t len = chain->segs[i].len;

		if (header->type == VFE_BLK_IN) {
			memcpy(data, disk + at, len);
			written += len;
		} else if (header->type == VFE_BLK_OUT) {
			memcpy(disk + at, data, len);
		} else if (header->type == VFE_BLK_GET_ID) {
			memset(data, 'r', len);
			written += len;
		}
		at += len;
	}
	return written;
}

static void complete_one(unsigned int q, const struct open_request *request)
{
	struct model_ring *ring = &queues[q].model;
	uint32_t written = execute(&request->chain);

	step();
	if (ring->packed) {
		rte_vhost_set_last_inflight_io_packed(device, (uint16_t)q, request->entry);
		model_push(ring, &request->chain, written);
		/*
		 * No death here: rte_vhost 22.11 decides whether the publication took place by looking at another
		 * entry than that of the request.
		 */
		rte_vhost_clr_inflight_desc_packed(device, (uint16_t)q, request->entry);
	} else {
		rte_vhost_set_last_inflight_io_split(device, (uint16_t)q, request->entry);
		model_push(ring, &request->chain, written);
		step();
		rte_vhost_clr_inflight_desc_split(device, (uint16_t)q, ring->used_pos,
						  request->entry);
	}
	step();
}

static bool serve(unsigned int q)
{
	struct queue *queue = &queues[q];
	const uint64_t one = 1;
	unsigned int n;

	fetch(q);
	if (queue->open_n == 0) {
		return false;
	}
	for (n = 0; n < BATCH && queue->open_n > 0; n++) {
		unsigned int at = (unsigned int)random_below(&state, queue->open_n);
		struct open_request request = queue->open[at];

		queue->open[at] = queue->open[--queue->open_n];
		complete_one(q, &request);
	}
	/* The order of the pushes against the look at what the driver wishes. */
	atomic_thread_fence(memory_order_seq_cst);
	if (model_call_wanted(&queue->model) && write(queue->call_fd, &one, sizeof(one)) < 0) {
		abort();
	}
	return true;
}

static void *work(void *arg)
{
	unsigned int q;
	bool busy;

	while (!stopping) {
		busy = false;
		for (q = 0; q < QUEUES; q++) {
			if (queues[q].enabled) {
				busy |= serve(q);
			}
		}
		if (!busy) {
			usleep(50);
		}
	}
	return NULL;
}

/* ---- what the predecessor left ---- */

static void take_over_packed(struct queue *queue, const struct rte_vhost_ring_inflight *inflight,
			     uint16_t entry)
{
	const struct rte_vhost_inflight_desc_packed *desc = inflight->inflight_packed->desc;
	struct open_request *request = &queue->open[queue->open_n++];
	const struct vfe_packed_desc *table;
	unsigned int i;
	uint16_t at = entry;

	request->entry = entry;
	request->chain.id = desc[entry].id;
	request->chain.slots = desc[entry].num;
	request->chain.seg_n = 0;
	for (i = 0; i < desc[entry].num; i++, at = desc[at].next) {
		if ((desc[at].flags & VFE_DESC_INDIRECT) == 0) {
			request->chain.segs[request->chain.seg_n++] =
				(struct model_seg){ desc[at].addr, desc[at].len,
						    (desc[at].flags & VFE_DESC_WRITE) != 0 };
			continue;
		}
		table = translate(NULL, desc[at].addr);
		for (unsigned int k = 0; k < desc[at].len / sizeof(*table); k++) {
			request->chain.segs[request->chain.seg_n++] =
				(struct model_seg){ table[k].addr, table[k].len,
						    (table[k].flags & VFE_DESC_WRITE) != 0 };
		}
	}
}

/* Behind the requests that were fetched before. */
static void skip_slots(struct model_ring *ring, unsigned int slots)
{
	unsigned int sum = ring->avail_pos + slots;

	if (sum >= ring->view.size) {
		ring->avail_wrap = !ring->avail_wrap;
	}
	ring->avail_pos = (uint16_t)(sum % ring->view.size);
}

static void take_over(unsigned int q)
{
	struct queue *queue = &queues[q];
	struct rte_vhost_ring_inflight inflight = { 0 };
	unsigned int i;

	if (rte_vhost_get_vhost_ring_inflight(device, (uint16_t)q, &inflight) < 0 ||
	    inflight.resubmit_inflight == NULL) {
		return;
	}
	for (i = 0; i < inflight.resubmit_inflight->resubmit_num; i++) {
		uint16_t index = inflight.resubmit_inflight->resubmit_list[i].index;

		if (queue->model.packed) {
			take_over_packed(queue, &inflight, index);
			skip_slots(&queue->model, queue->open[queue->open_n - 1].chain.slots);
		} else {
			struct open_request *request = &queue->open[queue->open_n++];

			request->entry = index;
			model_read_head(&queue->model, index, &request->chain);
		}
	}
}

static void place(unsigned int q, uint64_t features)
{
	struct queue *queue = &queues[q];
	struct model_ring *ring = &queue->model;
	struct rte_vhost_vring vring;
	uint16_t avail, used;

	if (rte_vhost_get_vhost_vring(device, (uint16_t)q, &vring) < 0) {
		abort();
	}
	ring->packed = (features & VFE_F_RING_PACKED) != 0;
	ring->event_idx = (features & VFE_F_EVENT_IDX) != 0;
	ring->translate = translate;
	ring->view.size = vring.size;
	queue->call_fd = vring.callfd;
	queue->open_n = 0;
	model_init(ring);
	rte_vhost_get_vring_base(device, (uint16_t)q, &avail, &used);
	if (ring->packed) {
		ring->view.packed = (struct vfe_packed_desc *)vring.desc_packed;
		ring->view.driver_event = (struct vfe_packed_event *)vring.driver_event;
		ring->view.device_event = (struct vfe_packed_event *)vring.device_event;
		ring->avail_pos = avail & 0x7fff;
		ring->avail_wrap = avail >> 15 != 0;
		ring->used_pos = used & 0x7fff;
		ring->used_wrap = used >> 15 != 0;
	} else {
		ring->view.desc = (struct vfe_desc *)vring.desc;
		ring->view.avail = (struct vfe_avail *)vring.avail;
		ring->view.used = (struct vfe_used *)vring.used;
		ring->view.used_event = &ring->view.avail->ring[vring.size];
		ring->view.avail_event = (uint16_t *)&ring->view.used->ring[vring.size];
		ring->avail_pos = avail;
		ring->used_pos = ring->signalled = used;
	}
	take_over(q);
	model_disarm(ring); /* it polls */
	queue->enabled = true;
}

/* ---- callbacks ---- */

static enum rte_vhost_msg_result on_message(int vid, void *message)
{
	const struct vfe_wire_header *header = message;
	struct {
		uint64_t capacity;
		uint8_t rest[26];
		uint16_t queues;
	} __attribute__((packed)) config = { .capacity = disk_size / VFE_SECTOR, .queues = QUEUES };

	if (header->request != VFE_GET_CONFIG) {
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	}
	/* rte_vhost's message is that of the wire: request, flags, size, and at once the payload. */
	uint8_t *payload = (uint8_t *)message + sizeof(struct vfe_wire_header);
	uint32_t size;

	memcpy(&size, payload + 4, sizeof(size));
	memset(payload + VFE_WIRE_CONFIG_HEADER, 0, size);
	memcpy(payload + VFE_WIRE_CONFIG_HEADER, &config,
	       size < sizeof(config) ? size : sizeof(config));
	return RTE_VHOST_MSG_RESULT_REPLY;
}

static const struct rte_vhost_user_extern_ops extern_ops = { .pre_msg_handle = on_message };

static int on_connection(int vid)
{
	return rte_vhost_extern_callback_register(vid, &extern_ops, NULL);
}

static int on_device(int vid)
{
	uint64_t features;
	unsigned int q;

	device = vid;
	if (rte_vhost_get_negotiated_features(vid, &features) < 0 ||
	    rte_vhost_get_mem_table(vid, &memory) < 0) {
		return -1;
	}
	stopping = false;
	for (q = 0; q < rte_vhost_get_vring_num(vid) && q < QUEUES; q++) {
		place(q, features);
	}
	return pthread_create(&worker, NULL, work, NULL);
}

static void on_gone(int vid)
{
	unsigned int q;

	stopping = true;
	pthread_join(worker, NULL);
	for (q = 0; q < QUEUES; q++) {
		queues[q].enabled = false;
	}
	free(memory);
	memory = NULL;
}

static int on_ring(int vid, uint16_t q, int enable)
{
	uint64_t features;

	if (vid == device && memory != NULL && q < QUEUES && enable && !queues[q].enabled &&
	    rte_vhost_get_negotiated_features(vid, &features) == 0) {
		place(q, features);
	}
	return 0;
}

static const struct rte_vhost_device_ops ops = {
	.new_connection = on_connection,
	.new_device = on_device,
	.destroy_device = on_gone,
	.vring_state_changed = on_ring,
};

int main(int argc, char **argv)
{
	char *eal[] = { argv[0],      (char *)"--no-huge", (char *)"-m",
			(char *)"64", (char *)"--no-pci",  (char *)"--no-telemetry",
			(char *)"-l", (char *)"0",	   (char *)"--no-shconf" };
	struct stat st;
	sigset_t set;
	int fd, number;

	/* All threads inherit it. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (argc != 4 || rte_eal_init(sizeof(eal) / sizeof(eal[0]), eal) < 0) {
		return 2;
	}
	fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		return 2;
	}
	disk_size = (uint64_t)st.st_size;
	disk = mmap(NULL, disk_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	steps_left = (unsigned int)atoi(argv[3]);
	unlink(argv[1]); /* of one that was killed */
	if (disk == MAP_FAILED || rte_vhost_driver_register(argv[1], 0) < 0 ||
	    rte_vhost_driver_set_features(argv[1], FEATURES) < 0 ||
	    rte_vhost_driver_set_protocol_features(argv[1], PROTOCOL) < 0 ||
	    rte_vhost_driver_callback_register(argv[1], &ops) < 0 ||
	    rte_vhost_driver_start(argv[1]) < 0) {
		return 2;
	}
	sigwait(&set, &number);
	rte_vhost_driver_unregister(argv[1]);
	unlink(argv[1]);
	return 0;
}
