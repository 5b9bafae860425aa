#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Check that the source tree's layers only look down.

C: a file in target/lib/LAYER includes headers of its own layer and of those in LAYERS below;
DPDK's headers stay inside lib/env/dpdk*.c; the programs in target/app see the public headers
and base.
Python: the harness knows neither Avocado nor the judge, the judge knows nothing of the harness.

Prints one line per problem, `FILE:LINE: message`, and exits 1 if there is any.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Layer -> the layers it may use besides itself. docs/ARCHITECTURE.md draws the same table.
LAYERS: dict[str, frozenset[str]] = {
    "base": frozenset(),
    "env": frozenset({"base"}),
    "reactor": frozenset({"base", "env"}),
    "bdev": frozenset({"base", "env"}),
    "virtio": frozenset({"base", "env"}),
    "device": frozenset({"base", "virtio", "bdev"}),
    "vhost_user": frozenset({"base", "virtio"}),
    "controller": frozenset({"base", "env", "reactor", "bdev", "virtio", "device", "vhost_user"}),
    "config": frozenset({"base", "env", "bdev", "device", "controller"}),
    "mgmt": frozenset({"base", "env", "reactor", "bdev", "device", "controller"}),
    "api": frozenset(
        {"base", "env", "reactor", "bdev", "virtio", "device", "controller", "config", "mgmt"}
    ),
}

# The programs: anything public, and of the library's inside only this.
APP_USES = frozenset({"base"})

# A public header is part of the layer that implements it.
PUBLIC_HEADERS = {"version.h": "base"}
PUBLIC_DEFAULT = "api"

# Python package folder -> top-level packages that must not be imported from there.
FORBIDDEN_IMPORTS: dict[str, frozenset[str]] = {
    "harness/vhostlab": frozenset({"avocado", "vhostlab_avocado", "vhostlab_perf"}),
    "harness/scenarios": frozenset({"avocado", "vhostlab_avocado", "vhostlab_perf"}),
    "harness/vhostlab_avocado": frozenset({"vhostlab_perf"}),
    "perf": frozenset({"avocado", "vhostlab", "vhostlab_avocado"}),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


@dataclass(frozen=True)
class Problem:
    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def includes(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, opening bracket, header) of each include directive."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if match := INCLUDE.match(text):
            yield number, match[1], match[2]


def c_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.[ch]") if p.is_file())


def may_include_dpdk(relative: Path) -> bool:
    return relative.parts[0] == "env" and relative.match("dpdk*.c")


def layer_of(header: str) -> str | None:
    """Return the layer a header belongs to, or None for one of the system's."""
    first, _, rest = header.partition("/")
    if first == "vhost_target":
        return PUBLIC_HEADERS.get(rest, PUBLIC_DEFAULT)
    return first if first in LAYERS else None


def check_include(
    header: str, bracket: str, layer: str, allowed: frozenset[str], lib: Path
) -> str | None:
    """Return what is wrong with one include of a file in `layer`, or None."""
    if header.rsplit("/", 1)[-1].startswith("rte_"):
        return f"<{header}>: only lib/env/dpdk*.c may include DPDK"
    used = layer_of(header)
    if bracket == '"':
        if "/" not in header:
            return f'"{header}": write it with its layer, as "{layer}/{header}"'
        if used is None:
            return f'"{header}": there is no layer {header.partition("/")[0]}'
        if not (lib / header).is_file():
            return f'"{header}": there is no such header'
    if used is not None and used not in allowed:
        can = ", ".join(sorted(allowed - {layer})) or "nothing of ours"
        return f"{layer} includes {header} of {used}; it may use {can}"
    return None


def check_library(lib: Path) -> Iterator[Problem]:
    for path in c_files(lib):
        relative = path.relative_to(lib)
        layer = relative.parts[0]
        if layer not in LAYERS:
            yield Problem(path, 1, f"lib/{layer} is no layer; the layers are {', '.join(LAYERS)}")
            continue
        allowed = LAYERS[layer] | {layer}
        if path.name.endswith("_test.c"):
            # A unit test runs on the posix environment, and on what the layers below it run on.
            allowed = allowed.union({"env"}, *(LAYERS[below] for below in allowed))
        for number, bracket, header in includes(path):
            if may_include_dpdk(relative) and header.startswith("rte_"):
                continue
            if message := check_include(header, bracket, layer, allowed, lib):
                yield Problem(path, number, message)


def check_programs(app: Path, lib: Path) -> Iterator[Problem]:
    for path in c_files(app):
        for number, bracket, header in includes(path):
            if header.startswith("vhost_target/"):
                continue
            if bracket == '"' and "/" not in header and (path.parent / header).is_file():
                continue  # a program's own header
            if message := check_include(header, bracket, "app", APP_USES | {"app"}, lib):
                yield Problem(path, number, message)


def check_public(include: Path) -> Iterator[Problem]:
    for path in c_files(include):
        for number, bracket, header in includes(path):
            inside = layer_of(header) is not None and not header.startswith("vhost_target/")
            if bracket == '"' or inside:
                yield Problem(path, number, f"a public header may not need {header}")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, top-level package) of each absolute import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def check_python(root: Path) -> Iterator[Problem]:
    for folder, forbidden in FORBIDDEN_IMPORTS.items():
        for path in sorted((root / folder).rglob("*.py")):
            for number, package in imported(path):
                if package in forbidden:
                    yield Problem(path, number, f"{folder} may not import {package}")


def check(root: Path) -> list[Problem]:
    lib = root / "target/lib"
    return [
        *check_library(lib),
        *check_programs(root / "target/app", lib),
        *check_public(root / "target/include"),
        *check_python(root),
    ]


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    if not c_files(root / "target/lib"):
        print("layers: target/lib holds no C source", file=sys.stderr)
        return 1
    problems = check(root)
    for problem in problems:
        print(Problem(problem.path.relative_to(root), problem.line, problem.message))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
