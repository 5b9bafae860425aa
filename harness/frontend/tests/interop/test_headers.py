# SPDX-License-Identifier: BSD-3-Clause
"""Each public header stands alone, in C and in C++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .backends import ROOT

INCLUDE = ROOT / "harness/frontend/include"
HEADERS = sorted(path.relative_to(INCLUDE) for path in INCLUDE.rglob("*.h"))


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_compiles_alone(header: Path, language: str) -> None:
    flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{INCLUDE}", "-x", language]
    # clang has both languages in one program, whatever else is installed.
    done = subprocess.run(
        ["clang", *flags, "-"], input=f"#include <{header}>\n", text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
