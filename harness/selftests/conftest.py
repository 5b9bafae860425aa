# SPDX-License-Identifier: BSD-3-Clause
"""Settings of the harness's own tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# a machine that does other things as well is no failure
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "vm: boots a guest, a few seconds each (-m 'not vm' leaves out)"
    )
