/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the driver side of vhost-user. What QEMU and a guest's driver do together, in a library: it
 * connects to the socket of a vhost-user-blk or vhost-user-scsi back-end and does I/O on its disk, with
 * no guest.
 *
 *   memory    what a back-end sees as guest memory: one or more shared files. Everything that it shall
 *             read or write (rings, request headers, data) is allocated there and never freed before
 *             the memory is. Three addresses name the same byte: our pointer; the guest address, which
 *             stands in descriptors; the user address, which stands in messages that place rings.
 *   session   one connection, and what was negotiated over it.
 *   queue     one virtqueue of a session, split or packed. A request is a list of segments, the ones
 *             that the device reads before those that it writes. Four steps, so that a caller can
 *             batch: add (as often as there is room), publish (the device sees them; kicks if it
 *             wants to be), reap (what the device has finished), wait (sleep until there is something
 *             to reap). Requests finish in any order; the cookie says which one it was.
 *   frame     the fixed part of a request (header, status, ...) in shared memory; blk.h and scsi.h
 *             fill it, add the request and say how it ended. One frame per request in flight.
 *   slot      requests are counted in descriptors: a direct one takes as many as it has segments, an
 *             indirect one takes one. Add answers -ENOSPC when the ring is full.
 *
 * The order of life:
 *
 *     vfe_memory_new -> vfe_connect -> vfe_negotiate -> vfe_share -> for each queue: vfe_queue_new,
 *     vfe_queue_start -> I/O -> vfe_queue_stop, vfe_queue_free -> vfe_close -> vfe_memory_free
 *
 * Polling or sleeping: a queue starts with calls off (the device is asked not to signal). vfe_queue_wait
 * turns them on, sleeps and turns them off again; so a caller that only polls never causes a call.
 *
 * Reconnect: when the back-end has died, vfe_reconnect connects anew and starts all queues that ran. If
 * the in-flight area was negotiated, it is handed back and the new back-end finishes what the old one had
 * taken; else the caller takes its open requests back with vfe_queue_abandon and adds them again.
 *
 * Threads: a session belongs to one thread, which sets up and tears down. A queue may be driven by
 * another thread, one at a time; queues share nothing that is written.
 *
 * Errors: 0 or a negative errno; ret_x is untouched on failure. vfe_why() says more. A back-end that
 * breaks the ring's rules gives -EPROTO from vfe_queue_reap. The library does not log.
 *
 * Tests that want to break rules find the inside in frontend_raw.h.
 */
#ifndef VHOST_FRONTEND_FRONTEND_H
#define VHOST_FRONTEND_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfe_memory;
struct vfe_session;
struct vfe_queue;

/* ---- memory ---- */

#define VFE_MEMORY_REGIONS_MAX 8

struct vfe_memory_options {
	size_t size;		/* of all regions together; rounded up to pages */
	unsigned int regions;	/* 0 means 1; equal parts, each a file of its own */
	size_t gap;		/* between the guest addresses of two regions */
	uint64_t guest_address; /* of the first region; 0: 1 GiB */
	size_t huge_page;	/* 0: ordinary pages; else the page size, as 2 << 20 */
	bool unsealed;		/* the files may be cut later (for tests) */
};

int vfe_memory_new(const struct vfe_memory_options *options, struct vfe_memory **ret_memory);
/* Zeroed, within one region. NULL: no room. `align` is a power of two. */
void *vfe_memory_alloc(struct vfe_memory *memory, size_t size, size_t align);
/* How much of the memory is not yet allocated. */
size_t vfe_memory_room(const struct vfe_memory *memory);
/* The guest address of a pointer into the memory; UINT64_MAX: it does not point there. */
uint64_t vfe_memory_gpa(const struct vfe_memory *memory, const void *p);
void vfe_memory_free(struct vfe_memory *memory);

/* ---- session ---- */

enum vfe_device_type {
	VFE_BLK,
	VFE_SCSI,
};

