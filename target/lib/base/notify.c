/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/notify.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* Room for completions that nobody has collected; they are when half of it is used. */
#define EVENTS	     128
#define COLLECT_FROM (EVENTS / 2)

struct notifier {
	bool tried;
	aio_context_t context; /* 0: none */
	int file;	       /* what the requests read nothing from */
	unsigned int uncollected;
};

static _Thread_local struct notifier notifier;

static void notifier_init(struct notifier *n)
{
	n->tried = true;
	n->file = memfd_create("notify", MFD_CLOEXEC);
	if (n->file >= 0 && syscall(SYS_io_setup, EVENTS, &n->context) < 0) {
		n->context = 0;
		fd_close(&n->file);
	}
}

static void collect(struct notifier *n)
{
	struct io_event events[EVENTS];

	syscall(SYS_io_getevents, n->context, 0, EVENTS, events, NULL);
	n->uncollected = 0;
}

void notify_prepare(void)
{
	if (!notifier.tried) {
		notifier_init(&notifier);
	}
}

int notify_eventfd(int fd)
{
	struct notifier *n = &notifier;
	struct iocb iocb = { 0 };
	struct iocb *list = &iocb;

	notify_prepare();
	if (n->context == 0) {
		return eventfd_signal(fd);
	}
	/* An empty read completes inside io_submit(), and with it the signal is given. */
	iocb.aio_lio_opcode = IOCB_CMD_PREAD;
	iocb.aio_fildes = (uint32_t)n->file;
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = (uint32_t)fd;
	if (n->uncollected >= COLLECT_FROM) {
		collect(n);
	}
	n->uncollected++;
	return syscall(SYS_io_submit, n->context, 1, &list) == 1 ? 0 : -errno;
}
