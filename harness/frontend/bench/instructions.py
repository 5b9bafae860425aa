#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts the daemon's instructions per request and compares them with instructions.json.

A count that grew by more than TOLERANCE fails (exit 1). Counts of another compiler or processor
cannot be compared with the baseline: then nothing is judged (exit 77). `--update`, which is
make instructions-baseline, keeps the counts as the new baseline.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.02
"""Two counts of one build differ by less than 0.001, wherever they are made."""
NOT_JUDGED = 77

CASES = {
    "null-blk": "vhost-null",
    "null-scsi": "vhost-null,device=scsi",
    "null-blk-inflight": "vhost-null,inflight=on",
    "malloc-blk": "vhost-malloc",
    "malloc-scsi": "vhost-malloc,device=scsi",
}
"""4 KiB random reads in batches of 32, split ring."""


@dataclass(frozen=True)
class Build:
    """Programs to count with."""

    directory: Path

    @property
    def bench(self) -> Path:
        return self.directory / "harness/frontend/vhost-bench"

    def environment(self) -> dict[str, str]:
        """What counts depend on, apart from the sources."""
        daemon = str(self.directory / "target/app/vhost/vhost")
        comment = subprocess.run(
            ["readelf", "-p", ".comment", daemon], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        compilers = set(re.findall(r"(GCC|clang)\b.*?(\d+)\.\d+\.\d+$", comment, re.MULTILINE))
        # The C library chooses its memcpy by the processor.
        avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
        return {
            "compiler": ", ".join(sorted(f"{name} {major}" for name, major in compilers)),
            "machine": f"{platform.machine()}{' with avx2' if avx2 else ''}",
        }


def count(build: Build, target: str) -> float:
    argv = [str(build.bench), "--instructions", "--spawn", target, "--target-size", "64M"]
    text = subprocess.run([*argv, "--json", "-"], stdout=subprocess.PIPE, check=True).stdout
    return round(float(json.loads(text)["instructions_per_request"]), 1)


def judge(name: str, counted: float, baseline: float) -> tuple[bool, str]:
    """Is it good, and what to say."""
    change = counted / baseline - 1
    text = f"{name:<17} {counted:>8.1f} instructions per request, {change:+.1%} of {baseline:.1f}"
    if change > TOLERANCE:
        return False, (
            f"{text}: MORE THAN BEFORE. Where they go:\n"
            f"    vhost-bench --instructions --spawn {CASES[name]} --callgrind-out FILE"
            " && callgrind_annotate FILE\n"
            "    If it is worth that: make instructions-baseline, and say why in the commit."
        )
    if change < -TOLERANCE:
        text += ": better; keep it with make instructions-baseline"
    return True, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", metavar="DIRECTORY")
    parser.add_argument("--only", choices=sorted(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument("--update", action="store_true", help="keep the counts as the baseline")
    args = parser.parse_args()
    build = Build(args.build)
    cases = [args.only] if args.only else list(CASES)
    known: dict[str, Any] = json.loads(args.baseline.read_text()) if args.baseline.exists() else {}
    here, there = build.environment(), known.get("environment")
    if not args.update and there != here:
        print(f"the baseline is of {there}, this is {here}: not judged")
        return NOT_JUDGED
    counts = known.get("instructions_per_request", {})
    good = True
    for name in cases:
        counted = count(build, CASES[name])
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


if __name__ == "__main__":
    sys.exit(main())
