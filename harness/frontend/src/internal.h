/* SPDX-License-Identifier: BSD-3-Clause */
/* The structs behind the handles of frontend.h. */
#ifndef VFE_INTERNAL_H
#define VFE_INTERNAL_H

#include "vhost_frontend/fetch.h"
#include "vhost_frontend/frontend.h"
#include "vhost_frontend/frontend_raw.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rings are little-endian and are accessed here as they lie"
#endif

#define VFE_QUEUES_MAX 256
#define VFE_CACHE_LINE 64

struct vfe_memory {
	unsigned int region_n;
	struct vfe_raw_region regions[VFE_MEMORY_REGIONS_MAX];
	size_t taken[VFE_MEMORY_REGIONS_MAX]; /* bytes allocated of each region */
};

struct vfe_inflight {
	int fd; /* -1: none */
	void *map;
	size_t map_len;
	struct vfe_wire_inflight wire; /* as the back-end gave it and gets it back */
};

struct vfe_session {
	int fd;		/* -1: disconnected */
	int backend_fd; /* our end of the back-end channel, -1: none */
	unsigned int timeout_ms;
	unsigned int config_changes;
	unsigned int max_queues;
	uint64_t offered;
	uint64_t features;
	uint64_t offered_protocol;
	uint64_t protocol_features;
	struct vfe_wish wish;
	struct vfe_memory *memory;
	struct vfe_inflight inflight;
	uint64_t connected_ns; /* CLOCK_MONOTONIC */
	struct vfe_queue *queues[VFE_QUEUES_MAX];
	char *path;
	char why[192];
};

/* A request in flight, by descriptor head (split) or buffer id (packed). */
struct vfe_entry {
	void *cookie;
	uint16_t last; /* split: the last descriptor of its chain */
	uint16_t n;    /* descriptors that it takes in the ring; 0: not in flight */
};

struct vfe_split {
	struct vfe_desc *desc;
	struct vfe_avail *avail;
	struct vfe_used *used;
	uint16_t *used_event;
	uint16_t *avail_event;
	uint16_t *next; /* private: chains, and the list of free descriptors */
	uint16_t free_head;
	uint16_t mask;
	uint16_t avail_idx; /* what has been added */
	uint16_t shown_idx; /* what has been published */
	uint16_t used_idx;  /* what has been reaped */
	uint16_t event_at;  /* used_idx when used_event was last put out of reach */
};

struct vfe_packed {
	struct vfe_packed_desc *ring;
	struct vfe_packed_event *driver; /* written by us */
	struct vfe_packed_event *device;
	uint16_t *ids; /* stack of free buffer ids */
	uint16_t id_n;
	uint16_t avail_pos;
	uint16_t used_pos;
	bool avail_wrap;
	bool used_wrap;
	/* Added and not yet published: the first one's flags are written last. */
	uint16_t pending_pos;
	uint16_t pending_flags;
	uint16_t pending_n; /* descriptors */
	bool pending_wrap;
};

struct vfe_queue {
	union {
		struct vfe_split split;
		struct vfe_packed packed;
	};
	bool is_packed;
	bool event_idx;
	bool indirect;
	bool running; /* started and not stopped, even if the back-end is gone */
	bool calls_on;
	uint16_t size;
	uint16_t segments;
	uint16_t index;
	uint32_t free_n; /* descriptors */
	uint32_t inflight;
	uint32_t base; /* as of GET_VRING_BASE; UINT32_MAX: the ring is to be made new */
	struct vfe_entry *entries;
	struct vfe_desc *tables; /* `segments` for each head; packed ones have the same size */
	uint64_t tables_gpa;
	struct vfe_queue_stats stats;
	struct vfe_session *session;
	int kick_fd;
	int call_fd;
	int err_fd;
};

/* session.c: stores the message and returns `error`. */
__attribute__((format(printf, 3, 4))) int vfe_fail(struct vfe_session *session, int error,
						   const char *format, ...);
/* request.c */
const char *vfe_request_name(uint32_t request);
int vfe_send_u64(struct vfe_session *session, enum vfe_request request, uint64_t value);
int vfe_query_u64(struct vfe_session *session, enum vfe_request request, uint64_t *ret_value);
/* Waits for the acknowledgement if there is such a thing. */
int vfe_send_checked(struct vfe_session *session, struct vfe_message *message);

/* backend_channel.c */
int vfe_backend_channel_open(struct vfe_session *session);
void vfe_backend_channel_close(struct vfe_session *session);

/* negotiate.c: with `again`, exactly the features of the session. */
int vfe_negotiate_again(struct vfe_session *session);
/* memory.c */
int vfe_memory_show(struct vfe_session *session);

/* inflight.c: gets the area before the first queue starts, if that was negotiated; sees that this one fits. */
int vfe_inflight_need(struct vfe_session *session, const struct vfe_queue *queue);
int vfe_inflight_set(struct vfe_session *session);
void vfe_inflight_drop(struct vfe_session *session);

/* queue.c */
int vfe_queue_resume(struct vfe_queue *queue);

/* notify.c: asks the device not to signal. */
void vfe_calls_off(struct vfe_queue *queue);

/* split.c */
int vfe_split_init(struct vfe_queue *queue);
void vfe_split_reset(struct vfe_queue *queue);
int vfe_split_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		  unsigned int in_n, void *cookie);
bool vfe_split_publish(struct vfe_queue *queue); /* does the device want a kick? */
int vfe_split_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max);
bool vfe_split_ready(const struct vfe_queue *queue);
bool vfe_split_arm(struct vfe_queue *queue); /* turns calls on; is there nothing to reap? */
void vfe_split_disarm(struct vfe_queue *queue);
uint32_t vfe_split_crash_base(const struct vfe_queue *queue);

/* packed.c */
int vfe_packed_init(struct vfe_queue *queue);
void vfe_packed_reset(struct vfe_queue *queue);
int vfe_packed_add(struct vfe_queue *queue, const struct vfe_seg *segs, unsigned int out_n,
		   unsigned int in_n, void *cookie);
bool vfe_packed_publish(struct vfe_queue *queue);
int vfe_packed_reap(struct vfe_queue *queue, struct vfe_done *done, unsigned int max);
bool vfe_packed_ready(const struct vfe_queue *queue);
bool vfe_packed_arm(struct vfe_queue *queue);
void vfe_packed_disarm(struct vfe_queue *queue);
uint32_t vfe_packed_crash_base(const struct vfe_queue *queue);

/* vfe_memory_gpa, for what is done for each request. */
static inline uint64_t vfe_gpa(const struct vfe_memory *memory, const void *p)
{
	const struct vfe_raw_region *first = &memory->regions[0];
	uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)first->map);

	return offset < first->wire.size ? first->wire.guest_address + offset :
					   vfe_memory_gpa(memory, p);
}

/*
 * A few segments: most requests have one, made just now. Member by member, as they were stored: the load of a whole
 * one would wait until both stores have reached the cache, behind all those that wait for lines of the other
 * side. Left alone, the compiler makes such loads of this, or an instruction that copies slowly.
 */
static inline void vfe_copy_segs(struct vfe_seg *to, const struct vfe_seg *from, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		to[i].gpa = from[i].gpa;
		to[i].len = from[i].len;
		__asm__ volatile("" : : : "memory");
	}
}

/* One load or store of a field that the device may change or read at any instant. */
static inline uint16_t vfe_load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void vfe_store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* virtio 1.2, 2.7.10.1: has the index moved from `old` to `now` over `event`? */
static inline bool vfe_event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

#endif
