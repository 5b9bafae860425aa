/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes, reads and zeroes random blocks of a disk with many requests in flight, and knows at any time what each block
 * must hold. Prints one line of JSON about the disk; exits with 0 if all was well. The disk's contents are lost.
 *
 *   verify [-s] [-p] [-i] [-e] [-E] [-q QUEUES] [-d DEPTH] [-n REQUESTS] [-r REGIONS] [-B BLOCKS] SOCKET
 *     -s scsi   -p packed ring   -i indirect   -e sleep for calls   -E without EVENT_IDX
 *     -R reconnects when the back-end dies (with -e), and goes on until its standard input ends
 *     -B so few blocks of the disk: each is written again and again
 *     -b only breaks the ring, and sees that this is noticed
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "random.h"
#include "vhost_frontend/blk.h"
#include "vhost_frontend/frontend_raw.h"
#include "vhost_frontend/scsi.h"

#define BLOCK	     4096u
#define BLOCKS_MAX   4096u /* of the disk that are used */
#define PIECES	     4	   /* segments of a request's data */
#define RUN_MAX	     4u	   /* blocks of a request */
#define DEPTH_MAX    64u
#define QUEUES_MAX   8u
#define TIMEOUT_MS   10000
#define LOOK_SPINS   65536
#define ANY_CONTENTS UINT32_MAX

enum op {
	OP_READ,
	OP_WRITE,
	OP_ZERO,
	OP_FLUSH,
};

struct slot {
	struct vfe_blk_frame *blk;
	struct vfe_scsi_frame *scsi;
	uint64_t *data;
	enum op op;
	uint32_t first;
	uint32_t n;
	uint32_t version;
	bool open;
};

static struct {
	bool scsi, packed, indirect, event, no_event_idx, break_ring, reconnect;
	unsigned int queues, depth, requests, regions, blocks;
} options = { .queues = 1, .depth = 16, .requests = 20000, .regions = 1, .blocks = BLOCKS_MAX };

static struct vfe_memory *memory;
static struct vfe_session *session;
static struct vfe_queue *queues[QUEUES_MAX];
static struct vfe_queue *side[2];
static struct slot slots[QUEUES_MAX][DEPTH_MAX];
static uint32_t versions[BLOCKS_MAX]; /* what each block holds; 0: zeroes */
static bool busy[BLOCKS_MAX];
static uint32_t blocks;
static bool can_zero, can_flush;
static uint64_t state = 1;
static uint32_t next_version = 1;

/* What a death of the back-end did to the requests. */
static struct {
	unsigned int reconnects;
	unsigned int interrupted; /* of them, with requests that were open */
	uint64_t open;		  /* requests, of all of these */
	uint64_t sent, completed;
	uint64_t slowest_ns; /* from the connection to the first completion */
	bool waiting;	     /* for that */
} history;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", session != NULL ? vfe_why(session) : "");
	exit(1);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		die("%s: %s", what, strerror(-r));
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- requests ---- */

static uint64_t word(uint32_t block, uint32_t version, unsigned int i)
{
	return version == 0 ? 0 : (uint64_t)version << 32 | block << 9 | i;
}

static void fill(struct slot *slot)
{
	unsigned int i;
	uint32_t b;

	for (b = 0; b < slot->n; b++) {
		for (i = 0; i < BLOCK / 8; i++) {
			slot->data[b * BLOCK / 8 + i] =
				slot->op == OP_WRITE ? word(slot->first + b, slot->version, i) :
				slot->op == OP_ZERO  ? 0 :
						       0x5555555555555555u;
		}
	}
}

static void check(const struct slot *slot)
{
	unsigned int i;
	uint32_t b;

	for (b = 0; b < slot->n; b++) {
		uint32_t version = versions[slot->first + b];

		for (i = 0; i < BLOCK / 8 && version != ANY_CONTENTS; i++) {
			uint64_t expected = word(slot->first + b, version, i);

			if (slot->data[b * BLOCK / 8 + i] != expected) {
				die("block %u, word %u: %016llx, not %016llx", slot->first + b, i,
				    (unsigned long long)slot->data[b * BLOCK / 8 + i],
				    (unsigned long long)expected);
			}
		}
	}
}

