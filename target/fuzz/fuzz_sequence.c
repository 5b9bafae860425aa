/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F6: messages, ring steps and time, interleaved. Two guests, one in front of a block device and
 * one in front of a SCSI device, live in one target: the real sessions, controllers, reactors,
 * virtqueues and devices, on disks that complete when they are told to. The input is
 *
 *	u8 disks | u8 rules | then a program: one u8 operation after the other with its arguments
 *	(the low 5 bits say what, bit 7 to which guest; see run_operation())
 *
 * Whatever it is: the target answers what it was asked and nothing else, each request once, with the
 * data that the disk must hold; it publishes nothing for a front-end that has left, writes to no memory
 * that it has given back, throws out nobody who kept the rules, comes to an end, and gives back every
 * descriptor and byte. A guest that breaks the rules changes nothing of that for the other.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/notify.h"
#include "controller/core.h"
#include "device/blk_proto.h"
#include "device/scsi/proto.h"
#include "leaks.h"
#include "must.h"
#include "sequence/guest.h"
#include "sequence/stepped.h"
#include "sequence/trace.h"
#include "virtio/guest_mem.h"

#include <sys/eventfd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

void __wrap_core_start_queue(struct core *core, struct core_queue *queue);
void __real_core_start_queue(struct core *core, struct core_queue *queue);
void __wrap_core_stop_queue(struct core_queue *queue, bool abandon);
void __real_core_stop_queue(struct core_queue *queue, bool abandon);

#define GUESTS	  2
#define BLK	  0
#define SCSI	  1
#define OPS_MAX	  400
#define CALM_MAX  4000
#define CALM_IDLE 12 /* in which 240 ms pass: more than any timer waits */
#define MS	  UINT64_C(1000000)

/* u8 disks */
#define DISKS_BLK_4096	 0x01
#define DISKS_BLK_CACHE	 0x02
#define DISKS_BLK_RO	 0x04
#define DISKS_SHORT_ZAPS 0x08
#define DISKS_SCSI_4096	 0x10
#define DISKS_SCSI_CACHE 0x20
#define DISKS_SCSI_THICK 0x40
#define DISKS_ONE_CORE	 0x80
/* u8 rules */
#define RULES_HOSTILE_BLK  0x01
#define RULES_HOSTILE_SCSI 0x02
#define RULES_NO_MEMORY	   0x04
#define RULES_PART_FIRST   0x08
#define RULES_NO_CALM	   0x10

struct world {
	struct bytes_reader in;
	uint8_t disks;
	uint8_t rules;
	struct loop *loop;
	struct target *target;
	struct disk disk[GUESTS];
	struct guest guest[GUESTS];
	bool slow_closing; /* of descriptors on threads of their own */
	bool shutting_down;
	bool is_shut_down;
};

static struct world world;
bool sequence_trace;

/* ---- what the guests are told by the linker ---- */

static struct guest *guest_of(const struct core_queue *queue)
{
	bool is_scsi = strcmp(queue->device->ops->type, "scsi") == 0;

	return &world.guest[is_scsi ? SCSI : BLK];
}

void __wrap_core_start_queue(struct core *core, struct core_queue *queue)
{
	guest_ring_starts(guest_of(queue));
	__real_core_start_queue(core, queue);
}

void __wrap_core_stop_queue(struct core_queue *queue, bool abandon)
{
	if (abandon) {
		guest_ring_abandoned(guest_of(queue), queue->index);
	}
	__real_core_stop_queue(queue, abandon);
}

/* ---- it is set up ---- */

/* A listening socket at an address that the kernel chooses. */
static int listen_somewhere(struct guest *g)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	g->addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	g->addr_len = sizeof(g->addr.sun_family);
	MUST(fd >= 0 && bind(fd, (const struct sockaddr *)&g->addr, g->addr_len) == 0);
	g->addr_len = sizeof(g->addr);
	MUST(getsockname(fd, (struct sockaddr *)&g->addr, &g->addr_len) == 0);
	MUST(listen(fd, 4) == 0);
	return fd;
}

