# SPDX-License-Identifier: BSD-3-Clause
"""Looks in a guest whether it is what the cells of its boot ask for."""

from __future__ import annotations

from collections.abc import Sequence

from vhostlab.guest import Guest
from vhostlab.guestdisk import GuestDisk
from vhostlab.host.numa import cpu_list, shown
from vhostlab.measure.layout import Wanted
from vhostlab.measure.placement import divided
from vhostlab.scenario.context import Context

RING_PACKED = 34

#: From a disk to the virtio device that it hangs from.
_FEATURES = {"blk": "device/features", "scsi": "device/../../../features"}

_NODES = "/sys/devices/system/node"


def use_blk_mq(sysfs: str = "/sys") -> str:
    """The command that turns blk-mq on for SCSI in a running kernel that has it off, and lets the
    driver find its controllers anew. Kernels that have nothing else have no such parameter."""
    return (
        f"p={sysfs}/module/scsi_mod/parameters/use_blk_mq; "
        '[ -e "$p" ] || exit 0; [ "$(cat "$p")" = N ] || exit 0; echo Y > "$p"; '
        f"cd {sysfs}/bus/virtio/drivers/virtio_scsi || exit 0; "
        'for d in virtio*; do [ -e "$d" ] || continue; '
        'echo "$d" > unbind && echo "$d" > bind; done'
    )


async def disk(ctx: Context, found: GuestDisk, wanted: Wanted) -> None:
    """blk-mq, the scheduler, the ring format."""
    label = found.label
    ctx.equal(f"{label}: hardware queues and their processors", *await _queues(found, wanted))
    tags = await found.attribute("mq/0/nr_tags")
    ctx.equal(f"{label}: requests per queue", tags, str(wanted.queue_size))
    await found.guest.run(f"echo none > {found.sysfs}/queue/scheduler")
    scheduler = await found.attribute("queue/scheduler")
    ctx.check(f"{label}: no scheduler", scheduler == "none" or "[none]" in scheduler, scheduler)
    bits = await found.attribute(_FEATURES[found.controller.device])
    packed = bits[RING_PACKED : RING_PACKED + 1] == "1"
    words = ("split", "packed")
    ctx.equal(f"{label}: rings", words[packed], words[wanted.packed])


async def _queues(found: GuestDisk, wanted: Wanted) -> tuple[str, str]:
    """What the guest has and what it ought to have, as text.

    Every processor has exactly one queue, and every queue as many processors as any other, or one
    more. There are no more queues than processors.
    """
    done = await found.guest.run(f"cd {found.sysfs}/mq && for q in *; do cat $q/cpu_list; done")
    lists = [cpu_list(line) for line in done.stdout.splitlines() if line.strip()]
    count = min(wanted.queues, wanted.vcpus)
    sizes = sorted(len(cpus) for cpus in lists)
    served = sorted(cpu for cpus in lists for cpu in cpus)
    fair = bool(sizes) and sizes[-1] - sizes[0] <= 1
    good = len(lists) == count and served == list(range(wanted.vcpus)) and fair
    got = f"{len(lists)} for processors {' / '.join(shown(cpus) for cpus in lists)}"
    return got, got if good else f"{count}, each processor of {wanted.vcpus} with one of them"


async def numa(ctx: Context, guest: Guest, disks: Sequence[GuestDisk], wanted: Wanted) -> None:
    """The nodes, their processors, and where the disks are."""
    if wanted.numa_nodes == 1:
        return
    listed = await guest.run(f"cat {_NODES}/node[0-9]*/cpulist")
    got = [line.strip() for line in listed.stdout.splitlines()]
    expected = [shown(part) for part in divided(wanted.vcpus, wanted.numa_nodes)]
    ctx.equal("processors of the NUMA nodes", got, expected)
    last = str(wanted.numa_nodes - 1)
    for found in disks:
        node = await guest.run(_nearest_node(found.sysfs), check=False)
        ctx.equal(f"{found.label}: NUMA node", node.stdout.strip(), last)


def _nearest_node(sysfs: str) -> str:
    """The numa_node of the first device above a disk that has one: its PCI function."""
    return (
        f"cd {sysfs}/device && d=$(pwd -P) && "
        'while [ -n "$d" ] && [ ! -e "$d/numa_node" ]; do d=${d%/*}; done && cat "$d/numa_node"'
    )
