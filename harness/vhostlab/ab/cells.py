# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: a few cells by default, or those of a matrix as far as the way can do them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.matrix import Cell, Value, load
from vhostlab.paths import source_dir
from vhostlab.run import Request as RunRequest

#: Few, so that each gets enough of the time: the bare path alone and busy, the same with a reactor
#: that sleeps when it has nothing to do, so that its CPU time is its work, data, SCSI, and a real
#: queue behind.
FRONTEND: tuple[Mapping[str, Value], ...] = (
    {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 1},
    {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 32},
    {
        "device": "blk",
        "bdev": "null",
        "pattern": "randread",
        "bs": "4k",
        "depth": 32,
        "polling": "event",
    },
    {"device": "blk", "bdev": "malloc", "pattern": "randread", "bs": "4k", "depth": 32},
    {"device": "scsi", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 32},
    {"device": "blk", "bdev": "aio", "pattern": "randread", "bs": "4k", "depth": 32},
)
#: QEMU's vhost-user-scsi reconnects from 8.2 on, so a swap under a guest is one of blk disks.
GUEST: tuple[Mapping[str, Value], ...] = (
    {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 1},
    {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 32},
    {"device": "blk", "bdev": "malloc", "pattern": "randread", "bs": "4k", "depth": 32},
    {"device": "blk", "bdev": "aio", "pattern": "randread", "bs": "4k", "depth": 32},
)
#: For many short runs: what the first three are enough for.
SHORT = 3

PATTERNS = ("randread", "randwrite", "read", "write")
BDEVS = ("null", "malloc", "aio")


def defaults(path: str, short: bool = False) -> tuple[Cell, ...]:
    """The cells of no matrix."""
    chosen = FRONTEND if path == "frontend" else GUEST
    extra: dict[str, Value] = {"path": "frontend"} if path == "frontend" else {}
    cells = tuple(Cell({**params, **extra}) for params in chosen)
    return cells[:SHORT] if short else cells


def _unable(cell: Cell, path: str) -> str:
    """Why a cell cannot be compared this way; empty when it can."""
    p = cell.params
    known = {"device", "bdev", "pattern", "bs", "depth", "path", "ring", "polling"}
    if unknown := sorted(k for k in p if k not in known):
        return f"{', '.join(unknown)} cannot be varied here"
    if p["bdev"] not in BDEVS or p["pattern"] not in PATTERNS:
        return f"{p['bdev']} {p['pattern']} is not measured here"
    if path == "guest" and p["device"] != "blk":
        return "only blk disks outlive a swap under a guest"
    if path == "guest" and p.get("ring", "split") != "split":
        return "the guest of a swap has split rings"
    if path == "guest" and not (source_dir() / "fio-jobs" / f"{cell.job}.fio").is_file():
        return f"there is no job fio-jobs/{cell.job}.fio"
    return ""


def select(
    path: str, matrix: str, wanted: Sequence[str], short: bool = False
) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """The cells, and why others of the matrix are left out. Raises HarnessError for bad input."""
    if matrix:
        file: Path = RunRequest(matrix=matrix).matrix_file()
        extra: dict[str, Value] = {"path": "frontend"} if path == "frontend" else {}
        every = tuple(Cell({**c.params, **extra}) for c in load(file).cells)
        where = f"matrix {matrix}"
    else:
        every, where = defaults(path, short and not wanted), f"the cells for path={path}"
    if unknown := [w for w in wanted if not any(_named(c, w) for c in every)]:
        names = "; ".join(f"{c.id} ({c.label()})" for c in every[:8])
        raise HarnessError(f"{where}: there is no cell {', '.join(unknown)}", f"there are {names}")
    chosen = [c for c in every if not wanted or any(_named(c, w) for w in wanted)]
    left_out = {c.label(): why for c in chosen if (why := _unable(c, path))}
    able = tuple(c for c in chosen if c.label() not in left_out)
    if not able:
        why = next(iter(left_out.values()))
        raise HarnessError(f"{where}: no cell can be compared with path={path}: {why}")
    return able, left_out


def _named(cell: Cell, words: str) -> bool:
    """By id, or by words of its label: "malloc", "null qd32"."""
    label = cell.label().split()
    return cell.id == words or all(word in label for word in words.split())
