/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   target      a vhost-user storage target inside a program: bdevs (disks), controllers (sockets on
 *               which they are served) and the reactors (threads) that do the work.
 *   life        new -> load_config, pass_fd -> start -> add... -> run (until stop) -> free.
 *               Everything exists before run opens the first socket.
 *
 * One target per process. All functions but vht_target_stop() belong to the thread that created the
 * target. Functions that can fail return 0 or a negative errno and set *ret_why to one line for the
 * operator, valid until the thread's next call.
 */
#ifndef VHOST_TARGET_TARGET_H
#define VHOST_TARGET_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhost_target/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vht_target;

enum vht_mode {
	VHT_MODE_ADAPTIVE, /* reactors spin while there is work, then sleep */
	VHT_MODE_POLL,	   /* never sleep */
	VHT_MODE_EVENT,	   /* never spin */
};

#define VHT_MAX_MEM_SLOTS 512

struct vht_options {
	size_t size;		  /* sizeof(struct vht_options); members may be added */
	const char *name;	  /* of the program */
	const char *reactor_mask; /* "0x3" or "[0-1]"; NULL: the file's ReactorMask, else 0x1 */
	const char *socket_dir;	  /* NULL: the current directory */
	const char *rpc_path;	  /* management socket; NULL: the file's [Rpc], else vhost-rpc.sock
				       in socket_dir */
	bool no_rpc;		  /* no management socket, unless rpc_path is given */
	enum vht_mode mode;
	uint32_t idle_us;	    /* adaptive: sleep after this much idleness; 0: default */
	unsigned int mem_limit_mib; /* bound on hugepage memory; 0: none */
	bool no_huge;		    /* leave hugepages alone */
	bool quiet;		    /* no notices from DPDK */
	bool strict;		    /* the configuration file must be without any oddity */
	/* The command line that starts this program, up to a NULL, not copied: a planned hand-over starts another
	 * process with it. For that, new forks a small process (docs/ARCHITECTURE.md, "The starter"): before there are
	 * threads. NULL: no such process, no hand-over. */
	char *const *argv;
	/* The whole process gives up what a target does not need: capabilities at start, system calls
	 * (by a seccomp filter) in run, for good. For programs that do nothing else. */
	bool confine;
	unsigned int mem_slots; /* memory slots that front-ends are offered; 0: all there are */
};

int vht_target_new(const struct vht_options *opts, struct vht_target **ret_target,
		   const char **ret_why);

/* Reads and checks the file; start makes what it describes. At most once. */
int vht_target_load_config(struct vht_target *target, const char *path, const char **ret_why);

/* A listening UNIX socket for a controller of the file; name NULL: its only one. */
int vht_target_pass_fd(struct vht_target *target, const char *name, int fd, const char **ret_why);

/* Starts environment and reactors, makes all that the file describes. */
int vht_target_start(struct vht_target *target, const char **ret_why);

/* ---- after start ---- */

struct vht_bdev_options {
	const char *name;
	uint64_t size;	      /* bytes (null, malloc) */
	uint32_t block_size;  /* 0: default */
	const char *filename; /* aio: regular file or block device */
	bool read_only;	      /* aio */
};

int vht_target_add_null(struct vht_target *target, const struct vht_bdev_options *opts,
			const char **ret_why);
int vht_target_add_malloc(struct vht_target *target, const struct vht_bdev_options *opts,
			  const char **ret_why);
int vht_target_add_aio(struct vht_target *target, const struct vht_bdev_options *opts,
		       const char **ret_why);

struct vht_controller_options {
	const char *name;    /* file name of the socket */
	const char *cpumask; /* NULL: all reactors */
	/* -1: make the socket; else a listening socket, taken over, also on failure. */
	int listen_fd;
	unsigned int queues; /* most request queues; 0: default */
	const char *bdev;    /* blk */
	bool read_only;	     /* blk */
	const char *serial;  /* blk; NULL: the bdev's */
};

int vht_target_add_blk(struct vht_target *target, const struct vht_controller_options *opts,
		       const char **ret_why);
int vht_target_add_scsi(struct vht_target *target, const struct vht_controller_options *opts,
			const char **ret_why);
int vht_target_add_scsi_disk(struct vht_target *target, const char *controller, unsigned int number,
			     const char *bdev, const char **ret_why);

/* Opens the sockets and serves until vht_target_stop(). -ETIMEDOUT: it was stopped, but I/O did not
 * come back in time; then the process should end at once. */
int vht_target_run(struct vht_target *target, const char **ret_why);

/* Any thread, also from a signal handler; before run too: then run returns at once. */
void vht_target_stop(struct vht_target *target);

/*
 * ---- a planned hand-over ----
 * Another process, perhaps of a newer program, takes over sockets, configuration and running sessions; guests see
 * a pause of some milliseconds. It is started with the same command line, and with VHT_HANDOVER_VARIABLE in its
 * environment, which says on which descriptor it is told everything.
 */
#define VHT_HANDOVER_VARIABLE "VHOST_HANDOVER_FD"
/* What run returns in the old process when the new one serves: end by _exit(2), and leave all files alone. */
#define VHT_HANDED_OVER 1

/* Begins one, if none is under way. If it fails, the old process goes on, and has said why in the log. Any thread,
 * also from a signal handler. */
void vht_target_hand_over(struct vht_target *target);

/*
 * In place of load_config, start and add: takes over what is told on this descriptor. Then comes run; it must not
 * take long until then, since the old process waits for it. On failure the process has to end by _exit(2) at once:
 * what it has got so far is the old one's.
 */
int vht_target_take_over(struct vht_target *target, int fd, const char **ret_why);

void vht_target_free(struct vht_target *target); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
