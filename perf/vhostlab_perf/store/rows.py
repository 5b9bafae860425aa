# SPDX-License-Identifier: BSD-3-Clause
"""Turns a run's directory into rows for the tables of ``schema.py``. Knows no database."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from vhostlab_perf.store import bins, schema
from vhostlab_perf.store.document import Node, clean
from vhostlab_perf.store.errors import BrokenResult

RESULT_FILE = "result.json"

#: The newest format of result.json that is understood.
SCHEMA_VERSION = 1

WAYS = ("read", "write", "trim")
STATUSES = ("pass", "fail", "error", "skip", "unavailable")
DIRECTIONS = ("higher", "lower", "neither")
STEADY = ("steady", "not steady", "unknown")

#: A counter of 32 bits, which an INTEGER of PostgreSQL is.
MAX_INTEGER = 2**31 - 1

Row = dict[str, Any]


@dataclass
class Rows:
    """All that one run puts into the store."""

    run: str
    started: str
    digest: str
    target: str
    by_table: dict[sa.Table, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was not there and can be done without."""

    def add(self, table: sa.Table, **row: Any) -> None:
        """One more row."""
        self.by_table.setdefault(table, []).append(row)

    def of(self, table: sa.Table) -> list[Row]:
        """The rows of a table."""
        return self.by_table.get(table, [])


