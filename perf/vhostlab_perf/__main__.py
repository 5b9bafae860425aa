# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf COMMAND``: what is made of the results of runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vhostlab_perf import db, publish_command, report_command
from vhostlab_perf.ab import command as ab
from vhostlab_perf.gate import cli as gate
from vhostlab_perf.reader import BadResult


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 when the input cannot be read or the output not be written."""
    parser = argparse.ArgumentParser(prog="vhostlab_perf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (report_command, publish_command, ab):
        command.add(commands)
    gate.add(commands.add_parser("gate", help="judge what vhostlab gate has measured"))
    # `vhostlab db` passes on what it was given, so mistakes in it are answered from here
    db.add(commands.add_parser("db", prog="vhostlab db", help="the results store"))
    options = parser.parse_args(argv)
    of_its_own = {"gate": gate.run, "db": db.run}
    run = of_its_own.get(options.command) or options.run
    try:
        status: int = run(options)
        return status
    except BadResult as error:
        print(f"vhostlab_perf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vhostlab_perf: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vhostlab_perf: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
