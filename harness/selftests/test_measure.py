# SPDX-License-Identifier: BSD-3-Clause
"""What is made of the cells of a matrix before a guest is booted, and of what fio wrote after."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab import fio
from vhostlab import target as targets
from vhostlab.host.leases import Leases
from vhostlab.host.numa import cpu_list, shown, usable_cores
from vhostlab.images import Image
from vhostlab.matrix import Cell
from vhostlab.measure import layout, placement, series, verify
from vhostlab.measure.cell import CpuMeter
from vhostlab.measure.metrics import fairness, of_guests, percentile, together
from vhostlab.measure.placement import Need, Placement
from vhostlab.qemu.config import Channels, qemu_argv
from vhostlab.target import Target

BASE: dict[str, str | int | bool] = {
    "device": "blk",
    "bdev": "null",
    "pattern": "randread",
    "bs": "4k",
    "depth": 1,
}


def cell(**params: str | int | bool) -> Cell:
    return Cell(BASE | params)


# -- lists of processors and nodes


@given(st.sets(st.integers(0, 300)))
def test_lists_of_processors_are_read_as_they_are_written(cpus: set[int]) -> None:
    assert cpu_list(shown(cpus)) == tuple(sorted(cpus))


def test_lists_of_processors_of_the_kernel() -> None:
    assert cpu_list("0, 1\n") == (0, 1)
    assert cpu_list("\n") == ()
    assert shown((0, 1, 2, 4)) == "0-2,4"


def test_cores_by_node(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert usable_cores(tmp_path) == {0: tuple(mine)}
    for node, cpus in (("node0", str(mine[0])), ("node10", "9999"), ("node2", shown(mine[1:]))):
        (tmp_path / node).mkdir()
        (tmp_path / node / "cpulist").write_text(cpus + "\n")
    expected = {0: (mine[0],), 2: tuple(mine[1:])} if mine[1:] else {0: (mine[0],)}
    assert usable_cores(tmp_path) == expected


# -- cores


async def place(need: Need, directory: Path, nodes: dict[int, tuple[int, ...]]) -> Placement:
    leases = Leases(directory, cores=tuple(c for cores in nodes.values() for c in cores))
    async with placement.placed(need, lambda _: None, leases, nodes) as found:
        assert sum(len(lease.cores) for lease in leases.held()) == (
            need.cores if found.guests else 0
        )
        return found


NEEDS = st.builds(
    Need, st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), st.sampled_from([1, 2])
)


@given(NEEDS, st.integers(1, 12), st.integers(0, 12))
def test_nobody_shares_a_core(
    tmp_path_factory: pytest.TempPathFactory, need: Need, first: int, second: int
) -> None:
    nodes = {0: tuple(range(first))}
    if second:
        nodes[3] = tuple(range(first, first + second))
    found = asyncio.run(place(need, tmp_path_factory.mktemp("leases"), nodes))
    enough = need.cores <= first + second
    assert bool(found.guests) == enough
    if not enough:
        assert "not pinned" in found.words and len(found.target) <= need.target
        return
    given = [*found.target, *(core for guest in found.guests for core in guest)]
    assert len(set(given)) == len(given) == need.cores
    if found.host_nodes:
        # each half of a guest on its node, the target with the second one
        halves = placement.divided(need.vcpus, 2)
        for guest in found.guests:
            for half, node in zip(halves, found.host_nodes, strict=True):
                assert {guest[vcpu] for vcpu in half} <= set(nodes[node])
        assert set(found.target) <= set(nodes[found.host_nodes[1]])


def test_too_few_cores_are_a_reason_for_numbers_only() -> None:
    need = Need(target=1, vms=2, vcpus=2)
    reason = placement.lacking(need, 4, "kvm")
    assert reason and "1 cores for the target and 4 for the guests" in reason
    assert placement.lacking(need, 4, "tcg") is None
    assert placement.lacking(need, 5, "kvm") is None


def test_threads_are_pinned() -> None:
    core = max(os.sched_getaffinity(0))
    seen: list[set[int]] = []
    ready, go = threading.Event(), threading.Event()

    def other() -> None:
        ready.set()
        go.wait(20)
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(20) and thread.native_id is not None
    placement.pin_threads((thread.native_id,), (core,))
    go.set()
    thread.join()
    assert seen == [{core}]


# -- the VM


def argv(
    tmp_path: Path, one: Cell, host_nodes: tuple[int, ...] = (), target: str = "vhostlab"
) -> str:
    wanted = layout.Wanted.of(one)
    (mine,) = layout.controllers([one], wanted, tmp_path)
    image = Image(
        "micro", "id", tmp_path / "k", tmp_path / "i", "quiet", {"kernel_version": "6.1.0-1"}
    )
    driver = targets.get(target)(tmp_path)
    driver.endpoints = {controller.name: tmp_path / controller.name for controller in mine}
    seats = Placement((), (), host_nodes, "")
    config = replace(
        layout.vm(wanted, image, "tcg", mine, driver, seats, "vm1"), qemu=Path("/bin/true")
    )
    return " ".join(qemu_argv(config, Channels(3, 4, tmp_path / "c", tmp_path / "l")))


def test_a_vm_without_wishes(tmp_path: Path) -> None:
    words = argv(tmp_path, cell())
    assert "-smp 2 " in words and "num-queues=2,queue-size=128" in words
    assert "numa" not in words and "memory-backend=mem" in words
    assert "packed" not in words and "use_blk_mq" not in words


def test_a_vm_with_all_of_them(tmp_path: Path) -> None:
    words = argv(
        tmp_path,
        cell(vcpus=3, queues=2, queue_size=256, ring="packed", numa="two", device="scsi"),
        (4, 7),
    )
    assert "-smp 3 " in words and "num_queues=2,virtqueue_size=256" in words
    assert "packed=on,bus=numa1-port0" in words
    assert "memory-backend=mem" not in words
    for part in (
        "memory-backend-memfd,id=mem0,size=256M,share=on,host-nodes=4,policy=bind,prealloc=on",
        "node,nodeid=0,cpus=cpu=0,cpus=cpu=1,memdev=mem0".replace("cpus=cpu=", "cpus="),
        "node,nodeid=1,cpus=2,memdev=mem1",
        "dist,src=0,dst=1,val=20",
        "pxb-pcie,id=numa1,bus_nr=64,numa_node=1,bus=pcie.0",
        "pcie-root-port,id=numa1-port0,bus=numa1,chassis=33",
        "virtio-serial-pci,id=serial0,bus=pcie.0",
    ):
        assert part in words, part


def test_a_vm_whose_qemu_is_the_target(tmp_path: Path) -> None:
    words = argv(tmp_path, cell(numa="two", ring="packed"), target="qemu")
    assert (
        "iothread,id=io-blk-null" in words and "chardev" not in words.split("-object iothread")[1]
    )
    assert "virtio-blk-pci,id=blk-null,iothread=io-blk-null" in words
    assert "packed=on,bus=numa1-port0" in words


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.16.0-4-amd64", True),
        ("4.4.0-210-generic", True),
        ("4.16.18", True),
        ("4.17.0", False),
        ("6.1.0-37-cloud-amd64", False),
        ("", False),
    ],
)
def test_old_kernels_are_told_to_use_blk_mq(version: str, told: bool) -> None:
    assert layout.kernel_options(version) == (("scsi_mod.use_blk_mq=1",) if told else ())


@pytest.mark.parametrize(
    ("before", "after", "bound"), [("N", "Y", "virtio3"), ("Y", "Y", ""), (None, None, "")]
)
def test_running_kernels_are_told_to_use_blk_mq(
    tmp_path: Path, before: str | None, after: str | None, bound: str
) -> None:
    parameter = tmp_path / "module" / "scsi_mod" / "parameters" / "use_blk_mq"
    driver = tmp_path / "bus" / "virtio" / "drivers" / "virtio_scsi"
    (driver / "virtio3").mkdir(parents=True)
    if before:
        parameter.parent.mkdir(parents=True)
        parameter.write_text(before + "\n")
    subprocess.run(["sh", "-c", verify.use_blk_mq(str(tmp_path))], check=True)
    assert (parameter.read_text().strip() if before else None) == after
    for file in ("unbind", "bind"):
        told = driver / file
        assert (told.read_text().strip() if told.exists() else "") == bound


def test_each_guest_has_disks_of_its_own(tmp_path: Path) -> None:
    cells = [cell(vms=2, bdev="aio"), cell(vms=2, bdev="aio", depth=32), cell(vms=2)]
    made = layout.controllers(cells, layout.Wanted.of(cells[0]), tmp_path)
    names = [controller.name for mine in made for controller in mine]
    assert names == ["blk-aio-vm1", "blk-null-vm1", "blk-aio-vm2", "blk-null-vm2"]
    paths = [d.path for mine in made for c in mine for d in c.disks if d.path]
    assert len({p for p in paths if p.stat().st_size == layout.SIZES["aio"]}) == 2


# -- what fio wrote


def test_logs_of_several_jobs_are_one_series() -> None:
    one = "1600688, 25041, 0, 0, 0\n1601689, 24710, 0, 0, 0\n1602688, 24673, 0, 0, 0\n"
    # reads and writes, and the last second is missing
    other = "1600688, 10, 0, 0, 0\n1600688, 5, 1, 0, 0\n1601690, 20, 0, 0, 0\n"
    found = series.parse([one, other])
    assert found is not None
    assert found.iops == (25056.0, 24730.0)
    assert (found.began, found.ended) == (1599.688, 1601.688)


def test_no_series_of_what_was_too_short() -> None:
    assert series.parse([]) is None
    assert series.parse(["", "1000, 1, 0, 0\n"]) is None
    assert series.total([]) == ()


def test_series_of_several_guests() -> None:
    one = series.Series(100.0, 103.0, (1.0, 2.0, 3.0))
    other = series.Series(100.3, 102.3, (10.0, 20.0))
    assert series.total([one, other]) == (11.0, 22.0)
    assert series.together([(100.0, 103.0), (100.5, 103.5)]) == pytest.approx(2.5 / 3.5)
    assert series.together([(1.0, 2.0), (3.0, 4.0)]) == 0.0
    assert series.table([one, other]).splitlines() == [
        "second,iops,iops_vm1,iops_vm2",
        "0,11.0,1.0,10.0",
        "1,22.0,2.0,20.0",
    ]
    assert series.table([one]).splitlines()[:2] == ["second,iops", "0,1.0"]


def way(iops: float, bins: dict[int, int]) -> fio.Direction:
    samples = sum(bins.values())
    mean = sum(value * count for value, count in bins.items()) / samples
    variance = sum(count * (value - mean) ** 2 for value, count in bins.items()) / samples
    return fio.Direction(
        name="read",
        ios=samples,
        bytes=samples * 4096,
        iops=iops,
        bytes_per_s=iops * 4096,
        runtime_ms=1000,
        short_ios=0,
        dropped_ios=0,
        latency=fio.Latency(
            samples,
            mean,
            variance**0.5,
            min(bins),
            max(bins),
            {99.0: percentile(bins, 99.0)},
            bins,
        ),
    )


BINS = st.dictionaries(st.integers(1, 10**6), st.integers(1, 1000), min_size=1, max_size=20)


@given(st.lists(BINS, min_size=2, max_size=4))
def test_latencies_of_guests_together_are_those_of_all_requests(all_bins: list[Any]) -> None:
    whole = together([way(100.0, bins) for bins in all_bins])
    merged: dict[int, int] = {}
    for bins in all_bins:
        for value, count in bins.items():
            merged[value] = merged.get(value, 0) + count
    expected = way(100.0 * len(all_bins), merged)
    assert whole.latency.bins == merged
    assert whole.ios == expected.ios and whole.iops == pytest.approx(expected.iops)
    assert whole.latency.mean_ns == pytest.approx(expected.latency.mean_ns)
    assert whole.latency.stddev_ns == pytest.approx(expected.latency.stddev_ns, abs=1e-3)
    assert whole.latency.percentiles[99.0] == expected.latency.percentiles[99.0]


@given(BINS, st.floats(0.1, 100.0))
def test_a_percentile_has_that_share_below_it(bins: dict[int, int], which: float) -> None:
    value = percentile(bins, which)
    below = sum(count for key, count in bins.items() if key < value)
    upto = below + bins[value]
    assert below < sum(bins.values()) * which / 100 <= upto + 1e-9


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=20), st.floats(0.5, 100))
def test_fairness(shares: list[float], factor: float) -> None:
    index = fairness(shares)
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    assert fairness([share * factor for share in shares]) == pytest.approx(index)
    assert fairness([shares[0]] * 5) == pytest.approx(1.0)


def test_metrics_of_guests() -> None:
    assert fairness([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert fairness([0.0, 0.0]) == 0.0
    assert of_guests([way(1.0, {1: 1})]) == []
    found = {m.name: m.value for m in of_guests([way(100.0, {10: 5}), way(300.0, {70: 5})])}
    assert found == {
        "fairness_jain": pytest.approx(160000 / 200000),
        "latency_p99_worst_vm": 70.0,
        "vm1_iops": 100.0,
        "vm1_latency_p99": 10.0,
        "vm2_iops": 300.0,
        "vm2_latency_p99": 70.0,
    }


def test_cpu_of_the_measured_time_only() -> None:
    meter = CpuMeter(cast(Target, None), [(10.0, 1.0), (11.0, 1.5), (12.0, 3.5), (13.0, 3.5)])
    assert meter.used(10.0, 13.0) == 2.5
    assert meter.used(11.0, 12.0) == 2.0
    assert meter.used(10.5, 11.5) == pytest.approx(2.5 - 1.25)
    assert meter.used(9.0, 10.0) == 0.5
    assert meter.used(12.5, 13.5) == 0.0
    assert meter.used(13.5, 15.5) == 2.0
    assert meter.used(5.0, 50.0) == 2.5
