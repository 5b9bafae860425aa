# SPDX-License-Identifier: BSD-3-Clause
"""The site: whole at every moment, made again only where something changed, old runs kept."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from vhostlab_perf import report, site
from vhostlab_perf.__main__ import main

from .made import Outline, cell, result, run


def publish(tmp_path: Path) -> int:
    return main(["publish", "--results", str(tmp_path / "results"), "-o", str(tmp_path / "site")])


def small(directory: Path, run_id: str, **changes: Any) -> None:
    """A run with one cell, and so with few charts."""
    directory.mkdir(parents=True, exist_ok=True)
    defaults = {"cells": [cell(1, "blk", "null", 1)], "timing": "performance"}
    raw = result(run_id=run_id, **(defaults | changes))
    (directory / "result.json").write_text(json.dumps(raw))


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Which file is where: another one under the same name has another inode."""
    files = (p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_a_site_has_every_run_and_links_that_lead_somewhere(tmp_path: Path) -> None:
    small(tmp_path / "results" / "a", "first")
    small(tmp_path / "results" / "gate" / "runs", "deeper", timing="functional")
    (tmp_path / "results" / "latest").symlink_to("a")
    assert publish(tmp_path) == 0
    root = tmp_path / "site"
    assert list(site.broken_links(root)) == []
    words = Outline((root / "index.html").read_text()).text()
    assert "first" in words and "deeper" in words
    # what was emulated has a page, and is no point of any trend
    (trend,) = (root / "trends").glob("0*.html")
    assert "first" in trend.read_text() and "deeper" not in trend.read_text()
    assert not re.search(r'(href|src)="(/|[a-z]+:(?!,))', (root / "index.html").read_text())
    assert json.loads((root / "runs" / "first" / "report.json").read_text())["cells"]


def test_what_did_not_change_is_left_alone_and_old_runs_stay(tmp_path: Path) -> None:
    small(tmp_path / "results" / "a", "first")
    small(tmp_path / "results" / "b", "second", started="2026-01-03T03:04:05Z")
    assert publish(tmp_path) == 0
    root = tmp_path / "site"
    before = state(root)
    assert publish(tmp_path) == 0
    assert state(root) == before
    shutil.rmtree(tmp_path / "results" / "a")
    small(tmp_path / "results" / "b", "second", status="error")
    small(tmp_path / "results" / "c", "third", fingerprint="ffffffffffff")
    assert publish(tmp_path) == 0
    after = state(root)
    changed = {name for name in after if after[name] != before.get(name)}
    assert {n for n in changed if n.startswith("runs/first")} == set()
    assert "runs/second/index.html" in changed and "runs/third/index.html" in changed
    words = Outline((root / "index.html").read_text()).text()
    assert all(w in words for w in ("first", "second", "third", "error"))
    data = json.loads(next((root / "trends").glob("0*.json")).read_text())
    assert sorted(r["run_id"] for r in data["runs"]) == ["first", "second", "third"]
    assert [e[0] for e in data["environments"]] == ["0123456789ab", "ffffffffffff"]
    assert list(site.broken_links(root)) == []
    for name in ("first", "second", "third"):
        shutil.rmtree(root / "runs" / name)
    shutil.rmtree(tmp_path / "results")
    (tmp_path / "results").mkdir()
    assert publish(tmp_path) == 0
    assert [p.name for p in (root / "trends").iterdir()] == ["index.html"]
    assert list(site.broken_links(root)) == []


def test_a_publication_that_breaks_off_leaves_a_whole_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path / "results" / "a", "first")
    assert publish(tmp_path) == 0
    root = tmp_path / "site"
    index = (root / "index.html").read_bytes()
    small(tmp_path / "results" / "b", "second")
    small(tmp_path / "results" / "c", "third")
    render = report.render

    def broken(made: report.Report, paper: bool = False) -> str:
        if made.results[0].run_id == "third":
            raise OSError(28, "No space left on device", "x")
        return render(made, paper)

    monkeypatch.setattr(report, "render", broken)
    assert publish(tmp_path) == 2
    assert (root / "index.html").read_bytes() == index
    assert list(site.broken_links(root)) == []
    assert (root / "runs" / "second" / "index.html").exists()
    assert not (root / "runs" / "third").exists()
    (root / ".publish-left").mkdir()
    monkeypatch.undo()
    assert publish(tmp_path) == 0
    assert "third" in (root / "index.html").read_text()
    assert not list(root.glob(".*"))