static void attach_disk(struct world *w)
{
	const char *why;

	while (controller_add_scsi_target(w->target, "scsi", 0, "disk-scsi", &why) < 0) {
		MUST(stepped_allocation_failed());
	}
}

static int try_create(struct world *w, unsigned int which)
{
	const struct controller_options opts = {
		.name = w->guest[which].controller,
		.cpumask = (w->disks & DISKS_ONE_CORE) != 0 ? "0x1" : NULL,
		.listen_fd = listen_somewhere(&w->guest[which]),
	};
	const struct controller_blk_options blk = { .bdev = "disk-blk", .queues = 2 };
	const struct scsi_options scsi = { .request_queues = 2 };
	const char *why;

	if (which == BLK) {
		return controller_create_blk(w->target, &opts, &blk, &why);
	}
	return controller_create_scsi(w->target, &opts, &scsi, &why);
}

static void create_controller(struct world *w, unsigned int which)
{
	while (try_create(w, which) < 0) {
		MUST(stepped_allocation_failed());
	}
	if (which == SCSI) {
		attach_disk(w);
	}
	w->guest[which].has_disk = true;
}

static uint64_t blk_features(uint8_t disks)
{
	uint64_t bits = 1ull << BLK_F_SEG_MAX | 1ull << BLK_F_BLK_SIZE | 1ull << BLK_F_TOPOLOGY |
			1ull << BLK_F_MQ;

	if ((disks & DISKS_BLK_CACHE) != 0) {
		bits |= 1ull << BLK_F_FLUSH | 1ull << BLK_F_CONFIG_WCE;
	}
	if ((disks & DISKS_BLK_RO) != 0) {
		return bits | 1ull << BLK_F_RO;
	}
	return bits | 1ull << BLK_F_DISCARD | 1ull << BLK_F_WRITE_ZEROES;
}

static void open_disks(struct world *w)
{
	const struct disk_options blk = {
		.name = "disk-blk",
		.block_size = (w->disks & DISKS_BLK_4096) != 0 ? 4096 : 512,
		.write_cache = (w->disks & DISKS_BLK_CACHE) != 0,
		.read_only = (w->disks & DISKS_BLK_RO) != 0,
		.max_discard = DISK_SIZE,
	};
	const struct disk_options scsi = {
		.name = "disk-scsi",
		.block_size = (w->disks & DISKS_SCSI_4096) != 0 ? 4096 : 512,
		.write_cache = (w->disks & DISKS_SCSI_CACHE) != 0,
		.no_discard = (w->disks & DISKS_SCSI_THICK) != 0,
		.no_write_zeroes = (w->disks & DISKS_SCSI_THICK) != 0,
		.max_discard = (w->disks & DISKS_SHORT_ZAPS) != 0 ? 4096 : DISK_SIZE,
	};

	disk_open(&w->disk[BLK], &blk);
	disk_open(&w->disk[SCSI], &scsi);
}

static void open_guest(struct world *w, unsigned int which)
{
	struct guest *g = &w->guest[which];

	g->driver = which == BLK ? &blk_driver : &scsi_driver;
	g->controller = which == BLK ? "blk" : "scsi";
	g->target = w->target;
	g->disk = &w->disk[which];
	g->offered = which == BLK ? blk_features(w->disks) : 6; /* HOTPLUG, CHANGE */
	g->careful = (w->rules & RULES_NO_MEMORY) != 0;
	guest_init(g);
	create_controller(w, which);
}

static void open_world(struct world *w)
{
	struct target_options opts = { .socket_dir = "" };
	const char *why;
	unsigned int i;

	stepped_start();
	MUST(loop_new(&w->loop) == 0);
	opts.loop = w->loop;
	for (i = 0; i < STEPPED_CORES; i++) {
		env_cpuset_add(&opts.cores, i);
	}
	MUST(target_new(&opts, &w->target) == 0);
	open_disks(w);
	for (i = 0; i < GUESTS; i++) {
		open_guest(w, i);
	}
	MUST(target_listen(w->target, &why) == 0);
}

