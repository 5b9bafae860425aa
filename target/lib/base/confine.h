/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what a process gives up once it has started, so that whoever takes it over by a fault in it gets
 * little. Both are for good, and inherited by programs that it starts.
 *   capabilities   a process of root keeps those that opening files and taking memory may need; one of an
 *                  ordinary user has none anyway. They belong to a thread: before any other is started.
 *   system calls   a seccomp filter for all threads, those to come too. What it does not allow fails with
 *                  EPERM, and a line in the log says so, once for each system call.
 * No program can be started any more: what has to (a hand-over) is done by a process that was forked before
 * (api/starter.h).
 * Threads that block SIGSYS are ended by what is not allowed, and the process with them: see
 * confine_block_signals().
 */
#ifndef VHT_BASE_CONFINE_H
#define VHT_BASE_CONFINE_H

#include <signal.h>

int confine_capabilities(void);
/* When all that needs more has been done. *ret_why: why there is no filter. */
int confine_system_calls(const char **ret_why);

/* Blocks all signals but SIGSYS for this thread and those that it starts. */
void confine_block_signals(sigset_t *ret_before);

#endif
