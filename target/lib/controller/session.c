/* SPDX-License-Identifier: BSD-3-Clause */
/* The controller as the owner of its session: accepts the connection, runs its rings on a core. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd_bag.h"
#include "controller/controller.h"

/* virtio 1.2, 6.3: legacy drivers only. Framing plays no role here, and QEMU offers this bit to them by
 * itself, so SET_FEATURES has it whether or not we offer it. */
#define VIRTIO_F_ANY_LAYOUT 27

static uint64_t owner_features(void *owner)
{
	struct controller *controller = owner;

	return controller->device->ops->features(controller->device) |
	       UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
	       UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX | UINT64_C(1) << VIRTIO_F_ANY_LAYOUT |
	       UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

static void owner_negotiated(void *owner, uint64_t features)
{
	struct controller *controller = owner;

	controller->features = features;
	controller->device->ops->negotiated(controller->device, features);
}

static void owner_reset(void *owner)
{
	struct controller *controller = owner;

	controller->features = 0;
	controller->device->ops->reset(controller->device);
}

static int owner_config_read(void *owner, uint32_t offset, void *buf, uint32_t len)
{
	struct controller *controller = owner;

	return controller->device->ops->config_read(controller->device, offset, buf, len);
}

static int owner_config_write(void *owner, uint32_t offset, const void *buf, uint32_t len)
{
	struct controller *controller = owner;

	return controller->device->ops->config_write(controller->device, offset, buf, len);
}

/* ---- a ring starts ---- */

static void started(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;
	struct controller *controller = queue->controller;

	if (result < 0) {
		virtq_free(run->vq);
		run->vq = NULL;
		controller_settle(controller);
		log_limited(&controller->limiter, LOG_LEVEL_WARNING,
			    "%s: queue %u cannot start: %s", controller->name, run->index,
			    strerror(-result));
	}
	controller_go_on_moving(controller);
	vu_session_complete(controller->session, result, 0);
}

static void updated(struct core_queue *run)
{
	struct controller_queue *queue = (struct controller_queue *)run;

	controller_settle(queue->controller);
}

static void broken(struct core_queue *run)
{
	struct controller_queue *queue = (struct controller_queue *)run;
	struct controller *controller = queue->controller;

	log_limited(
		&controller->limiter, LOG_LEVEL_WARNING,
		"%s: queue %u is broken (%s): it stands still until the guest resets the device",
		controller->name, run->index, virtq_broken_reason(run->vq));
	vu_session_ring_broken(controller->session, run->index);
	if (run->mem_lost) {
		/* Rule R9: zero pages lie where the guest's memory was. No ring of this session can mean
		 * anything any more. */
		vu_session_close(controller->session, "guest memory is gone");
	}
}

static void place(struct controller *controller, const struct vu_ring *ring)
{
	struct controller_queue *queue = &controller->queues[ring->index];
	const void *desc = guest_mem_ring_ptr(ring->mem, ring->desc_uva, 1, 1);

	queue->numa_node = desc != NULL ? env_memory_numa_node(desc) : ENV_ANY_NODE;
	queue->wanted = controller_kept_core(queue);
	if (queue->wanted == NULL) {
		queue->wanted = placement_of_new(queue);
	}
	queue->from = NULL;
	queue->stranded = false;
	queue->work_seen = 0;
	queue->weight = 0;
}

/*
 * Where the ring keeps what is in flight. QEMU from version 10 on shows its guest rings of 1024 entries for which it
 * has asked for an area of `queue-size`. Such a ring has no place in the area, and is served like those of front-ends
 * that know of none.
 */
static struct inflight_area *area_of(struct controller *controller, const struct vu_ring *ring)
{
	uint16_t room;

	if (ring->inflight == NULL) {
		return NULL;
	}
	room = inflight_area_queue_size(ring->inflight);
	if (ring->size <= room) {
		return ring->inflight;
	}
	log_limited(
		&controller->limiter, LOG_LEVEL_WARNING,
		"%s: queue %u has %u entries, its part of the in-flight area %u: if this process is "
		"killed, requests under way may be lost or done twice (QEMU: queue-size=1024)",
		controller->name, ring->index, ring->size, room);
	return NULL;
}

static void owner_ring_start(void *owner, const struct vu_ring *ring)
{
	struct controller *controller = owner;
	struct controller_queue *queue = &controller->queues[ring->index];
	int r;

	place(controller, ring);
	const struct virtq_config config = {
		.size = ring->size,
		.features = ring->features,
		.mem = ring->mem,
		.desc_uva = ring->desc_uva,
		.avail_uva = ring->avail_uva,
		.used_uva = ring->used_uva,
		.base = ring->base,
		.kick_fd = ring->kick_fd,
		.call_fd = ring->call_fd,
		.err_fd = ring->err_fd,
		.req_size = controller->device->ops->req_size(controller->device, ring->index),
		.max_req_bytes = MAX_REQUEST_BYTES,
		.inflight = area_of(controller, ring),
		.log = ring->log,
		.index = ring->index,
		.numa_node = env_core_numa_node(reactor_core(core_reactor(queue->wanted))),
	};

	r = virtq_new(&config, &queue->run.vq);
	if (r < 0) {
		log_limited(&controller->limiter, LOG_LEVEL_WARNING,
			    "%s: queue %u (size %u) cannot be set up: %s", controller->name,
			    ring->index, ring->size, strerror(-r));
		vu_session_complete(controller->session, r, 0);
		return;
	}
	queue->started_ever = true;
	queue->size = ring->size;
	queue->run.device = controller->device;
	queue->run.index = ring->index;
	queue->run.qos = &controller->qos;
	queue->run.done = started;
	queue->run.broken = broken;
	queue->run.updated = updated;
	queue->run.moved = controller_queue_moved;
	core_start_queue(queue->wanted, &queue->run);
	if (controller->unsettled) {
		/* What others wait for, it must wait for, too: they may stop before it comes. */
		core_update_queue(&queue->run);
	}
}

/* ---- a ring stops, or gets another call eventfd ---- */

static void stopped(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;
	uint32_t base = virtq_base(run->vq);

	controller_add_queue_stats(&queue->totals, run->vq);
	virtq_free(run->vq);
	run->vq = NULL;
	controller_settle(queue->controller);
	controller_go_on_moving(queue->controller);
	vu_session_complete(queue->controller->session, result, base);
}

static void owner_ring_stop(void *owner, unsigned int index, bool abandon)
{
	struct controller *controller = owner;
	struct controller_queue *queue = &controller->queues[index];

	queue->run.done = stopped;
	core_stop_queue(&queue->run, abandon);
}

/* All rings at once: each may have to wait for the one before it until it is stopped. */
static void owner_abandoned(void *owner)
{
	struct controller *controller = owner;
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		if (controller->queues[i].run.vq != NULL) {
			core_abandon_queue(&controller->queues[i].run);
		}
	}
}

