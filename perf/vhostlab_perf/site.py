# SPDX-License-Identifier: BSD-3-Clause
"""The static site: an index of runs, a page for each run, the history of each cell.

Concepts: the site is its own memory. ``runs/<run>/run.json`` holds what index and trends need of a
run, so a run whose results are gone stays. A page is made again only if what goes into it changed
(its *digest*, which covers this program as well), and a file is written only if its content did.
Everything is made in a directory aside and renamed into place, pages before the trends that point
to them, the index last: at any moment each link leads somewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vhostlab_perf import reader, report, site_trends
from vhostlab_perf.reader import BadResult, Result
from vhostlab_perf.site_trends import Past

#: What index and trends know of a run.
RUN_FILE = "run.json"
RUN_FORMAT = 1

#: Directories of results are looked at so deep: results/<run>, and gates keep runs in runs.
DEEPEST = 3

INDEX_METRICS = ("iops", "latency_p50", "latency_p99", "target_cpu_per_io")
ASSETS = ("site.css", "filter.js")

Tell = Callable[[str, int, int], None]


@dataclass
class Counts:
    """What a publication did."""

    written: int = 0
    unchanged: int = 0
    runs: int = 0
    unreadable: list[str] = field(default_factory=list)


def find(results: Path) -> tuple[Path, ...]:
    """The directories of runs below a directory, in the order of their names."""
    if not results.is_dir():
        raise BadResult(f"{results} is no directory of results; run something first")
    found: dict[Path, Path] = {}
    for depth in range(DEEPEST):
        for path in results.glob("/".join(["*"] * (depth + 1))):
            # "latest" points to a run that is there under its own name
            if path.is_symlink() or not path.is_dir():
                continue
            if (path / reader.RESULT_FILE).is_file():
                found[path.resolve()] = path
    return tuple(sorted(found.values()))


def slug(name: str) -> str:
    """A name for a directory and a URL; what had to be changed is told apart by a hash."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name).strip(".-")[:80]
    if safe == name and safe:
        return safe
    return f"{safe or 'run'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def generator() -> str:
    """Changes whenever the program changes that makes the pages."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted([*package.glob("*.py"), *package.glob("templates/*")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_KEPT = {
    *("run_id", "started", "suite", "status", "target", "target_version", "fingerprint"),
    *("timing", "environment", "passed", "scenarios", "cells", "digest"),
}


def run_entry(result: Result, digest: str) -> dict[str, Any]:
    """What a run's page leaves for the index and the trends."""
    cells = []
    for cell in result.cells:
        values = {n: cell.metrics[n].value for n in INDEX_METRICS if n in cell.metrics}
        target = str(cell.params.get("target") or result.target)
        cells.append({"id": cell.id, "target": target, "params": cell.params, "values": values})
    kept = ("run_id", "started", "suite", "status", "target", "target_version", "fingerprint")
    return {
        "format": RUN_FORMAT,
        "digest": digest,
        **{k: getattr(result, k) for k in (*kept, "timing")},
        "environment": result.environment,
        "passed": result.count("pass"),
        "scenarios": len(result.scenarios),
        "cells": cells,
    }


class Site:
    """One publication into one directory."""

    def __init__(self, root: Path, tell: Tell) -> None:
        self.root = root
        self.tell = tell
        self.counts = Counts()
        self.generator = generator()
        self.environment = report.templates()
        self._staged: list[str] = []
        self._taken: set[str] = set()
        self._aside = Path()

    def put(self, name: str, body: str) -> None:
        """Have a file; it is left alone if it is there already with the same content."""
        path = self.root / name
        data = body.encode()
        if path.is_file() and path.read_bytes() == data:
            self.counts.unchanged += 1
            return
        report.write(self._aside / name, data)
        self._staged.append(name)
        self.counts.written += 1

    @contextmanager
    def staged(self) -> Iterator[None]:
        """What is put meanwhile appears at the end, in the order in which it was put."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=self.root) as aside:
            self._aside = Path(aside)
            yield
            for name in self._staged:
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                (self._aside / name).replace(self.root / name)
            self._staged.clear()

    def known(self) -> dict[str, dict[str, Any]]:
        """The runs that the site has, by the name of their directory."""
        found = {}
        for path in sorted(self.root.glob(f"runs/*/{RUN_FILE}")):
            try:
                entry = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if (
                isinstance(entry, dict)
                and entry.get("format") == RUN_FORMAT
                and set(entry) >= _KEPT
            ):
                found[path.parent.name] = entry
        return found

    def page(self, name: str, template: str, **context: Any) -> None:
        """Render a page of the site's own."""
        self.put(name, self.environment.get_template(template).render(**context))

    def _name(self, run_id: str) -> str:
        """Two machines can start a run in the same second: the second one gets a number."""
        name = first = slug(run_id)
        n = 1
        while name in self._taken:
            n += 1
            name = f"{first}-{n}"
        self._taken.add(name)
        return name

    def run(self, directory: Path, known: dict[str, dict[str, Any]]) -> None:
        """The page of a run, unless it is there and nothing that went into it has changed."""
        try:
            result = reader.read(directory)
        except BadResult as error:
            self.counts.unreadable.append(str(error))
            return
        digest = _digest(directory, result, self.generator)
        name = self._name(result.run_id)
        old = known.get(name)
        if old and old["digest"] == digest and (self.root / "runs" / name / "index.html").exists():
            self.counts.unchanged += 1
            return
        made = report.Report("run", (result,), home="../../index.html")
        files = report.outputs(made)
        self.put(f"runs/{name}/index.html", report.render(made))
        self.put(f"runs/{name}/report.json", files[".json"])
        self.put(f"runs/{name}/report.csv", files[".csv"])
        entry = run_entry(result, digest)
        # written last: while it is missing or old, the page is made again
        self.put(f"runs/{name}/{RUN_FILE}", json.dumps(entry, indent=1) + "\n")
        known[name] = entry