/* ---- it runs ---- */

static void look(struct world *w)
{
	unsigned int i;

	if (stepped_allocation_failed()) {
		w->guest[BLK].unsure = w->guest[SCSI].unsure = true;
	}
	for (i = 0; i < GUESTS; i++) {
		guest_look(&w->guest[i]);
	}
}

static void run_loop(struct world *w, unsigned int n)
{
	unsigned int i;

	while (n-- > 0) {
		MUST(loop_run_once(w->loop, 0) == 0);
		look(w);
		for (i = 0; i < GUESTS; i++) {
			guest_listen(&w->guest[i], w->shutting_down);
		}
	}
}

static bool run_cores(struct world *w, bool then_sleep)
{
	bool work = false;
	unsigned int core;

	if (!w->slow_closing) {
		stepped_close_apart();
	}
	for (core = 0; core < STEPPED_CORES; core++) {
		if (stepped_round(core)) {
			work = true;
		} else if (then_sleep) {
			stepped_sleep(core);
		}
	}
	look(w);
	return work;
}

static void shut_down_done(void *arg)
{
	struct world *w = arg;

	MUST(!w->is_shut_down);
	w->is_shut_down = true;
}

static void shut_down(struct world *w)
{
	w->shutting_down = true;
	target_shutdown(w->target, shut_down_done, w);
	look(w);
}

/* ---- it comes to rest ---- */

/* Changes as long as somebody gets on. */
static uint64_t state_of(const struct guest *g)
{
	uint64_t state = g->peer.sent_n;
	unsigned int i;

	for (i = 0; i < g->driver->rings; i++) {
		state += g->rings[i].outstanding;
	}
	return state << 3 | g->parted << 2 | g->accepted << 1 | guest_connected(g);
}

static void drive(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < g->driver->rings; i++) {
		if (guest_connected(g) && !g->hostile && !g->parted) {
			ring_kick(&g->rings[i], false);
			guest_reap(g, &g->rings[i]);
		}
	}
}

/* Every disk does its work, every driver does its own, and every reactor that may sleep does. */
static void calm_down(struct world *w)
{
	uint64_t receptions = stepped_receptions();
	uint64_t before = 0;
	unsigned int idle = 0;
	unsigned int n;
	unsigned int i;

	for (n = 0; idle < CALM_IDLE; n++) {
		uint64_t state = 0;
		bool work;

		MUST(n < CALM_MAX);
		for (i = 0; i < GUESTS; i++) {
			w->disk[i].depth = 0;
			w->disk[i].fail = 0;
			disk_set_automatic(&w->disk[i], true);
			drive(&w->guest[i]);
		}
		stepped_clock_advance(20 * MS);
		run_loop(w, 1);
		work = run_cores(w, true);
		for (i = 0; i < GUESTS; i++) {
			state = state << 32 | state_of(&w->guest[i]);
		}
		/* A session goes on for as long as there is something to read, also when nobody is there any more. */
		work = work || receptions != stepped_receptions();
		idle = work || state != before ? 0 : idle + 1;
		receptions = stepped_receptions();
		before = state;
	}
}

static void check_ring_at_rest(const struct guest *g, const struct ring *ring)
{
	struct controller_queue_info info;
	const struct controller *controller = controller_find(g->target, g->controller);

	if (controller_get_queue(controller, ring->index, &info)) {
		MUST(!info.running || info.broken == NULL);
	}
	if (guest_ring_runs(g, ring) && g->driver != &scsi_driver) {
		MUST(ring->outstanding == 0);
	}
	if (guest_ring_runs(g, ring) && g->driver == &scsi_driver && ring->index != 1) {
		MUST(ring->outstanding == 0);
	}
}

