# SPDX-License-Identifier: BSD-3-Clause
"""Matrix files: expansion, constraints, stable ids, and what is refused."""

from __future__ import annotations

import configparser
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab import matrix
from vhostlab.paths import source_dir

JOBS = source_dir() / "fio-jobs"


def expand(**doc: Any) -> matrix.Matrix:
    return matrix.expand({"name": "m", "runtime_s": 1} | doc, "m.toml")


MATRICES = sorted((JOBS / "matrix").glob("*.toml"))


@pytest.mark.parametrize("path", MATRICES, ids=lambda p: p.stem)
def test_shipped_matrices_name_job_files_that_exist(path: Path) -> None:
    loaded = matrix.load(path)
    assert loaded.name == path.stem
    assert loaded.summary
    for cell in loaded.cells:
        assert (JOBS / f"{cell.job}.fio").is_file()
    assert len({cell.id for cell in loaded.cells}) == len(loaded.cells)


#: What every job that is measured has in common: one of them would differ for no reason.
COMMON = {
    "filename": "${DEVICE}",
    "runtime": "${RUNTIME}",
    "time_based": "1",
    "ioengine": "libaio",
    "direct": "1",
    "group_reporting": "1",
    "percentile_list": "50:90:99:99.9:99.99",
}

#: The pattern in a file's name -> what fio is told.
PATTERNS = {
    **{name: {"rw": name} for name in ("randread", "randwrite", "read", "write")},
    "randrw70": {"rw": "randrw", "rwmixread": "70"},
    **{
        f"randread_{thousands}kiops": {
            "rw": "randread",
            "rate_iops": f"{thousands}000",
            "rate_process": "poisson",
        }
        for thousands in (2, 5, 10, 20, 50, 100)
    },
}


