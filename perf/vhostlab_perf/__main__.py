# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf COMMAND``: what is made of the results of runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vhostlab_perf import publish_command, report_command

#: Modules with ``add(commands)``, which declares a command and its ``run(options)``.
COMMANDS = (report_command, publish_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 when the input cannot be read or the output not be written."""
    parser = argparse.ArgumentParser(prog="vhostlab_perf", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(argv)
    try:
        status: int = options.run(options)
        return status
    except KeyboardInterrupt:
        print("vhostlab_perf: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
