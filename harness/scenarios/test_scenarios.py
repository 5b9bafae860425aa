# SPDX-License-Identifier: BSD-3-Clause
"""Every scenario as a test of pytest's; conftest.py says how."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from vhostlab.results import ScenarioResult, Status
from vhostlab.scenario import registry, stage


@pytest.mark.parametrize("name", registry.load(stage.scenario_directory()))
def test_scenario(name: str, outcome: Callable[[str], ScenarioResult]) -> None:
    ended = outcome(name)
    if ended.status in (Status.SKIP, Status.UNAVAILABLE):
        pytest.skip(ended.skip_reason or ended.error or "")
    assert ended.status is Status.PASS, ended.error
