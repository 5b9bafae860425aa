# SPDX-License-Identifier: BSD-3-Clause
"""The fuzzers start from what the tests send."""

from __future__ import annotations

import pytest

from . import corpus


@pytest.mark.parametrize("name", sorted(corpus.seeds()))
def test_seed_is_current(name: str) -> None:
    """If not: `python -m protocol.corpus` in target/tests."""
    assert (corpus.DIRECTORY / name).read_bytes() == corpus.seeds()[name]
