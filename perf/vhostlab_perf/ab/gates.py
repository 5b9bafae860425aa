# SPDX-License-Identifier: BSD-3-Clause
"""The tables ``ab`` of perf/gates.toml: margins, directions, levels, what makes a block count."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vhostlab_perf.reader import BadResult

DEFAULT = Path(__file__).resolve().parents[2] / "gates.toml"


@dataclass(frozen=True)
class Gate:
    """A metric and what head may lose of it."""

    unit: str
    direction: str
    margin: float
    decides: bool = False

    def __post_init__(self) -> None:
        if self.direction not in ("higher", "lower") or not 0 < self.margin < 1:
            raise ValueError(f"direction {self.direction!r}, margin {self.margin}")


@dataclass(frozen=True)
class Guards:
    """Limits; they know nothing of the arms."""

    steal_percent: float
    others_cores: float
    canary_slower: float
    frequency_change: float
    blocks_per_valid: float


@dataclass(frozen=True)
class Gates:
    """The whole file."""

    alpha: float
    power: float
    false_discovery: float
    looks: tuple[float, ...]
    fewest_blocks: int
    confirm_blocks: int
    confirm_alpha: float
    resamples: int
    metrics: Mapping[str, Gate]
    canary_margin: float
    canary_alpha: float
    guards: Guards


def read(path: Path = DEFAULT) -> Gates:
    """Raises BadResult with one line."""
    try:
        doc = tomllib.loads(path.read_text())["ab"]
        numbers = dict(doc["statistics"])
        return Gates(
            **numbers | {"looks": tuple(numbers["looks"])},
            metrics={name: Gate(**gate) for name, gate in doc["metrics"].items()},
            canary_margin=doc["canary"]["margin"],
            canary_alpha=doc["canary"]["alpha"],
            guards=Guards(**doc["guards"]),
        )
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadResult(f"{path} cannot be used: {type(error).__name__} {error}") from error
