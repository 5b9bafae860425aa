# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf gate DIR``: judge what ``vhostlab gate`` left in a directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vhostlab_perf.gate import rules, verdict


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="with facts.json")
    parser.add_argument(
        "--rules", type=Path, required=True, metavar="DIR", help="with gates.toml, coverage.json"
    )


def run(options: argparse.Namespace) -> int:
    """Exit status 0 whatever the verdict is, 2 if there is none."""
    try:
        verdict.judge(options.directory, options.rules)
    except (rules.BadRules, verdict.BadInput) as error:
        print(f"vhostlab_perf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vhostlab_perf: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0
