# SPDX-License-Identifier: BSD-3-Clause
"""qemu-storage-daemon: the one that is installed, and the one that $QSD_BINARY names."""

from __future__ import annotations

import shutil

import pytest

from .backends import OTHER_QSD, QSD


@pytest.fixture(params=["installed", "other"])
def qsd(request: pytest.FixtureRequest) -> str:
    """Its program, one version after the other."""
    if request.param == "other":
        if OTHER_QSD is None:
            pytest.skip(f"QSD_BINARY names no other version of {QSD} (ci/unpack_qemu.sh)")
        return OTHER_QSD
    if shutil.which(QSD) is None:
        pytest.skip(f"{QSD} is not installed")
    return QSD
