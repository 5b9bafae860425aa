# SPDX-License-Identifier: BSD-3-Clause
"""The store holds what the results say, all of it or nothing of it, the same on both engines."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from vhostlab_perf.store import BrokenResult, StoreError, bins, opened, query, url_of
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.load import Outcome, import_run

from . import made_runs, postgres
from .dumps import dump

ROOT = Path(__file__).resolve().parents[3]

ABSENT = {"id": "f" * 10, "params": {"device": "scsi", "packed": True}, "reason": "no packed rings"}


def writer(db: str) -> Store:
    return opened(url_of(db), write=True)


def reader(db: str) -> Store:
    return opened(url_of(db))


def rewrite(run: Path, **changes: Any) -> Path:
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return run


def test_the_runs_that_these_tests_make_are_results(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads((made_runs.run(tmp_path) / "result.json").read_text()), schema)


def test_what_goes_in_comes_out(db: str, tmp_path: Path) -> None:
    cells = [made_runs.cell(1000.0), made_runs.cell(3000.0, depth=32, packed=True)]
    cells[1] |= {"steady": "not steady", "started": "2026-01-02T03:05:00Z", "series": "s.csv"}
    target = {"name": "vhostlab", "version": "0.2.0", "program": "ab12", "revision": "v0.2-3-gabc"}
    path = made_runs.run(tmp_path, cells=cells, target=target, left_out=[ABSENT])
    (path / "s.csv").write_text("second,iops,iops_vm1\n0,2999.0,1000.5\n1,3001.5,2000.0\n")
    outcome, found = import_run(writer(db), path)
    assert (outcome, found.notes) == (Outcome.NEW, [])

    store = reader(db)
    (run,) = query.runs(store)
    assert (run.id, run.accel, run.cells) == (path.name, "kvm", 2)
    assert run.scenarios == {"pass": 1, "skip": 1}
    assert run.build.label() == "0.2.0 v0.2-3-gabc"
    assert query.facts(store, run.fingerprint) == {
        "accel": "kvm", "host.cpus": 2, "flags": ["a", "b"], "hugepages": None,
    }  # fmt: skip
    assert {c.id: dict(c.params) for c in query.cells(store)} == {
        c["id"]: c["params"] for c in cells
    }
    (series,) = query.history(store, cells[1]["id"], "iops")
    (point,) = series.points
    assert (point.value, point.steady, series.metric.direction) == (3000.0, "not steady", "higher")
    assert query.per_second(store, run.id, cells[1]["id"]) == {
        "iops": (2999.0, 3001.5),
        "iops_vm1": (1000.5, 2000.0),
    }
    (latency,) = query.latencies(store, run.id, cells[0]["id"])
    raw = (path / cells[0]["fio_file"]).read_bytes()
    kept = json.loads(raw)["jobs"][0]["read"]["clat_ns"]
    assert {str(k): v for k, v in latency.bins.items()} == kept["bins"]
    assert (latency.way, latency.samples, latency.mean_ns) == ("read", kept["N"], kept["mean"])
    assert latency.percentile(50) == bins.percentile(latency.bins, 50)
    assert query.document(store, run.id, cells[0]["fio_file"]) == raw
    assert query.document(store, run.id) == (path / "result.json").read_bytes()
    kept_rows = {table: len(rows) for table, rows in dump(db).items()}
    assert kept_rows == {
        "builds": 1, "cells": 2, "environments": 1, "runs": 1, "scenarios": 2, "checks": 1,
        "scenario_measurements": 1, "cell_results": 2, "measurements": 4, "latencies": 2,
        "series": 2, "guests": 1, "queue_counters": 2, "left_out": 1, "files": 4, "verdicts": 0,
    }  # fmt: skip


def test_the_second_time_nothing_changes(db: str, tmp_path: Path) -> None:
    path = made_runs.run(tmp_path)
    assert import_run(writer(db), path)[0] is Outcome.NEW
    before = dump(db)
    assert import_run(writer(db), path / "result.json")[0] is Outcome.SAME
    assert dump(db) == before


def test_a_result_without_its_files_is_taken_and_says_so(db: str, tmp_path: Path) -> None:
    path = made_runs.run(tmp_path)
    shutil.rmtree(path / "fio")
    _, found = import_run(writer(db), path)
    assert len(found.notes) == 2 and found.notes[0].startswith("no fio/")
    assert not query.latencies(reader(db), path.name, made_runs.cell(1)["id"])


def test_a_run_that_went_on_takes_its_own_place_and_no_other(db: str, tmp_path: Path) -> None:
    path = made_runs.run(tmp_path)
    import_run(writer(db), path)
    import_run(writer(db), made_runs.run(tmp_path, 1))
    rewrite(path, cells=[made_runs.cell(5.0), made_runs.cell(6.0, depth=2)])
    with pytest.raises(StoreError, match="other contents; --replace"):
        import_run(writer(db), path)
    assert import_run(writer(db), path, replace=True)[0] is Outcome.REPLACED
    (series,) = query.history(reader(db), made_runs.cell(1)["id"], "iops")
    assert [p.value for p in series.points] == [5.0, 1001.0]
    rewrite(path, started="2027-01-01T00:00:00Z")
    with pytest.raises(StoreError, match=r"another run .* begun at 2026-01-01"):
        import_run(writer(db), path, replace=True)


def test_functional_timings_are_kept_and_are_no_history(db: str, tmp_path: Path) -> None:
    import_run(writer(db), made_runs.run(tmp_path, 0, timing="functional"))
    import_run(writer(db), made_runs.run(tmp_path, 1))
    store = reader(db)
    assert [r.timing for r in query.runs(store)] == ["functional", "performance"]
    found = query.history(store, made_runs.cell(1)["id"], "iops")
    assert [p.value for s in found for p in s.points] == [1001.0]
    assert all(p.run.startswith("20260102T000001") for s in query.history(store) for p in s.points)


def test_histories_are_apart_by_target_and_environment_and_in_order(
    db: str, tmp_path: Path
) -> None:
    other = {"name": "qemu-storage-daemon", "version": "7.2"}
    new_kernel = {"environment": {"accel": "kvm", "kernel": "7"}, "fingerprint": "b" * 12}
    for number, changes in ((4, {}), (3, {}), (5, {"target": other}), (6, new_kernel)):
        import_run(writer(db), made_runs.run(tmp_path, number, **changes))
    found = query.history(reader(db), made_runs.cell(1)["id"], "iops")
    shown = [(s.target, s.fingerprint[0], [p.value for p in s.points]) for s in found]
    assert shown == [
        ("vhostlab", "b", [1006.0]),
        ("qemu-storage-daemon", "0", [1005.0]),
        ("vhostlab", "0", [1003.0, 1004.0]),
    ]
    assert len(query.history(reader(db), target="vhostlab", metric="iops")) == 4
    assert not query.history(reader(db), "nothing", "iops")


def broken(**changes: Any) -> dict[str, Any]:
    return made_runs.result("r", [made_runs.cell(1.0)]) | changes


ONE = made_runs.cell(1.0)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", "is not JSON"),
        ("[1]", "is not an object"),
        ("[" * 100_000, "is not JSON"),
        (broken(schema_version=2), "schema_version 2, this reads 1"),
        ({"schema_version": 1}, "run_id is missing"),
        (broken(run_id=""), "run_id is empty"),
        (broken(target="x"), "target is not an object"),
        (broken(status="well"), "status is 'well', not one of"),
        (broken(timing=None), "timing is not a text"),
        (broken(seconds="5"), "seconds is not a number"),
        (broken(seconds=float("nan")), "NaN is not a number of JSON"),
        (broken(seconds=-1), "seconds is less than 0"),
        (broken(scenarios={}), "scenarios is not a list"),
        (broken(cells=[ONE, ONE]), f"cells[1] is cell {ONE['id']} for the second time"),
        (broken(cells=[ONE | {"metrics": [{"name": "iops"}]}]), "metrics[0]: unit is missing"),
        (broken(cells=[ONE | {"metrics": [made_runs.metric("x", "s", "up", 1)]}]), "'up', not one"),
        (broken(cells=[ONE | {"fio_file": "../../etc/passwd"}]), "not in its directory"),
        (broken(cells=[ONE | {"fio_file": "fio/broken.json"}]), "broken.json is not JSON"),
        (broken(cells=[ONE | {"fio_file": "fio/lost.json"}]), "do not hold its 9 samples"),
        (broken(cells=[ONE | {"series": "fio/short.csv"}]), "a line has 1 values, not 2"),
        (broken(cells=[ONE | {"series": "fio/word.csv"}]), "'nan' is not a number"),
        (broken(queue_counters=[{"stage": "s", "controller": "c", "queue": True}]), "whole number"),
    ],
)
def test_a_broken_result_is_refused_in_one_line(raw: Any, words: str, tmp_path: Path) -> None:
    db = str(tmp_path / "history.sqlite")
    import_run(writer(db), made_runs.run(tmp_path))
    before = dump(db)
    (tmp_path / "r" / "fio").mkdir(parents=True)
    lost = made_runs.fio_json({5: 8})
    lost["jobs"][0]["read"]["clat_ns"]["N"] = 9
    (tmp_path / "r" / "fio" / "lost.json").write_text(json.dumps(lost))
    (tmp_path / "r" / "fio" / "broken.json").write_text("{")
    (tmp_path / "r" / "fio" / "short.csv").write_text("second,iops\n0\n")
    (tmp_path / "r" / "fio" / "word.csv").write_text("second,iops\n0,nan\n")
    path = tmp_path / "r" / "result.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    with pytest.raises(BrokenResult) as refused:
        import_run(writer(db), path.parent)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert str(tmp_path / "r") in str(refused.value)
    assert dump(db) == before


def test_what_is_known_by_a_key_is_not_changed_by_another_run(db: str, tmp_path: Path) -> None:
    import_run(writer(db), made_runs.run(tmp_path))
    before = dump(db)
    forged = made_runs.cell(1.0) | {"params": {"device": "scsi"}}
    with pytest.raises(BrokenResult, match=f"cells {forged['id']} has other params"):
        import_run(writer(db), made_runs.run(tmp_path, 1, cells=[forged]))
    with pytest.raises(BrokenResult, match="environments 0123456789ab has other facts"):
        import_run(writer(db), made_runs.run(tmp_path, 2, environment={"accel": "none"}))
    assert dump(db) == before


def _die_at(db: str, path: Path, statement: int) -> None:
    """In a process of its own: import, and be killed at that statement."""
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    store = writer(db)
    event.listen(store._engine, "before_cursor_execute", count)
    event.listen(store._engine, "commit", count)
    import_run(store, path)


def test_killed_anywhere_it_leaves_nothing(db: str, tmp_path: Path) -> None:
    import_run(writer(db), made_runs.run(tmp_path))
    before = dump(db)
    path = made_runs.run(tmp_path, 1, left_out=[ABSENT])
    fork = multiprocessing.get_context("fork")
    for statement in range(1, 100):
        child = fork.Process(target=_die_at, args=(db, path, statement))
        child.start()
        child.join(60)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert dump(db) == before, f"killed at statement {statement}"
    assert statement > 15, "the kills did not go through the whole import"
    assert dump(db) != before
    assert import_run(writer(db), path)[0] is Outcome.SAME


def _import_some(db: str, paths: list[Path], gate: Any) -> None:
    gate.wait(60)
    for path in paths:
        import_run(writer(db), path)


def test_several_processes_fill_both_engines_with_the_same(
    both: tuple[str, str], tmp_path: Path
) -> None:
    """They make the store at the same moment, and three of four import each run."""
    paths = [made_runs.run(tmp_path, n, left_out=[ABSENT]) for n in range(8)]
    fork = multiprocessing.get_context("fork")
    for db in both:
        gate = fork.Barrier(4)
        shares = [[p for n, p in enumerate(paths) if n % 4 != who] for who in range(4)]
        shares[1].reverse()
        children = [fork.Process(target=_import_some, args=(db, s, gate)) for s in shares]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0] * 4
    one, two = (dump(db) for db in both)
    assert one == two
    assert len(one["runs"]) == 8 and len(one["cells"]) == 2
    alone = str(tmp_path / "alone.sqlite")
    for path in paths:
        import_run(writer(alone), path)
    assert dump(alone) == one


TEXTS = st.text(st.characters(), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=TEXTS, reason=TEXTS, value=NUMBERS, counter=st.integers(0, 2**63 - 1),
    fact=st.recursive(TEXTS | NUMBERS | st.booleans() | st.none(), st.lists, max_leaves=5),
    number=st.integers(0, 2**62),
)  # fmt: skip
@example(name="a\0b\ud800", reason="\0", value=-0.0, counter=2**63 - 1, fact=["\0"], number=1)
def test_both_engines_hold_the_same_whatever_it_is(
    both: tuple[str, str], tmp_path_factory: pytest.TempPathFactory, name: str, reason: str,
    value: float, counter: int, fact: Any, number: int,
) -> None:  # fmt: skip
    """Any text a console can contain, any number that JSON has."""
    cells = [made_runs.cell(1.0) | {"metrics": [made_runs.metric(name, "x", "higher", value)]}]
    queue = {"stage": "s", "controller": name, "queue": 0, "counters": {reason: counter}}
    raw = made_runs.result("x", cells, environment={"accel": "kvm", name: fact})
    raw |= {"fingerprint": f"{hash(repr(fact)) & 0xFFFFFFFF}-{name!a}", "queue_counters": [queue]}
    raw["scenarios"][1]["skip_reason"] = reason
    raw["run_id"] = f"{number}-{hash(json.dumps(raw)) & 0xFFFFFFFF:x}"
    path = tmp_path_factory.mktemp("any") / "result.json"
    path.write_text(json.dumps(raw))
    for db in both:
        import_run(writer(db), path)
    one, two = (dump(db) for db in both)
    assert one == two


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:secret@h/n", "no store can be kept in mysql"),
        ("sqlite://", "no store can be kept in sqlite"),
        ("postgresql://u:secret@h:port/n", "cannot be read"),
        ("postgresql://u:secret@/n?host=/nowhere", "nowhere"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line_without_the_password(url: str, words: str) -> None:
    with pytest.raises(StoreError) as refused:
        opened(url_of(url), write=True)
    said = str(refused.value)
    assert words in said and "secret" not in said and "\n" not in said


def test_reading_makes_no_store(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with pytest.raises(StoreError, match="there is no store"):
        reader(str(path))
    assert not path.exists()
    path.write_text("this is no database, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="not a database"):
        reader(str(path))


def test_an_empty_database_says_how_to_fill_it(postgresql: postgres.Server) -> None:
    with pytest.raises(StoreError, match="is empty"):
        reader(postgresql.new_database())


def test_readers_cannot_write(db: str, tmp_path: Path) -> None:
    import_run(writer(db), made_runs.run(tmp_path))
    with (
        pytest.raises(StoreError, match=r"read.?only"),
        reader(db).transaction() as connection,
    ):
        connection.execute(sa.text("DELETE FROM runs"))
