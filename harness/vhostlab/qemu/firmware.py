# SPDX-License-Identifier: BSD-3-Clause
"""UEFI for guests, as distributions install it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vhostlab.errors import Unavailable

PAIRS = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
"""The firmware for x86 and its empty variables."""


def ovmf(pairs: Sequence[tuple[str, str]] = PAIRS) -> tuple[Path, Path]:
    """The firmware and its empty variables."""
    for code, variables in pairs:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise Unavailable("there is no UEFI firmware for guests", "install ovmf (Fedora: edk2-ovmf)")
