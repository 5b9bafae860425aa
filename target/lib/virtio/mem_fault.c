/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/mem_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/guest_mem.h"

/*
 * One watched mapping. Writers hold table_lock. The handler takes no lock: `version` is odd while a
 * slot is written, and a slot whose version moved is skipped. The slot of the mapping that faulted
 * cannot move, because the thread that faulted holds a reference to its snapshot.
 */
struct slot {
	atomic_uint version;
	_Atomic(uintptr_t) start; /* 0: free */
	_Atomic(size_t) len;
	_Atomic(atomic_bool *) lost;
};

static struct slot table[MEM_FAULT_MAX_MAPPINGS];
static atomic_int table_used; /* slots [0, table_used) were ever in use */
static int first_free;	      /* no slot below it is free; under table_lock */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous_action;

static void slot_write(struct slot *slot, uintptr_t start, size_t len, atomic_bool *lost)
{
	unsigned int version = atomic_load_explicit(&slot->version, memory_order_relaxed);

	/* The odd version is visible before the fields change... */
	atomic_store_explicit(&slot->version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&slot->start, start, memory_order_relaxed);
	atomic_store_explicit(&slot->len, len, memory_order_relaxed);
	atomic_store_explicit(&slot->lost, lost, memory_order_relaxed);
	/* ...and the fields are visible before the even one. */
	atomic_store_explicit(&slot->version, version + 2, memory_order_release);
}

int mem_fault_watch(void *addr, size_t len, atomic_bool *lost)
{
	int i;
	int used;

	pthread_mutex_lock(&table_lock);
	used = atomic_load_explicit(&table_used, memory_order_relaxed);
	for (i = first_free; i < used; i++) {
		if (atomic_load_explicit(&table[i].start, memory_order_relaxed) == 0) {
			break;
		}
	}
	first_free = i;
	if (i == MEM_FAULT_MAX_MAPPINGS) {
		pthread_mutex_unlock(&table_lock);
		return -ENOSPC;
	}
	slot_write(&table[i], (uintptr_t)addr, len, lost);
	if (i == used) {
		/* The slot is complete before the handler looks at it. */
		atomic_store_explicit(&table_used, used + 1, memory_order_release);
	}
	pthread_mutex_unlock(&table_lock);
	return i;
}

void mem_fault_unwatch(int slot)
{
	pthread_mutex_lock(&table_lock);
	slot_write(&table[slot], 0, 0, NULL);
	first_free = slot < first_free ? slot : first_free;
	pthread_mutex_unlock(&table_lock);
}

/* Puts zero pages over the mapping in `slot` if the address lies in it. Async-signal-safe. */
static bool slot_absorb(struct slot *slot, uintptr_t addr)
{
	unsigned int version = atomic_load_explicit(&slot->version, memory_order_acquire);
	uintptr_t start = atomic_load_explicit(&slot->start, memory_order_relaxed);
	size_t len = atomic_load_explicit(&slot->len, memory_order_relaxed);
	atomic_bool *lost = atomic_load_explicit(&slot->lost, memory_order_relaxed);

	/* The fields are read before the version is looked at again. */
	atomic_thread_fence(memory_order_acquire);
	if (version % 2 != 0 ||
	    version != atomic_load_explicit(&slot->version, memory_order_relaxed)) {
		return false;
	}
	if (start == 0 || addr < start || addr - start >= len) {
		return false;
	}
	if (mmap((void *)start, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		return false;
	}
	atomic_store_explicit(lost, true, memory_order_relaxed);
	return true;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	int used = atomic_load_explicit(&table_used, memory_order_acquire);
	int i;

	/* A signal sent by kill(2) carries no address. */
	for (i = 0; i < used && info->si_code > 0; i++) {
		if (slot_absorb(&table[i], (uintptr_t)info->si_addr)) {
			errno = saved_errno;
			return;
		}
	}
	/* Not guest memory: what would have happened without us, delivered when this returns. */
	sigaction(sig, &previous_action, NULL);
	raise(sig);
	errno = saved_errno;
}

int guest_mem_install_sigbus_handler(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, &previous_action) < 0 ? -errno : 0;
}