static void call_set(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;

	controller_go_on_moving(queue->controller);
	vu_session_complete(queue->controller->session, result, 0);
}

static void owner_ring_set_call(void *owner, unsigned int index, int call_fd)
{
	struct controller *controller = owner;
	struct controller_queue *queue = &controller->queues[index];

	queue->run.done = call_set;
	core_set_call(&queue->run, call_fd);
}

/* ---- a ring goes on with other memory ---- */

static void mem_set(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;

	controller_go_on_moving(queue->controller);
	vu_session_complete(queue->controller->session, result, 0);
}

static void owner_ring_set_mem(void *owner, unsigned int index, struct guest_mem *mem)
{
	struct controller *controller = owner;
	struct controller_queue *queue = &controller->queues[index];

	queue->run.done = mem_set;
	core_set_mem(&queue->run, mem);
}

/* ---- what a ring logs ---- */

static void log_set(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;

	controller_go_on_moving(queue->controller);
	vu_session_complete(queue->controller->session, result, 0);
}

static void owner_ring_set_log(void *owner, unsigned int index, const struct ring_log *log)
{
	struct controller *controller = owner;
	struct controller_queue *queue = &controller->queues[index];

	queue->run.done = log_set;
	core_set_log(&queue->run, log);
}

/* ---- descriptors that are closed elsewhere ---- */

