/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   bdev      a storage device: null, malloc, aio... Created and closed by the control thread. It
 *             is immutable while open except for its size and `claims`.
 *   size      changes under running requests: they were checked against the size of before and may
 *             lie beyond the end of now. Then the driver refuses them. What was cut off is freed when
 *             no reactor can be working on it any more (bdev_trim()).
 *   claim     one use of the bdev by a device (blk controller, scsi target). A claimed bdev cannot
 *             be deleted. Several claims are fine: live migration shows one disk on two sockets. A
 *             device that is about to let go of it, but waits for requests, leaves first: the bdev can
 *             then be deleted (its name is free), and is closed when the last one has left.
 *   channel   the use of one bdev by one reactor. Opened, used and closed on that reactor only, so
 *             drivers need no locks.
 *   io        one request. The submitter owns it; between a submit that took it and `done` it belongs
 *             to the driver.
 *
 * A round on a reactor: submit ... submit, commit once, poll. `done` is called from poll only, never
 * from submit or commit; what a submit carries out on the spot it returns as done. Status is 0 or a
 * negative errno; only device/ translates it.
 */
#ifndef VHT_BDEV_BDEV_H
#define VHT_BDEV_BDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#define BDEV_NAME_MAX	 63
#define BDEV_PRODUCT_MAX 31
#define BDEV_SERIAL_MAX	 63
/* Private room of a driver in each io: an iocb and a little more. */
#define BDEV_IO_DRIVER_BYTES 128

enum bdev_op {
	BDEV_READ,
	BDEV_WRITE,
	BDEV_FLUSH,	   /* everything completed before this was submitted is stable */
	BDEV_DISCARD,	   /* contents become undefined; space may be freed */
	BDEV_WRITE_ZEROES, /* reads return zeroes afterwards */
};

/* What a submit returns besides -EAGAIN. */
enum bdev_submitted {
	BDEV_TAKEN = 0, /* `done` comes later */
	BDEV_DONE = 1,	/* it is over: io->status is set, and `done` is not called */
};

enum bdev_io_flags {
	BDEV_IO_MAY_UNMAP = 1 << 0, /* write-zeroes may free the space */
};

struct bdev_io {
	enum bdev_op op;
	uint32_t flags;
	uint64_t offset; /* bytes; multiple of the block size, checked by the submitter */
	uint64_t len; /* bytes; multiple of the block size; for read/write equal to the iovecs' sum */
	const struct iovec *iov; /* any addresses and lengths; stays valid until done */
	unsigned int iov_n;
	int status;			  /* set by the driver before done, or BDEV_DONE */
	void (*done)(struct bdev_io *io); /* called from bdev_channel_poll() on the same reactor */
	STAILQ_ENTRY(bdev_io) link;	  /* for the driver's queues while it owns the io */
	_Alignas(16) uint8_t driver[BDEV_IO_DRIVER_BYTES];
};

/* What a device may tell its guest. All sizes in bytes. */
struct bdev_info {
	uint64_t size;		      /* multiple of block_size; reactors read it by bdev_size() */
	uint32_t block_size;	      /* logical, power of two, 512..65536 */
	uint32_t physical_block_size; /* power of two, >= block_size */
	uint32_t min_io_size;	      /* 0: unknown */
	uint32_t opt_io_size;	      /* 0: unknown */
	uint64_t max_discard;	      /* longest discard / write-zeroes request, bytes */
	uint32_t discard_granularity; /* bytes; 0: same as block_size */
	bool read_only;
	bool write_cache; /* completed writes may be volatile until a flush */
	bool can_discard;
	bool can_write_zeroes;
	bool rotational;
};

struct bdev;
struct bdev_channel;
struct parcel;

