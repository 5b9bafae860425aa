# SPDX-License-Identifier: BSD-3-Clause
"""The results store as a source of the site: runs whose directories are gone, and their values.

A run whose result.json the store keeps gets a page like any other. Of one whose files were pruned
the values are left, and are points of the trends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from vhostlab_perf import reader
from vhostlab_perf.reader import BadResult
from vhostlab_perf.site_trends import SHOWN, Past
from vhostlab_perf.store import Store, StoreError, opened, query, url_of


def _names(directories: Iterable[Path]) -> set[str]:
    found = set()
    for directory in directories:
        try:
            found.add(json.loads((directory / reader.RESULT_FILE).read_text())["run_id"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # its page will say what is wrong with it
            continue
    return found


def _restore(store: Store, run: str, directory: Path) -> None:
    """Write down the files of a run that its page is made of."""
    body = query.document(store, run)
    directory.mkdir()
    (directory / reader.RESULT_FILE).write_bytes(body)
    for cell in json.loads(body).get("cells", []):
        if not cell.get("series"):
            continue
        columns = query.per_second(store, run, cell["id"])
        path = (directory / cell["series"]).resolve()
        # a result may come from anybody: it may not have files written elsewhere
        if "iops" in columns and path.is_relative_to(directory.resolve()):
            lines = ["second,iops", *(f"{n},{v}" for n, v in enumerate(columns["iops"]))]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")


def fetch(
    db: str, directories: Iterable[Path], scratch: Path
) -> tuple[tuple[Path, ...], tuple[Past, ...]]:
    """Runs that are in the store only, as directories below ``scratch``, and all of its values.

    Raises BadResult when the store cannot be used.
    """
    try:
        store = opened(url_of(db))
        have = _names(directories)
        restored = []
        for n, run in enumerate(query.runs(store)):
            if run.id in have:
                continue
            try:
                _restore(store, run.id, scratch / f"{n:06d}")
            except StoreError:
                # its files were pruned; its values are below
                continue
            restored.append(scratch / f"{n:06d}")
        return tuple(restored), _values(store)
    except (StoreError, sa.exc.SQLAlchemyError) as error:
        raise BadResult(str(error).split("\n")[0]) from error


def _values(store: Store) -> tuple[Past, ...]:
    params = {c.id: c.params for c in query.cells(store)}
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    about: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for column in SHOWN:
        for series in query.history(store, metric=column.metric):
            for point in series.points:
                key = (series.cell, series.target, point.run)
                values.setdefault(key, {})[column.metric] = point.value
                about[key] = (point.started, point.build.version, series.fingerprint)
    return tuple(
        Past(cell, target, params.get(cell, {}), run, *about[cell, target, run], found)
        for (cell, target, run), found in values.items()
    )