@pytest.mark.parametrize(
    "name", sorted({c.job for path in MATRICES for c in matrix.load(path).cells})
)
def test_a_job_does_what_its_name_says(name: str) -> None:
    job = configparser.ConfigParser(interpolation=None, comment_prefixes=(";",))
    job.read(JOBS / f"{name}.fio")
    pattern, size, depth = name.split("-")
    assert job.sections() == ["global", name]
    assert dict(job["global"]) == COMMON
    expected = PATTERNS[pattern] | {"bs": size, "iodepth": depth.removeprefix("qd")}
    assert dict(job[name]) == expected


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_fio_understands_every_job() -> None:
    for path in sorted(JOBS.glob("*.fio")):
        done = subprocess.run(
            ["fio", "--parse-only", str(path)],
            env={**os.environ, "DEVICE": "/dev/x", "RUNTIME": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def test_every_measured_job_is_in_a_matrix() -> None:
    used = {c.job for path in MATRICES for c in matrix.load(path).cells}
    there = {p.stem for p in JOBS.glob("*.fio") if not p.stem.startswith("verify-")}
    assert there == used


def test_the_matrices_of_ci_stay_small() -> None:
    """`make test` and `make vmtest` run these; 25 minutes are all there is."""
    for name, cells, seconds in (("quick", 4, 4), ("smoke", 14, 28), ("vmtest", 36, 108)):
        loaded = matrix.load(JOBS / "matrix" / f"{name}.toml")
        assert len(loaded.cells) <= cells
        assert len(loaded.cells) * (loaded.runtime_s + loaded.ramp_s) <= seconds
        assert all(cell.boot == {} for cell in loaded.cells)


@pytest.mark.parametrize(("name", "at_most"), [("nightly", 80), ("release", 240)])
def test_the_wide_matrices_have_every_axis_and_few_cells(name: str, at_most: int) -> None:
    loaded = matrix.load(JOBS / "matrix" / f"{name}.toml")
    wide = set(matrix.PARAMETERS) - {"target", "path", "poll"}
    assert set(loaded.axes) == wide
    product = math.prod(len(values) for values in loaded.axes.values())
    assert len(loaded.cells) <= at_most < product / 1000


def test_smoke_covers_every_device_and_bdev_and_stays_small() -> None:
    cells = matrix.load(JOBS / "matrix" / "smoke.toml").cells
    assert {(c.params["device"], c.params["bdev"]) for c in cells} == {
        (d, b) for d in ("blk", "scsi") for b in ("null", "malloc", "aio")
    }
    assert {c.params["depth"] for c in cells} == {1, 32}
    assert 12 <= len(cells) <= 16


def test_ids_depend_on_nothing_but_the_parameters() -> None:
    one = expand(axes={"a": ["x", "y"], "b": [1, 2]})
    other = expand(axes={"b": [2, 3], "a": ["x"]}, name="other", runtime_s=9)
    by_params = {(c.params["a"], c.params["b"]): c.id for c in one.cells}
    assert by_params["x", 2] == next(c.id for c in other.cells if c.params["b"] == 2)
    # written down once: a changed id would cut every history in two
    assert matrix.Cell({"device": "blk", "depth": 1}).id == "e81c01361e"


#: Written down once: a changed id would cut every history in two.
PINNED: dict[str, dict[str, matrix.Value]] = {
    "55b593d1ab": {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 1},
    "4c7d890862": {"device": "blk", "bdev": "null", "pattern": "randread", "bs": "4k", "depth": 32},
    "5445a40bd1": {"device": "scsi", "bdev": "aio", "pattern": "read", "bs": "4k", "depth": 32},
}
PINNED["a99a54341f"] = {**PINNED["55b593d1ab"], "path": "frontend"}
PINNED["0dfd024830"] = {**PINNED["a99a54341f"], "poll": True}
DEFAULTS: dict[str, matrix.Value] = {
    "guest": "micro",
    "jobs": 1,
    "ring": "split",
    "queue_size": 128,
    "vcpus": 2,
    "target_cores": 1,
    "numa": "flat",
    "polling": "adaptive",
    "vms": 1,
}


@pytest.mark.parametrize(("expected", "params"), PINNED.items())
def test_ids_of_today_stay(expected: str, params: dict[str, matrix.Value]) -> None:
    assert matrix.Cell(params).id == expected
    assert matrix.Cell({**DEFAULTS, **params}) == matrix.Cell(params)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_a_value_that_is_not_the_default_makes_another_cell(name: str, value: matrix.Value) -> None:
    base = PINNED["55b593d1ab"]
    other: matrix.Value = value + 1 if isinstance(value, int) else "packed"
    cell = matrix.Cell({**base, name: other})
    assert cell.params[name] == other
    assert cell.id not in PINNED
    shown = f"{name}={value}" if isinstance(value, int) else str(value)
    assert shown not in matrix.Cell({**base, name: value}).label()


def test_a_cell_answers_with_defaults() -> None:
    cell = matrix.Cell({"device": "blk", "vcpus": 4, "ring": "packed", "jobs": 2})
    assert (cell.number("vcpus"), cell.number("vms"), cell.number("queues")) == (4, 1, 0)
    assert (cell.text("ring"), cell.text("guest"), cell.text("target")) == ("packed", "micro", "")
    assert cell.fio_options == ("--numjobs=2",)
    assert cell.boot == {"vcpus": 4, "ring": "packed"}
    assert cell.label() == "blk vcpus=4 packed jobs=2"


def test_exclude_drops_what_agrees_with_every_key() -> None:
    cells = expand(axes={"a": ["x", "y"], "b": [1, 2]}, exclude=[{"a": "x", "b": [1, 2]}]).cells
    assert [c.label() for c in cells] == ["y 1", "y 2"]


def test_when_requires_only_where_it_matches() -> None:
    rule = {"match": {"a": "x"}, "require": {"b": 2}}
    cells = expand(axes={"a": ["x", "y"], "b": [1, 2]}, when=[rule]).cells
    assert [c.label() for c in cells] == ["x 2", "y 1", "y 2"]


def test_true_and_one_are_different_values() -> None:
    cells = expand(axes={"a": [True, 1]}, exclude=[{"a": True}]).cells
    assert [c.params["a"] for c in cells] == [1]
    assert matrix.Cell({"a": True}).id != matrix.Cell({"a": 1}).id


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"runtime_s": 0}, "runtime_s"),
        ({"runtime_s": "2"}, "runtime_s"),
        ({"runtime_s": True}, "runtime_s"),
        ({"axis": {}}, "unknown key axis"),
        ({"axes": {}}, "at least one axis"),
        ({"axes": {"a": []}}, "axis a"),
        ({"axes": {"a": "x"}}, "axis a"),
        ({"axes": {"a": [1.5]}}, "1.5"),
        ({"axes": {"a": [1, 1]}}, "twice"),
        ({"axes": {f"a{n}": list(range(10)) for n in range(5)}}, "100000 combinations"),
        ({"exclude": [{"b": 1}]}, "b is not an axis"),
        ({"exclude": [{"a": 7}]}, "no value 7"),
        ({"exclude": [{}]}, "at least one key"),
        ({"exclude": {"a": 1}}, r"write \[\[exclude\]\]"),
        ({"exclude": [{"a": 1}, {"a": 2}]}, "leave no cell"),
        ({"when": [{"match": {"a": 1}}]}, "match and require"),
        ({"axes": {"a": [1], "ring": ["round"]}}, "axis ring: 'round' is none of split, packed"),
        ({"axes": {"a": [1], "depth": ["1"]}}, "axis depth: '1' must be a whole number"),
        ({"axes": {"a": [1], "depth": [True]}}, "axis depth: True must be a whole number"),
        ({"axes": {"a": [1], "vms": [0]}}, "axis vms: 0 must be at least 1"),
        ({"axes": {"a": [1], "queue_size": [100]}}, "queue_size: 100 must be a power of 2"),
        ({"axes": {"a": [1], "bs": ["4 KiB"]}}, "bs: '4 KiB' does not look like one"),
        ({"axes": {"a": [1], "pattern": ["../x"]}}, "pattern: '../x' does not look like one"),
        ({"strength": 1}, "strength must be 2 or 3"),
        ({"strength": "2"}, "strength must be 2 or 3"),
        ({"ramp_s": -1}, "ramp_s"),
        ({"defaults": ["a"]}, r"write \[defaults\]"),
        ({"defaults": {"bs": 4096}}, "defaults: bs: 4096 must be a text"),
        ({"report": {"a": 1}}, r"write \[\[report\]\]"),
        ({"report": [{}]}, "report 1: needs at least one key"),
        ({"report": [{"b": 1}]}, "report 1: b is not an axis"),
        ({"report": [{"ring": "packed"}]}, "report 1: a needs a value, here or in"),
        ({"report": [{"a": 1, "ring": "x"}]}, "report 1: ring: 'x' is none of"),
        ({"exclude": [{"a": 1}], "report": [{"a": [2, 1]}]}, "1 is forbidden by exclude 1"),
        ({"when": [{"match": {"a": 1}, "require": {"c": 1}}]}, "when 1 match|c is not an axis"),
    ],
)
def test_refused_with_place_and_reason(doc: dict[str, Any], message: str) -> None:
    with pytest.raises(matrix.MatrixError, match=message) as caught:
        expand(**({"axes": {"a": [1, 2]}} | doc))
    assert "m.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_report_cells_are_always_there_and_once() -> None:
    axes = {"device": ["blk", "scsi"], "depth": [1, 32], "ring": ["split", "packed"]}
    loaded = expand(
        axes=axes | {"vms": [1, 2]},
        strength=2,
        defaults={"bs": "4k", "device": "blk", "depth": 32},
        report=[{"depth": [1, 4, 32]}, {"device": "scsi", "queues": 2, "depth": 8}],
    )
    labels = [cell.label() for cell in loaded.cells]
    reports = ["blk qd1 4k", "blk qd4 4k", "blk qd32 4k", "scsi qd8 4k queues=2"]
    assert set(reports) <= set(labels)
    assert len(set(labels)) == len(labels)
    pairs = expand(axes=axes | {"vms": [1, 2]}, strength=2, defaults={"bs": "4k"})
    assert {c.id for c in pairs.cells} <= {c.id for c in loaded.cells}
    assert len(pairs.cells) < 16
    assert {c.params["bs"] for c in loaded.cells} == {"4k"}


