# SPDX-License-Identifier: BSD-3-Clause
"""Cells, and the parameters they are made of.

Concepts: a *parameter* that is absent from a cell has its default. A value that equals the default
is left out of the cell, so that "one job" and "nothing said about jobs" are one cell with one id,
and an axis that is added later leaves the ids of today alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vhostlab.errors import HarnessError

#: A value is something that TOML, JSON and a table can show without loss.
Value = str | int | bool

#: Digits of the hash; 40 bits keep thousands of cells apart.
ID_DIGITS = 10

_BLOCK_SIZE = re.compile(r"[1-9][0-9]*[km]?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")

#: What QEMU takes as the size of a virtqueue at most.
MAX_QUEUE_SIZE = 1024


class MatrixError(HarnessError):
    """The matrix cannot be used; the message names file and place."""


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be. ``default`` None: absent stands for no value of it at all."""

    kind: type[str] | type[int] | type[bool]
    default: Value | None = None
    choices: tuple[str, ...] = ()
    form: re.Pattern[str] | None = None
    #: Another guest, or another start of the target, has to be booted for another value of it.
    boot: bool = False
    #: In a label its value says enough.
    plain: bool = False

    def refuses(self, name: str, value: Value) -> str | None:
        """Why the parameter cannot have the value; None when it can."""
        if type(value) is not self.kind:
            words = {str: "a text", int: "a whole number", bool: "true or false"}[self.kind]
            return f"{value!r} must be {words}"
        if self.choices and value not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        if isinstance(value, str) and self.form and not self.form.fullmatch(value):
            return f"{value!r} does not look like one"
        if type(value) is int and value < 1:
            return f"{value} must be at least 1"
        if name == "queue_size":
            size = int(value)
            if size & (size - 1) or not 2 <= size <= MAX_QUEUE_SIZE:
                return f"{size} must be a power of 2 from 2 to {MAX_QUEUE_SIZE}"
        return None


#: Every parameter of a cell that the harness knows how to bring about.
PARAMETERS: Mapping[str, Parameter] = {
    "target": Parameter(str, form=_NAME, boot=True, plain=True),
    "guest": Parameter(str, "micro", form=_NAME, boot=True, plain=True),
    "device": Parameter(str, choices=("blk", "scsi"), plain=True),
    "bdev": Parameter(str, choices=("null", "malloc", "aio"), plain=True),
    "pattern": Parameter(str, form=_NAME, plain=True),
    "bs": Parameter(str, form=_BLOCK_SIZE, plain=True),
    "depth": Parameter(int, plain=True),
    "jobs": Parameter(int, 1),
    "ring": Parameter(str, "split", choices=("split", "packed"), boot=True, plain=True),
    "queues": Parameter(int, boot=True),
    "queue_size": Parameter(int, 128, boot=True),
    "vcpus": Parameter(int, 2, boot=True),
    "target_cores": Parameter(int, 1, boot=True),
    "numa": Parameter(str, "flat", choices=("flat", "two"), boot=True),
    "polling": Parameter(str, "adaptive", choices=("adaptive", "poll", "event"), boot=True),
    "vms": Parameter(int, 1, boot=True),
    "path": Parameter(str, form=_NAME, plain=True),
    "poll": Parameter(bool),
}

#: What a cell cannot do without: they name the disk and the fio job.
ESSENTIAL = ("device", "bdev", "pattern", "bs", "depth")


def default(name: str) -> Value | None:
    """What an absent parameter stands for; None: nothing."""
    known = PARAMETERS.get(name)
    return known.default if known else None


def same(left: Value, right: Value) -> bool:
    """Equal, and of one type: True == 1 in Python, and they are different parameters here."""
    return type(left) is type(right) and left == right


@dataclass(frozen=True)
class Cell:
    """One combination of parameters; those that have their default are left out."""

    params: Mapping[str, Value]

    def __post_init__(self) -> None:
        said = {k: v for k, v in self.params.items() if not _is_default(k, v)}
        object.__setattr__(self, "params", said)

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """Stable over files, axis order and machines."""
        canonical = json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:ID_DIGITS]

    def text(self, name: str) -> str:
        """A parameter, or its default, that is a text; "" when it has neither."""
        value = self.value(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        """A parameter, or its default, that is a number; 0 when it has neither."""
        value = self.value(name)
        return value if isinstance(value, int) else 0

    def value(self, name: str) -> Value | None:
        """A parameter or its default; None when it has neither."""
        return self.params.get(name, default(name))

    @property
    def job(self) -> str:
        """The name of the fio job file that the pattern, bs and depth axes stand for."""
        try:
            p = self.params
            return f"{p['pattern']}-{p['bs']}-qd{p['depth']}"
        except KeyError as error:
            raise MatrixError(f"cell {self.id} has no axis {error}, so no fio job") from error

    @property
    def fio_options(self) -> tuple[str, ...]:
        """What the job file does not say. fio takes them, before the file, for all of its jobs."""
        jobs = self.number("jobs")
        return (f"--numjobs={jobs}",) if jobs > 1 else ()

    @property
    def boot(self) -> Mapping[str, Value]:
        """The parameters that need a guest, or a target, of their own."""
        return {k: v for k, v in self.params.items() if k in PARAMETERS and PARAMETERS[k].boot}

    def label(self) -> str:
        """For people: the values in the order of the axes."""
        return " ".join(_shown(k, v) for k, v in self.params.items())


def _is_default(name: str, value: Value) -> bool:
    known = default(name)
    return known is not None and same(known, value)


def _shown(name: str, value: Value) -> str:
    known = PARAMETERS.get(name)
    if name == "depth":
        return f"qd{value}"
    if isinstance(value, bool) and known:
        return name if value else f"no {name}"
    return str(value) if known is None or known.plain else f"{name}={value}"
