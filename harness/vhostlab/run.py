# SPDX-License-Identifier: BSD-3-Clause
"""What a run is asked to do, and how the processes that take part in it are told.

The command line makes a :class:`Request`, the runner (Avocado) is started with it in environment
variables, and its plugins read it back. A request can also come from nowhere: then it is what the
defaults say, so that ``avocado run scenario:boot`` works by hand.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vhostlab import images, matrix
from vhostlab import target as targets
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import PlannedStage
from vhostlab.scenario import registry
from vhostlab.scenario.stage import scenario_directory

DEFAULT_SUITE = "vmtest"
DEFAULT_TARGET = "vhostlab"

#: The kind of Avocado runnable that a stage is.
RUNNABLE_KIND = "vm-scenario"

_PREFIX = "VHOSTLAB_RUN_"


def is_path(matrix: str) -> bool:
    """Whether a matrix is asked for by its file and not by name."""
    return matrix.endswith(".toml") or "/" in matrix


@dataclass(frozen=True)
class Request:
    """A run as it was asked for. Empty texts stand for the default."""

    target: str = DEFAULT_TARGET
    suite: str = ""
    scenarios: tuple[str, ...] = ()
    matrix: str = ""
    cells: tuple[str, ...] = ()
    guest: str = images.DEFAULT_GUEST

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["vhostlab", "vmtest", "--target", self.target]
        if self.scenarios:
            words += [w for s in self.scenarios for w in ("--scenario", s)]
        else:
            words += ["--suite", self.suite or DEFAULT_SUITE]
        if self.matrix:
            words += ["--matrix", self.matrix]
        if self.guest != images.DEFAULT_GUEST:
            words += ["--guest", self.guest]
        return shlex.join(words + [w for c in self.cells for w in ("--cell", c)])

    def reference(self) -> str:
        """The same as a reference for the runner: ``scenario:a+b@target``, ``suite:x@target``."""
        if self.scenarios:
            return f"scenario:{'+'.join(self.scenarios)}@{self.target}"
        return f"suite:{self.suite or DEFAULT_SUITE}@{self.target}"

    def environment(self) -> dict[str, str]:
        """What a reference cannot say, for the runner's processes."""
        return {
            f"{_PREFIX}MATRIX": self.matrix,
            f"{_PREFIX}CELLS": ",".join(self.cells),
            f"{_PREFIX}GUEST": self.guest,
        }

    def chosen(self) -> tuple[registry.Scenario, ...]:
        """The scenarios, in order; raises HarnessError for one that does not exist."""
        known = registry.load(scenario_directory())
        names = self.scenarios or registry.suite(self.suite or DEFAULT_SUITE).scenarios
        return registry.choose(known, names)

    def brief(self) -> bool:
        """Whether the scenarios are to be content with fewer disks."""
        return not self.scenarios and registry.suite(self.suite or DEFAULT_SUITE).brief

    def stages(self) -> tuple[PlannedStage, ...]:
        """The scenarios grouped by the guest they share."""
        return registry.stages(self.chosen())

    def uri(self, stage: PlannedStage) -> str:
        """What the runner shows for a stage."""
        return f"{'+'.join(stage.scenarios)}@{self.target}"

    def told(self, stage: PlannedStage) -> dict[str, str]:
        """What a runnable of a stage says, for the process that carries it out."""
        return {
            "stage": stage.name,
            "target": self.target,
            "suite": self.suite,
            "scenarios": ",".join(stage.scenarios),
            "matrix": str(self.matrix_file()),
            "cells": ",".join(self.cells),
            "brief": "yes" if self.brief() else "",
            "guest": self.guest,
        }

    def matrix_file(self) -> Path:
        """The matrix: by name from fio-jobs/matrix, or by path."""
        name = self.matrix or registry.suite(self.suite or DEFAULT_SUITE).matrix
        if is_path(name):
            return Path(name).absolute()
        path = source_dir() / "fio-jobs" / "matrix" / f"{name}.toml"
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml")))
            raise HarnessError(f"no matrix is called '{name}'", f"there is {there}")
        return path

    def validate(self) -> None:
        """Raise HarnessError for whatever does not exist, before anything is started."""
        targets.get(self.target)
        self.chosen()
        images.load(images.recipe_path(self.guest))
        matrix.load(self.matrix_file()).check(self.cells)


def parse_reference(text: str, environment: Mapping[str, str] = os.environ) -> Request | None:
    """The request behind a reference; None when the text is not one of ours."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("scenario", "suite"):
        return None
    names, at, target = rest.partition("@")
    cells = environment.get(f"{_PREFIX}CELLS", "")
    return Request(
        target=target if at else DEFAULT_TARGET,
        suite=names if kind == "suite" else "",
        scenarios=tuple(names.split("+")) if kind == "scenario" else (),
        matrix=environment.get(f"{_PREFIX}MATRIX", ""),
        cells=tuple(cells.split(",")) if cells else (),
        guest=environment.get(f"{_PREFIX}GUEST") or images.DEFAULT_GUEST,
    )
