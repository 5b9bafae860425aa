/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: the target, when this program starts it. It dies with us, and writes to our standard error. */
#ifndef HOSTILE_CHILD_H
#define HOSTILE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts the command; returns its process, or a negative errno. */
pid_t child_start(char *const *command);
/* Has it ended? Then says how. */
bool child_ended(pid_t pid, char *ret_how, size_t how_len);
/* SIGTERM, and the wait for the end. True: its exit status was 0. */
bool child_stop(pid_t pid, char *ret_how, size_t how_len);

#endif
