# SPDX-License-Identifier: BSD-3-Clause
"""``trend`` and ``db trend``: what is planted into a history is found, and nothing else."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from vhostlab_perf.__main__ import main
from vhostlab_perf.store import opened, url_of
from vhostlab_perf.store.load import import_run

from . import made_runs

BEFORE, AFTER = 20, 8
CELLS = {depth: made_runs.cell(1, depth=depth)["id"] for depth in (1, 8, 32)}
CHANGE = "1.1.0 v1.0-21-gbad"


def night(number: int) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


def plant(db: str, where: Path, nights: range) -> None:
    """Depth 1 becomes 5 % slower, depth 32 faster, depth 8 stays; p99 goes the other way."""
    store = opened(url_of(db), write=True)
    chance = random.Random(5)
    noise = {n: {d: chance.gauss(1, 0.01) for d in CELLS} for n in range(BEFORE + AFTER)}
    for n in nights:
        step = {1: 0.95, 8: 1.0, 32: 1.08} if n >= BEFORE else dict.fromkeys(CELLS, 1.0)
        version = ("1.1.0", "v1.0-21-gbad") if n >= BEFORE else ("1.0.0", f"v1.0-{n}-gaaa")
        target = {"name": "vhostlab", "version": version[0], "revision": version[1]}
        cells = [made_runs.cell(1e5 * noise[n][d] * step[d], depth=d) for d in CELLS]
        path = made_runs.run(where, n, started=night(n), cells=cells, target=target)
        import_run(store, path)
        slow = made_runs.run(
            where, 1000 + n, started=night(n), cells=[made_runs.cell(9.0)], timing="functional"
        )
        import_run(store, slow)


def trend(db: str, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main(["db", "trend", "--db", db, "--json", *words]) == status
    return json.loads(capsys.readouterr().out)


def test_the_steps_are_found_and_nothing_else(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(db, tmp_path, range(BEFORE + AFTER))
    told = trend(db, capsys)
    found = {(p["cell"], p["metric"]): p for p in told["points"]}
    assert {key: p["kind"] for key, p in found.items()} == {
        (CELLS[1], "iops"): "worse",
        (CELLS[1], "latency_p99"): "worse",
        (CELLS[32], "iops"): "better",
        (CELLS[32], "latency_p99"): "better",
    }
    assert (told["series"], told["too_short"]) == (6, 0)
    point = found[CELLS[1], "iops"]
    assert (point["started"], point["runs_before"], point["runs"]) == (night(BEFORE), BEFORE, AFTER)
    assert point["run_before"].startswith(f"20260102T{BEFORE - 1:06d}")
    assert point["build_before"]["revision"] == f"v1.0-{BEFORE - 1}-gaaa"
    assert point["build"]["revision"] == "v1.0-21-gbad"
    change = point["change"]
    assert change["low"] < 0.95 < change["high"] and change["high"] - change["low"] < 0.04
    assert found[CELLS[32], "iops"]["label"] == "blk null randread 4k qd32"
    assert len(trend(db, capsys, "--metric", "iops", "--cell", CELLS[1])["points"]) == 1
    assert trend(db, capsys, "--min-size", "6")["points"][0]["cell"] == CELLS[32]
    assert trend(db, capsys, "--target", "another")["points"] == []

    monkeypatch.setenv("COLUMNS", "220")
    capsys.readouterr()
    assert main(["db", "trend", "--db", db]) == 0
    out = capsys.readouterr().out
    assert "v1.0-19-gaaa -> 1.1.0 v1.0-21-gbad" in out and "4 change points in 6 series" in out


def test_an_alarm_is_new_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Night after night, as a pipeline looks: it fails when the change is first found, then not."""
    db = str(tmp_path / "history.sqlite")
    plant(db, tmp_path, range(BEFORE))
    told = trend(db, capsys, "--fail-on-new")
    assert told["points"] == []
    failed = []
    for n in range(BEFORE, BEFORE + AFTER):
        plant(db, tmp_path, range(n, n + 1))
        if main(["db", "trend", "--db", db, "--fail-on-new", "--metric", "iops"]) == 1:
            failed.append(n)
    assert len(failed) == 1 and failed[0] - BEFORE >= 4
    since = night(BEFORE)
    assert all(p["new"] for p in trend(db, capsys, "--since", since)["points"])
    trend(db, capsys, "--since", since, "--fail-on-new", status=1)
    # to become better is no failure
    trend(db, capsys, "--since", since, "--fail-on-new", "--cell", CELLS[32])


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "trend", "--db", str(tmp_path / "x")]) == 2
    assert "there is no store" in capsys.readouterr().err
    db = str(tmp_path / "history.sqlite")
    import_run(opened(url_of(db), write=True), made_runs.run(tmp_path))
    assert main(["db", "trend", "--db", db, "--min-size", "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert trend(db, capsys)["too_short"] == 4
