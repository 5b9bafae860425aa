# SPDX-License-Identifier: BSD-3-Clause
"""Targets that run for a module, and fio with the engine on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhostlab.frontend import find_engine
from vhostlab.process import find_program

from .rig import FIO_DEADLINE_S, Fio, Running, start


@pytest.fixture
def fio(tmp_path: Path) -> Fio:
    """fio, if the engine has a layout for this version of it."""
    program, engine = find_program("fio", "install fio"), find_engine()
    shown = subprocess.run(
        [program, f"--enghelp={engine}"], capture_output=True, text=True, timeout=FIO_DEADLINE_S
    )
    if "there is no layout" in shown.stderr:
        pytest.skip(shown.stderr.splitlines()[0])
    return Fio(program, engine, tmp_path)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start("vhostlab", tmp_path_factory.mktemp("vhostlab"))


@pytest.fixture(scope="module")
def other_qsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of another version than the one that is installed."""
    if (binary := os.environ.get("QSD_BINARY")) is None:
        pytest.skip("QSD_BINARY names no other version of qemu-storage-daemon (ci/unpack_qemu.sh)")
    yield from start("qemu-storage-daemon", tmp_path_factory.mktemp("other-qsd"), Path(binary))


@pytest.fixture(scope="module")
def qsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start("qemu-storage-daemon", tmp_path_factory.mktemp("qsd"))
