#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Plant slowness of several sizes into the daemon, run the gate on each, and tell which it caught.

A planted regression of 5 % or more that was neither caught nor below the minimal detectable effect
that the gate printed makes this fail (exit 1): such a gate would let it through and say nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {"busy": "planted_ns", "copy": "planted_bytes", "nobatch": "planted_batch"}
PLANTS = (
    "none",
    "busy:5",
    "busy:10",
    "busy:30",
    "copy:1024",
    "copy:4096",
    "nobatch:4",
    "nobatch:1",
)
MATTERS = 0.05
UNITS = {"busy": "ns", "copy": "bytes", "nobatch": "at once"}


@dataclass(frozen=True)
class Plant:
    """What is planted, and how much of it."""

    kind: str
    size: int = 0

    @classmethod
    def of(cls, text: str) -> Plant:
        kind, _, size = text.partition(":")
        if kind == "none" and not size:
            return cls(kind)
        if kind not in OPTIONS or not size.isdecimal() or int(size) < 1:
            raise argparse.ArgumentTypeError(
                f"'{text}' is no plant: none, or {', '.join(f'{k}:N' for k in OPTIONS)}"
            )
        return cls(kind, int(size))

    def __str__(self) -> str:
        return f"{self.kind} {self.size} {UNITS[self.kind]}" if self.size else self.kind

    @property
    def options(self) -> str:
        return f"-Dplanted={self.kind} -D{OPTIONS[self.kind]}={self.size}" if self.size else ""


@dataclass(frozen=True)
class Row:
    """What the gate said. Fractions of the base; None: that tier said nothing."""

    plant: Plant
    work: float | None
    timing: float | None
    mde: float | None
    verdict: str

    @property
    def effect(self) -> float:
        """How much slower it is, as far as it was seen: time counts, if it was taken."""
        seen = self.timing if self.timing is not None else self.work
        return 0.0 if seen is None else seen

    @property
    def outcome(self) -> str:
        if self.verdict == "could not run":
            return "NOT RUN"
        if self.plant.kind == "none":
            return "FALSE ALARM" if self.verdict == "fail" else "green"
        if self.verdict == "fail":
            return "caught"
        if self.mde is not None and self.effect < self.mde:
            return "below MDE"
        return "MISSED" if self.effect >= MATTERS or self.work is None else "small"

    @property
    def good(self) -> bool:
        return self.outcome not in ("MISSED", "FALSE ALARM", "NOT RUN")


def read(plant: Plant, found: dict[str, Any]) -> Row:
    """The biggest effects in gate.json."""
    rows = {tier["name"]: tier["rows"] for tier in found["tiers"]}
    work = [row["change"] for row in rows.get("work", []) if row["metric"] == "instructions"]
    cells = [row for row in rows.get("ab", []) if row["metric"] == "iops"]
    worst = min(cells, key=lambda row: float(row["ratio"]), default=None)
    return Row(
        plant,
        max(work, default=None),
        # So many percent of the requests are missing.
        None if worst is None else 1 - float(worst["ratio"]),
        None if worst is None or worst.get("mde") is None else float(worst["mde"]),
        found["verdict"],
    )


def run(plant: Plant, base: str, out: Path, words: list[str]) -> Row:
    argv = [sys.executable, "-m", "vhostlab", "gate", base, base, "--always", "--json"]
    argv += [f"--head-options={plant.options}", "-o", str(out), *words]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise SystemExit(f"planted: the gate could not run on '{plant}'")
    return read(plant, json.loads(done.stdout))


def table(rows: list[Row]) -> str:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:+.1%}"

    lines = [
        f"{'planted':<18}{'instructions':>13}{'IOPS lost':>11}{'MDE':>8}  {'verdict':<14}outcome"
    ]
    lines += [
        f"{row.plant!s:<18}{percent(row.work):>13}{percent(row.timing):>11}"
        f"{percent(row.mde):>8}  {row.verdict:<14}{row.outcome}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "plants",
        nargs="*",
        type=Plant.of,
        metavar="KIND:SIZE",
        help=f"(default: {' '.join(PLANTS)})",
    )
    parser.add_argument("--base", default="HEAD", metavar="REV", help="plant into it")
    parser.add_argument(
        "--only", default="work,ab", metavar="PART,...", help="of the gate (default: work,ab)"
    )
    parser.add_argument("--cases", default="", metavar="NAME,...", help="of the counted work")
    parser.add_argument("--ab-options", default="", help="further options of vhostlab ab")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "build/reports/planted", metavar="DIR"
    )
    options = parser.parse_args()
    words = [f"--only={options.only}", f"--cases={options.cases}"]
    words += [f"--ab-options={options.ab_options}"] if options.ab_options else []
    plants: list[Plant] = options.plants or [Plant.of(text) for text in PLANTS]
    rows: list[Row] = []
    begin = time.monotonic()
    for number, plant in enumerate(plants):
        left = (time.monotonic() - begin) / number * (len(plants) - number) if number else None
        said = "" if left is None else f", about {left / 60:.0f} min left"
        print(f"({number + 1} of {len(plants)}) {plant}{said}", file=sys.stderr, flush=True)
        out = options.output / f"{plant.kind}-{plant.size}"
        rows.append(run(plant, options.base, out, words))
    text = table(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "planted.txt").write_text(text + "\n")
    print(text)
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