def test_ramp_and_jobs_are_told_to_fio() -> None:
    loaded = expand(axes={"jobs": [1, 4]}, ramp_s=3)
    assert [loaded.fio_options(c) for c in loaded.cells] == [
        ("--ramp_time=3",),
        ("--ramp_time=3", "--numjobs=4"),
    ]


def test_a_file_with_a_misspelt_axis_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('name = "m"\nruntime_s = 1\n[axes]\ndepht = [1]\n')
    with pytest.raises(matrix.MatrixError, match="there is no parameter depht; there are target"):
        matrix.load(path)


def test_unreadable_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(matrix.MatrixError, match=r"cannot read the matrix .*absent"):
        matrix.load(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(matrix.MatrixError, match=r"broken\.toml: Invalid value"):
        matrix.load(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(matrix.MatrixError, match=r"broken\.toml"):
        matrix.load(broken)


def test_a_cell_without_fio_axes_names_the_missing_one() -> None:
    with pytest.raises(matrix.MatrixError, match="pattern"):
        _ = matrix.Cell({"a": 1}).job


values = st.one_of(st.integers(0, 5), st.booleans(), st.sampled_from("xyz"))


@given(st.dictionaries(st.sampled_from("abcd"), values, min_size=1))
def test_id_ignores_order_and_tells_values_apart(params: dict[str, matrix.Value]) -> None:
    cell = matrix.Cell(params)
    assert matrix.Cell(dict(reversed(params.items()))).id == cell.id
    key = next(iter(params))
    assert matrix.Cell(params | {key: "other"}).id != cell.id


@given(st.dictionaries(st.sampled_from("abc"), st.lists(values, min_size=1, unique_by=repr)))
def test_without_rules_the_cells_are_the_whole_product(axes: dict[str, list[Any]]) -> None:
    if not axes:
        return
    size = 1
    for listed in axes.values():
        size *= len(listed)
    assert len({c.id for c in expand(axes=axes).cells}) == size
