# SPDX-License-Identifier: BSD-3-Clause
"""What cells are called, wherever they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vhostlab_perf.reader import Scalar


def param(name: str, value: Scalar) -> str:
    """One parameter as people write it."""
    if name == "depth":
        return f"qd{value}"
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name}={value}" if isinstance(value, int | float) else str(value)


def label(params: Mapping[str, Scalar], without: Iterable[str] = ()) -> str:
    """The values in the order of the axes, but for some of them."""
    hidden = frozenset(without)
    return " ".join(param(k, v) for k, v in params.items() if k not in hidden)
