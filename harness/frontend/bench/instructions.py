#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts the daemon's work per request and compares the instructions with instructions.json.

A count of instructions that grew by more than TOLERANCE fails (exit 1). Counts of another compiler
or processor cannot be compared with the baseline: then nothing is judged (exit 77). `--update`,
which is make instructions-baseline, keeps the counts as the new baseline. `--work` judges nothing
and prints all that was counted of one case as JSON, for the gate (vhostlab gate).
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.02
"""Two counts of one build differ by less than 0.001, wherever they are made."""
NOT_JUDGED = 77

CASES: dict[str, tuple[str, ...]] = {
    "null-blk": ("vhost-null",),
    "null-scsi": ("vhost-null,device=scsi",),
    "null-blk-inflight": ("vhost-null,inflight=on",),
    "null-blk-packed": ("vhost-null,ring=packed",),
    "null-scsi-packed": ("vhost-null,device=scsi,ring=packed",),
    "null-blk-packed-inflight": ("vhost-null,ring=packed,inflight=on",),
    "malloc-blk": ("vhost-malloc",),
    "malloc-scsi": ("vhost-malloc,device=scsi",),
    "malloc-blk-packed-write": ("vhost-malloc,ring=packed", "--rw", "randwrite"),
}
"""What to spawn, and options. 4 KiB random reads in batches of 32, split ring, if not said."""

COPIES = re.compile(r"mem(cpy|move|set|pcpy)")


@dataclass(frozen=True)
class Build:
    """Programs to count with; `program` is another daemon than the one of the build."""

    directory: Path
    program: Path | None = None

    @property
    def bench(self) -> Path:
        return self.directory / "harness/frontend/vhost-bench"

    @property
    def daemon(self) -> Path:
        return self.program or self.directory / "target/app/vhost/vhost"

    def environment(self) -> dict[str, str]:
        """What counts depend on, apart from the sources."""
        comment = subprocess.run(
            ["readelf", "-p", ".comment", self.daemon],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        compilers = set(re.findall(r"(GCC|clang)\b.*?(\d+)\.\d+\.\d+$", comment, re.MULTILINE))
        # The C library chooses its memcpy by the processor.
        avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
        return {
            "compiler": ", ".join(sorted(f"{name} {major}" for name, major in compilers)),
            "machine": f"{platform.machine()}{' with avx2' if avx2 else ''}",
        }


def self_costs(lines: Iterable[str]) -> dict[str, int]:
    """Instructions of each function itself, from a file of callgrind."""
    names: dict[str, str] = {}
    costs: dict[str, int] = {}
    function = ""
    inclusive = False
    for line in lines:
        if line.startswith("fn="):
            number, _, name = line[3:].strip().partition(" ")
            function = names.setdefault(number, name)
        elif line.startswith("cfn="):
            number, _, name = line[4:].strip().partition(" ")
            names.setdefault(number, name)
        elif line.startswith("calls="):
            inclusive = True  # the next line has the cost of what was called
        elif line[:1] in "+-*0123456789" and line.strip():
            words = line.split()
            if not inclusive and len(words) > 1:
                costs[function] = costs.get(function, 0) + int(words[1])
            inclusive = False
    return costs


def count(build: Build, case: str) -> dict[str, float]:
    """All that can be counted of a case, per request; less of each is better."""
    target, *options = CASES[case]
    with tempfile.NamedTemporaryFile(prefix="vhostlab-work-") as file:
        argv = [
            *(str(build.bench), "--instructions", "--spawn", target, *options),
            *("--target-size", "64M", "--json", "-", "--callgrind-out", file.name),
            *(("--target-program", str(build.program)) if build.program else ()),
        ]
        answer: dict[str, Any] = json.loads(
            subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
        )
        costs = self_costs(Path(file.name).read_text(errors="replace").splitlines())
    events = answer["events_per_request"]
    copies = sum(cost for name, cost in costs.items() if COPIES.search(name))
    return {
        "instructions": round(answer["instructions_per_request"], 1),
        "copy_instructions": round(copies / answer["requests_in_file"], 2),
        "branches": round(events["Bc"] + events["Bi"], 2),
        "system_calls": round(events["sysCount"], 5),
        "kicks": round(answer["kicks_per_request"], 5),
        "calls": round(answer["calls_per_request"], 5),
    }


def judge(name: str, counted: float, baseline: float) -> tuple[bool, str]:
    """Is it good, and what to say."""
    change = counted / baseline - 1
    text = f"{name:<24} {counted:>8.1f} instructions per request, {change:+.1%} of {baseline:.1f}"
    if change > TOLERANCE:
        return False, (
            f"{text}: MORE THAN BEFORE. Where they go:\n"
            f"    vhost-bench --instructions --spawn {' '.join(CASES[name])}"
            " --callgrind-out FILE && callgrind_annotate FILE\n"
            "    If it is worth that: make instructions-baseline, and say why in the commit."
        )
    if change < -TOLERANCE:
        text += ": better; keep it with make instructions-baseline"
    return True, text


def compare(build: Build, args: argparse.Namespace) -> int:
    """Against the baseline; or make that anew."""
    cases = [args.only] if args.only else list(CASES)
    known: dict[str, Any] = json.loads(args.baseline.read_text()) if args.baseline.exists() else {}
    here, there = build.environment(), known.get("environment")
    if not args.update and there != here:
        print(f"the baseline is of {there}, this is {here}: not judged")
        return NOT_JUDGED
    counts = known.get("instructions_per_request", {})
    good = True
    for name in cases:
        counted = count(build, name)["instructions"]
        fine, text = judge(name, counted, counts.get(name, counted))
        good = good and fine
        print(text, flush=True)
        counts[name] = counted
    if not args.update:
        return 0 if good else 1
    kept = {"environment": here, "instructions_per_request": counts}
    args.baseline.write_text(json.dumps(kept, indent=2) + "\n")
    print(f"kept in {args.baseline}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", metavar="DIRECTORY")
    parser.add_argument("--program", type=Path, metavar="FILE", help="another build's daemon")
    parser.add_argument("--only", choices=sorted(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument("--update", action="store_true", help="keep the counts as the baseline")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--work", action="store_true", help="print what was counted of --only")
    args = parser.parse_args()
    build = Build(args.build, args.program)
    if args.list:
        print("\n".join(CASES))
        return 0
    if args.work and args.only is None:
        parser.error("--work goes with --only")
    try:
        if args.work:
            print(json.dumps(count(build, args.only)))
            return 0
        return compare(build, args)
    except subprocess.CalledProcessError as error:
        # It has said why.
        print(f"instructions: {error.cmd[0]} failed", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