struct bdev_ops {
	const char *driver; /* "malloc" */
	/* Control thread; no channel is open any more. Frees what the driver allocated. */
	void (*close)(struct bdev *bdev);
	/* Control thread, all three; NULL: it cannot. Gets ready for this size, a multiple of the block
	 * size, before anybody hears of it. */
	int (*resize)(struct bdev *bdev, uint64_t size, const char **ret_why);
	/* The size of what is behind it now. */
	int (*rescan)(struct bdev *bdev, uint64_t *ret_size, const char **ret_why);
	/* Frees what lies beyond the end. */
	void (*trim)(struct bdev *bdev);
	/* On the reactor. The driver's channel struct starts with struct bdev_channel. */
	int (*channel_open)(struct bdev *bdev, struct bdev_channel **ret_channel);
	void (*channel_close)(struct bdev_channel *channel); /* no io is outstanding */
	/* BDEV_TAKEN, BDEV_DONE, or -EAGAIN: full, offer it again next round. Nothing else: the error
	 * of a request that cannot be carried out is its status. What is done on the spot takes no more
	 * time in a round than a poll may. */
	int (*submit)(struct bdev_channel *channel, struct bdev_io *io);
	/* Ring the bell for everything submitted in this round. NULL: nothing to do. */
	void (*commit)(struct bdev_channel *channel);
	/* Completes what is ready, calls io->done for each, returns how many. One call takes a bounded
	 * time, whatever was submitted: other disks share the reactor. Returns at least 1 when it has
	 * done a part of its work and goes on in the next call. NULL: submit leaves nothing to do. */
	unsigned int (*poll)(struct bdev_channel *channel);
	/* An fd that is readable when poll has something to complete; -1 when poll never waits for
	 * anything but its next call. NULL: -1. The reactor drains it (eventfd). */
	int (*event_fd)(struct bdev_channel *channel);
	/* Control thread: packs what a process needs that goes on with it (see bdev_save()). */
	void (*save)(const struct bdev *bdev, struct parcel *parcel);
};

/* Owner: control thread. Drivers embed it as first member. Read-only for reactors while open. */
struct bdev {
	const struct bdev_ops *ops;
	char name[BDEV_NAME_MAX + 1];
	char product[BDEV_PRODUCT_MAX + 1]; /* "Malloc disk": SCSI INQUIRY, default of GET_ID */
	char serial[BDEV_SERIAL_MAX + 1];   /* default: the name */
	struct bdev_info info;
	/* private: */
	unsigned int claims;
	unsigned int leaving; /* claims of devices that let go of it */
	bool deleted;	      /* not registered any more, closed when the last one has left */
	TAILQ_ENTRY(bdev) link;
};

/* Any thread. */
static inline uint64_t bdev_size(const struct bdev *bdev)
{
	return __atomic_load_n(&bdev->info.size, __ATOMIC_RELAXED);
}

struct bdev_channel {
	struct bdev *bdev;
	int (*submit)(struct bdev_channel *channel, struct bdev_io *io); /* of bdev->ops */
	bool hurried;							 /* of bdev_channels */
	/* private (of whoever shares the channel on its reactor): */
	unsigned int users;
	bool held; /* by bdev_channels_hold() */
	LIST_ENTRY(bdev_channel) link;
};

/* ---- the drivers' constructors: control thread; on success the bdev is registered ---- */

struct bdev_null_options {
	const char *name;
	uint64_t size;	     /* bytes */
	uint32_t block_size; /* 0: 512 */
};
int bdev_null_create(const struct bdev_null_options *opts, struct bdev **ret_bdev,
		     const char **ret_why);

struct bdev_malloc_options {
	const char *name; /* NULL: next free MallocN */
	uint64_t size;
	uint32_t block_size;
	int numa_node; /* ENV_ANY_NODE */
};
int bdev_malloc_create(const struct bdev_malloc_options *opts, struct bdev **ret_bdev,
		       const char **ret_why);

struct bdev_aio_options {
	const char *name;
	const char *filename; /* regular file or block device, opened O_RDWR | O_DIRECT */
	uint32_t block_size;  /* 0: the device's, else 512 */
	bool read_only;
};
int bdev_aio_create(const struct bdev_aio_options *opts, struct bdev **ret_bdev,
		    const char **ret_why);

