/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: small helpers for file descriptors. All descriptors are born CLOEXEC and have one owner. */
#ifndef VHT_BASE_FD_H
#define VHT_BASE_FD_H

#include <stdbool.h>

/* Closes *fd if it is >= 0, sets it to -1, keeps errno. */
void fd_close(int *fd);
int fd_set_nonblock(int fd);

/* An fd received from a front-end must be what it claims to be (attack list 8, case T66). */
bool fd_is_eventfd(int fd);
bool fd_is_shared_memory(int fd); /* a file of tmpfs or hugetlbfs, or a memfd */
/* Shared memory, or a file of a local disk. Behind others there is a server (FUSE, network file systems),
 * which may let a page fault, and even the question for the file's size, wait for ever. */
bool fd_is_local_memory(int fd);

/* Signals an eventfd without ever blocking; a full counter is success. Negative errno otherwise. */
int eventfd_signal(int fd);
/* Drains an eventfd, never blocks. */
void eventfd_drain(int fd);

#endif