/* The driver knows whether there is a disk, if it takes events and has buffers for them. */
static void check_told(const struct guest *g)
{
	const struct ring *ring = &g->rings[VIRTIO_SCSI_Q_EVENT];

	if (g->driver != &scsi_driver || !g->told_due ||
	    (g->features >> VIRTIO_SCSI_F_HOTPLUG & 1) == 0) {
		return;
	}
	if (guest_ring_runs(g, ring) && ring->outstanding > 0) {
		MUST(g->told_to_look || g->told_disk == g->has_disk);
	}
}

/* Nobody waits for anything any more. */
static void check_at_rest(struct world *w)
{
	unsigned int i;
	unsigned int k;

	for (i = 0; i < GUESTS; i++) {
		struct guest *g = &w->guest[i];

		MUST(!g->parted);
		if (!guest_connected(g) || g->unsure || w->shutting_down) {
			continue;
		}
		MUST(g->accepted);
		for (k = 0; k < g->peer.sent_n; k++) {
			MUST(!g->peer.sent[k].replies && !g->peer.sent[k].acknowledged);
		}
		for (k = 0; k < g->driver->rings; k++) {
			check_ring_at_rest(g, &g->rings[k]);
		}
		check_told(g);
	}
}

/* ---- it ends ---- */

static void close_world(struct world *w)
{
	unsigned int i;

	stepped_fail_allocation(0);
	stepped_refuse_connections(false);
	stepped_clock_step(0);
	w->slow_closing = false;
	if ((w->rules & RULES_NO_CALM) == 0) {
		calm_down(w);
		check_at_rest(w);
	}
	for (i = 0; i < GUESTS && (w->rules & RULES_PART_FIRST) != 0; i++) {
		guest_part(&w->guest[i], PART_CLOSE);
	}
	if (!w->shutting_down) {
		shut_down(w);
	}
	calm_down(w);
	MUST(w->is_shut_down);
	stepped_stop();
	target_free(w->target);
	loop_free(w->loop);
	for (i = 0; i < GUESTS; i++) {
		guest_done(&w->guest[i]);
		disk_close(&w->disk[i]);
	}
}

/* ---- operations ---- */

/* What was deleted comes again. */
static void recreate(struct world *w)
{
	unsigned int i;

	for (i = 0; i < GUESTS && !w->shutting_down; i++) {
		struct guest *g = &w->guest[i];

		if (!guest_has_session(g) && controller_find(w->target, g->controller) == NULL) {
			g->can_resume = false;
			if (!disk_is_open(g->disk)) {
				disk_reopen(g->disk);
			}
			create_controller(w, i);
		}
	}
}

static void set_disk(struct disk *d, uint8_t how)
{
	d->depth = how & 3; /* 0: no bound */
	d->newest_first = (how & 4) != 0;
	d->fail = (how & 0x30) == 0x30 ? -EIO : 0;
	disk_set_automatic(d, (how & 8) != 0);
}

/* The scsi device's target comes or goes. */
static void manage_targets(struct world *w)
{
	struct guest *g = &w->guest[SCSI];
	const char *why;
	int r;

	if (controller_find(w->target, "scsi") == NULL || !disk_is_open(g->disk)) {
		return;
	}
	r = g->has_disk ? controller_remove_scsi_target(w->target, "scsi", 0, &why) :
			  controller_add_scsi_target(w->target, "scsi", 0, "disk-scsi", &why);
	if (r == 0) {
		guest_disk_changed(g, !g->has_disk);
	}
	/* Busy: it is being deleted. */
	MUST(r == 0 || r == -EBUSY || stepped_allocation_failed());
}

/* The disk is taken away, or a device that has lost it gets it back. */
static void manage_disk(struct world *w, unsigned int which)
{
	struct guest *g = &w->guest[which];
	const char *why;
	int r = 0;

	if (controller_find(w->target, g->controller) == NULL) {
		return;
	}
	if (disk_is_open(g->disk) && g->has_disk) {
		MUST(target_delete_bdev(w->target, g->disk->bdev.name, true, &why) == 0);
		guest_disk_changed(g, false);
		return;
	}
	if (g->disk->closed) {
		disk_reopen(g->disk);
	}
	if (which == BLK && disk_is_open(g->disk)) {
		r = controller_set_bdev(w->target, g->controller, g->disk->bdev.name, &why);
	}
	if (which == BLK && disk_is_open(g->disk) && r == 0) {
		guest_disk_changed(g, true);
	}
	MUST(r == 0 || r == -EBUSY || stepped_allocation_failed());
}

