# SPDX-License-Identifier: BSD-3-Clause
"""Which scenarios there are.

A scenario is a function with a decorator in a Python file of ``harness/scenarios/``; putting the
file there is all it takes. Files are loaded by path, so a directory of one's own serves as well.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vhostlab.errors import HarnessError
from vhostlab.results import PlannedStage
from vhostlab.scenario.context import GuestContext, HostContext
from vhostlab.scenario.layout import MEMORY_MIB
from vhostlab.target import TargetCapabilities
from vhostlab.target.base import FEATURES

GuestBody = Callable[[GuestContext], Awaitable[None]]
HostBody = Callable[[HostContext], Awaitable[None]]

#: The stage of the scenarios that share one guest.
SHARED_STAGE = "standard"

DEFAULT_DEADLINE_S = 180.0


@dataclass(frozen=True)
class Needs:
    """What a scenario cannot do without: of this machine, and of the target (``FEATURES``).

    Huge pages are leased by the scenario itself, when it takes them.
    """

    cores: int = 1
    memory_mib: int = MEMORY_MIB
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := self.features - set(FEATURES):
            raise HarnessError(f"no target has a feature {', '.join(sorted(unknown))}")

    def missing(self, cores: int, memory_mib: int) -> str | None:
        """Why it cannot be run on a machine with so much of it; None when it can."""
        if cores < self.cores:
            return f"needs {self.cores} cores, this machine has {cores}"
        if memory_mib < self.memory_mib:
            return f"needs {self.memory_mib} MiB of memory, {memory_mib} MiB are available"
        return None


@dataclass(frozen=True)
class Scenario:
    """One scenario. Exactly one of ``in_guest`` and ``on_host`` is set."""

    name: str
    summary: str
    devices: frozenset[str]
    targets: frozenset[str]
    deadline_s: float
    #: Part of a kernel message that this scenario provokes on purpose.
    kernel_messages: str
    #: It measures the cells of the matrix, which then is part of what it is.
    measures: bool = False
    needs: Needs = Needs()
    in_guest: GuestBody | None = None
    on_host: HostBody | None = None

    @property
    def stage(self) -> str:
        """Scenarios of one stage share a process, and a guest unless they boot their own."""
        return SHARED_STAGE if self.in_guest else self.name

    def inapplicable(self, target: str, capabilities: TargetCapabilities) -> str | None:
        """Why it cannot be run against a target; None when it can."""
        if self.targets and target not in self.targets:
            return f"it is about the target {' and '.join(sorted(self.targets))}"
        missing = sorted(self.devices - capabilities.devices)
        if missing:
            return f"target {target} has no {' and no '.join(missing)} devices"
        for feature in sorted(self.needs.features):
            if reason := capabilities.without(feature):
                return f"target {target} {reason}"
        return None


@dataclass(frozen=True)
class Suite:
    """A named choice of scenarios and the matrix their measurements come from."""

    name: str
    summary: str
    scenarios: tuple[str, ...]
    matrix: str
    #: Its scenarios are to look at one disk of each device type where they would at all.
    brief: bool = False


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "quick",
            "two guests, about a minute: disks, reads, writes, a few measurements",
            ("boot", "readonly", "integrity", "perf"),
            "quick",
            brief=True,
        ),
        Suite(
            "vmtest",
            "everything: disks, booting from them, data, file systems, idleness, packed rings, "
            "flushes, several guests, a killed front-end and target, another target and back, "
            "hand-overs, live migration, changing memory, disks and cores, the smoke matrix",
            (
                "boot",
                "boot-from-disk",
                "bounds",
                "readonly",
                "idle",
                "integrity",
                "filesystem",
                "perf",
                "packed",
                "flush",
                "density",
                "kill",
                "reconnect",
                "reconnect-packed",
                "swap",
                "migration",
                "handover",
                "memory",
                "resize",
                "hotplug",
                "cores",
                "guide",
            ),
            "smoke",
        ),
    )
}

_registered: dict[str, Scenario] = {}


def _register(scenario: Scenario) -> None:
    if scenario.name in _registered:
        raise HarnessError(f"two scenarios are called {scenario.name}")
    _registered[scenario.name] = scenario


def _summary(body: Callable[..., object]) -> str:
    text = (body.__doc__ or "").strip()
    if not text:
        raise HarnessError(f"scenario {body.__name__} has no docstring to describe it")
    return text.splitlines()[0].rstrip(".")


def guest_scenario(
    name: str,
    *,
    devices: Iterable[Literal["blk", "scsi"]] = (),
    deadline_s: float = DEFAULT_DEADLINE_S,
    kernel_messages: str = "",
    measures: bool = False,
    needs: Needs = Needs(),
) -> Callable[[GuestBody], GuestBody]:
    """A scenario in the shared guest, which has every disk of the standard layout."""

    def register(body: GuestBody) -> GuestBody:
        _register(
            Scenario(
                name=name,
                summary=_summary(body),
                devices=frozenset(devices),
                targets=frozenset(),
                deadline_s=deadline_s,
                kernel_messages=kernel_messages,
                measures=measures,
                needs=needs,
                in_guest=body,
            )
        )
        return body

    return register


def host_scenario(
    name: str,
    *,
    devices: Iterable[Literal["blk", "scsi"]] = (),
    targets: Iterable[str] = (),
    deadline_s: float = DEFAULT_DEADLINE_S,
    measures: bool = False,
    needs: Needs = Needs(),
) -> Callable[[HostBody], HostBody]:
    """A scenario that starts its own targets and guests."""

    def register(body: HostBody) -> HostBody:
        _register(
            Scenario(
                name=name,
                summary=_summary(body),
                devices=frozenset(devices),
                targets=frozenset(targets),
                deadline_s=deadline_s,
                kernel_messages="",
                measures=measures,
                needs=needs,
                on_host=body,
            )
        )
        return body

    return register


def load(directory: Path) -> Mapping[str, Scenario]:
    """All scenarios of a directory, by name. Loading it again changes nothing."""
    files = sorted(
        p for p in directory.glob("*.py") if not p.name.startswith(("_", "test_", "conf"))
    )
    if not files:
        raise HarnessError(f"there are no scenarios in {directory}")
    for path in files:
        module_name = f"vhostlab_scenarios.{path.stem}"
        loaded = sys.modules.get(module_name)
        if loaded is not None:
            if loaded.__file__ != str(path):
                raise HarnessError(f"{path} and {loaded.__file__} have the same name")
            continue
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return dict(_registered)


def choose(known: Mapping[str, Scenario], names: Iterable[str]) -> tuple[Scenario, ...]:
    """The named scenarios; raises HarnessError with the list when there is no such one."""
    chosen: dict[str, Scenario] = {}
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known))
            raise HarnessError(f"no scenario is called '{name}'", f"there is {there}")
        chosen[name] = known[name]
    return tuple(chosen.values())


def stages(scenarios: Iterable[Scenario]) -> tuple[PlannedStage, ...]:
    """The scenarios grouped into stages, each in the order in which they were named."""
    groups: dict[str, list[str]] = {}
    for scenario in scenarios:
        groups.setdefault(scenario.stage, []).append(scenario.name)
    return tuple(PlannedStage(name, tuple(names)) for name, names in groups.items())


def suite(name: str) -> Suite:
    """A suite by name."""
    try:
        return SUITES[name]
    except KeyError:
        there = ", ".join(SUITES)
        raise HarnessError(f"no suite is called '{name}'", f"there is {there}") from None
