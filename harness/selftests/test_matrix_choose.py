# SPDX-License-Identifier: BSD-3-Clause
"""Which cells are measured with which target on which host, and what is said about the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from vhostlab import matrix
from vhostlab import target as targets
from vhostlab.matrix import Cell, Host, Subject
from vhostlab.paths import source_dir

OURS = Subject("vhostlab", targets.get("vhostlab").capabilities)
QSD = Subject("qemu-storage-daemon", targets.get("qemu-storage-daemon").capabilities)
BIG = Host(cores=64, numa_nodes=2, memory_mib=256 * 1024, accel="kvm")
SMALL = Host(cores=2, numa_nodes=1, memory_mib=4096, accel="tcg")
NO_GUEST = replace(SMALL, accel="none")
PLAIN: dict[str, matrix.Value] = {
    "device": "blk",
    "bdev": "null",
    "pattern": "randread",
    "bs": "4k",
    "depth": 1,
}


def cell(**more: Any) -> Cell:
    return Cell(PLAIN | more)


@pytest.mark.parametrize("host", [BIG, SMALL, NO_GUEST], ids=["big", "small", "no guest"])
@pytest.mark.parametrize("subject", [OURS, QSD], ids=lambda s: s.name)
def test_a_plain_cell_lacks_nothing_anywhere(subject: Subject, host: Host) -> None:
    assert matrix.lacking(cell(), subject, host) is None


@pytest.mark.parametrize(
    ("more", "subject", "host", "words"),
    [
        ({"device": "scsi"}, QSD, BIG, "target qemu-storage-daemon has no scsi devices"),
        ({"ring": "packed"}, QSD, BIG, "target qemu-storage-daemon has no packed rings"),
        ({"queues": 65}, QSD, BIG, "target qemu-storage-daemon has at most 64 queues, not 65"),
        ({"polling": "poll"}, QSD, BIG, "cannot be told to wait for requests by 'poll'"),
        ({"target_cores": 2}, QSD, BIG, "uses at most 1 cores, not 2"),
        ({"target": "vhostlab"}, QSD, BIG, "is about target vhostlab"),
        ({"guest": "debian-13"}, OURS, BIG, "no guest image debian-13 here"),
        ({"vms": 8}, OURS, SMALL, "8 guests of micro need 4096 MiB, and 3072 MiB can be had"),
        ({"numa": "two", "vcpus": 1}, OURS, SMALL, "at least two vCPUs"),
        ({"numa": "two"}, OURS, replace(BIG, numa_nodes=1), "on a host that has one"),
        ({"vcpus": 65}, OURS, BIG, "65 vCPUs on 64 cores"),
        ({"target_cores": 65}, OURS, BIG, "65 cores for the target, and this host has 64"),
        ({"target_cores": 64}, OURS, BIG, "leave none of this host's to who asks it"),
        ({"target_cores": 4}, OURS, SMALL, "4 cores for the target, and this host has 2"),
        ({"vcpus": 4, "vms": 2}, OURS, NO_GUEST, "a guest's vcpus, vms, and there is no guest"),
    ],
)
def test_a_reason_of_one_line(
    more: dict[str, Any], subject: Subject, host: Host, words: str
) -> None:
    reason = matrix.lacking(cell(**more), subject, host)
    assert reason is not None and words in reason and "\n" not in reason


@pytest.mark.parametrize(
    ("more", "subject", "host"),
    [
        ({"target": "qemu-storage-daemon"}, QSD, BIG),
        ({"ring": "packed", "queues": 254, "polling": "poll"}, OURS, BIG),
        ({"target_cores": 63, "vcpus": 64, "numa": "two", "vms": 32}, OURS, BIG),
        ({"guest": "debian-13"}, OURS, replace(BIG, guests=frozenset({"debian-13"}))),
        # emulated: functional, whatever the number of cores
        ({"target_cores": 2, "vcpus": 8, "numa": "two"}, OURS, SMALL),
        ({"queues": 2, "ring": "packed"}, OURS, NO_GUEST),
    ],
)
def test_what_can_be_measured(more: dict[str, Any], subject: Subject, host: Host) -> None:
    assert matrix.lacking(cell(**more), subject, host) is None


def small_matrix() -> matrix.Matrix:
    axes = {key: [value] for key, value in PLAIN.items()} | {
        "device": ["scsi", "blk"],
        "depth": [1, 32],
        "ring": ["split", "packed"],
    }
    return matrix.expand({"name": "m", "runtime_s": 1, "axes": axes})


def test_every_cell_is_in_exactly_one_of_the_two_lists_and_in_order() -> None:
    loaded = small_matrix()
    chosen = matrix.choose(loaded, QSD, BIG)
    left = [one.cell for one in chosen.left_out]
    assert [c for c in loaded.cells if c in chosen.cells] == list(chosen.cells)
    assert [c for c in loaded.cells if c in left] == left
    assert len(chosen.cells) + len(left) == len(loaded.cells)
    assert len(chosen.cells) == 2
    assert {one.reason for one in chosen.left_out} == {
        "target qemu-storage-daemon has no scsi devices",
        "target qemu-storage-daemon has no packed rings",
    }


def test_only_some_cells() -> None:
    loaded = small_matrix()
    ids = [loaded.cells[5].id, loaded.cells[0].id]
    chosen = matrix.choose(loaded, OURS, BIG, ids)
    assert chosen.cells == (loaded.cells[0], loaded.cells[5])
    assert chosen.left_out == ()
    with pytest.raises(matrix.MatrixError, match="matrix m has no cell nope"):
        matrix.choose(loaded, OURS, BIG, [ids[0], "nope"])


def test_a_cell_may_name_another_target_that_the_run_can_start() -> None:
    named = cell(target="qemu-storage-daemon", device="scsi")
    others = {QSD.name: QSD.capabilities}
    assert matrix.lacking(named, OURS, BIG) == "is about target qemu-storage-daemon"
    words = "target qemu-storage-daemon has no scsi devices"
    assert matrix.lacking(named, OURS, BIG, others) == words
    assert matrix.lacking(cell(target=QSD.name), OURS, BIG, others) is None


def test_more_reasons() -> None:
    loaded = small_matrix()
    chosen = matrix.choose(
        loaded, OURS, BIG, more=lambda c: "deep" if c.number("depth") > 1 else None
    )
    assert {c.number("depth") for c in chosen.cells} == {1}
    assert {one.reason for one in chosen.left_out} == {"deep"}


def test_one_guest_serves_the_cells_that_differ_in_load_and_disk_only() -> None:
    boots = matrix.boots(small_matrix().cells)
    assert [dict(b.params) for b in boots] == [{}, {"ring": "packed"}]
    assert [len(b.cells) for b in boots] == [4, 4]
    assert {c.text("ring") for c in boots[1].cells} == {"packed"}


NIGHTLY = matrix.load(source_dir() / "fio-jobs" / "matrix" / "nightly.toml")
HOSTS = [BIG, SMALL, NO_GUEST, replace(BIG, guests=frozenset({"micro", "debian-13"}))]


def pairs(cells: Iterable[Cell], axes: Iterable[str]) -> set[tuple[tuple[str, Any], ...]]:
    rows = ([(name, c.value(name)) for name in axes] for c in cells)
    return {pair for row in rows for pair in itertools.combinations(row, 2)}


@pytest.mark.parametrize("host", HOSTS, ids=["big", "small", "no guest", "two images"])
@pytest.mark.parametrize("subject", [OURS, QSD], ids=lambda s: s.name)
def test_a_target_that_lacks_something_still_gets_every_pair_that_it_can_have(
    subject: Subject, host: Host
) -> None:
    chosen = matrix.choose(NIGHTLY, subject, host)
    usable = {
        name: [v for v in values if matrix.lacking(Cell({name: v}), subject, host) is None]
        for name, values in NIGHTLY.axes.items()
    }
    # reduced from the usable values alone, that is what has to be covered
    alone = matrix.expand(
        {
            "name": "alone",
            "runtime_s": 1,
            "strength": 2,
            "axes": usable,
            "exclude": [r for r in rules(usable) if "match" not in r],
            "when": [r for r in rules(usable) if "match" in r],
        }
    )
    feasible = [c for c in alone.cells if matrix.lacking(c, subject, host) is None]
    assert pairs(feasible, usable) <= pairs(chosen.cells, usable)
    assert len({c.id for c in chosen.cells}) == len(chosen.cells)
    whole = [{name: c.value(name) for name in usable} for c in chosen.cells]
    assert all(rule.allows(params) for params in whole for rule in NIGHTLY.rules)  # type: ignore[arg-type]
    assert set(NIGHTLY.cells) <= {*chosen.cells, *(one.cell for one in chosen.left_out)}


def rules(usable: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The rules of the file, for the values that are left."""

    def left(pattern: Any) -> dict[str, Any]:
        return {n: [v for v in values if v in usable[n]] for n, values in pattern.items()}

    found: list[dict[str, Any]] = []
    for rule in NIGHTLY.rules:
        match = left(rule.match)
        if not all(match.values()):
            continue
        if rule.require is None:
            found.append(match)
        elif all(left(rule.require).values()):
            found.append({"match": match, "require": left(rule.require)})
        else:
            found.append(match)
    return found


def test_cells_that_take_the_place_of_others_can_be_asked_for() -> None:
    chosen = matrix.choose(NIGHTLY, QSD, BIG)
    instead = [c for c in chosen.cells if c not in NIGHTLY.cells]
    assert instead
    assert matrix.choose(NIGHTLY, QSD, BIG, [instead[0].id]).cells == (instead[0],)
    NIGHTLY.check([instead[0].id])
    assert matrix.choose(NIGHTLY, QSD, BIG) == chosen
    with pytest.raises(matrix.MatrixError, match="has no cell"):
        small_matrix().check([instead[0].id])


def test_a_target_that_lacks_nothing_gets_the_cells_of_the_file() -> None:
    host = replace(BIG, guests=frozenset({"micro", "debian-13"}))
    assert matrix.choose(NIGHTLY, OURS, host) == matrix.Choice(NIGHTLY.cells, ())
