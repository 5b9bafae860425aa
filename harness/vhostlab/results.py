# SPDX-License-Identifier: BSD-3-Clause
"""What a run leaves behind: ``result.json`` and the directory around it.

Concepts: a *run* is one call of the harness against one target. It consists of *stages*; a stage is
one process with the guests it boots, and writes one *fragment* (``stages/<name>.json``). When all
stages are over, :func:`finish` merges the plan and the fragments into ``result.json`` and
``junit.xml``. A scenario that was planned and is in no fragment is an error, so a stage that dies
cannot look like a success.

The format of ``result.json`` is ``docs/result.schema.json``, in words ``docs/RESULTS.md``.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import shlex
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.recipe import DEFAULT_GUEST

#: Raised by one whenever a reader of an older result.json would misread a newer one.
SCHEMA_VERSION = 1

RESULT_FILE = "result.json"
PLAN_FILE = "plan.json"
PROGRESS_FILE = "progress.jsonl"
JUNIT_FILE = "junit.xml"
REPORT_FILE = "report.html"

#: The end of the name of a file that is being written.
PARTIAL = ".partial"

_T = TypeVar("_T")


class Status(enum.StrEnum):
    """How a scenario ended."""

    PASS = "pass"
    #: A check did not hold: the target (or the guest on it) did something wrong.
    FAIL = "fail"
    #: The scenario could not be carried out: time-out, crash, a bug of the harness.
    ERROR = "error"
    #: Not applicable to this target or this machine; skip_reason says why.
    SKIP = "skip"
    #: The machine lacks something that every run needs.
    UNAVAILABLE = "unavailable"


class Better(enum.StrEnum):
    """Which way a metric improves."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True)
class Metric:
    """One measured value; name, unit and direction are its whole meaning."""

    name: str
    unit: str
    direction: Better
    value: float


@dataclass(frozen=True)
class Check:
    """One thing that a scenario looked at."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class ScenarioResult:
    """What became of one scenario."""

    name: str
    stage: str
    status: Status
    seconds: float
    replay: str
    skip_reason: str | None = None
    error: str | None = None
    checks: tuple[Check, ...] = ()
    metrics: tuple[Metric, ...] = ()


Params = Mapping[str, str | int | bool]


class Steady(enum.StrEnum):
    """Whether a cell had settled while it was measured."""

    STEADY = "steady"
    NOT_STEADY = "not steady"
    #: Too short to tell.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CellResult:
    """One cell of the matrix, measured."""

    id: str
    stage: str
    params: Params
    metrics: tuple[Metric, ...]
    fio_file: str
    replay: str
    #: ISO time at which fio was started; "" in results that are older than the key.
    started: str = ""
    steady: Steady = Steady.UNKNOWN
    #: CSV of the IOPS in each second; "": there is none.
    series: str = ""
    #: Host cores of target and vCPUs, or why they had none of their own.
    placement: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A cell that was asked for and is not measured, and why."""

    id: str
    params: Params
    reason: str


@dataclass(frozen=True)
class GuestRecord:
    """A guest that was booted."""

    stage: str
    argv: tuple[str, ...]
    boot_seconds: float
    kernel: str


@dataclass(frozen=True)
class QueueCounters:
    """What the target counted on one queue of one controller; the names are the target's."""

    stage: str
    controller: str
    queue: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class TargetRecord:
    """The target under test."""

    name: str
    version: str
    #: Hash of its program and revision of its source tree; "" where they are not known.
    program: str = ""
    revision: str = ""


@dataclass(frozen=True)
class Fragment:
    """All that one stage has to say."""

    stage: str
    target: TargetRecord | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    scenarios: tuple[ScenarioResult, ...] = ()
    cells: tuple[CellResult, ...] = ()
    guests: tuple[GuestRecord, ...] = ()
    queue_counters: tuple[QueueCounters, ...] = ()
    logs: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class PlannedStage:
    """A stage and the scenarios it is to run, or the cells it is to measure."""

    name: str
    scenarios: tuple[str, ...]
    cells: tuple[str, ...] = ()
    #: "": the one of the plan.
    target: str = ""


@dataclass(frozen=True)
class PlannedCell:
    """A cell that is to be measured."""

    id: str
    params: Params


