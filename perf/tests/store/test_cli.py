# SPDX-License-Identifier: BSD-3-Clause
"""``db`` as a person or a script calls it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from vhostlab_perf.__main__ import main
from vhostlab_perf.store import opened, query, url_of
from vhostlab_perf.store.load import import_run
from vhostlab_perf.store.prune import prune

from . import made_runs
from .dumps import dump

CELL = made_runs.cell(1)["id"]


@pytest.fixture
def filled(db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three runs, one of them functional; $VHOSTLAB_DB leads to them."""
    monkeypatch.setenv("VHOSTLAB_DB", db)
    monkeypatch.setenv("COLUMNS", "200")
    paths = [
        made_runs.run(tmp_path, 0),
        made_runs.run(tmp_path, 1, timing="functional"),
        made_runs.run(tmp_path, 2),
    ]
    assert main(["db", "import", *map(str, paths)]) == 0
    return db


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    capsys.readouterr()
    assert main(["db", *words]) == status
    out, err = capsys.readouterr()
    if status:
        assert err.count("\n") == 1 and err.startswith("vhostlab db: ")
        return err
    assert not err
    return out


def loaded(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(said(capsys, *words))


def test_importing_tells_what_became_of_each(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = made_runs.run(tmp_path, 7)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "result.json").write_text("{")
    old = tmp_path / "20260102T000000Z-vhostlab"
    capsys.readouterr()
    assert main(["db", "import", str(old), str(broken), str(new)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{old.name}: already there", f"{new.name}: imported"]
    assert err.count("\n") == 1 and "broken/result.json is not JSON" in err
    told = loaded(capsys, "import", "--json", str(new))
    assert told == [{"path": str(new), "run": new.name, "outcome": "already there", "notes": []}]
    assert "cannot read" in said(capsys, "import", str(tmp_path / "absent"), status=2)


def test_list_and_show(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "list")
    assert [line.split()[0] for line in out.splitlines() if "Z-vhostlab" in line] == [
        f"20260102T00000{n}Z-vhostlab" for n in range(3)
    ]
    assert [r["timing"] for r in loaded(capsys, "list", "--json")].count("functional") == 1
    assert loaded(capsys, "list", "--json", "--target", "none") == []
    cells = loaded(capsys, "list", "--cells", "--json")
    assert {c["results"] for c in cells} == {3} and CELL in {c["id"] for c in cells}
    assert "blk null randread 4k qd32" in said(capsys, "list", "--cells")
    shown = said(capsys, "show", "20260102T000002Z-vhostlab")
    assert "host.cpus = 2" in shown and "1,002.00" in shown and "--suite vmtest" in shown
    assert loaded(capsys, "show", "--json", "20260102T000002Z-vhostlab")["seconds"] == 200.5
    assert "no run x; `vhostlab db list`" in said(capsys, "show", "x", status=2)


def test_history(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "history", CELL[:6])
    assert "1,000.00" in out and "1,002.00" in out and "1,001.00" not in out
    (series,) = loaded(capsys, "history", CELL, "--metric", "latency_p99", "--json")
    assert (series["metric"]["direction"], len(series["points"])) == ("lower", 2)
    assert "no cell x was" in said(capsys, "history", "x", status=2)
    assert "2 cells begin with" in said(capsys, "history", "", status=2)
    wrong = said(capsys, "history", CELL, "--metric", "speed", status=2)
    assert f"cell {CELL} has no speed; it has iops, latency_p99" in wrong


def test_export(filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flat = loaded(capsys, "export", "--json")
    assert len(flat) == 3 * 2 * 2
    assert flat[0]["params"] == dict(made_runs.PARAMS) and flat[0]["value"] == 1000.0
    rows = list(csv.DictReader(io.StringIO(said(capsys, "export", "--csv"))))
    assert [float(r["value"]) for r in rows] == [f["value"] for f in flat]
    assert [json.loads(r["params"]) for r in rows] == [f["params"] for f in flat]
    target = tmp_path / "out.csv"
    assert said(capsys, "export", "--csv", "-o", str(target)) == ""
    assert list(csv.DictReader(target.open())) == rows
    assert "cannot write" in said(capsys, "export", "--csv", "-o", "/nowhere/x", status=2)


SAID: dict[str, Any] = {
    "schema_version": 1,
    "verdict": "fail",
    "reason": "iops of blk fell by 7 %",
    "kind": "ab",
    "started": "2026-02-01T00:00:00Z",
    "seconds": 600.5,
    "base": {"revision": "v1", "commit": "1" * 40, "build_id": "aa", "program": "/x"},
    "head": {"revision": "", "commit": "", "build_id": "bb", "program": "/built/vhost"},
    "fingerprint": "0123456789ab",
    "command": "vhostlab ab v1 /built/vhost",
}
GATE = {
    **{k: SAID[k] for k in ("schema_version", "reason", "seconds", "command")},
    "verdict": "could not run",
    "started": "2026-01-01T00:00:00Z",
    "base": {"name": "HEAD~1", "commit": "2" * 40, "build_id": ""},
    "head": {"name": "HEAD", "commit": "3" * 40, "build_id": ""},
}


def test_verdicts(db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ab.json").write_text(json.dumps(SAID))
    (tmp_path / "gate.json").write_text(json.dumps(GATE))
    out = said(capsys, "import", str(tmp_path), "--db", db)
    assert out.splitlines() == [
        "ab v1 -> /built/vhost, fail: imported",
        "gate HEAD~1 -> HEAD, could not run: imported",
    ]
    before = dump(db)
    assert said(capsys, "import", str(tmp_path), "--db", db).count("already there") == 2
    assert dump(db) == before and len(before["verdicts"]) == 2
    gate, ab = loaded(capsys, "verdicts", "--json", "--db", db)
    assert (gate["kind"], gate["base_build"], gate["fingerprint"]) == ("gate", "", "")
    assert (ab["verdict"], ab["base_build"], ab["head_build"]) == ("fail", "aa", "bb")
    assert len(loaded(capsys, "verdicts", "--json", "--kind", "aa", "--db", db)) == 0
    assert "HEAD~1" in said(capsys, "verdicts", "--db", db)
    (tmp_path / "ab.json").write_text(json.dumps(SAID | {"verdict": "could not run"}))
    wrong = said(capsys, "import", str(tmp_path / "ab.json"), "--db", db, status=2)
    assert "verdict is 'could not run', not one of" in wrong
    (tmp_path / "gate.json").write_text(json.dumps(GATE | {"schema_version": 2}))
    told = said(capsys, "import", str(tmp_path / "gate.json"), "--db", db, status=2)
    assert "schema_version 2, this reads 1" in told
    assert dump(db) == before


def test_status_and_upgrade(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "up to date" in said(capsys, "status")
    found = loaded(capsys, "status", "--json")
    assert found["revision"] == found["newest"]
    assert f"{found['newest']} -> {found['newest']}" in said(capsys, "upgrade")


def test_pruning_keeps_every_value_of_a_series(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dump(filled)
    assert "would drop" in said(capsys, "prune", "--days", "1", "--dry-run")
    assert dump(filled) == before
    store = opened(url_of(filled), write=True)
    series = query.history(store)
    # the third run is not older than that
    found = prune(store, 7, dry=False, now=datetime(2026, 1, 9, 12, tzinfo=UTC))
    assert (found.runs, found.files) == (1, 6)
    after = dump(filled)
    assert query.history(store) == series
    for table in ("environments", "builds", "cells"):
        assert after[table] == before[table]
    assert len(after["latencies"]) == 4 and len(after["runs"]) == 2 and len(after["files"]) == 3
    gone = said(capsys, "show", "--json", "20260102T000000Z-vhostlab", status=2)
    assert "keeps no result.json" in gone
    said(capsys, "vacuum")
    assert dump(filled) == after
    assert "at least 1" in said(capsys, "prune", "--days", "0", status=2)


def test_a_build_that_no_run_is_left_of_goes(db: str, tmp_path: Path) -> None:
    store = opened(url_of(db), write=True)
    import_run(store, made_runs.run(tmp_path, timing="functional"))
    prune(store, 1, dry=False)
    assert not any(dump(db).values())


def test_where_the_store_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--db, else $VHOSTLAB_DB, else results/history.sqlite."""
    monkeypatch.chdir(tmp_path)
    run = str(made_runs.run(tmp_path))
    said(capsys, "import", run, "--db", "a.sqlite")
    monkeypatch.setenv("VHOSTLAB_DB", str(tmp_path / "deep" / "b.sqlite"))
    said(capsys, "import", run)
    monkeypatch.delenv("VHOSTLAB_DB")
    said(capsys, "import", run)
    made = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.sqlite"))
    assert made == ["a.sqlite", "deep/b.sqlite", "results/history.sqlite"]
    for words in (["prune", "--days", "1"], ["vacuum"], ["list"], ["status"]):
        assert "there is no store" in said(capsys, *words, "--db", "none", status=2)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    assert "cannot make" in said(capsys, "import", run, "--db", "file/x/y.sqlite", status=2)


def test_a_reader_that_goes_away_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VHOSTLAB_DB", str(tmp_path / "history.sqlite"))
    assert main(["db", "import", str(made_runs.run(tmp_path))]) == 0
    argv = [sys.executable, "-m", "vhostlab_perf", "db", "export", "--csv"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
