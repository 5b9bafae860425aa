# SPDX-License-Identifier: BSD-3-Clause
"""What the table of planted regressions says of the gate's verdicts."""

import argparse

import planted
import pytest
from planted import Plant, Row


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("none", ""),
        ("busy:20", "-Dplanted=busy -Dplanted_ns=20"),
        ("copy:4096", "-Dplanted=copy -Dplanted_bytes=4096"),
        ("nobatch:1", "-Dplanted=nobatch -Dplanted_batch=1"),
    ],
)
def test_plants(text: str, options: str) -> None:
    assert Plant.of(text).options == options


@pytest.mark.parametrize("text", ["busy", "busy:", "busy:x", "busy:0", "slow:1", "none:1", ""])
def test_what_is_no_plant(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        Plant.of(text)


BUSY = Plant("busy", 20)


@pytest.mark.parametrize(
    ("row", "outcome", "good"),
    [
        (Row(Plant("none"), 0.0, 0.0, 0.03, "pass"), "green", True),
        (Row(Plant("none"), 0.0, 0.0, 0.03, "fail"), "FALSE ALARM", False),
        (Row(BUSY, 0.2, 0.1, 0.03, "fail"), "caught", True),
        (Row(BUSY, 0.2, 0.1, 0.15, "inconclusive"), "below MDE", True),
        (Row(BUSY, 0.2, 0.1, 0.03, "inconclusive"), "MISSED", False),
        (Row(BUSY, 0.2, 0.1, 0.03, "pass"), "MISSED", False),
        (Row(BUSY, 0.2, None, None, "pass"), "MISSED", False),
        (Row(BUSY, 0.02, None, None, "pass"), "small", True),
        (Row(BUSY, None, None, None, "pass"), "MISSED", False),
        (Row(BUSY, 0.02, None, None, "could not run"), "NOT RUN", False),
    ],
)
def test_outcomes(row: Row, outcome: str, good: bool) -> None:
    assert row.outcome == outcome
    assert row.good is good
    assert outcome in planted.table([row])


def test_the_biggest_effects_are_read() -> None:
    found = {
        "verdict": "fail",
        "tiers": [
            {
                "name": "work",
                "rows": [
                    {"metric": "instructions", "change": 0.1},
                    {"metric": "instructions", "change": 0.3},
                    {"metric": "calls", "change": 3.0},
                ],
            },
            {
                "name": "ab",
                "rows": [
                    {"metric": "iops", "ratio": 0.97, "mde": 0.01},
                    {"metric": "iops", "ratio": 0.9, "mde": 0.02},
                    {"metric": "latency_p99", "ratio": 1.5, "mde": 0.2},
                ],
            },
        ],
    }
    row = planted.read(BUSY, found)
    assert row.work == 0.3
    assert row.timing == pytest.approx(0.1)
    assert row.mde == 0.02
