/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what happens when a page of guest memory cannot be had any more (the file behind it was
 * cut short, its hugepages are used up): the kernel sends SIGBUS to the thread that touched it. The
 * handler finds the mapping in a fixed table, puts zero pages over all of it and marks it as lost
 * (rule R9): the access goes on, and the queues see the mark and break. A SIGBUS anywhere else is a
 * bug of ours and ends the program as before.
 *
 * Threads: any. The handler takes no lock.
 */
#ifndef VHT_VIRTIO_MEM_FAULT_H
#define VHT_VIRTIO_MEM_FAULT_H

#include <stdatomic.h>
#include <stddef.h>

/* All mappings of the process together: 2000 sessions of 16 regions each, or 64 with as many regions as
 * there can be. Half of what Linux lets a process map (vm.max_map_count). */
#define MEM_FAULT_MAX_MAPPINGS 32768

/*
 * Watches [addr, addr + len), page-aligned, until mem_fault_unwatch(); *lost is set by the handler.
 * Returns a slot number, or -ENOSPC when the table is full.
 */
int mem_fault_watch(void *addr, size_t len, atomic_bool *lost);
/* Before the mapping is given back with munmap(2). */
void mem_fault_unwatch(int slot);

#endif
