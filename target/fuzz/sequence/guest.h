/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a virtual machine in front of one controller: its connection, its memory, its driver.
 *
 *   session   from the connection until the target has let go of everything.
 *   parted    the guest has left, the target may not know it yet. Its memory, its rings and the
 *             claims of its requests stay until the session is over.
 *   unsure    it did something that the target may refuse, or an allocation failed: that the session
 *             ends, or that a ring does not run, is no finding any more.
 *   hostile   it broke the rules: nothing it sees is looked at any more, but what it was not to touch
 *             is (the other guest, its own memory after the session).
 */
#ifndef VHT_FUZZ_GUEST_H
#define VHT_FUZZ_GUEST_H

#include "base/bytes.h"
#include "controller/target.h"
#include "disk.h"
#include "log.h"
#include "peer.h"
#include "ring.h"

struct guest;

/* What differs between blk and scsi. */
struct guest_driver {
	const char *type;
	unsigned int rings;
	/* Makes a request of what the input says and claims what it needs. NULL: not possible now. */
	bool (*make)(struct guest *g, struct ring *ring, struct request *r,
		     struct bytes_reader *in);
	/* Checks the answer to a request. Returns whether it succeeded. */
	bool (*check)(struct guest *g, const struct ring *ring, const struct request *r,
		      uint32_t len);
};

extern const struct guest_driver blk_driver;
extern const struct guest_driver scsi_driver;

struct guest {
	const struct guest_driver *driver;
	struct target *target;
	const char *controller;
	struct disk *disk;
	bool has_disk;	      /* the device shall have one */
	unsigned int changes; /* of that, or of its size */
	unsigned int resizes;
	bool told_due;	   /* the driver has to hear whether there is a disk */
	bool told_disk;	   /* what it heard last: there is one, */
	bool told_to_look; /* or that it missed something */
	struct sockaddr_un addr;
	socklen_t addr_len;

	struct peer peer;
	int half_fd; /* a connection that was shut down in one direction, or -1 */
	struct ram ram;
	struct ram old; /* replaced, or of the session before */
	struct log log;
	struct ring rings[RINGS_MAX];
	uint64_t offered;  /* by the device */
	uint64_t features; /* that this session takes */
	bool protocol;	   /* with VHOST_USER_F_PROTOCOL_FEATURES */
	uint64_t tag;
	unsigned int resets; /* task management functions that leave a unit attention */

	bool accepted;
	uint64_t session; /* its number at the controller, when it has been accepted */
	bool parted;
	uint64_t parted_session;
	bool parted_rings;    /* `rings` and `ram` are still those of the session that is ending */
	bool parted_released; /* it uses no memory any more, but is not over */
	bool can_resume;
	bool moving; /* a memory table with other memory is on its way */
	/* As the target has been told: */
	struct vu_region regions[VU_REGIONS_MAX];
	unsigned int region_n;
	bool has_spare;
	unsigned int remapping; /* changes of all regions on their way: no requests meanwhile */

	bool unsure;
	bool hostile;
	bool parted_hostile; /* the session that is ending was */
	bool careful;	     /* accepting may fail: a session's number must be known when it ends */
	bool features_said;
	/* confirmed: */
	bool features_set;
	bool mem_set;

	unsigned int abandoned; /* rings that were abandoned, a bit for each */
	struct ring_area parted_used[RINGS_MAX];
	uint8_t abandoned_used[RINGS_MAX][RING_AREA_MAX];
};

void guest_init(struct guest *g);
void guest_done(struct guest *g); /* its session is over */

/* ---- guest.c: the session ---- */

void guest_connect(struct guest *g, struct bytes_reader *in);
enum parting {
	PART_CLOSE,
	PART_SHUTDOWN,	  /* in our direction only */
	PART_MID_MESSAGE, /* half a header was sent */
};
void guest_part(struct guest *g, enum parting how);
/* Looks at what reactors may have done; call it after each step. */
void guest_look(struct guest *g);
/* Looks at what the control thread may have done: replies, the end of sessions. */
void guest_listen(struct guest *g, bool shutting_down);
static inline bool guest_connected(const struct guest *g)
{
	return g->peer.fd >= 0;
}
bool guest_has_session(const struct guest *g); /* one that is not over */
/* The target hands a ring to its reactor. */
void guest_ring_starts(const struct guest *g);
/* It has posted the end of a ring whose front-end has left. */
void guest_ring_abandoned(struct guest *g, unsigned int index);
void guest_be_hostile(struct guest *g);
/* Its disk has come, gone, or been resized. */
void guest_disk_changed(struct guest *g, bool has_disk);

/* ---- messages.c: what a well-behaved front-end says ---- */

void guest_start(struct guest *g, struct bytes_reader *in); /* all of it, in QEMU's order */
void guest_message(struct guest *g, struct bytes_reader *in);
void guest_ring_message(struct guest *g, struct bytes_reader *in);
void guest_memory_message(struct guest *g, struct bytes_reader *in);
/* The oldest message was carried out (ok) or refused; reply NULL: it had none. */
void guest_message_done(struct guest *g, const struct peer_message *m, bool ok,
			const struct vu_message *reply);

/* ---- hostile.c ---- */

void guest_raw_message(struct guest *g, struct bytes_reader *in);
void guest_spoil(struct guest *g, struct bytes_reader *in);

/* ---- traffic.c: requests ---- */

void guest_request(struct guest *g, struct bytes_reader *in);
void guest_reap(struct guest *g, struct ring *ring);
void guest_reap_all(struct guest *g);
unsigned int guest_outstanding(const struct guest *g); /* requests */
/* Does the target serve this ring, by what it has confirmed? */
bool guest_ring_runs(const struct guest *g, const struct ring *ring);

#endif
