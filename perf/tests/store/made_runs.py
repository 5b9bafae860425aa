# SPDX-License-Identifier: BSD-3-Clause
"""Directories of runs, as the harness leaves them, for tests."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARAMS: Mapping[str, Any] = {
    "device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 1,
}  # fmt: skip


def cell_id(params: Mapping[str, Any]) -> str:
    canonical = json.dumps(dict(params), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def metric(name: str, unit: str, direction: str, value: float) -> dict[str, Any]:
    return {"name": name, "unit": unit, "direction": direction, "value": value}


def fio_json(bins: Mapping[int, int], way: str = "read") -> dict[str, Any]:
    """The part of fio's json+ that the store reads."""
    samples = sum(bins.values())
    total = sum(k * v for k, v in bins.items())
    silent = {"clat_ns": {"min": 0, "max": 0, "mean": 0.0, "N": 0}}
    latency = {
        "min": min(bins),
        "max": max(bins),
        "mean": total / samples,
        "N": samples,
        "bins": {str(k): v for k, v in bins.items()},
    }
    ways = {w: {"clat_ns": latency} if w == way else silent for w in ("read", "write", "trim")}
    return {"fio version": "fio-3.33", "jobs": [{"jobname": "x", "error": 0, **ways}]}


def cell(iops: float, fio_file: str = "", **params: Any) -> dict[str, Any]:
    params = {**PARAMS, **params}
    name = cell_id(params)
    return {
        "id": name,
        "stage": "standard",
        "params": params,
        "metrics": [
            metric("iops", "1/s", "higher", iops),
            metric("latency_p99", "ns", "lower", 1e9 / iops),
        ],
        "fio_file": fio_file or f"fio/{name}.json",
        "replay": f"vhostlab vmtest --cell {name}",
    }


def result(run_id: str, cells: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A result.json as the first version of the harness wrote it."""
    base: dict[str, Any] = {
        "schema_version": 1,
        "run_id": run_id,
        "started": "2026-01-02T03:04:05Z",
        "seconds": 200.5,
        "suite": "vmtest",
        "status": "pass",
        "command": "vhostlab vmtest --target vhostlab --suite vmtest",
        "target": {"name": "vhostlab", "version": "0.1.0"},
        "environment": {"accel": "kvm", "host.cpus": 2, "flags": ["a", "b"], "hugepages": None},
        "fingerprint": "0123456789ab",
        "timing": "performance",
        "scenarios": [
            {
                "name": "perf",
                "stage": "standard",
                "status": "pass",
                "seconds": 75.25,
                "replay": "vhostlab vmtest --scenario perf",
                "skip_reason": None,
                "error": None,
                "checks": [{"name": "all cells", "passed": True, "detail": "2 cells"}],
                "metrics": [metric("boot", "s", "lower", 5.5)],
            },
            {
                "name": "scsi",
                "stage": "standard",
                "status": "skip",
                "seconds": 0,
                "replay": "vhostlab vmtest --scenario scsi",
                "skip_reason": "the target has no scsi",
                "error": None,
                "checks": [],
                "metrics": [],
            },
        ],
        "cells": cells,
        "guests": [
            {
                "stage": "standard",
                "argv": ["qemu-system-x86_64", "-accel", "kvm"],
                "boot_seconds": 5.25,
                "kernel": "6.1.0",
            }
        ],
        "queue_counters": [
            {
                "stage": "standard",
                "controller": "blk",
                "queue": 0,
                "counters": {"requests": 2**40, "kicks": 17},
            }
        ],
        "logs": [],
    }
    return base | changes


def run(where: Path, number: int = 0, **changes: Any) -> Path:
    """A whole directory: two cells with histograms; everything differs by number."""
    chance = random.Random(number)
    run_id: str = changes.pop("run_id", f"20260102T{number:06d}Z-vhostlab")
    cells = changes.pop("cells", [cell(1000.0 + number), cell(2000.0 + number, depth=32)])
    changes.setdefault("started", f"2026-01-{1 + number % 28:02d}T03:04:05Z")
    directory = where / run_id
    (directory / "fio").mkdir(parents=True)
    for one in cells:
        bins = {20 * k + 10: chance.randrange(1, 99) for k in chance.sample(range(500), 30)}
        (directory / one["fio_file"]).write_text(json.dumps(fio_json(bins)))
    (directory / "result.json").write_text(json.dumps(result(run_id, cells, **changes)))
    return directory
