/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   reactor   one thread bound to one core. Each round it runs its messages and calls its pollers.
 *   poller    something with work to look for. It says how much it found; that keeps the reactor
 *             awake.
 *   adaptive  a reactor spins while there is work; when nothing was found for the idle window it
 *             asks every poller to arm its notifications (kick and completion eventfds) and
 *             sleeps in epoll. An idle reactor uses no processor time. While requests are under
 *             way it is more patient, as far as that turns out to spare it sleeps.
 *
 * Owner: a struct reactor belongs to its own thread; a struct poller to the reactor it was added
 * to. Other threads reach a reactor only by reactor_post().
 */
#ifndef VHT_REACTOR_REACTOR_H
#define VHT_REACTOR_REACTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/msgq.h"
#include "env/env.h"

enum reactor_mode {
	REACTOR_ADAPTIVE, /* spin, then sleep */
	REACTOR_POLL,	  /* never sleep */
	REACTOR_EVENT,	  /* never spin: one round without work and it sleeps */
};

struct reactor_options {
	enum reactor_mode mode;
	uint32_t idle_us; /* idle window of the adaptive mode, microseconds; 0 = default (50) */
};

struct reactor;
struct poller;

/* All members are called on the reactor's thread. */
struct poller_ops {
	/* One round. Returns the amount of work done; 0 = idle. */
	unsigned int (*poll)(struct poller *poller);
	/* Has it given something to a disk, which will answer soon? */
	bool (*is_under_way)(const struct poller *poller);
	/* The reactor wants to sleep: turn notifications on, then look once more. False: work is there,
	 * do not sleep (disarm is called all the same). */
	bool (*arm)(struct poller *poller);
	/* The reactor is awake again: turn notifications off, drain the fds. */
	void (*disarm)(struct poller *poller);
};

struct poller {
	const struct poller_ops *ops;
	/* private: */
	bool armed;
	LIST_ENTRY(poller) link;
};

/* Main thread. Starts a reactor on every core of the set; reactors_stop() ends and joins all. */
int reactors_start(const struct env_cpuset *cores, const struct reactor_options *opts);
void reactors_stop(void);

/* The reactor of a core or NULL; iterate with reactor_next(NULL), reactor_next(r)... */
struct reactor *reactor_get(unsigned int core);
struct reactor *reactor_next(const struct reactor *reactor);
unsigned int reactor_core(const struct reactor *reactor);
struct reactor *reactor_current(void); /* of the calling thread, or NULL */

/* Any thread: msg->fn runs on the reactor. */
void reactor_post(struct reactor *reactor, struct msg *msg);

/* On the reactor's own thread only. A poller may remove itself while it is called. */
void reactor_add_poller(struct reactor *reactor, struct poller *poller);
void reactor_remove_poller(struct reactor *reactor, struct poller *poller);
/* Makes the fd (EPOLLIN) end the reactor's sleep. The owner drains it in disarm(). */
int reactor_add_wake_fd(struct reactor *reactor, int fd);
void reactor_remove_wake_fd(struct reactor *reactor, int fd);
/* From arm() only: this sleep ends at that time of env_ticks() at the latest. The earliest counts. */
void reactor_wake_at(struct reactor *reactor, uint64_t ticks);

/* A snapshot, any thread (relaxed reads). */
struct reactor_stats {
	uint64_t rounds;
	uint64_t busy_rounds;
	uint64_t sleeps;
};

void reactor_get_stats(const struct reactor *reactor, struct reactor_stats *ret_stats);

#endif
