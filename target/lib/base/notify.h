/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: signalling an eventfd that somebody else shares. Whether a write(2) to an eventfd blocks
 * when its counter is full depends on O_NONBLOCK, which belongs to the open file: a hostile
 * front-end can fill the counter, clear the flag at any instant and hold up the reactor, and all
 * guests on it, for good. The kernel's own signalling never waits. One way to have it done is an AIO
 * request that names the eventfd as the one to be told of its completion (IOCB_FLAG_RESFD).
 */
#ifndef VHT_BASE_NOTIFY_H
#define VHT_BASE_NOTIFY_H

/*
 * Adds 1 to the counter, without ever blocking; a full counter is success. Any thread; each has an
 * AIO context of its own, made at its first call. Where the kernel gives us none: a plain write.
 * Costs about 0.1 microseconds more than that.
 */
int notify_eventfd(int fd);
/* Makes the calling thread's context now: whoever watches the open descriptors sees no other later. */
void notify_prepare(void);

#endif
