# SPDX-License-Identifier: BSD-3-Clause
"""References: ``scenario:boot@qemu-storage-daemon``, ``scenario:boot+perf``, ``suite:vmtest``,
and ``run:DIRECTORY`` for what is missing in a run that ``vhostlab run`` has planned.

A reference becomes one runnable per stage, as the scenarios of a stage share a guest, and the cells
of a boot do.
"""

from __future__ import annotations

from pathlib import Path

from avocado.core.nrunner.runnable import Runnable
from avocado.core.plugin_interfaces import Resolver
from avocado.core.resolver import ReferenceResolution, ReferenceResolutionResult
from vhostlab import matrixrun, results
from vhostlab.errors import HarnessError
from vhostlab.run import RUNNABLE_KIND as KIND
from vhostlab.run import Request, parse_reference

__all__ = ["KIND", "ScenarioResolver", "runnables"]


def runnables(request: Request) -> list[Runnable]:
    """What the request asks for, in the runner's terms."""
    return [Runnable(KIND, request.uri(stage), **request.told(stage)) for stage in request.stages()]


def rest_of(run_dir: Path) -> list[Runnable]:
    """The stages of a planned run that are not done."""
    plan = results.read(results.Plan, run_dir / results.PLAN_FILE)
    found = []
    for stage in matrixrun.missing(plan, run_dir):
        request = matrixrun.Request(stage.target or plan.target, plan.matrix, stage.cells).stages()
        told = request.told(stage) | {"resume": "yes"}
        found.append(Runnable(KIND, f"{stage.name}@{request.target}", **told))
    return found


class ScenarioResolver(Resolver):  # type: ignore[misc]
    """Avocado plugin: resolves references of the forms above and no others."""

    name = KIND
    description = (
        "Scenarios of vhostlab: scenario:NAME[+NAME...][@TARGET], suite:NAME[@TARGET], "
        "run:DIRECTORY"
    )

    def resolve(self, reference: str) -> ReferenceResolution:
        kind, _, rest = reference.partition(":")
        request = parse_reference(reference)
        if request is None and kind != "run":
            return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND)
        try:
            if request is None:
                found = rest_of(Path(rest))
            else:
                request.validate()
                found = runnables(request)
        except HarnessError as error:
            # CORRUPT ends the search: no other resolver is to guess at our references
            return ReferenceResolution(
                reference, ReferenceResolutionResult.CORRUPT, info=str(error)
            )
        return ReferenceResolution(reference, ReferenceResolutionResult.SUCCESS, found)
