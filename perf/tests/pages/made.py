# SPDX-License-Identifier: BSD-3-Clause
"""Results made up for the tests of pages, and a reader of what is made of them."""

from __future__ import annotations

import hashlib
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "br", "img", "hr", "input"}


def metric(name: str, unit: str, direction: str, value: float) -> dict[str, Any]:
    return {"name": name, "unit": unit, "direction": direction, "value": value}


def cell(number: int, device: str, bdev: str, depth: int) -> dict[str, Any]:
    latencies = {"p50": 200e3, "p90": 350e3, "p99": 900e3, "p99_9": 4e6, "p99_99": 2e7}
    return {
        "id": f"{number:010x}",
        "stage": "standard",
        "params": {
            "device": device,
            "bdev": bdev,
            "pattern": "randread",
            "bs": "4k",
            "depth": depth,
        },
        "metrics": [
            metric("iops", "1/s", "higher", 12345.6 + number),
            metric("bandwidth", "B/s", "higher", 50.5e6),
            metric("latency_mean", "ns", "lower", 260e3),
            *(metric(f"latency_{k}", "ns", "lower", v) for k, v in latencies.items()),
        ],
        "fio_file": f"fio/{number}.json",
        "replay": f"vhostlab vmtest --scenario perf --cell {number:010x}",
    }


def scenario(name: str, status: str, **changes: Any) -> dict[str, Any]:
    failed = status in ("fail", "error", "unavailable")
    base = {
        "name": name,
        "stage": "standard",
        "status": status,
        "seconds": 75.25,
        "replay": f"vhostlab vmtest --target vhostlab --scenario {name}",
        "skip_reason": "the target has no scsi" if status == "skip" else None,
        "error": "a check failed\nconsole tail" if failed else None,
        "checks": [{"name": f"size of {name}", "passed": not failed, "detail": "64 MiB"}],
        "metrics": [],
    }
    return base | changes


def result(**changes: Any) -> dict[str, Any]:
    counters = {"requests": 1234567, "kicks": 4567, "calls": 3456, "batches": 99, "malformed": 0}
    base: dict[str, Any] = {
        "schema_version": 1,
        "run_id": "20260102T030405Z-vhostlab",
        "started": "2026-01-02T03:04:05Z",
        "seconds": 200.5,
        "suite": "vmtest",
        "status": "pass",
        "command": "vhostlab vmtest --target vhostlab --suite vmtest",
        "target": {"name": "vhostlab", "version": "0.1.0"},
        "environment": {"accel": "tcg", "host.cpus": 2, "flags": ["a", "b"], "hugepages": None},
        "fingerprint": "0123456789ab",
        "timing": "functional",
        "scenarios": [scenario("boot", "pass"), scenario("guide", "skip")],
        "cells": [cell(n, d, b, 32) for n, (d, b) in enumerate([("blk", "null"), ("scsi", "aio")])],
        "guests": [
            {
                "stage": "standard",
                "argv": ["qemu", "-append", "a b"],
                "boot_seconds": 6.5,
                "kernel": "6.1",
            }
        ],
        "queue_counters": [
            {"stage": "standard", "controller": "blk0", "queue": 1, "counters": counters}
        ],
        "logs": [],
    }
    return base | changes


class Outline(HTMLParser):
    """Checks nesting, and collects ids, tags and outside references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.outside: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags that are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            loads = name in ("src", "href", "xlink:href", "data", "srcset")
            if loads and not (value or "").startswith(("#", "data:,")):
                self.outside.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))


def measured(params: dict[str, Any], seed: int, target: str, series: str = "") -> dict[str, Any]:
    """A cell with values that depend on its parameters as those of a real one do."""
    noise = random.Random(f"{seed} {target} {sorted(params.items())}")
    depth, path = int(params["depth"]), params.get("path", "guest")
    rate = {"null": 400e3, "aio": 90e3}.get(str(params.get("bdev")), 100e3)
    rate *= {"qemu-storage-daemon": 0.4}.get(target, 1.0) * {"file": 1.3}.get(path, 1.0)
    rate *= (1 - 0.5 ** (depth / 4)) * int(params.get("vms", 1)) ** 0.5
    rate *= int(params.get("target_cores", 1)) ** 0.9 * noise.gauss(1, 0.02)
    mean = depth * 1e9 / rate
    factors = {"p50": 0.9, "p90": 1.4, "p99": 2.5, "p99_9": 6.0, "p99_99": 20.0}
    metrics = [
        metric("iops", "1/s", "higher", rate),
        metric("bandwidth", "B/s", "higher", rate * 4096),
        metric("latency_mean", "ns", "lower", mean),
        *(metric(f"latency_{k}", "ns", "lower", mean * f) for k, f in factors.items()),
        metric("target_cpu_per_io", "ns", "lower", 1e9 / rate),
    ]
    if "vms" in params:
        metrics += [
            metric("fairness_jain", "", "higher", 0.97),
            metric("latency_p99_worst_vm", "ns", "lower", mean * 4),
        ]
    number = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:10]
    return {
        "id": number,
        "stage": "standard",
        "params": params,
        "metrics": metrics,
        "fio_file": f"fio/{number}.json",
        "replay": f"vhostlab bench --target {target} --matrix release --cell {number}",
        "steady": "not steady" if depth == 1 else "steady",
        "series": series,
        "started": "2026-01-02T03:04:05Z",
    }


def run(
    directory: Path, seed: int, target: str = "vhostlab", path: str = "", **changes: Any
) -> Path:
    """The directory of a run with cells on every axis; ``path``: how they went to the disk."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "series").mkdir(exist_ok=True)
    lines = ["second,iops", *(f"{n},{90_000 + n * 100}" for n in range(20))]
    (directory / "series" / "one.csv").write_text("\n".join(lines) + "\n")
    way = {"path": path} if path else {}
    common = {"bdev": "aio", "pattern": "randread", "bs": "4k", **way}
    axes: list[dict[str, Any]] = [{"depth": d} for d in (1, 8, 32)]
    if path != "file":
        common = {"device": "blk", **common}
        axes += [{"depth": 32, "target_cores": 2}, {"depth": 32, "vms": 4}]
    cells = [measured({**common, **a}, seed, target, "series/one.csv") for a in axes]
    left_out = {"id": "00aa00aa00", "params": {"numa": "two"}, "reason": "one NUMA node only"}
    raw = result(
        run_id=f"2026010{seed}T030405Z-{target}",
        started=f"2026-01-0{seed}T03:04:05Z",
        suite="bench",
        target={"name": target, "version": "0.1.0"},
        environment={"accel": "none" if path else "kvm", "host.kernel": "6.1", "host.cpus": 2},
        timing="performance",
        command=f"vhostlab bench --target {target} --matrix release",
        cells=cells,
        left_out=[left_out],
        **changes,
    )
    (directory / "result.json").write_text(json.dumps(raw))
    return directory
