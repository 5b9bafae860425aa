# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf report result.json [-o report.html]``"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vhostlab_perf import reader, report
from vhostlab_perf.gate import cli as gate


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 when the input cannot be read or the page not be written."""
    parser = argparse.ArgumentParser(prog="vhostlab_perf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("report", help="make a page of a result.json")
    make.add_argument("result", type=Path, help="result.json of a run")
    make.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the page to write (default: report.html beside the result)",
    )
    gate.add(commands.add_parser("gate", help="judge what vhostlab gate has measured"))
    options = parser.parse_args(argv)
    if options.command == "gate":
        return gate.run(options)
    output: Path = options.output or options.result.with_name("report.html")
    try:
        report.write(reader.read(options.result), output)
    except reader.BadResult as error:
        print(f"vhostlab_perf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vhostlab_perf: cannot write {output}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