/* Virtio feature bits (virtio 1.2, 6; 5.2.3; 5.6.3). */
#define VFE_F_SCSI_INOUT	(1ull << 0)
#define VFE_F_SCSI_HOTPLUG	(1ull << 1)
#define VFE_F_SCSI_CHANGE	(1ull << 2)
#define VFE_F_BLK_SIZE_MAX	(1ull << 1)
#define VFE_F_BLK_SEG_MAX	(1ull << 2)
#define VFE_F_BLK_GEOMETRY	(1ull << 4)
#define VFE_F_BLK_RO		(1ull << 5)
#define VFE_F_BLK_BLK_SIZE	(1ull << 6)
#define VFE_F_BLK_FLUSH		(1ull << 9)
#define VFE_F_BLK_TOPOLOGY	(1ull << 10)
#define VFE_F_BLK_CONFIG_WCE	(1ull << 11)
#define VFE_F_BLK_MQ		(1ull << 12)
#define VFE_F_BLK_DISCARD	(1ull << 13)
#define VFE_F_BLK_WRITE_ZEROES	(1ull << 14)
#define VFE_F_INDIRECT_DESC	(1ull << 28)
#define VFE_F_EVENT_IDX		(1ull << 29)
#define VFE_F_PROTOCOL_FEATURES (1ull << 30)
#define VFE_F_VERSION_1		(1ull << 32)
#define VFE_F_RING_PACKED	(1ull << 34)

/* Protocol features (vhost-user, "Protocol features"). */
#define VFE_PF_MQ		   (1ull << 0)
#define VFE_PF_REPLY_ACK	   (1ull << 3)
#define VFE_PF_BACKEND_REQ	   (1ull << 5)
#define VFE_PF_CONFIG		   (1ull << 9)
#define VFE_PF_INFLIGHT_SHMFD	   (1ull << 12)
#define VFE_PF_RESET_DEVICE	   (1ull << 13)
#define VFE_PF_CONFIGURE_MEM_SLOTS (1ull << 15)
#define VFE_PF_STATUS		   (1ull << 16)

struct vfe_wish {
	enum vfe_device_type device;
	uint64_t without;	   /* feature bits not to take even if they are offered */
	uint64_t without_protocol; /* the same for protocol features */
	uint64_t require;	   /* fail with -ENOTSUP if one of them is not offered */
	bool packed;		   /* packed rings: implies that they are required */
	/* What the in-flight area, if any, must have room for; 0: the queues made before the first starts. */
	uint16_t inflight_queues;
	uint16_t inflight_size;
};

/*
 * Connects to the socket, waiting up to timeout_ms for somebody to listen there. The same time bounds
 * the wait for each reply later.
 */
int vfe_connect(const char *path, unsigned int timeout_ms, struct vfe_session **ret_session);
int vfe_negotiate(struct vfe_session *session, const struct vfe_wish *wish);
/* Shows the memory to the back-end. It must live as long as the session; many may share it. */
int vfe_share(struct vfe_session *session, struct vfe_memory *memory);
struct vfe_memory *vfe_session_memory(const struct vfe_session *session);

uint64_t vfe_features(const struct vfe_session *session); /* negotiated */
uint64_t vfe_features_offered(const struct vfe_session *session);
uint64_t vfe_protocol_features(const struct vfe_session *session); /* negotiated */
unsigned int vfe_max_queues(const struct vfe_session *session);	   /* 1 if it does not say */
enum vfe_device_type vfe_device_type(const struct vfe_session *session);

/*
 * Reads the first bytes of the device's configuration space, up to `size`. Back-ends refuse reads beyond
 * their own structure; then shorter reads are tried. What could not be read is zero.
 */
int vfe_config_read(struct vfe_session *session, void *buf, size_t size, size_t *ret_got);
int vfe_config_write(struct vfe_session *session, uint32_t offset, const void *buf, size_t size);
/* How often the back-end has said so far that its configuration changed; never blocks. */
unsigned int vfe_config_changes(struct vfe_session *session);

/* Is the other side still there? Never blocks. */
bool vfe_alive(struct vfe_session *session);
/* For poll(): readable or hung up when the back-end has left. */
int vfe_socket(const struct vfe_session *session);
/* What went wrong last, in words. */
const char *vfe_why(const struct vfe_session *session);