def _digest(directory: Path, result: Result, generator: str) -> str:
    digest = hashlib.sha256(generator.encode())
    digest.update((directory / reader.RESULT_FILE).read_bytes())
    digest.update(repr([c.series for c in result.cells]).encode())
    return digest.hexdigest()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two publications into one site take turns."""
    root.mkdir(parents=True, exist_ok=True)
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        for left in root.glob(".publish-*"):
            # of one that was killed: nobody else is at work
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(directory)


def publish(
    directories: Sequence[Path], root: Path, tell: Tell, past: Sequence[Past] = ()
) -> Counts:
    """Bring the site up to date with some runs, and with what a store has besides them."""
    site = Site(root, tell)
    with _alone(root):
        known = site.known()
        with site.staged():
            for name in ASSETS:
                site.put(f"assets/{name}", _asset(site, name))
        for n, directory in enumerate(directories):
            tell(directory.name, n, len(directories))
            # a run at a time appears, so that one that is broken off goes on where it was
            with site.staged():
                site.run(directory, known)
        site.counts.runs = len(known)
        with site.staged():
            kept = _trends(site, known, past)
            _index(site, known)
        # cells that nobody has a run of any more, after the last link to them is gone
        for path in root.glob("trends/*"):
            if path.stem not in kept:
                path.unlink()
    return site.counts


def _asset(site: Site, name: str) -> str:
    body = report.source(site.environment, name)
    # the site looks like its reports, and has a few things more
    return report.source(site.environment, "report.css") + body if name == "site.css" else body


def _trends(site: Site, known: dict[str, dict[str, Any]], past: Sequence[Past]) -> set[str]:
    """Make the pages; the names of those that there are to be."""
    found = site_trends.collect(known, past)
    rows = []
    for n, trend in enumerate(found):
        site.tell(f"trend of {trend.label}", n, len(found))
        name = f"trends/{slug(trend.id)}"
        rows.append((f"{slug(trend.id)}.html", trend))
        data = trend.document(site.generator)
        old = site.root / f"{name}.json"
        page = site.root / f"{name}.html"
        if page.is_file() and old.is_file() and old.read_text() == data:
            site.counts.unchanged += 2
            continue
        drawn = [report.drawn(f, None) for f in site_trends.figures(trend)]
        context = {"trend": trend, "figures": drawn, "data": f"{slug(trend.id)}.json"}
        site.page(f"{name}.html", "trend.html.j2", up="../", **context)
        site.put(f"{name}.json", data)
    site.page("trends/index.html", "trends.html.j2", rows=rows, up="../")
    return {"index", *(slug(t.id) for t in found)}


def _index(site: Site, known: dict[str, dict[str, Any]]) -> None:
    runs = sorted(known.items(), key=lambda r: (str(r[1]["started"]), r[0]), reverse=True)
    site.page("index.html", "index.html.j2", runs=runs, up="")


def broken_links(root: Path) -> Iterable[str]:
    """Links of the site's pages that lead nowhere; there are to be none."""
    for page in sorted(root.rglob("*.html")):
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()):
            if not link.startswith("data:") and not (page.parent / link).exists():
                yield f"{page.relative_to(root)}: {link}"
