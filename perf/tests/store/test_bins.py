# SPDX-License-Identifier: BSD-3-Clause
"""Histograms: merging them is as good as having had all samples in one; fio counts as we do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab_perf.store import bins

COUNTS = st.dictionaries(st.integers(0, 2**40), st.integers(1, 10**6), min_size=1, max_size=40)
PERCENT = st.one_of(st.sampled_from([50.0, 90.0, 99.0, 99.9, 99.99, 100.0]), st.floats(0, 100))


@given(st.lists(COUNTS, min_size=1, max_size=5))
def test_merging_is_counting_together(parts: list[dict[int, int]]) -> None:
    whole = bins.merge(parts)
    for middle in whole:
        assert whole[middle] == sum(part.get(middle, 0) for part in parts)
    assert sum(whole.values()) == sum(sum(part.values()) for part in parts)
    assert list(whole) == sorted(whole)
    # in any order, and in any grouping
    assert bins.merge(reversed(parts)) == whole
    assert bins.merge([bins.merge(parts[:1]), bins.merge(parts[1:])]) == whole


@given(st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=60), min_size=1), PERCENT)
def test_a_percentile_of_merged_bins_is_that_of_all_samples(
    parts: list[list[int]], which: float
) -> None:
    merged = bins.merge({v: part.count(v) for v in set(part)} for part in parts)
    everything = sorted(v for part in parts for v in part)
    found = bins.percentile(merged, which)
    # at least `which` per cent of all samples are at or below it, and below it there are fewer
    share = which / 100 * len(everything)
    assert sum(v <= found for v in everything) >= share * (1 - 1e-6)
    assert found == everything[0] or sum(v < found for v in everything) < share * (1 + 1e-6)


@given(COUNTS, PERCENT, PERCENT)
def test_percentiles_ascend_and_are_bins(counts: dict[int, int], one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert bins.percentile(counts, low) <= bins.percentile(counts, high)
    assert bins.percentile(counts, low) in counts
    assert bins.percentile(counts, 100) == max(counts)
    assert bins.percentile(counts, 0) == min(counts)


@given(COUNTS)
def test_packing_keeps_everything(counts: dict[int, int]) -> None:
    assert bins.unpack(bins.pack(counts)) == counts
    shuffled = dict(reversed(counts.items()))
    assert bins.pack(shuffled) == bins.pack(counts)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_packing_points_keeps_everything(points: list[float]) -> None:
    assert bins.unpack_points(bins.pack_points(points)) == tuple(points)


def test_a_histogram_without_samples_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no percentiles"):
        bins.percentile({}, 50)


def test_percentiles_are_those_that_fio_itself_prints(tmp_path: Path) -> None:
    fio = shutil.which("fio")
    assert fio, "fio is missing: run ci/setup.sh"
    out = tmp_path / "out.json"
    listed = "1:10:25:50:75:90:95:99:99.5:99.9:99.95:99.99"
    subprocess.run(
        [fio, "--output-format=json+", f"--output={out}", f"--percentile_list={listed}",
         "--ioengine=null", "--bs=4k", "--rw=randrw", "--size=20m", "--iodepth=8", "--thread",
         "--name=a", "--name=b", "--rate_iops=2000000"],
        check=True, cwd=tmp_path,
    )  # fmt: skip
    compared = 0
    for job in json.loads(out.read_text())["jobs"]:
        for way in ("read", "write"):
            latency = job[way]["clat_ns"]
            counts = {int(k): v for k, v in latency["bins"].items()}
            assert sum(counts.values()) == latency["N"]
            for which, value in latency["percentile"].items():
                assert bins.percentile(counts, float(which)) == value, (way, which)
                compared += 1
    assert compared == 2 * 2 * 12