static void fds_closed(struct msg *msg)
{
	struct controller *controller =
		(struct controller *)((char *)msg - offsetof(struct controller, fds_closed));

	vu_session_complete(controller->session, 0, 0);
}

/* Rule R13, and nobody else waits: closing them may take as long as the front-end likes. */
static void owner_close_fds(void *owner, struct fd_bag *bag)
{
	struct controller *controller = owner;

	controller->fds_closed.fn = fds_closed;
	if (fd_bag_close_apart(bag, controller->target->loop, &controller->fds_closed) < 0) {
		/* Without threads there is no other way. */
		fd_bag_close(bag);
		vu_session_complete(controller->session, 0, 0);
	}
}

/* ---- connections ---- */

static void owner_closed(void *owner, const char *reason, bool fault)
{
	struct controller *controller = owner;

	log_limited(&controller->limiter, fault ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "%s: %s: %s",
		    controller->name, fault ? "the connection was ended" : "front-end disconnected",
		    reason);
	vu_session_free(controller->session);
	controller->session = NULL;
	controller->features = 0;
	listener_pause(&controller->listener, controller->target->suspended);
	target_session_ended(controller);
}

const struct vu_owner_ops controller_owner_ops = {
	.features = owner_features,
	.negotiated = owner_negotiated,
	.reset = owner_reset,
	.config_read = owner_config_read,
	.config_write = owner_config_write,
	.ring_start = owner_ring_start,
	.ring_stop = owner_ring_stop,
	.ring_set_call = owner_ring_set_call,
	.ring_set_mem = owner_ring_set_mem,
	.ring_set_log = owner_ring_set_log,
	.close_fds = owner_close_fds,
	.abandoned = owner_abandoned,
	.closed = owner_closed,
	.suspended = controller_suspended,
	.resumed = controller_resumed,
};

void controller_connection_waits(void *arg)
{
	struct controller *controller = arg;
	struct vu_transport *transport;
	int fd;
	int r;

	/* The old front-end is gone, but its requests are not finished: the new one waits in the backlog. */
	if (controller->target->suspended ||
	    (controller->session != NULL && vu_session_peer_gone(controller->session))) {
		listener_pause(&controller->listener, true);
		return;
	}
	fd = listener_accept(&controller->listener);
	if (fd < 0) {
		if (fd != -EAGAIN && fd != -ECONNABORTED && fd != -EINTR) {
			log_limited(&controller->limiter, LOG_LEVEL_WARNING,
				    "%s: cannot accept a connection: %s", controller->name,
				    strerror(-fd));
		}
		return;
	}
	if (controller->session != NULL) {
		log_limited(&controller->limiter, LOG_LEVEL_WARNING,
			    "%s: a second front-end is refused: already connected",
			    controller->name);
		close(fd);
		return;
	}
	controller->device->ops->session_begins(controller->device);
	r = vu_socket_new(fd, &transport);
	if (r == 0) {
		r = vu_session_new(controller->target->loop, transport, controller->queue_n,
				   &controller_owner_ops, controller, &controller->session);
	}
	if (r == 0) {
		vu_session_limit_mem_slots(controller->session, controller->target->mem_slots);
	}
	if (r < 0) {
		log_limited(&controller->limiter, LOG_LEVEL_WARNING,
			    "%s: cannot serve a connection: %s", controller->name, strerror(-r));
		return;
	}
	controller->sessions++;
}

void controller_close_session(struct controller *controller, const char *reason)
{
	if (controller->session != NULL) {
		vu_session_close(controller->session, reason);
	}
}
