# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios under plain pytest: ``pytest harness/scenarios --target qemu-storage-daemon -k boot``.

The scenarios of a stage share a guest here as well: it is booted when the first of them is asked
for, and only the scenarios that were selected are run in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from vhostlab.images import DEFAULT_GUEST
from vhostlab.results import ScenarioResult
from vhostlab.run import DEFAULT_TARGET, Request
from vhostlab.scenario import Options, registry, stage
from vhostlab.scenario.progress import Progress

Outcome = Callable[[str], ScenarioResult]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", default=DEFAULT_TARGET, help="the target of the scenarios")
    parser.addoption("--guest", default=DEFAULT_GUEST, help="the guest image")
    parser.addoption("--matrix", default="", help="the matrix of their measurements")


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What became of a scenario; runs its whole stage when it is the first to be asked for."""
    run_dir: Path = tmp_path_factory.mktemp("run")
    target = request.config.getoption("--target")
    asked = Request(target=target, matrix=request.config.getoption("--matrix"))
    guest = request.config.getoption("--guest")
    known = registry.load(stage.scenario_directory())
    selected = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    done: dict[str, ScenarioResult] = {}

    def of(name: str) -> ScenarioResult:
        if name not in done:
            mine = [s for s in registry.choose(known, selected) if s.stage == known[name].stage]
            options = Options(asked.matrix_file(), guest=guest)
            ran = stage.run(mine[0].stage, mine, target, options, run_dir, Progress(run_dir))
            done.update({s.name: s for s in asyncio.run(ran).scenarios})
        return done[name]

    return of
