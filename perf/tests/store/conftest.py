# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the store have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import postgres


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be: the same tests hold on both engines."""
    if request.param == "sqlite":
        return str(tmp_path / "history.sqlite")
    server: postgres.Server = request.getfixturevalue("postgresql")
    url: str = server.new_database()
    return url


@pytest.fixture
def both(postgresql: postgres.Server, tmp_path: Path) -> tuple[str, str]:
    """Both at once."""
    return str(tmp_path / "history.sqlite"), postgresql.new_database()