/*
 * After the back-end has died: connects to the same path, negotiates the very same features, shares the
 * memory, hands back the in-flight area and starts all queues that were running. With in-flight the
 * open requests go on by themselves. Without, all queues must be empty (see vfe_queue_abandon).
 */
int vfe_reconnect(struct vfe_session *session);
/* Closes the connection as a crash would, and nothing else; vfe_reconnect may follow. */
void vfe_disconnect(struct vfe_session *session);
/* All its queues must have been freed. NULL is fine. */
void vfe_close(struct vfe_session *session);

/* ---- queue ---- */

struct vfe_queue_options {
	unsigned int size; /* split: a power of two up to 32768; packed: any up to 32768 */
	/* Most segments of one request. With indirect on, each slot gets a table of this length. */
	unsigned int segments;
	bool indirect; /* requests of two and more segments go by indirect tables, if negotiated */
};

struct vfe_seg {
	uint64_t gpa;
	uint32_t len;
};

struct vfe_done {
	void *cookie;
	uint32_t written; /* bytes, as the device says */
};

struct vfe_queue_stats {
	uint64_t requests;  /* added */
	uint64_t published; /* batches */
	uint64_t kicks;	    /* sent */
	uint64_t calls;	    /* signals taken from the call eventfd (its sum) */
	uint64_t waits;	    /* times that the caller went to sleep */
};

int vfe_queue_new(struct vfe_session *session, unsigned int index,
		  const struct vfe_queue_options *options, struct vfe_queue **ret_queue);
/* With an in-flight area: all queues are made before the first one starts, or the wish said how many. */
int vfe_queue_start(struct vfe_queue *queue);

/* -ENOSPC: no room now. -E2BIG: more segments than the queue was made for. Segments: out, then in. */
int vfe_queue_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		  unsigned int in_n, void *cookie);
/* How many requests of `segments` segments could be added now. */
unsigned int vfe_queue_room(const struct vfe_queue *queue, unsigned int segments);
void vfe_queue_publish(struct vfe_queue *queue);
/* The number of requests taken (0: none are finished), or -EPROTO and the queue is of no more use. */
int vfe_queue_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max);
/* Is there something to reap? One look at the ring, for loops that poll. */
bool vfe_queue_ready(const struct vfe_queue *queue);
/*
 * Sleeps until there is something to reap. 0: there may be. -ETIMEDOUT; -ECONNRESET: the back-end is gone;
 * -EREMOTEIO: the device has given the ring up.
 */
int vfe_queue_wait(struct vfe_queue *queue, int timeout_ms);
/* The same for several queues of one session. */
int vfe_queues_wait(struct vfe_queue *const *queues, unsigned int n, int timeout_ms);
/* Has the device given the ring up (by its error eventfd)? For those who poll. */
bool vfe_queue_failed(const struct vfe_queue *queue);
/* For setting up, with nothing else in flight: publishes, and sleeps until one request has come back. */
int vfe_queue_finish(struct vfe_queue *queue, int timeout_ms, struct vfe_done *ret_done);
/* Sends a kick no matter whether the device wants one. */
void vfe_queue_kick(struct vfe_queue *queue);
unsigned int vfe_queue_inflight(const struct vfe_queue *queue);
unsigned int vfe_queue_index(const struct vfe_queue *queue);
struct vfe_session *vfe_queue_session(const struct vfe_queue *queue);
const struct vfe_queue_stats *vfe_queue_stats(struct vfe_queue *queue);

/* The device finishes what it has taken; what it has published can still be reaped afterwards. */
int vfe_queue_stop(struct vfe_queue *queue);
/*
 * Of a queue that does not run: takes back requests that were not finished, in no particular order;
 * returns how many were put into `done`. When it returns 0 the ring is empty and as new.
 */
unsigned int vfe_queue_abandon(struct vfe_queue *queue, struct vfe_done *done, unsigned int max);
void vfe_queue_free(struct vfe_queue *queue); /* does not stop it; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