def test_a_result_that_cannot_be_read_is_named_and_keeps_nothing_else_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path / "results" / "a", "first")
    (tmp_path / "results" / "b").mkdir()
    (tmp_path / "results" / "b" / "result.json").write_text("{")
    assert publish(tmp_path) == 1
    said = capsys.readouterr()
    assert "left out" in said.err and "is not JSON" in said.err
    assert (tmp_path / "site" / "runs" / "first" / "index.html").exists()


def test_two_runs_of_one_name_are_two_runs(tmp_path: Path) -> None:
    for name in ("here", "there"):
        small(tmp_path / "results" / name, "same", command=name)
    assert publish(tmp_path) == 0
    before = state(tmp_path / "site")
    assert publish(tmp_path) == 0
    assert state(tmp_path / "site") == before
    pages = sorted((tmp_path / "site" / "runs").glob("*/index.html"))
    assert [p.parent.name for p in pages] == ["same", "same-2"]
    assert ["there" in p.read_text() for p in pages] == [False, True]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(tmp_path) == 2
    assert "run something first" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    (tmp_path / "site").write_text("")
    assert publish(tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_site_says_so(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert publish(tmp_path) == 0
    root = tmp_path / "site"
    assert "No run has been published" in (root / "index.html").read_text()
    assert "have no trend" in (root / "trends" / "index.html").read_text()


def test_names_from_anywhere_stay_names(tmp_path: Path) -> None:
    evil = '"></a><script>alert(1)</script>'
    small(
        tmp_path / "results" / "a",
        f"../../{evil}",
        suite=evil,
        target={"name": evil, "version": evil},
        cells=[cell(1, evil, "null", 1) | {"id": "../../../x"}],
        fingerprint=evil,
        environment={evil: evil, "accel": "kvm"},
    )
    assert publish(tmp_path) == 0
    root = tmp_path / "site"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results", "site"]
    assert list(site.broken_links(root)) == []
    for page in root.rglob("*.html"):
        outline = Outline(page.read_text())
        assert "alert" not in "".join(re.findall(r"<script.*?</script>", page.read_text()))
        assert "alert(1)" in outline.text() or page.parent.name == "none"


def test_trends_keep_environments_apart(tmp_path: Path) -> None:
    for n, fingerprint in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb"), start=1):
        kernel = {"accel": "kvm", "host.kernel": f"6.{n}", "host.cpus": 2}
        for m in (1, 2):
            at = f"2026-01-0{n * 2 + m}T03:04:05Z"
            name = f"run{n}{m}"
            kept = {"fingerprint": fingerprint, "environment": kernel, "started": at}
            small(tmp_path / "results" / name, name, **kept)
    assert publish(tmp_path) == 0
    page = next((tmp_path / "site" / "trends").glob("0*.html")).read_text()
    words = Outline(page).text()
    assert "host.kernel 6.1" in words and "host.kernel 6.2" in words and "host.cpus 2" not in words
    wide = page[page.index('class="chart wide"') : page.index('class="chart narrow"')]
    lines = re.findall(r'<path [^>]*d="(M[^"]*L[^"]*)"[^>]*stroke-width="2"', wide)
    assert len(lines) == 2, "a line for each environment, and none between them"


def test_a_run_of_the_harness_is_published_as_it_is(tmp_path: Path) -> None:
    run(tmp_path / "results" / "a", 1)
    made = next(iter(site.find(tmp_path / "results")))
    assert site.slug("20260101T030405Z-vhostlab") == "20260101T030405Z-vhostlab"
    assert site.slug("a b") != site.slug("a-b") and "/" not in site.slug("../x")
    assert made.name == "a"