/* The data in pieces of odd lengths: the device must not care. */
static unsigned int cut(const struct slot *slot, struct vfe_seg *segs)
{
	uint64_t gpa = vfe_memory_gpa(memory, slot->data);
	uint32_t left = slot->n * BLOCK;
	unsigned int pieces = 1 + (unsigned int)random_below(&state, PIECES);
	unsigned int i;

	for (i = 0; i < pieces; i++) {
		uint32_t len = i + 1 == pieces ? left :
						 512 * (1 + (uint32_t)random_below(&state, 2));

		segs[i] = (struct vfe_seg){ gpa, len };
		gpa += len;
		left -= len;
	}
	return pieces;
}

static int add_scsi(struct vfe_queue *queue, struct slot *slot, const struct vfe_seg *segs,
		    unsigned int n)
{
	const struct vfe_seg zero_block = { segs[0].gpa, 512 };
	uint64_t lba = (uint64_t)slot->first * (BLOCK / 512);
	uint32_t count = slot->n * (BLOCK / 512);
	uint8_t cdb[VFE_CDB_MAX];
	size_t len;

	switch (slot->op) {
	case OP_ZERO:
		len = vfe_cdb_write_same16(cdb, lba, count, false);
		return vfe_scsi_add(queue, slot->scsi, (struct vfe_scsi_address){ 0, 0 }, cdb, len,
				    false, &zero_block, 1, slot);
	case OP_READ:
		len = slot->version % 2 == 0 ? vfe_cdb_read16(cdb, lba, count) :
					       vfe_cdb_read10(cdb, (uint32_t)lba, (uint16_t)count);
		break;
	default:
		len = slot->version % 2 == 0 ? vfe_cdb_write16(cdb, lba, count) :
					       vfe_cdb_write10(cdb, (uint32_t)lba, (uint16_t)count);
		break;
	}
	return vfe_scsi_add(queue, slot->scsi, (struct vfe_scsi_address){ 0, 0 }, cdb, len,
			    slot->op == OP_READ, segs, n, slot);
}

static int add_flush(struct vfe_queue *queue, struct slot *slot)
{
	uint8_t cdb[VFE_CDB_MAX];
	size_t len = vfe_cdb_sync_cache10(cdb, 0, 0);

	return options.scsi ? vfe_scsi_add(queue, slot->scsi, (struct vfe_scsi_address){ 0, 0 },
					   cdb, len, false, NULL, 0, slot) :
			      vfe_blk_add(queue, slot->blk, VFE_BLK_FLUSH, 0, NULL, 0, slot);
}

static int add(struct vfe_queue *queue, struct slot *slot)
{
	struct vfe_seg segs[PIECES];
	uint64_t sector = (uint64_t)slot->first * (BLOCK / VFE_SECTOR);
	unsigned int n;

	if (slot->op == OP_FLUSH) {
		return add_flush(queue, slot);
	}
	fill(slot);
	n = cut(slot, segs);
	if (options.scsi) {
		return add_scsi(queue, slot, segs, n);
	}
	if (slot->op == OP_ZERO) {
		return vfe_blk_add_range(queue, slot->blk, VFE_BLK_WRITE_ZEROES, sector,
					 slot->n * (BLOCK / VFE_SECTOR), slot->version % 2 == 0,
					 slot);
	}
	return vfe_blk_add(queue, slot->blk, slot->op == OP_READ ? VFE_BLK_IN : VFE_BLK_OUT, sector,
			   segs, n, slot);
}

static void complete(struct slot *slot, uint32_t written)
{
	int r = options.scsi ? vfe_scsi_result(slot->scsi) : vfe_blk_result(slot->blk);
	uint32_t b;

	must(r, "request");
	if (!slot->open) {
		die("a request came back twice");
	}
	history.completed++;
	if (history.waiting) {
		uint64_t ns = now_ns() - vfe_raw_connected_ns(session);

		history.waiting = false;
		history.slowest_ns = ns > history.slowest_ns ? ns : history.slowest_ns;
	}
	if (!options.scsi && written != (slot->op == OP_READ ? slot->n * BLOCK : 0) + 1) {
		die("the device says it wrote %u bytes of op %d", written, slot->op);
	}
	if (slot->op == OP_READ) {
		check(slot);
	}
	for (b = 0; b < slot->n; b++) {
		busy[slot->first + b] = false;
		if (slot->op != OP_READ) {
			versions[slot->first + b] = slot->op == OP_WRITE ? slot->version : 0;
		}
	}
	slot->open = false;
}

/* ---- the run ---- */

