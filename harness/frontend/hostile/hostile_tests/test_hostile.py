# SPDX-License-Identifier: BSD-3-Clause
"""Everything that no honest driver does, to our target and to another one.

Steps: vhost-hostile starts the target, plays its cases, and watches what they leave behind.
Verify: each ends in the status or the broken ring that is documented; the target lives, its other
session waits for no request longer than a second, its descriptors are those of before.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from .program import (
    IDS,
    RACE_MS,
    ROOT,
    Line,
    Report,
    Setup,
    cases,
    program,
    qemu_storage_daemon,
    run,
)

RACE = ("--race-ms", str(RACE_MS))
# What several threads of the target work on at a time, besides the races proper.
CONCURRENT = ("T67", "T71", "T72", "T74", "T75", "T81", "T82", "T83", "T84", "T85")
RACES = tuple(f"T{number}" for number in range(31, 40))
PACKED = ("--ring", "packed", *RACE)

ASAN = (
    Setup("asan-blk", "asan", "blk", RACE),
    Setup("asan-scsi", "asan", "scsi", ("--device", "scsi", *RACE)),
    Setup("asan-readonly", "asan", "readonly", tuple(cases("T43"))),
    Setup("asan-blocks-4k", "asan", "blocks-4k", tuple(cases("T42"))),
    Setup("asan-packed-blk", "asan", "blk", PACKED),
    Setup("asan-packed-scsi", "asan", "scsi", ("--device", "scsi", *PACKED)),
)
TSAN = (
    Setup("tsan-blk", "tsan", "blk", (*RACE, *cases(*RACES, *CONCURRENT))),
    Setup("tsan-scsi", "tsan", "scsi", ("--device", "scsi", *RACE, *cases(*RACES, *CONCURRENT))),
    Setup("tsan-packed", "tsan", "blk", (*PACKED, *cases("T22"))),
)
Reports = Callable[[Setup], Report]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """Each setup is run once, when it is first asked for."""
    # A socket's path has little room.
    directory = tmp_path_factory.mktemp("h")

    @cache
    def report(setup: Setup) -> Report:
        return setup.run(directory / setup.name)

    return report


def judge(found: list[tuple[Report, Line]]) -> None:
    """All passed; or all were skipped, and then that is the result."""
    assert found, "no case has this number"
    bad = [(report, line) for report, line in found if not line.passed]
    assert not bad, "\n".join(f"{r.setup}: {line}\n{r.log_tail}" for r, line in bad)
    if all(line.skipped for _, line in found):
        pytest.skip("; ".join(sorted({line.skipped for _, line in found})))


@pytest.mark.parametrize("case", IDS)
def test_our_target(reports: Reports, case: str) -> None:
    judge([(reports(s), line) for s in ASAN for line in reports(s).of(case)])


@pytest.mark.parametrize("case", ["T22", *RACES, *CONCURRENT])
def test_our_target_under_the_thread_sanitizer(reports: Reports, case: str) -> None:
    judge([(reports(s), line) for s in TSAN for line in reports(s).of(case)])


@pytest.mark.parametrize("setup", [*ASAN, *TSAN], ids=lambda setup: setup.name)
def test_our_target_ends_as_it_should(reports: Reports, setup: Setup) -> None:
    """No leak and no report of a sanitizer comes at the end, and no case was left out."""
    report = reports(setup)
    assert not report.bailed_out, f"{report.bailed_out}\n{report.log_tail}"
    assert len(report.lines) == report.planned
    assert report.of("end")[0].passed, f"{report.of('end')[0]}\n{report.log_tail}"
    assert report.status == (0 if all(line.passed for line in report.lines) else 1)


# -- the program itself --


def listed(*options: str) -> set[str]:
    text = subprocess.run(
        [str(program()), "--list", *options], capture_output=True, text=True, check=True
    ).stdout
    return {line.split()[0] for line in text.splitlines()}


def test_every_number_has_a_case() -> None:
    split = listed() | listed("--device", "scsi")
    assert split | listed("--ring", "packed") == set(IDS)


def documented() -> str:
    """The table of the cases."""
    return (ROOT / "docs/TESTING.md").read_text().split("\n## The hostile cases\n")[1]


def test_every_number_is_in_the_documentation() -> None:
    rows = re.findall(r"^\| (T\d+) \|", documented(), re.MULTILINE)
    assert rows == list(IDS)


def test_the_documentation_names_tests_that_there_are() -> None:
    named = re.findall(r"`(\w+_test\.c|test_\w+\.py)`: ([\w, ]+)", documented())
    assert named
    for file, names in named:
        sources = "".join(path.read_text() for path in (ROOT / "target").rglob(file))
        for name in names.strip().split(", "):
            assert re.search(rf"\b{name}\(", sources), f"{file} has no {name}"


@pytest.mark.parametrize(
    "argv", [[], ["x", "--device", "tape"], ["x", "--ring", "round"], ["x", "--case", "T99"]]
)
def test_bad_command_lines(argv: list[str]) -> None:
    done = subprocess.run([str(program()), *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "vhost-hostile" in done.stderr


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    argv = [str(program()), str(tmp_path / "nobody")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Bail out!" in done.stdout


# -- another target --

# Good requests in unusual forms, and requests that any device has to refuse.
FAIR = ("T7", "T24", "T25", "T29", "T30", "T40", "T41", "T44", "T45", "T48", "T83")


# Version 7.2 dies of it. Whatever another one does, the program goes on to the next case.
LETHAL = "T67"


def test_another_target(tmp_path: Path) -> None:
    """It is held to the specifications alone."""
    target = qemu_storage_daemon(tmp_path)
    if target is None:
        pytest.skip("qemu-storage-daemon is not installed")
    report = run("qsd", tmp_path, "blk", target, *cases(LETHAL, *FAIR))
    assert not report.bailed_out, report.bailed_out
    assert len(report.lines) == report.planned
    assert report.of(LETHAL)
    for case in FAIR:
        judge([(report, line) for line in report.of(case)])
