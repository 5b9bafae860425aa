# SPDX-License-Identifier: BSD-3-Clause
"""``avocado variants --vhostlab-matrix smoke``: the cells of a matrix as Avocado's variants.

The option is not one of ``avocado run``: Avocado runs each test once for each variant, and one boot
of a guest serves many cells. ``vhostlab plan --recipe`` makes what it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from avocado.core import exit_codes
from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import CLI, Init, Varianter
from avocado.core.settings import settings
from avocado.core.tree import TreeNode
from avocado.core.varianter import variant_to_str
from vhostlab.errors import HarnessError
from vhostlab.matrix import Matrix, load
from vhostlab.run import Request

SETTING = "vhostlab.matrix"


class MatrixInit(Init):  # type: ignore[misc]
    """Avocado plugin: the setting behind the option."""

    name = "vhostlab-matrix"
    description = "The setting vhostlab.matrix"

    def initialize(self) -> None:
        settings.register_option(
            section="vhostlab",
            key="matrix",
            default=None,
            help_msg="Variants are the cells of this matrix: a name or a .toml file",
        )


class MatrixCLI(CLI):  # type: ignore[misc]
    """Avocado plugin: --vhostlab-matrix."""

    name = "vhostlab-matrix"
    description = "Option --vhostlab-matrix of the subcommand 'variants'"

    def configure(self, parser: Any) -> None:
        variants = parser.subcommands.choices.get("variants")
        if variants is not None:
            settings.add_argparser_to_option(
                namespace=SETTING, parser=variants, long_arg="--vhostlab-matrix", metavar="NAME"
            )

    def run(self, config: dict[str, Any]) -> None:
        """There is nothing to do."""


class MatrixVarianter(Varianter):  # type: ignore[misc]
    """Avocado plugin: one variant per cell, its id is the cell's."""

    name = "vhostlab-matrix"
    description = "The cells of a vhostlab matrix"

    def __init__(self) -> None:
        self._matrix: Matrix | None = None

    def initialize(self, config: dict[str, Any]) -> None:
        """Read the matrix, if one is named."""
        name = config.get(SETTING)
        if not name:
            return
        try:
            self._matrix = load(Request(matrix=name).matrix_file())
        except HarnessError as error:
            LOG_UI.error("vhostlab: %s", error)
            sys.exit(exit_codes.AVOCADO_FAIL)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for cell in self._matrix.cells if self._matrix else ():
            root = TreeNode()
            node = TreeNode(cell.id, dict(cell.params), parent=TreeNode("cell", parent=root))
            yield {"variant_id": cell.id, "variant": [node], "paths": ["/cell/*"]}

    def __len__(self) -> int:
        return len(self._matrix.cells) if self._matrix else 0

    def to_str(self, summary: int, variants: int, **kwargs: Any) -> str:
        """For people: the ids, and with ``variants`` above 1 the parameters."""
        if self._matrix is None:
            return ""
        lines = [f"matrix {self._matrix.name}: {self._matrix.summary}"] if summary else []
        if variants:
            lines.append(f"Variants of matrix {self._matrix.name} ({len(self)}):")
            for variant in self:
                lines += variant_to_str(variant, variants - 1, kwargs, False)
        return "\n".join(lines)