@dataclass(frozen=True)
class Plan:
    """What was going to be run; written before anything is. ``matrix``, the two times and ``cells``
    are of a run that measures a matrix, and what is needed to go on with it."""

    run_id: str
    started: str
    suite: str
    command: str
    target: str
    stages: tuple[PlannedStage, ...]
    matrix: str = ""
    runtime_s: int = 0
    ramp_s: int = 0
    cells: tuple[PlannedCell, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    #: When it was gone on with.
    resumed: tuple[str, ...] = ()
    guest: str = DEFAULT_GUEST


@dataclass(frozen=True)
class Result:
    """The content of result.json."""

    schema_version: int
    run_id: str
    started: str
    seconds: float
    suite: str
    status: Status
    command: str
    target: TargetRecord
    environment: Mapping[str, Any]
    fingerprint: str
    timing: str
    scenarios: tuple[ScenarioResult, ...]
    cells: tuple[CellResult, ...]
    guests: tuple[GuestRecord, ...]
    queue_counters: tuple[QueueCounters, ...]
    logs: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    resumed: tuple[str, ...] = ()


def now() -> str:
    """The time, for files."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decode(kind: Any, raw: Any) -> Any:
    """Builds a value of type ``kind`` from plain JSON data."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return raw
    if origin in (typing.Union, types.UnionType):
        if type(raw) in args or raw is None:
            return raw
        return _decode(next(a for a in args if a is not type(None)), raw)
    if origin is tuple:
        return tuple(_decode(args[0], item) for item in raw)
    if origin is not None and issubclass(origin, Mapping):
        return {_decode(args[0], k): _decode(args[1], v) for k, v in raw.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        unknown = set(raw) - set(hints)
        if unknown:
            raise ValueError(f"unknown key {', '.join(sorted(unknown))}")
        return kind(**{key: _decode(hints[key], value) for key, value in raw.items()})  # type: ignore[operator]
    if kind is float and type(raw) is int:
        return float(raw)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(raw)
    if type(raw) is not kind:
        raise TypeError(f"{raw!r} is not a {kind.__name__}")
    return raw


def read(kind: type[_T], path: Path) -> _T:
    """Read a Plan, Fragment or Result; raises HarnessError naming the file."""
    try:
        decoded: _T = _decode(kind, json.loads(path.read_text()))
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HarnessError(f"{path} is not a {kind.__name__}: {error}") from error
    return decoded


def write_text(text: str, path: Path) -> None:
    """Write a file; a reader sees the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text)
    partial.replace(path)


def write(value: Plan | Fragment | Result, path: Path) -> None:
    """Write as JSON, whole or not at all."""
    write_text(json.dumps(dataclasses.asdict(value), indent=1) + "\n", path)


def new_run_directory(base: Path, target: str, now: datetime | None = None) -> Path:
    """Make ``<base>/<UTC time>-<target>`` and point ``<base>/latest`` at it."""
    when = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    try:
        base.mkdir(parents=True, exist_ok=True)
        for n in range(100):
            run = base / (f"{when}-{target}" + (f"-{n}" if n else ""))
            try:
                run.mkdir()
            except FileExistsError:
                continue
            latest = base / "latest"
            fresh = base / f".latest-{run.name}"
            fresh.symlink_to(run.name)
            fresh.replace(latest)
            return run
    except OSError as error:
        raise Unavailable(f"cannot make a result directory in {base}: {error.strerror}") from error
    raise HarnessError(f"a hundred runs of {target} in one second in {base}")


#: What comes and goes on one machine while it is used: it is told, and makes no other world.
PASSING = ("host.hugepages_",)


def fingerprint(environment: Mapping[str, Any]) -> str:
    """A short hash of the environment: results with equal ones may be compared."""
    lasting = {k: v for k, v in environment.items() if not k.startswith(PASSING)}
    canonical = json.dumps(lasting, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


#: What stands for the accelerator where there is no guest: fio itself drives the target.
NO_GUEST = "none"


def timing_of(accel: str) -> str:
    """Timings made under emulation tell that things work, not how fast they are."""
    return "performance" if accel in ("kvm", NO_GUEST) else "functional"


def overall(scenarios: Iterable[ScenarioResult]) -> Status:
    """The verdict of a run: the worst of its scenarios; a run that ran nothing is unavailable."""
    seen = {s.status for s in scenarios}
    for status in (Status.FAIL, Status.ERROR, Status.UNAVAILABLE, Status.PASS):
        if status in seen:
            return status
    return Status.UNAVAILABLE


def exit_code(status: Status) -> int:
    """0 all well, 1 something failed, 2 could not be run here."""
    return {Status.PASS: 0, Status.SKIP: 0, Status.UNAVAILABLE: 2}.get(status, 1)


def _lost(plan: Plan, stage: PlannedStage, done: set[str]) -> list[ScenarioResult]:
    return [
        ScenarioResult(
            name=name,
            stage=stage.name,
            status=Status.ERROR,
            seconds=0.0,
            replay=replay_scenario(
                name, stage.target or plan.target, plan.matrix, stage.cells, plan.guest
            ),
            error=f"stage {stage.name} ended before this scenario did",
        )
        for name in stage.scenarios
        if name not in done
    ]


def replay_scenario(
    name: str,
    target: str,
    matrix: str = "",
    cells: Iterable[str] = (),
    guest: str = DEFAULT_GUEST,
) -> str:
    """The command that runs one scenario again."""
    words = ["vhostlab", "vmtest", "--target", target, "--scenario", name]
    words += ["--guest", guest] if guest != DEFAULT_GUEST else []
    words += ["--matrix", matrix] if matrix else []
    return shlex.join(words + [word for cell in cells for word in ("--cell", cell)])


def replay_cell(cell: str, target: str, matrix: str) -> str:
    """The command that measures one cell again."""
    return shlex.join(["vhostlab", "run", "--target", target, "--matrix", matrix, "--cell", cell])


def merge(plan: Plan, fragments: Mapping[str, Fragment], seconds: float) -> Result:
    """Join the plan with what the stages said."""
    scenarios: list[ScenarioResult] = []
    found = [fragments[s.name] for s in plan.stages if s.name in fragments]
    for stage in plan.stages:
        mine = fragments[stage.name].scenarios if stage.name in fragments else ()
        scenarios += [*mine, *_lost(plan, stage, {s.name for s in mine})]
    environment: dict[str, Any] = {}
    for fragment in found:
        environment.update(fragment.environment)
    return Result(
        schema_version=SCHEMA_VERSION,
        run_id=plan.run_id,
        started=plan.started,
        seconds=round(seconds, 3),
        suite=plan.suite,
        status=overall(scenarios),
        command=plan.command,
        target=_targets(found, plan),
        environment=environment,
        fingerprint=fingerprint(environment),
        timing=timing_of(str(environment.get("accel", ""))),
        scenarios=tuple(scenarios),
        cells=tuple(c for f in found for c in f.cells),
        guests=tuple(g for f in found for g in f.guests),
        queue_counters=tuple(q for f in found for q in f.queue_counters),
        logs=tuple(log for f in found for log in f.logs),
        left_out=(*plan.left_out, *(cell for f in found for cell in f.left_out)),
        resumed=plan.resumed,
    )


def _targets(found: Iterable[Fragment], plan: Plan) -> TargetRecord:
    """The target; where cells chose several, all of them."""
    there = list(dict.fromkeys(f.target for f in found if f.target))
    return joined(there) if there else TargetRecord(plan.target, "unknown")


def joined(targets: Sequence[TargetRecord]) -> TargetRecord:
    """Several as one."""

    def all_of(words: Iterable[str]) -> str:
        return "+".join(word for word in words if word)

    return TargetRecord(
        all_of(t.name for t in targets),
        all_of(t.version for t in targets),
        program=all_of(t.program for t in targets),
        revision=all_of(t.revision for t in targets),
    )


def _junit_case(suite: ElementTree.Element, scenario: ScenarioResult, target: str) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"vhostlab.{target}.{scenario.stage}",
        name=scenario.name,
        time=f"{scenario.seconds:.3f}",
    )
    if scenario.metrics:
        properties = ElementTree.SubElement(case, "properties")
        for metric in scenario.metrics:
            name = f"{metric.name} [{metric.unit}, {metric.direction}]"
            ElementTree.SubElement(properties, "property", name=name, value=repr(metric.value))
    text = scenario.error or ""
    lines = [f"{'ok' if c.passed else 'NOT OK'}  {c.name}  {c.detail}" for c in scenario.checks]
    if scenario.status is Status.SKIP:
        ElementTree.SubElement(case, "skipped", message=scenario.skip_reason or "")
    elif scenario.status is Status.FAIL:
        ElementTree.SubElement(case, "failure", message=text.split("\n")[0]).text = text
    elif scenario.status is not Status.PASS:
        ElementTree.SubElement(case, "error", message=text.split("\n")[0]).text = text
    if lines:
        ElementTree.SubElement(case, "system-out").text = "\n".join([*lines, scenario.replay])


def _printable(text: str) -> str:
    """XML 1.0 has no way at all to say a control character, and consoles are full of them."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def junit(result: Result) -> str:
    """The run as JUnit XML, one test case per scenario."""
    count = {status: sum(s.status is status for s in result.scenarios) for status in Status}
    suite = ElementTree.Element(
        "testsuite",
        name=f"vhostlab {result.suite} {result.target.name}",
        tests=str(len(result.scenarios)),
        failures=str(count[Status.FAIL]),
        errors=str(count[Status.ERROR] + count[Status.UNAVAILABLE]),
        skipped=str(count[Status.SKIP]),
        time=f"{result.seconds:.3f}",
        timestamp=result.started.removesuffix("Z"),
    )
    for scenario in result.scenarios:
        _junit_case(suite, scenario, result.target.name)
    for element in suite.iter():
        element.attrib = {k: _printable(v) for k, v in element.attrib.items()}
        element.text = _printable(element.text) if element.text else None
    ElementTree.indent(suite)
    body = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def finish(run_dir: Path, seconds: float) -> Result:
    """Merge what lies in a run's directory into result.json and junit.xml."""
    plan = read(Plan, run_dir / PLAN_FILE)
    fragments = {}
    for stage in plan.stages:
        path = run_dir / "stages" / f"{stage.name}.json"
        if path.exists():
            fragments[stage.name] = read(Fragment, path)
    result = merge(plan, fragments, seconds)
    write(result, run_dir / RESULT_FILE)
    write_text(junit(result), run_dir / JUNIT_FILE)
    return result
