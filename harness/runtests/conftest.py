# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of whole runs need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhostlab.errors import HarnessError
from vhostlab.target.vhostlab import find_daemon

from runtests.run import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A place of its own for a run; nothing of it survives the test."""
    try:
        find_daemon()
    except HarnessError as error:
        pytest.skip(str(error))
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.close()
