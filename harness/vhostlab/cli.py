# SPDX-License-Identifier: BSD-3-Clause
"""The command ``vhostlab``.

Exit status: 0 all well, 1 something failed, 2 bad input or something that is missing here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from rich.console import Console

from vhostlab.commands import COMMANDS
from vhostlab.errors import HarnessError

VALUES_WITH_A_DASH = ("--base-options", "--head-options")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vhostlab", description="Boot guests on vhost-user storage targets and look at them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"vhostlab.commands.{name}")
        text = getattr(module, "HELP", None)
        shown = {"help": text, "description": f"{text[0].upper()}{text[1:]}."} if text else {}
        sub = commands.add_parser(name.replace("_", "-"), **shown)
        module.add(sub)
        sub.set_defaults(run=module.run)
    return parser


def _joined(words: Sequence[str]) -> list[str]:
    """``--head-options -Dx=y`` as one word: argparse takes a value with a dash for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in VALUES_WITH_A_DASH:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    options = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    try:
        status: int = options.run(options, Console(highlight=False))
        return status
    except HarnessError as error:
        print(f"vhostlab: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        # a full disk, a place that cannot be written to: the system has said all there is
        where = f"{error.filename}: " if error.filename else ""
        print(f"vhostlab: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vhostlab: interrupted", file=sys.stderr)
        return 1
