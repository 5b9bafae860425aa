/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: which system calls a confined process may make, as data (confine_calls.c), for confine.c. */
#ifndef VHT_BASE_CONFINE_CALLS_H
#define VHT_BASE_CONFINE_CALLS_H

#include <stdint.h>

/* With any arguments: names with a blank between them; up to NULL. One that this machine does not know is passed
 * over. */
extern const char *const confine_calls[];

#define CONFINE_OWN_PID UINT64_MAX

/* Only if the argument (masked, mask 0: whole) has this value. Several rules for a call: any of them. */
struct confine_argument {
	const char *name;
	unsigned int argument; /* number, from 0 */
	uint64_t mask;
	uint64_t value; /* or CONFINE_OWN_PID */
};

extern const struct confine_argument confine_arguments[]; /* up to a NULL name */

#endif
