# SPDX-License-Identifier: BSD-3-Clause
"""The list of measurements that a matrix file asks for.

Concepts: an *axis* is a parameter with several values; a *cell* is one combination of them. A
cell's id is a hash of its parameters alone, so the same measurement keeps its id whatever else the
file lists.

A matrix file is TOML::

    name = "smoke"
    runtime_s = 2
    ramp_s = 1                # optional: seconds of each job before it is measured
    strength = 2              # optional: not the whole product, but every pair of values in it

    [axes]
    device = ["blk", "scsi"]
    depth = [1, 32]

    [defaults]                # parameters that are no axes, and what [[report]] does not mention
    bdev = "null"

    [[exclude]]               # drop the cells that agree with every key
    device = "scsi"
    depth = 1

    [[when]]                  # cells that agree with `match` must also agree with `require`
    match = { device = "blk" }
    require = { depth = [32] }

    [[report]]                # cells that are in it whatever `strength` leaves out
    device = "blk"
    depth = [1, 4, 16, 32]

A value in a constraint is one value or a list of allowed ones.
"""

from vhostlab.matrix.cells import ESSENTIAL, PARAMETERS, Cell, MatrixError, Parameter, Value
from vhostlab.matrix.choose import (
    Boot,
    Choice,
    Host,
    LeftOut,
    Subject,
    boots,
    choose,
    guest_memory_mib,
    lacking,
)
from vhostlab.matrix.parse import Matrix, expand, load

__all__ = [
    "ESSENTIAL",
    "PARAMETERS",
    "Boot",
    "Cell",
    "Choice",
    "Host",
    "LeftOut",
    "Matrix",
    "MatrixError",
    "Parameter",
    "Subject",
    "Value",
    "boots",
    "choose",
    "expand",
    "guest_memory_mib",
    "lacking",
    "load",
]