/* Chooses blocks that no other request touches; false: none was found. */
static bool choose(struct slot *slot)
{
	uint32_t b;

	slot->version = next_version++;
	if (can_flush && random_below(&state, 16) == 0) {
		slot->op = OP_FLUSH;
		slot->n = 0;
		return true;
	}
	slot->n = 1 + (uint32_t)random_below(&state, RUN_MAX);
	slot->first = (uint32_t)random_below(&state, blocks - slot->n + 1);
	for (b = 0; b < slot->n; b++) {
		if (busy[slot->first + b]) {
			return false;
		}
	}
	switch (random_below(&state, can_zero ? 9 : 8)) {
	case 0 ... 3:
		slot->op = OP_WRITE;
		break;
	case 4 ... 7:
		slot->op = OP_READ;
		break;
	default:
		slot->op = OP_ZERO;
		break;
	}
	return true;
}

static void send_some(unsigned int q, unsigned int *left)
{
	unsigned int i;
	uint32_t b;
	int r;

	for (i = 0; i<options.depth && * left> 0; i++) {
		struct slot *slot = &slots[q][i];

		if (slot->open || !choose(slot)) {
			continue;
		}
		r = add(queues[q], slot);
		if (r == -ENOSPC) {
			break;
		}
		must(r, "add");
		for (b = 0; b < slot->n; b++) {
			busy[slot->first + b] = true;
		}
		slot->open = true;
		history.sent++;
		(*left)--;
	}
	vfe_queue_publish(queues[q]);
}

static unsigned int take(void)
{
	struct vfe_done done[16];
	unsigned int sum = 0;
	unsigned int q;
	int n, i;

	for (q = 0; q < options.queues; q++) {
		n = vfe_queue_reap(queues[q], done, 16);
		must(n, "reap");
		for (i = 0; i < n; i++) {
			complete(done[i].cookie, done[i].written);
		}
		sum += (unsigned int)n;
	}
	return sum;
}

static unsigned int inflight(void)
{
	unsigned int sum = 0;
	unsigned int q;

	for (q = 0; q < options.queues; q++) {
		sum += vfe_queue_inflight(queues[q]);
	}
	return sum;
}

/* A successor may die before all queues run. */
static void reconnect(void)
{
	int r;

	history.interrupted += inflight() > 0;
	history.open += inflight();
	do {
		r = vfe_reconnect(session);
		history.reconnects++;
	} while (r == -ECONNRESET || r == -EPIPE);
	must(r, "reconnect");
	history.waiting = true;
}

static void sleep_for_some(void)
{
	int r = vfe_queues_wait(queues, options.queues, TIMEOUT_MS);

	if (r == -ECONNRESET && options.reconnect) {
		reconnect();
	} else {
		must(r, "wait");
	}
}

static void wait_for_some(void)
{
	time_t begin = time(NULL);
	unsigned int spins = 0;
	unsigned int q;

	while (inflight() > 0 && take() == 0) {
		if (options.event) {
			sleep_for_some();
			continue;
		}
		if (++spins % LOOK_SPINS != 0) {
			continue;
		}
		for (q = 0; q < options.queues; q++) {
			if (vfe_queue_failed(queues[q])) {
				die("the device has given queue %u up", q);
			}
		}
		if (!vfe_alive(session) || time(NULL) - begin > TIMEOUT_MS / 1000) {
			die("nothing comes back");
		}
	}
}

/* Whoever kills the back-end says when it is enough. */
static bool goes_on(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	return options.reconnect && poll(&input, 1, 0) == 0;
}

static void run(void)
{
	unsigned int left = options.requests;
	unsigned int q;

	while (left > 0 || inflight() > 0) {
		if (left < options.requests && goes_on()) {
			left = options.requests;
		}
		for (q = 0; q < options.queues; q++) {
			send_some(q, &left);
		}
		wait_for_some();
	}
}

/* All of it, by one queue: in the end as at the beginning of the run. */
static void read_all(void)
{
	struct slot *slot = &slots[0][0];
	uint32_t at;

	for (at = 0; at < blocks; at++) {
		slot->op = OP_READ;
		slot->first = at;
		slot->n = 1;
		must(add(queues[0], slot), "add");
		slot->open = true;
		history.sent++;
		vfe_queue_publish(queues[0]);
		wait_for_some();
	}
}

/* ---- set-up ---- */

/* The one request of queue 0, whoever completes it. */
static void finish(const char *what)
{
	struct vfe_done done;
	int r;

	while ((r = vfe_queue_finish(queues[0], TIMEOUT_MS, &done)) == -ECONNRESET &&
	       options.reconnect) {
		reconnect();
	}
	must(r, what);
}

