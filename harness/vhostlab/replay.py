# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab replay``: run again what a result was made by, and put both side by side.

A result (a run's directory, a result.json, or a bundle) names the command that repeats it, the
whole or one cell or scenario of it. Nothing of a result is given to a shell: the command must be
one of ours, with options that this version knows.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab import bundle, results
from vhostlab import run as running
from vhostlab import target as targets
from vhostlab.errors import HarnessError
from vhostlab.matrix import Cell, MatrixError
from vhostlab.paths import source_dir
from vhostlab.results import RESULT_FILE, Better, Metric, Result
from vhostlab.scenario.stage import host_environment

#: Sub-commands that leave a result, and the options they may be recorded with.
COMMANDS = ("vmtest", "bench", "run", "ladder")
OPTIONS = frozenset(
    {
        *("--target", "--suite", "--scenario", "--guest", "--matrix", "--cell"),
        *("--poll", "--verify"),
        *("--device", "--job", "--rounds", "--runtime"),
    }
)

STANDARD_ERROR = 2


class NotReplayable(HarnessError):
    """There is nothing that could be run again; the message says why."""

    exit_status = 2


@dataclass(frozen=True)
class Recorded:
    """A result, and the directory that its files lie in."""

    result: Result
    where: Path
    bundled: bool

    def files(self, kind: str) -> tuple[Path, ...]:
        """What a bundle brought along: matrix or jobs."""
        return tuple(sorted((self.where / kind).glob("*"))) if self.bundled else ()


@contextmanager
def opened(path: Path) -> Iterator[Recorded]:
    """A run's directory, a result.json or a bundle."""
    if path.is_dir() or path.suffix == ".json":
        source = path / RESULT_FILE if path.is_dir() else path
        yield Recorded(_read(source), source.parent, bundled=False)
        return
    if not path.exists():
        raise NotReplayable(f"there is no {path}", "name a run's directory, or a bundle")
    with tempfile.TemporaryDirectory(prefix="vl-replay-") as scratch:
        bundle.unpack(path, Path(scratch))
        yield Recorded(_read(Path(scratch) / RESULT_FILE), Path(scratch), bundled=True)


def _read(path: Path) -> Result:
    try:
        return results.read(Result, path)
    except HarnessError as error:
        raise NotReplayable(error.message) from error


def _listed(names: Sequence[str]) -> str:
    return f"it has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""


def recorded_command(result: Result, cell: str = "", scenario: str = "") -> str:
    """The command of the whole, of a cell or of a scenario."""
    if cell:
        found = [c.replay for c in result.cells if c.id.startswith(cell)]
        what, there = f"cell {cell}", [c.id for c in result.cells]
    elif scenario:
        found = [s.replay for s in result.scenarios if s.name == scenario]
        what, there = f"scenario {scenario}", [s.name for s in result.scenarios]
    else:
        return result.command
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise NotReplayable(f"run {result.run_id} has {many} {what}", _listed(there))
    return found[0]


def words_of(command: str) -> list[str]:
    """The words behind ``vhostlab``; raises NotReplayable for what is not a run of ours."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise NotReplayable(f"the recorded command cannot be read ({error}): {command}") from error
    if len(words) < 2 or words[0] != "vhostlab" or words[1] not in COMMANDS:
        raise NotReplayable(f"the recorded command is none that makes a result: {command!r}")
    unknown = [w for w in words[2:] if w.startswith("-") and w not in OPTIONS]
    if unknown:
        raise NotReplayable(f"the recorded command has an option not repeated here: {unknown[0]}")
    target = _value(words, "--target") or running.DEFAULT_TARGET
    try:
        targets.get(target)
    except HarnessError as error:
        raise NotReplayable(error.message, error.hint) from error
    return words[1:]


def _value(words: Sequence[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words[:-1] else ""


def reads_matrix(words: Sequence[str]) -> bool:
    """Whether a command measures cells."""
    return words[0] != "ladder" and "--verify" not in words


def matrix_file(words: Sequence[str]) -> Path | None:
    """The matrix that a command reads; None where it reads none."""
    if not reads_matrix(words):
        return None
    request = running.Request(suite=_value(words, "--suite"), matrix=_value(words, "--matrix"))
    return request.matrix_file()


def with_matrix(words: Sequence[str], path: Path) -> list[str]:
    """The same command on another matrix file."""
    made = list(words)
    if "--matrix" in made[:-1]:
        made[made.index("--matrix") + 1] = str(path)
    else:
        made += ["--matrix", str(path)]
    return made


def differences(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Facts that are not the same: theirs and mine, None where unknown."""
    return {
        key: (theirs.get(key), mine.get(key))
        for key in dict.fromkeys([*theirs, *mine])
        if theirs.get(key) != mine.get(key)
    }


def host_differences(result: Result) -> dict[str, tuple[Any, Any]]:
    """What can be told before anything is run."""
    theirs = {k: v for k, v in result.environment.items() if k.startswith("host.")}
    return differences(theirs, host_environment())


def changed_files(recorded: Recorded) -> list[str]:
    """Job files of the bundle that this source tree has otherwise, or not at all."""
    here = source_dir() / "fio-jobs"
    own = {f"{c.id}.fio" for c in recorded.result.cells}
    return [
        path.name
        for path in recorded.files("jobs")
        if path.name not in own
        and not ((here / path.name).is_file() and (here / path.name).read_bytes() == _bytes(path))
    ]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error


def make_bundle(recorded: Recorded, path: Path) -> list[str]:
    """Write a bundle; return the names of its files."""
    if recorded.bundled:
        raise NotReplayable("this is a bundle already")
    files = {RESULT_FILE: _bytes(recorded.where / RESULT_FILE)}
    matrix = matrix_file(words_of(recorded.result.command))
    if matrix is not None:
        files[f"matrix/{matrix.name}"] = _bytes(matrix)
    for cell in recorded.result.cells:
        as_run = recorded.where / "fio" / f"{cell.id}.fio"
        if as_run.is_file():
            files[f"jobs/{as_run.name}"] = _bytes(as_run)
        try:
            job = source_dir() / "fio-jobs" / f"{Cell(cell.params).job}.fio"
        except MatrixError:
            continue
        if job.is_file():
            files[f"jobs/{job.name}"] = _bytes(job)
    bundle.write(path, recorded.result, files)
    return sorted(files)


def command_line(
    recorded: Recorded, cell: str = "", scenario: str = "", keep: Path | None = None
) -> list[str]:
    """What will be run, without where its results go.

    A bundle's matrix is used where this tree has another one of that name or none. It is copied to
    ``keep``, so that the new run can be repeated in its turn.
    """
    words = words_of(recorded_command(recorded.result, cell, scenario))
    matrices = recorded.files("matrix")
    if not matrices or not reads_matrix(words):
        return words
    try:
        own = matrix_file(words)
    except HarnessError:
        own = None
    if own is not None and own.is_file() and _bytes(own) == _bytes(matrices[0]):
        return words
    if keep is None:
        return with_matrix(words, matrices[0])
    return with_matrix(words, Path(shutil.copy(matrices[0], keep)))


def carry_out(words: Sequence[str], base: Path, *, quiet: bool) -> tuple[int, Path | None]:
    """Run it; the exit status, and the directory of the new run if there is one."""
    argv = [sys.executable, "-m", "vhostlab", *words, "--results", str(base)]
    # what a program reads from us is the comparison alone
    out = STANDARD_ERROR if quiet else None
    with subprocess.Popen(argv, stdout=out, env=os.environ) as process:
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal told it as well; it ends its guests, then we go on
    latest = base / "latest"
    found = latest.resolve() if (latest / RESULT_FILE).is_file() else None
    return status, found


@dataclass(frozen=True)
class Pair:
    """One metric of one cell, theirs and mine."""

    cell: str
    label: str
    metric: Metric
    mine: float

    @property
    def ratio(self) -> float | None:
        """Mine over theirs; None where theirs is 0."""
        return self.mine / self.metric.value if self.metric.value else None

    @property
    def verdict(self) -> str:
        """better | worse | same | "" where neither way is better."""
        if self.metric.direction is Better.NEITHER:
            return ""
        if self.mine == self.metric.value:
            return "same"
        grew = self.mine > self.metric.value
        return "better" if grew == (self.metric.direction is Better.HIGHER) else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two results of the same command."""

    environment: Mapping[str, tuple[Any, Any]]
    scenarios: tuple[tuple[str, str, str], ...]
    """Name, their status, my status."""
    pairs: tuple[Pair, ...]
    not_compared: str
    """Why no figures stand side by side; empty where they do."""


def compare(theirs: Result, mine: Result) -> Comparison:
    """Put my values next to theirs: of what both have."""
    before = {s.name: str(s.status) for s in theirs.scenarios}
    scenarios = [
        (s.name, before[s.name], str(s.status)) for s in mine.scenarios if s.name in before
    ]
    functional = [r for r in (theirs, mine) if r.timing != "performance"]
    reason, pairs = "", []
    if functional:
        who = "both are" if len(functional) == 2 else f"{functional[0].run_id} is"
        reason = f"timings made under emulation say nothing about speed, and {who} of that kind"
    else:
        known = {c.id: c for c in theirs.cells}
        for cell in (c for c in mine.cells if c.id in known):
            values = {m.name: m.value for m in cell.metrics}
            label = Cell(cell.params).label()
            pairs += [
                Pair(cell.id, label, m, values[m.name])
                for m in known[cell.id].metrics
                if m.name in values
            ]
        if not pairs:
            reason = "the two results have no cell in common"
    return Comparison(
        differences(theirs.environment, mine.environment),
        tuple(scenarios),
        tuple(pairs),
        reason,
    )