def build_id(target: str, version: str, program: str, revision: str) -> str:
    """A short hash of what tells one build from another."""
    canonical = json.dumps([target, version, program, revision], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def locate(path: Path) -> Path:
    """result.json of a run's directory, or itself."""
    return path / RESULT_FILE if path.is_dir() else path


def read(path: Path) -> Rows:
    """The rows of a run; raises BrokenResult with one line that names the file."""
    source = locate(path)
    content = contents(source)
    root = Node.parse(text_of(content, source), str(source))
    version = root.raw.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BrokenResult(f"{source} has schema_version {version!r}, this reads {SCHEMA_VERSION}")
    rows = Rows(
        run=root.text("run_id"),
        started=root.text("started"),
        digest=hashlib.sha256(content).hexdigest(),
        target=root.node("target").text("name"),
    )
    if not rows.run:
        raise root.fail("run_id", "is empty")
    _run(root, rows)
    _file(rows, RESULT_FILE, content)
    _scenarios(root, rows)
    _cells(root, rows, source.parent)
    _others(root, rows)
    return rows


def contents(path: Path) -> bytes:
    """The bytes of a file; raises BrokenResult."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenResult(f"cannot read {path}: {error.strerror}") from error


def text_of(content: bytes, path: Path) -> str:
    """Its text; raises BrokenResult."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BrokenResult(f"{path} is not JSON: it is not UTF-8") from error


def _file(rows: Rows, path: str, content: bytes) -> None:
    rows.add(schema.files, run=rows.run, path=path, content=zlib.compress(content, 6))


def _run(root: Node, rows: Rows) -> None:
    target = root.node("target")
    build = {
        "target": rows.target,
        "version": target.text("version"),
        "program": target.text("program", ""),
        "revision": target.text("revision", ""),
    }
    facts = root.plain("environment")
    fingerprint = root.text("fingerprint")
    rows.add(
        schema.environments,
        fingerprint=fingerprint,
        accel=str(facts.get("accel", "")),
        facts=facts,
    )
    rows.add(schema.builds, id=build_id(**build), **build)
    rows.add(
        schema.runs,
        id=rows.run,
        digest=rows.digest,
        started=rows.started,
        seconds=root.number("seconds", 0),
        suite=root.text("suite"),
        status=root.one_of("status", *STATUSES),
        command=root.text("command"),
        build=build_id(**build),
        fingerprint=fingerprint,
        timing=root.one_of("timing", "performance", "functional"),
    )


def _metrics(node: Node) -> Iterable[Row]:
    found = list(node.each("metrics"))
    _once(found, lambda m: m.text("name"), "metric")
    for metric in found:
        yield {
            "metric": metric.text("name"),
            "unit": metric.text("unit"),
            "direction": metric.one_of("direction", *DIRECTIONS),
            "value": metric.number("value"),
        }


def _once(nodes: Iterable[Node], key: Callable[[Node], object], what: str) -> None:
    seen = set()
    for node in nodes:
        if key(node) in seen:
            raise BrokenResult(f"{node.where} is {what} {key(node)} for the second time")
        seen.add(key(node))


def _scenarios(root: Node, rows: Rows) -> None:
    for n, scenario in enumerate(root.each("scenarios")):
        rows.add(
            schema.scenarios,
            run=rows.run,
            position=n,
            name=scenario.text("name"),
            stage=scenario.text("stage"),
            status=scenario.one_of("status", *STATUSES),
            seconds=scenario.number("seconds", 0),
            reason=scenario.text("error", "") or scenario.text("skip_reason", ""),
            replay=scenario.text("replay"),
        )
        for m, check in enumerate(scenario.each("checks")):
            rows.add(
                schema.checks,
                run=rows.run,
                scenario=n,
                position=m,
                name=check.text("name"),
                passed=check.flag("passed"),
                detail=check.text("detail"),
            )
        for metric in _metrics(scenario):
            rows.add(schema.scenario_measurements, run=rows.run, scenario=n, **metric)


def _cells(root: Node, rows: Rows, where: Path) -> None:
    cells = list(root.each("cells"))
    _once(cells, lambda c: c.text("id"), "cell")
    for n, cell in enumerate(cells):
        key = {"run": rows.run, "cell": cell.text("id")}
        rows.add(schema.cells, id=cell.text("id"), params=cell.plain("params"))
        rows.add(
            schema.cell_results,
            **key,
            position=n,
            stage=cell.text("stage"),
            started=cell.text("started", ""),
            steady=cell.one_of("steady", *STEADY, default="unknown"),
            placement=cell.text("placement", ""),
            replay=cell.text("replay"),
            fio_file=cell.text("fio_file"),
        )
        for metric in _metrics(cell):
            rows.add(schema.measurements, **key, **metric)
        if content := _beside(rows, where, cell.text("fio_file")):
            for latency in _latencies(content, where / cell.text("fio_file")):
                rows.add(schema.latencies, **key, **latency)
        _series(rows, key, where, cell.text("series", ""))


def _beside(rows: Rows, where: Path, name: str) -> bytes | None:
    """A file that the result names, kept as it is. It may be gone, not somewhere else."""
    path = (where / name).resolve()
    if not path.is_relative_to(where.resolve()):
        raise BrokenResult(f"{where / RESULT_FILE} names {name}, which is not in its directory")
    if not name or not path.is_file():
        rows.notes.append(f"no {name}")
        return None
    content = contents(path)
    if all(row["path"] != name for row in rows.of(schema.files)):
        _file(rows, name, content)
    return content


def _latencies(content: bytes, path: Path) -> Iterable[Row]:
    """One histogram for each way that data went, all jobs of the file together."""
    text = text_of(content, path)
    # fio may print warnings before the document
    root = Node.parse(text[max(text.find("{"), 0) :], str(path))
    found: dict[str, list[Node]] = {}
    for job in root.each("jobs"):
        for way in (w for w in WAYS if w in job.raw):
            latency = job.node(way).node("clat_ns")
            if latency.integer("N"):
                found.setdefault(way, []).append(latency)
    for way, parts in found.items():
        merged = bins.merge(_bins(part) for part in parts)
        samples = sum(part.integer("N") for part in parts)
        if merged and sum(merged.values()) != samples:
            raise BrokenResult(f"{path}: the bins of {way} do not hold its {samples} samples")
        yield {
            "way": way,
            "samples": samples,
            "min_ns": min(part.integer("min") for part in parts),
            "max_ns": max(part.integer("max") for part in parts),
            "mean_ns": sum(part.number("mean") * part.integer("N") for part in parts) / samples,
            "bins": bins.pack(merged),
        }


def _bins(latency: Node) -> Mapping[int, int]:
    if "bins" not in latency.raw:
        return {}
    counts = latency.node("bins")
    if not all(key.isdecimal() and key.isascii() for key in counts.raw):
        raise latency.fail("bins", "have other keys than nanoseconds")
    return {int(key): counts.integer(key) for key in counts.raw}


def _series(rows: Rows, key: Row, where: Path, name: str) -> None:
    """Per-second values, a CSV file: the second, and a column for each series."""
    content = _beside(rows, where, name) if name else None
    if content is None:
        return
    path = where / name
    _, *names = next(lines := csv.reader(text_of(content, path).splitlines()), [""])
    columns: list[list[float]] = [[] for _ in names]
    for line in lines:
        if len(line) != len(names) + 1:
            raise BrokenResult(f"{path}: a line has {len(line)} values, not {len(names) + 1}")
        for column, text in zip(columns, line[1:], strict=True):
            column.append(_number(text, path))
    if len(set(names)) != len(names):
        raise BrokenResult(f"{path}: two columns have the same name")
    for series, column in zip(names, columns, strict=True):
        rows.add(schema.series, **key, name=clean(series), points=bins.pack_points(column))


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BrokenResult(f"{path}: {text[:40]!r} is not a number")
    return value


def _others(root: Node, rows: Rows) -> None:
    for n, guest in enumerate(root.each("guests")):
        argv = [Node({"argv": a}, f"{guest.where}: argv").text("argv") for a in guest.list("argv")]
        rows.add(
            schema.guests,
            run=rows.run,
            position=n,
            stage=guest.text("stage"),
            argv=argv,
            boot_seconds=guest.number("boot_seconds", 0),
            kernel=guest.text("kernel"),
        )
    queues = list(root.each("queue_counters"))
    _once(queues, lambda q: (q.text("stage"), q.text("controller"), q.integer("queue")), "queue")
    for queue in queues:
        counters = queue.node("counters")
        for name in counters.raw:
            rows.add(
                schema.queue_counters,
                run=rows.run,
                stage=queue.text("stage"),
                controller=queue.text("controller"),
                queue=queue.integer("queue", MAX_INTEGER),
                counter=clean(name),
                value=counters.integer(name),
            )
    absent = list(root.each("left_out", []))
    _once(absent, lambda c: c.text("id"), "left-out cell")
    for cell in absent:
        rows.add(
            schema.left_out,
            run=rows.run,
            cell=cell.text("id"),
            params=cell.plain("params"),
            reason=cell.text("reason"),
        )
