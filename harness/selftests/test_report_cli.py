# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab report`` and ``vhostlab publish`` hand on what they are told and how it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vhostlab import cli

LEAST = {"schema_version": 1, "run_id": "one", "target": {"name": "vhostlab", "version": "1"}}


def test_a_report_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(json.dumps(LEAST))
    page = tmp_path / "out" / "page.html"
    more = ["--title=-x", "--edition=release", "--revision=-1.0", "--json", "--csv"]
    assert cli.main(["report", str(tmp_path), "-o", str(page), *more]) == 0
    assert capfd.readouterr().out.split() == [str(page.with_suffix(s)) for s in WRITTEN]
    assert "-x" in page.read_text() and "-1.0" in page.read_text()


WRITTEN = (".html", ".json", ".csv")


def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path / "absent")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    monkeypatch.setenv("VHOSTLAB_SOURCE", str(tmp_path))
    assert cli.main(["report"]) == 2
    assert "there is no results/latest" in capfd.readouterr().err
    assert cli.main(["publish", "-o", str(tmp_path / "site")]) == 2
    assert "run something first" in capfd.readouterr().err


def test_a_site_of_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results" / "one").mkdir(parents=True)
    (tmp_path / "results" / "one" / "result.json").write_text(json.dumps(LEAST))
    site = tmp_path / "site"
    assert cli.main(["publish", "--results", str(tmp_path / "results"), "-o", str(site)]) == 0
    assert "1 run," in capfd.readouterr().out
    assert (site / "runs" / "one" / "index.html").exists()
