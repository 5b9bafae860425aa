# SPDX-License-Identifier: BSD-3-Clause
"""Which lines of the library and of the daemon the tests run, guests included.

The build counts (gcc --coverage). Counts are written when a program ends, and when the daemon is
asked to (the RPC method gcov_dump): a daemon that is killed takes what it did not write with it.
Each part of the tests writes into a directory of its own ($GCOV_PREFIX), where gcovr reads them; it
also adds the parts up.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab import store
from vhostlab.errors import HarnessError
from vhostlab.gate import builds, child
from vhostlab.gate.steps import Steps
from vhostlab.process import find_program

#: Counting in the way of the optimiser would move lines; threads count in the same places.
OPTIONS = (
    "-Ddebug=true",
    "-Doptimization=0",
    "-Denv=posix",
    "-Db_coverage=true",
    "-Db_lundef=false",
)
BUILD = "build/coverage"
RUNS = "build/coverage-runs"
BUILD_S = 150.0
READ_S = 25.0
PART_DEADLINE_S = 3600.0
SUMMARY = "summary.json"
#: Objects that count; those of tests do not.
_OBJECTS = ("target/libvhost_target.a.p", "target/app/")


@dataclass(frozen=True)
class Part:
    """Some of the tests: the command, and how long it takes on a usual machine."""

    name: str
    what: str
    seconds: float
    argv: Callable[[Path], list[str]]


def _pytest(*words: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]


PARTS = {
    part.name: part
    for part in (
        Part(
            "unit",
            "C unit tests",
            60,
            lambda root: [
                find_program("meson", ""),
                "test",
                "-C",
                str(root / BUILD),
                "--no-rebuild",
            ],
        ),
        Part("protocol", "protocol tests", 240, lambda root: _pytest("target/tests")),
        Part(
            "frontend",
            "the front-end library on the daemon",
            60,
            lambda root: _pytest("harness/frontend/tests/interop/test_verify.py"),
        ),
        Part(
            "vm",
            "guests, under one of which the daemon is killed",
            150,
            lambda root: [
                *(sys.executable, "-m", "vhostlab", "vmtest", "--scenario", "boot"),
                *("--scenario", "readonly", "--scenario", "integrity", "--scenario", "reconnect"),
                *("--results", str(root / RUNS / "vm-results")),
            ],
        ),
    )
}


def build(root: Path) -> None:
    """Configure once, then build what has changed."""
    place = root / BUILD
    log = root / "build/coverage-build.log"
    log.unlink(missing_ok=True)
    if not (place / "build.ninja").is_file():
        shutil.rmtree(place, ignore_errors=True)
        builds.run([find_program("meson", "run ci/setup.sh"), "setup", *OPTIONS, place], log, root)
    builds.run([find_program("ninja", "run ci/setup.sh"), "-C", place], log, root)


def _prepare(root: Path, run: Path) -> None:
    """Directories for the counts of every object: daemons of other users write there too."""
    shutil.rmtree(run, ignore_errors=True)
    place = root / BUILD
    inside = run / place.relative_to("/")
    for objects in place.rglob("*.p"):
        (inside / objects.relative_to(place)).mkdir(parents=True, exist_ok=True)
    for directory in [run, *(path for path in run.rglob("*") if path.is_dir())]:
        directory.chmod(0o777)


def _run(root: Path, part: Part, log: Path) -> int:
    """The part's tests, with the daemon that counts; their exit status."""
    counts = root / RUNS / part.name
    daemon = str(root / BUILD / builds.DAEMON)
    env = {
        "GCOV_PREFIX": str(counts),
        # Whatever goes wrong there is no output of the program.
        "GCOV_ERROR_FILE": str(counts / "errors"),
        "VHOST_BINARY": daemon,
        "VHOSTLAB_TARGET_PROGRAM": daemon,
        "FRONTEND_BIN": str(root / BUILD / "harness/frontend"),
        "VHOSTLAB_KILLS": "2",
        # what is measured on this daemon is nobody's history
        store.VARIABLE: "",
    }
    log.unlink(missing_ok=True)
    try:
        # One user's daemon adds to the counts of another one's.
        done = child.run(
            part.argv(root), cwd=root, log=log, env=env, umask=0, timeout_s=PART_DEADLINE_S
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{part.what}: no end within {PART_DEADLINE_S:g} s") from None
    return done.returncode


def _gcovr(root: Path, log: Path, *words: str | Path) -> None:
    argv = [sys.executable, "-m", "gcovr", "--root", root, *words]
    builds.run(argv, log, root)


def _read(root: Path, part: Part, log: Path) -> Path:
    """The counts of a part as gcovr's own file."""
    place = root / BUILD
    inside = root / RUNS / part.name / place.relative_to("/")
    found = 0
    for counts in list(inside.rglob("*.gcda")):
        own = counts.relative_to(inside)
        if not str(own).startswith(_OBJECTS):
            counts.unlink()
            continue
        notes = own.with_suffix(".gcno")
        if not (inside / notes).exists():
            (inside / notes).symlink_to(place / notes)
        found += 1
    if not found:
        raise HarnessError(f"{part.what} left no counts", f"see {log}")
    out = root / RUNS / f"{part.name}.json"
    _gcovr(
        root,
        log,
        *("--filter", f"{root}/target/(lib|app|include)/"),
        *("--exclude", r".*/testing\.c", "--json", out, inside),
    )
    return out


def changed_lines(root: Path, xml: Path, base: str, out: Path) -> dict[str, Any]:
    """diff-cover's word on the lines that are not those of `base`."""
    program = Path(sys.executable).with_name("diff-cover")
    done = subprocess.run(
        [program, xml, "--compare-branch", base, "--format", f"json:{out}", "--quiet"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise HarnessError(f"diff-cover failed: {said[-1] if said else 'it gave no reason'}")
    found = json.loads(out.read_text())
    missing = {
        name: stats["violation_lines"]
        for name, stats in found["src_stats"].items()
        if stats["violation_lines"]
    }
    lines = int(found["total_num_lines"])
    return {
        "base": base,
        "lines": lines,
        "covered": lines - int(found["total_num_violations"]),
        "missing": missing,
    }


def plan(steps: Steps, parts: Sequence[str]) -> None:
    steps.plan("coverage: building", BUILD_S)
    for name in parts:
        steps.plan(f"coverage: {PARTS[name].what}", PARTS[name].seconds)
    steps.plan("coverage: adding up", READ_S * (len(parts) + 1))


def measure(
    root: Path, out: Path, parts: Sequence[str], base: str | None, steps: Steps
) -> dict[str, Any]:
    """Run the parts; write summary.json, coverage.xml and html/ to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with steps.step("coverage: building"):
        build(root)
    ran: dict[str, dict[str, Any]] = {}
    for name in parts:
        part = PARTS[name]
        begin = time.monotonic()
        with steps.step(f"coverage: {part.what}"):
            _prepare(root, root / RUNS / name)
            status = _run(root, part, out / f"{name}.log")
        ran[name] = {"passed": status == 0, "seconds": round(time.monotonic() - begin, 1)}
    with steps.step("coverage: adding up"):
        log = out / "gcovr.log"
        log.unlink(missing_ok=True)
        files = {name: _read(root, PARTS[name], log) for name in parts}
        for name, file in files.items():
            ran[name] |= _totals(root, out, log, [file])
        shutil.rmtree(out / "html", ignore_errors=True)
        (out / "html").mkdir()
        totals = _totals(
            *(root, out, log, list(files.values())),
            *("--html-details", out / "html/index.html", "--cobertura", out / "coverage.xml"),
        )
        diff = changed_lines(root, out / "coverage.xml", base, out / "diff.json") if base else None
    summary = {"schema_version": 1, "parts": ran, **totals, "diff": diff}
    (out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _totals(
    root: Path, out: Path, log: Path, files: Sequence[Path], *more: str | Path
) -> dict[str, Any]:
    found = out / "gcovr.json"
    tracefiles = [word for file in files for word in ("--add-tracefile", file)]
    _gcovr(root, log, *tracefiles, "--json-summary", found, *more)
    numbers = json.loads(found.read_text())
    found.unlink()
    return {
        kind: {
            "covered": numbers[f"{singular}_covered"],
            "total": numbers[f"{singular}_total"],
            "percent": round(
                100 * numbers[f"{singular}_covered"] / numbers[f"{singular}_total"], 2
            ),
        }
        for kind, singular in (("lines", "line"), ("branches", "branch"), ("functions", "function"))
    }