static void resize_disk(struct world *w, unsigned int which, uint8_t how)
{
	struct guest *g = &w->guest[which];
	uint64_t size = how == 0 ? DISK_SIZE : DISK_SIZE / 4 * (how & 3);
	const char *why;

	if (!disk_is_open(g->disk) || size == 0 || size == g->disk->bdev.info.size) {
		return;
	}
	MUST(target_resize_bdev(w->target, g->disk->bdev.name, size, &why) == 0);
	g->resizes++;
	guest_disk_changed(g, g->has_disk);
}

/* Its queues go to other cores. No driver may notice, so no guest is told. */
static void set_cpumask(struct world *w, const struct guest *g, uint8_t how)
{
	static const char *const masks[] = { NULL, "0x1", "0x2", "0x3" };
	const char *why;
	int r = controller_set_cpumask(w->target, g->controller, masks[how & 3], &why);

	MUST(r == 0 || r == -ENOENT || r == -EBUSY);
}

static void move_queue(struct world *w, const struct guest *g, uint8_t how)
{
	const char *why;
	/* -ENOENT: it does not run; -EINVAL: not a core of the mask. */
	int r = controller_move_queue(w->target, g->controller, how >> 1 & 3, how & 1, &why);

	MUST(r == 0 || r == -ENOENT || r == -EINVAL || r == -EBUSY);
}

static void rebalance(struct world *w, const struct guest *g, uint8_t how)
{
	const char *name = (how & 1) != 0 ? g->controller : NULL;
	const char *why;
	int r = controller_rebalance(w->target, name, &why);

	MUST(r == 0 || (name != NULL && (r == -ENOENT || r == -EBUSY)));
}

static void manage(struct world *w, unsigned int which, uint8_t how)
{
	struct guest *g = &w->guest[which];
	struct controller *c = NULL;
	struct controller_queue_info queue;
	const char *why;
	unsigned int i;

	if (w->shutting_down) {
		return;
	}
	while ((c = controller_next(w->target, c)) != NULL) {
		for (i = 0; i < controller_max_queues(c); i++) {
			controller_get_queue(c, i, &queue);
		}
	}
	if ((how & 0x0f) == 0) {
		/* By force: its session is over soon, and so is it. */
		g->unsure = true;
		MUST(controller_delete(w->target, g->controller, true, &why) == 0 ||
		     guest_has_session(g));
	} else if ((how & 0x0f) == 1) {
		manage_targets(w);
	} else if ((how & 0x0f) == 2) {
		manage_disk(w, which);
	} else if ((how & 0x0f) == 3) {
		resize_disk(w, which, how >> 4);
	} else if ((how & 0x0f) == 4) {
		set_cpumask(w, g, how >> 4);
	} else if ((how & 0x0f) == 5) {
		move_queue(w, g, how >> 4);
	} else if ((how & 0x0f) == 6) {
		rebalance(w, g, how >> 4);
	} else if (how == 0xff) {
		shut_down(w);
	}
}

static void advance_clock(struct bytes_reader *in)
{
	uint8_t how = bytes_get_u8(in);

	stepped_close_apart();
	stepped_clock_advance((how & 0x3f) * 10 * MS);
	stepped_clock_step((how & 0x80) != 0 ? 150000 : 0);
}

static void connect_and_start(struct world *w, struct guest *g)
{
	guest_connect(g, &w->in);
	look(w);
	guest_start(g, &w->in);
}

static void one_ring(struct guest *g, uint8_t how)
{
	struct ring *ring = &g->rings[(how & 3) % g->driver->rings];

	if (!guest_connected(g) || g->parted || g->hostile) {
		return;
	}
	if ((how & 0x0c) != 0) {
		ring_kick(ring, (how & 0x08) != 0);
		return;
	}
	ring_want_calls(ring, (how & 0x10) != 0);
	guest_reap(g, ring);
}

