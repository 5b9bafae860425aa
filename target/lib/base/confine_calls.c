/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/confine_calls.h"

#include <linux/fs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* gcc says it by a macro, clang by a feature. */
#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

const char *const confine_calls[] = {
	/* memory: guests', ramdisks', stacks, hugepages that DPDK takes later */
	"brk fallocate ftruncate get_mempolicy madvise mbind membarrier memfd_create mincore mlock",
	"mlock2 mremap msync munlock munmap set_mempolicy",
	/* threads (closers of sessions, helpers of files), time, signals */
	"clock_getres clock_gettime clock_nanosleep exit exit_group futex futex_wait futex_waitv",
	"futex_wake get_robust_list getcpu getpid getrandom getrusage gettid gettimeofday",
	"nanosleep restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn",
	"rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam sched_getscheduler",
	"sched_setaffinity sched_yield set_robust_list set_tid_address sigaltstack sysinfo time",
	"times uname",
	/* files: those of disks that are created later, /proc and /sys that tell about them */
	"access chmod close close_range dup dup2 dup3 faccessat faccessat2 fchmod fchmodat",
	"fchmodat2 fcntl fdatasync flock fstat fstatfs fsync getcwd getdents64 lseek lstat",
	"newfstatat open openat pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readlink",
	"readlinkat readv stat statfs statx umask unlink unlinkat write writev",
	/* waiting, eventfds, Linux AIO */
	"epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 io_cancel",
	"io_destroy io_getevents io_pgetevents io_setup io_submit pipe2 poll ppoll pselect6",
	"select timerfd_create timerfd_gettime timerfd_settime",
	/* sockets of front-ends and of management; which kind is restricted below */
	"accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmsg",
	"sendmsg sendto setsockopt shutdown",
	/* who are we, what may we use */
	"getegid geteuid getgid getppid getrlimit getuid",
#if SANITIZED
	/* the search for leaks at the end stops all threads from another process; reports call a program */
	"arch_prctl clone execve fork getdents kill mmap mprotect personality pipe prctl",
	"process_vm_readv ptrace tgkill tkill vfork wait4",
#endif
#ifdef VHT_COVERAGE
	/* the directories of the counts, below $GCOV_PREFIX */
	"mkdir mkdirat",
#endif
	NULL,
};

const struct confine_argument confine_arguments[] = {
	/* a thread, not a process: this one starts no other */
	{ "clone", 0, CLONE_THREAD, CLONE_THREAD },
	/* memory that can be executed: nothing is loaded any more */
	{ "mmap", 2, PROT_EXEC, 0 },
	{ "mprotect", 2, PROT_EXEC, 0 },
	{ "socket", 0, 0, AF_UNIX },
	{ "socketpair", 0, 0, AF_UNIX },
	{ "kill", 0, 0, CONFINE_OWN_PID },
	{ "tgkill", 0, 0, CONFINE_OWN_PID },
	{ "prlimit64", 0, 0, 0 },
	{ "prctl", 0, 0, PR_SET_NAME },
	{ "prctl", 0, 0, PR_GET_NAME },
	{ "prctl", 0, 0, PR_SET_TIMERSLACK },
#ifdef PR_SET_VMA
	{ "prctl", 0, 0, PR_SET_VMA }, /* the C library names its mappings */
#endif
	/* block devices */
	{ "ioctl", 1, 0, BLKDISCARD },
	{ "ioctl", 1, 0, BLKGETSIZE64 },
	{ "ioctl", 1, 0, BLKIOMIN },
	{ "ioctl", 1, 0, BLKIOOPT },
	{ "ioctl", 1, 0, BLKPBSZGET },
	{ "ioctl", 1, 0, BLKROGET },
	{ "ioctl", 1, 0, BLKSSZGET },
	{ "ioctl", 1, 0, BLKZEROOUT },
	/* how much of a message waits; is it a terminal? */
	{ "ioctl", 1, 0, FIONREAD },
	{ "ioctl", 1, 0, TCGETS },
	{ NULL },
};
