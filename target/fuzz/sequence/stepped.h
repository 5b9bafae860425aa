/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the machine under the target, in the hands of the fuzzer. Everything runs on its one
 * thread, in the order that the input says, and the same input does the same each time:
 *
 *   reactors     the real ones, a round at a time. One that was put to sleep runs again only when
 *                its epoll or the clock says so: a wake-up that got lost stays lost.
 *   clock        stands still unless it is moved, or a step for each look at it is set.
 *   closing      descriptors that the target has closed on a thread of their own stay open until then.
 *   sockets      what the target reads is counted.
 *   shortage     the n-th allocation from now can be made to fail, and every accept4().
 *
 * The linker puts all but the first in the place of the real ones (--wrap), the first is the reactor's
 * source with other threads underneath. Nothing of it is known to the target.
 */
#ifndef VHT_FUZZ_STEPPED_H
#define VHT_FUZZ_STEPPED_H

#include <stdbool.h>
#include <stdint.h>

#define STEPPED_CORES 2

/* Also sets the clock and the allocations back. */
void stepped_start(void);
void stepped_stop(void);

/* One round. False: nothing was done, or it sleeps on. */
bool stepped_round(unsigned int core);
/* After a round without work: arms everything and goes to sleep, unless something came up. */
void stepped_sleep(unsigned int core);

void stepped_clock_advance(uint64_t ns);
void stepped_clock_step(uint64_t ns); /* at each look */

void stepped_fail_allocation(unsigned int nth); /* 1: the next; 0: none */
bool stepped_allocation_failed(void);		/* since the last call of this */

/* Closes what threads of their own were to close. */
void stepped_close_apart(void);

/* How often the target has read something that a front-end said. */
uint64_t stepped_receptions(void);

/* There are no descriptors for new connections. */
void stepped_refuse_connections(bool refuse);

#endif
