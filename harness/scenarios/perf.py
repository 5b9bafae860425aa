# SPDX-License-Identifier: BSD-3-Clause
"""The measurements of a matrix file, each in the guest that it asks for."""

from __future__ import annotations

from vhostlab.measure.carry import carry
from vhostlab.scenario import HostContext, host_scenario

#: Everything in it has a deadline of its own; a matrix may take a night.
DEADLINE_S = 7 * 24 * 3600.0


@host_scenario("perf", deadline_s=DEADLINE_S, measures=True)
async def perf(ctx: HostContext) -> None:
    """Every cell of the matrix is measured in the guest that it asks for.

    Steps: group the cells by the guests and the start of the target they need; for each group start
    the target, boot the guests, run the fio job of each cell in them.
    Verify: processors, queues, rings and NUMA nodes are as asked for, guests that belong together
    run at the same time, fio reports I/O and no error, the kernels do not complain. What was
    measured is judged elsewhere.
    """
    await carry(ctx)
