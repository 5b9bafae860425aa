# SPDX-License-Identifier: BSD-3-Clause
"""The PDF as its readers see it: contents, numbered pages, vector charts, nothing cut off."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from vhostlab_perf import figures, pdf, reader, report
from vhostlab_perf.__main__ import main
from vhostlab_perf.aggregate import aggregate

from .made import run


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of three runs."""
    directory = tmp_path_factory.mktemp("pdf")
    runs = [str(run(directory / f"r{n}", n)) for n in range(1, 4)]
    assert main(["report", *runs, "-o", str(directory / "release.html"), "--pdf"]) == 0
    return directory / "release.pdf"


def test_headings_contents_and_figures_are_there(made: Path) -> None:
    text = said("pdftotext", "-layout", made, "-")
    pages = text.split("\f")
    assert re.search(r"Test set-up\s?\.{5,}\s?2\n", pages[0]), "contents with page numbers"
    for heading in ("Revision history", "Measurements", "Steady state", "Environment"):
        assert any(re.search(rf"^\s*{heading}$", p, re.MULTILINE) for p in pages[1:]), heading
    found = [reader.read(made.parent / f"r{n}") for n in range(1, 4)]
    for c in aggregate(found):
        # pdftotext makes the thin spaces between digits plain ones
        assert figures.IOPS.show(c.value("iops")).replace("\u202f", " ") in text
        assert c.id in text
    assert "vhostlab bench --target vhostlab --matrix release --cell" in text


def test_pages_are_numbered_and_charts_are_no_pixels(made: Path) -> None:
    count = int(re.findall(r"Pages:\s+(\d+)", said("pdfinfo", made))[0])
    assert 5 <= count <= 20
    text = said("pdftotext", made, "-").split("\f")
    assert [f"{n} / {count}" in text[n - 1] for n in range(1, count + 1)] == [True] * count
    assert len(said("pdfimages", "-list", made).splitlines()) == 2, "nothing below the headings"


def test_no_word_leaves_its_page(made: Path) -> None:
    document = said("pdftotext", "-bbox", made, "-")
    words = 0
    for page in re.findall(r"<page .*?</page>", document, re.DOTALL):
        width, height = map(float, re.findall(r'(?:width|height)="([\d.]+)"', page)[:2])
        for box in re.findall(
            r'xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.]+)" yMax="([\d.]+)"', page
        ):
            left, top, right, bottom = map(float, box)
            assert left >= 36 and right <= width - 36, box
            assert top >= 20 and bottom <= height - 20, box
            words += 1
    assert words > 500


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, 1)
    found = report.Report("run", (reader.read(tmp_path),))
    text = report.render(found, paper=True)
    evil = text.replace("</header>", '<img src="file:///etc/hostname"></header>')
    monkeypatch.setattr(pdf, "render", lambda *_, **__: evil)
    (tmp_path / "x.pdf").write_bytes(pdf.make(found))
    assert len(said("pdfimages", "-list", tmp_path / "x.pdf").splitlines()) == 2
