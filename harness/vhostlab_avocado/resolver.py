# SPDX-License-Identifier: BSD-3-Clause
"""References: ``scenario:boot@qemu-storage-daemon``, ``scenario:boot+perf``, ``suite:vmtest``.

A reference becomes one runnable per stage, as the scenarios of a stage share a guest.
"""

from __future__ import annotations

from avocado.core.nrunner.runnable import Runnable
from avocado.core.plugin_interfaces import Resolver
from avocado.core.resolver import ReferenceResolution, ReferenceResolutionResult
from vhostlab.errors import HarnessError
from vhostlab.run import Request, parse_reference

KIND = "vm-scenario"


def runnables(request: Request) -> list[Runnable]:
    """What the request asks for, in the runner's terms."""
    return [
        Runnable(
            KIND,
            f"{'+'.join(stage.scenarios)}@{request.target}",
            stage=stage.name,
            target=request.target,
            suite=request.suite,
            scenarios=",".join(stage.scenarios),
            matrix=str(request.matrix_file()),
            cells=",".join(request.cells),
            brief="yes" if request.brief() else "",
            guest=request.guest,
        )
        for stage in request.stages()
    ]


class ScenarioResolver(Resolver):  # type: ignore[misc]
    """Avocado plugin: resolves references of the forms above and no others."""

    name = KIND
    description = "Scenarios of vhostlab: scenario:NAME[+NAME...][@TARGET] and suite:NAME[@TARGET]"

    def resolve(self, reference: str) -> ReferenceResolution:
        request = parse_reference(reference)
        if request is None:
            return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND)
        try:
            request.validate()
            found = runnables(request)
        except HarnessError as error:
            # CORRUPT ends the search: no other resolver is to guess at our references
            return ReferenceResolution(
                reference, ReferenceResolutionResult.CORRUPT, info=str(error)
            )
        return ReferenceResolution(reference, ReferenceResolutionResult.SUCCESS, found)