static void break_rules(struct world *w, unsigned int which, bool by_message)
{
	bool allowed = (w->rules & (which == BLK ? RULES_HOSTILE_BLK : RULES_HOSTILE_SCSI)) != 0;

	if (allowed && by_message) {
		guest_raw_message(&w->guest[which], &w->in);
	} else if (allowed) {
		guest_spoil(&w->guest[which], &w->in);
	}
}

static void run_short(struct world *w)
{
	uint8_t how = bytes_get_u8(&w->in);

	if ((w->rules & RULES_NO_MEMORY) != 0) {
		stepped_fail_allocation(how & 0x0f);
	}
	stepped_refuse_connections((how & 0x10) != 0);
	w->slow_closing = (how & 0x20) != 0;
}

static void run_operation(struct world *w)
{
	uint8_t op = bytes_get_u8(&w->in);
	unsigned int which = op >> 7;
	struct guest *g = &w->guest[which];
	struct bytes_reader *in = &w->in;
	unsigned int n = 1 + (op >> 5 & 3);

	recreate(w);
	TRACE("operation %u of %s, %u\n", op & 31, g->controller, n);
	switch (op & 31) {
	case 0:
	case 1:
		run_loop(w, n);
		break;
	case 2:
	case 3:
		while (n-- > 0) {
			run_cores(w, false);
		}
		break;
	case 4:
		stepped_round(n & 1);
		break;
	case 5:
		stepped_sleep(n & 1);
		break;
	case 6:
	case 7:
		while (n-- > 0) {
			run_loop(w, 1);
			run_cores(w, (op & 1) != 0);
		}
		break;
	case 8:
		connect_and_start(w, g);
		break;
	case 9:
		guest_connect(g, in);
		break;
	case 10:
		guest_start(g, in);
		break;
	case 11:
		guest_part(g, n - 1 <= PART_MID_MESSAGE ? (enum parting)(n - 1) : PART_CLOSE);
		break;
	case 12:
		guest_message(g, in);
		break;
	case 13:
	case 14:
	case 15:
		guest_ring_message(g, in);
		break;
	case 16:
	case 17:
	case 18:
	case 19:
	case 20:
		guest_request(g, in);
		break;
	case 21:
		one_ring(g, bytes_get_u8(in));
		break;
	case 22:
		if (guest_connected(g) && !g->parted && !g->hostile) {
			guest_reap_all(g);
		}
		break;
	case 23:
		set_disk(&w->disk[which], bytes_get_u8(in));
		break;
	case 24:
	case 25:
		disk_release(&w->disk[which], n);
		break;
	case 26:
		guest_memory_message(g, in);
		break;
	case 27:
		advance_clock(in);
		break;
	case 28:
		manage(w, which, bytes_get_u8(in));
		break;
	case 29:
		run_short(w);
		break;
	case 30:
		break_rules(w, which, true);
		break;
	default:
		break_rules(w, which, false);
	}
	look(w);
}

static void run_input(const uint8_t *data, size_t len)
{
	struct world *w = &world;
	unsigned int i;

	memset(w, 0, sizeof(*w));
	w->in = bytes_reader(data, len);
	w->disks = bytes_get_u8(&w->in);
	w->rules = bytes_get_u8(&w->in);
	open_world(w);
	for (i = 0; i < OPS_MAX && bytes_left(&w->in) > 0; i++) {
		run_operation(w);
	}
	close_world(w);
}

/* What is set up once and stays: before anything is counted. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	sequence_trace = getenv("SEQUENCE_TRACE") != NULL;
	log_set_level(sequence_trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	MUST(guest_mem_install_sigbus_handler() == 0);
	MUST(fd >= 0 && notify_eventfd(fd) == 0);
	fd_close(&fd);
	run_input((const uint8_t *)"", 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct leaks before = leaks_start();

	run_input(data, len);
	leaks_check(&before);
	return 0;
}
