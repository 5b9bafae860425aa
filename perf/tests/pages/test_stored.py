# SPDX-License-Identifier: BSD-3-Clause
"""The store as a source of the site: what the directories do not have any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from vhostlab_perf import site
from vhostlab_perf.__main__ import main
from vhostlab_perf.store import opened, url_of
from vhostlab_perf.store.load import import_run

from .made import Outline, run


def publish(tmp_path: Path, db: str) -> int:
    command = ["publish", "--results", str(tmp_path / "results"), "-o", str(tmp_path / "site")]
    return main([*command, "--db", db])


def test_runs_of_the_store_are_in_the_site(tmp_path: Path) -> None:
    db = str(tmp_path / "history.sqlite")
    store = opened(url_of(db), write=True)
    for n in (1, 2):
        source = run(tmp_path / "results" / f"r{n}", n)
        raw = json.loads((source / "result.json").read_text())
        # the store wants the raw output of fio, which these runs do not have
        raw["cells"] = [{**c, "series": ""} for c in raw["cells"][:1]]
        (source / "fio").mkdir()
        for cell in raw["cells"]:
            (source / cell["fio_file"]).write_text(json.dumps(FIO))
        (source / "result.json").write_text(json.dumps(raw))
        import_run(store, source)
    shutil.rmtree(tmp_path / "results" / "r1")
    assert publish(tmp_path, db) == 0
    root = tmp_path / "site"
    assert len(list((root / "runs").iterdir())) == 2
    assert "20260101T030405Z-vhostlab" in Outline((root / "index.html").read_text()).text()
    (data,) = (root / "trends").glob("*.json")
    assert len(json.loads(data.read_text())["runs"]) == 2
    assert list(site.broken_links(root)) == []
    before = {p: p.stat().st_ino for p in root.rglob("*")}
    assert publish(tmp_path, db) == 0
    assert {p: p.stat().st_ino for p in root.rglob("*")} == before


def test_a_store_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    assert publish(tmp_path, str(tmp_path / "absent.sqlite")) == 2
    said = capsys.readouterr().err
    assert "there is no store" in said and said.count("\n") == 1


_SILENT = {"clat_ns": {"min": 0, "max": 0, "mean": 0.0, "N": 0}}
_READ = {"clat_ns": {"min": 10, "max": 10, "mean": 10.0, "N": 1, "bins": {"10": 1}}}
FIO = {
    "fio version": "fio-3.33",
    "jobs": [{"jobname": "x", "error": 0, "read": _READ, "write": _SILENT, "trim": _SILENT}],
}