/* All return a negative errno and one line for the operator in *ret_why (base/why.h): -EEXIST name
 * taken, -EINVAL bad size/name, -ENOMEM, or open(2)'s errno. */

/* ---- the registry: control thread ---- */

int bdev_register(struct bdev *bdev, const char **ret_why);
struct bdev *bdev_find(const char *name);
struct bdev *bdev_next(const struct bdev *bdev); /* NULL: the first */
/* -EBUSY while claimed, -ENOENT. Closes and frees the bdev, once the last device has left. */
int bdev_delete(const char *name, const char **ret_why);
void bdev_delete_all(void); /* at exit; no claim is left */

void bdev_claim(struct bdev *bdev);
void bdev_release(struct bdev *bdev);
/* The end of a claim in two steps instead. The second may close the bdev. */
void bdev_leave(struct bdev *bdev);
void bdev_left(struct bdev *bdev);

/*
 * Gives it another size, at once for all reactors. -EINVAL: not a multiple of the block size, or none;
 * -ENOTSUP: this driver cannot; -ENOMEM, -ENOSPC. Whoever shows its size to somebody tells them.
 */
int bdev_resize(struct bdev *bdev, uint64_t size, const char **ret_why);
/* The same, with the size that the file or device behind it has now. */
int bdev_rescan(struct bdev *bdev, const char **ret_why);
/* Every reactor that has a channel to it has been through its loop since the size was changed. */
void bdev_trim(struct bdev *bdev);

/*
 * ---- a planned hand-over ----
 * Another process opens the same bdevs, with all that is in them, while this one still uses them: files and
 * memory travel as descriptors. It must not write before this one has stopped.
 */
void bdev_save_all(struct parcel *parcel);
/* Makes and registers them. */
int bdev_restore_all(struct parcel *parcel, const char **ret_why);
/* What a guest may know of one. */
void bdev_save_info(const struct bdev *bdev, struct parcel *parcel);
void bdev_restore_info(struct bdev *bdev, struct parcel *parcel); /* the fields up to `info` */

/* What takes the place of a bdev that a device has lost: the same to look at, but all requests end with
 * -ENODEV. Not registered, never closed. */
void bdev_gone_init(struct bdev *gone, const struct bdev *bdev);
bool bdev_is_gone(const struct bdev *bdev);

/*
 * ---- the channels of one reactor ----
 * A table of the open channels, shared by all queues that this reactor serves. Owner: that reactor.
 * io->done, which is called from within bdev_channels_poll(), must neither get nor put a channel.
 */
struct bdev_channels {
	LIST_HEAD(, bdev_channel) list;
	unsigned int opened; /* how many ever were */
	uint64_t round; /* of their owner: all that was completed in earlier ones is published */
	/* Several guests wait for the end of each round: drivers that do the work themselves make it short.
	 * Otherwise they may make it long, which costs less. */
	bool hurried;
};

/* Opens the bdev's channel, or counts one more user of the open one. */
int bdev_channels_get(struct bdev_channels *channels, struct bdev *bdev,
		      struct bdev_channel **ret_channel);
void bdev_channels_put(struct bdev_channels *channels, struct bdev_channel *channel);
/* Those that are open now stay open without a user, until it is called again with false. Their bdevs have to
 * stay, too. */
void bdev_channels_hold(struct bdev_channels *channels, bool hold);
void bdev_channels_hurry(struct bdev_channels *channels, bool hurried);
/* commit, then poll, every channel. Returns the number of completions, or 1 if there were none but
 * some channel goes on in the next call: 0 means that there is nothing to do before an event. */
unsigned int bdev_channels_poll(struct bdev_channels *channels);
/* The fd to sleep on, or -1 when the channel waits for nothing but its next poll. */
int bdev_channel_event_fd(struct bdev_channel *channel);

/* ---- the data path: on the channel's reactor ---- */

static inline int bdev_submit(struct bdev_channel *channel, struct bdev_io *io)
{
	return channel->submit(channel, io);
}

#endif