static void read_id(char *ret_id)
{
	char *id = vfe_memory_alloc(memory, VFE_BLK_ID_LEN, 8);
	const struct vfe_seg data = { vfe_memory_gpa(memory, id), VFE_BLK_ID_LEN };

	must(vfe_blk_add(queues[0], slots[0][0].blk, VFE_BLK_GET_ID, 0, &data, 1, NULL), "get id");
	finish("get id");
	must(vfe_blk_result(slots[0][0].blk), "get id");
	can_flush = (vfe_features(session) & VFE_F_BLK_FLUSH) != 0;
	memcpy(ret_id, id, VFE_BLK_ID_LEN);
	ret_id[VFE_BLK_ID_LEN] = '\0';
}

static void flush(void)
{
	uint8_t cdb[VFE_CDB_MAX];
	struct slot *slot = &slots[0][0];

	if (options.scsi) {
		size_t len = vfe_cdb_sync_cache10(cdb, 0, 0);

		must(vfe_scsi_add(queues[0], slot->scsi, (struct vfe_scsi_address){ 0, 0 }, cdb,
				  len, false, NULL, 0, NULL),
		     "flush");
	} else if ((vfe_features(session) & VFE_F_BLK_FLUSH) == 0) {
		return;
	} else {
		must(vfe_blk_add(queues[0], slot->blk, VFE_BLK_FLUSH, 0, NULL, 0, NULL), "flush");
	}
	finish("flush");
	must(options.scsi ? vfe_scsi_result(slot->scsi) : vfe_blk_result(slot->blk), "flush");
}

static void make_slots(void)
{
	unsigned int q, i;

	for (q = 0; q < options.queues; q++) {
		for (i = 0; i < options.depth; i++) {
			struct slot *slot = &slots[q][i];

			slot->blk = vfe_blk_frames(memory, 1);
			slot->scsi = vfe_scsi_frames(memory, 1);
			slot->data = vfe_memory_alloc(memory, RUN_MAX * BLOCK, 512);
			if (slot->blk == NULL || slot->scsi == NULL || slot->data == NULL) {
				die("no memory for requests");
			}
		}
	}
}

static void make_queues(void)
{
	const struct vfe_queue_options request = { .size = 128,
						   .segments = PIECES + 2,
						   .indirect = options.indirect };
	const struct vfe_queue_options small = { .size = 8, .segments = 2 };
	unsigned int base = options.scsi ? VFE_SCSI_REQUESTS : 0;
	unsigned int i;

	for (i = 0; i < base; i++) {
		must(vfe_queue_new(session, i, &small, &side[i]), "queue");
	}
	for (i = 0; i < options.queues; i++) {
		must(vfe_queue_new(session, base + i, &request, &queues[i]), "queue");
	}
	for (i = 0; i < base; i++) {
		must(vfe_queue_start(side[i]), "start");
	}
	for (i = 0; i < options.queues; i++) {
		must(vfe_queue_start(queues[i]), "start");
	}
}

/* How much of its configuration space the back-end shows to who asks for all that a message can hold. */
static size_t config_bytes(void)
{
	uint8_t bytes[VFE_CONFIG_MAX];
	size_t got;

	must(vfe_config_read(session, bytes, sizeof(bytes), &got), "configuration");
	return got;
}

static void learn_size(char *ret_id)
{
	struct vfe_blk_info info;
	uint64_t n = 0;
	uint32_t size = 512;

	if (options.scsi) {
		must(vfe_scsi_capacity(queues[0], slots[0][0].scsi,
				       (struct vfe_scsi_address){ 0, 0 }, TIMEOUT_MS, &n, &size),
		     "capacity");
		can_zero = true;
		can_flush = true;
	} else {
		must(vfe_blk_info(session, &info), "info");
		n = info.capacity / 512;
		can_zero = info.max_zeroes_sectors >= RUN_MAX * BLOCK / VFE_SECTOR;
		read_id(ret_id);
	}
	blocks = n * size / BLOCK < options.blocks ? (uint32_t)(n * size / BLOCK) : options.blocks;
	if (size != 512 || blocks < RUN_MAX * 4) {
		die("a disk of %llu blocks of %u bytes", (unsigned long long)n, size);
	}
	memset(versions, 0xff, sizeof(versions)); /* ANY_CONTENTS */
	printf("{\"id\": \"%s\", \"config_bytes\": %zu, \"blocks\": %llu, \"zeroes\": %s, "
	       "\"features\": %llu, \"protocol_features\": %llu,\n",
	       ret_id, config_bytes(), (unsigned long long)n, can_zero ? "true" : "false",
	       (unsigned long long)vfe_features(session),
	       (unsigned long long)vfe_protocol_features(session));
	fflush(stdout); /* it runs */
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "spieEbRq:d:n:r:B:")) != -1) {
		switch (c) {
		case 's':
			options.scsi = true;
			break;
		case 'p':
			options.packed = true;
			break;
		case 'i':
			options.indirect = true;
			break;
		case 'e':
			options.event = true;
			break;
		case 'E':
			options.no_event_idx = true;
			break;
		case 'R':
			options.reconnect = true;
			break;
		case 'b':
			options.break_ring = true;
			break;
		case 'q':
			options.queues = (unsigned int)atoi(optarg);
			break;
		case 'd':
			options.depth = (unsigned int)atoi(optarg);
			break;
		case 'n':
			options.requests = (unsigned int)atoi(optarg);
			break;
		case 'B':
			options.blocks = (unsigned int)atoi(optarg);
			break;
		case 'r':
			options.regions = (unsigned int)atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (optind + 1 != argc || options.queues > QUEUES_MAX || options.depth > DEPTH_MAX ||
	    options.blocks > BLOCKS_MAX) {
		exit(2);
	}
}

/* A descriptor that points nowhere. */
static void break_ring(void)
{
	const struct vfe_seg nowhere[2] = { { 1, 16 }, { 2, 1 } };
	struct vfe_done done;
	int r;

	must(vfe_queue_add(queues[0], nowhere, 1, 1, NULL), "add");
	r = vfe_queue_finish(queues[0], TIMEOUT_MS, &done);
	if (r != -EREMOTEIO || !vfe_queue_failed(queues[0]) || !vfe_alive(session)) {
		die("the broken ring: %s", strerror(-r));
	}
	puts("{}");
	exit(0);
}

static void count(void)
{
	uint64_t sums[3] = { 0 };
	unsigned int q;

	for (q = 0; q < options.queues; q++) {
		const struct vfe_queue_stats *stats = vfe_queue_stats(queues[q]);

		sums[0] += stats->requests;
		sums[1] += stats->kicks;
		sums[2] += stats->calls;
	}
	if (history.sent != history.completed) {
		die("%llu requests were sent, %llu came back", (unsigned long long)history.sent,
		    (unsigned long long)history.completed);
	}
	printf("\"requests\": %llu, \"kicks\": %llu, \"calls\": %llu, \"reconnects\": %u, "
	       "\"interrupted\": %u, \"open\": %llu, \"slowest_ms\": %.1f}\n",
	       (unsigned long long)sums[0], (unsigned long long)sums[1],
	       (unsigned long long)sums[2], history.reconnects, history.interrupted,
	       (unsigned long long)history.open, (double)history.slowest_ns / 1e6);
}

int main(int argc, char **argv)
{
	struct vfe_memory_options shared = { .size = 32u << 20 };
	struct vfe_wish wish = { .device = VFE_BLK };
	char id[VFE_BLK_ID_LEN + 1] = "";
	unsigned int i;

	parse(argc, argv);
	shared.regions = options.regions;
	shared.gap = options.regions > 1 ? 1u << 20 : 0;
	wish.device = options.scsi ? VFE_SCSI : VFE_BLK;
	wish.packed = options.packed;
	wish.without = options.no_event_idx ? VFE_F_EVENT_IDX : 0;
	must(vfe_memory_new(&shared, &memory), "memory");
	must(vfe_connect(argv[optind], TIMEOUT_MS, &session), argv[optind]);
	must(vfe_negotiate(session, &wish), "negotiate");
	must(vfe_share(session, memory), "share");
	make_slots();
	make_queues();
	if (options.break_ring) {
		break_ring();
	}
	learn_size(id);
	run();
	flush();
	read_all();
	count();
	for (i = 0; i < options.queues; i++) {
		must(vfe_queue_stop(queues[i]), "stop");
		vfe_queue_free(queues[i]);
	}
	for (i = 0; i < 2; i++) {
		vfe_queue_free(side[i]);
	}
	vfe_close(session);
	vfe_memory_free(memory);
	return 0;
}
