# SPDX-License-Identifier: BSD-3-Clause
"""The command ``vhostlab``.

Exit status: 0 all well, 1 something failed, 2 bad input or something that is missing here.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vhostlab import bench, doctor, dryrun, matrix, vmtest
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.paths import source_dir
from vhostlab.qemu.attach import attach
from vhostlab.run import DEFAULT_SUITE, DEFAULT_TARGET, Request
from vhostlab.scenario import Options, registry, stage
from vhostlab.scenario.progress import Progress


class BadInput(HarnessError):
    """The command line asks for something that does not exist."""

    exit_status = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vhostlab", description="Boot guests on vhost-user storage targets and look at them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_vmtest(commands.add_parser("vmtest", help="boot guests, run scenarios, write a report"))
    _add_bench(commands.add_parser("bench", help="measure a target with fio alone, no guest"))
    console = commands.add_parser("console", help="connect to the console of a guest")
    console.add_argument("socket", type=Path, help="what --dry-run printed; Ctrl-] leaves")
    commands.add_parser("doctor", help="what this machine has and lacks for running guests")
    one = commands.add_parser("stage", help="run one stage in this process (what the runner calls)")
    one.add_argument("--name", required=True)
    one.add_argument("--run-dir", type=Path, required=True)
    one.add_argument("--target", required=True)
    one.add_argument("--matrix", type=Path, required=True)
    one.add_argument("--cell", action="append", default=[])
    one.add_argument("--scenario", action="append", required=True)
    one.add_argument("--brief", action="store_true")
    return parser


def _add_vmtest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="NAME",
        help=f"{' or '.join(targets.names())} (default: {DEFAULT_TARGET})",
    )
    parser.add_argument(
        "--suite",
        default="",
        metavar="NAME",
        help=f"{' or '.join(registry.SUITES)} (default: {DEFAULT_SUITE})",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="run this one instead of a suite; may be given several times",
    )
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="measurements: a name or a .toml file"
    )
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ID", help="only this cell of the matrix"
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where runs are kept (default: results)"
    )
    parser.add_argument("--list", action="store_true", help="list suites, scenarios and matrices")
    parser.add_argument(
        "--dry-run", action="store_true", help="boot the guest and leave it up for a person"
    )


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="NAME",
        help=f"{' or '.join(targets.names())} (default: {DEFAULT_TARGET})",
    )
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="a name or a .toml file (default: smoke)"
    )
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ID", help="only this cell of the matrix"
    )
    parser.add_argument(
        "--poll", action="store_true", help="fio spins for completions instead of sleeping"
    )
    parser.add_argument(
        "--verify",
        type=int,
        default=0,
        metavar="MIB",
        help="no matrix: fill a disk of that size per device type, read it back, compare checksums",
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where runs are kept (default: results)"
    )


def _bench(options: argparse.Namespace, console: Console) -> int:
    request = bench.Request(
        target=options.target,
        matrix=options.matrix,
        cells=tuple(options.cell),
        poll=options.poll,
        verify_mib=options.verify,
    )
    if request.verify_mib < 0 or (request.verify_mib and (request.matrix or request.cells)):
        raise BadInput("--verify takes a positive size and no matrix")
    _validate(request)
    return bench.run(request, options.results or source_dir() / "results", console)


def _validate(request: Request | bench.Request) -> None:
    """What a request names and does not exist is bad input."""
    try:
        request.validate()
    except Unavailable:
        raise
    except HarnessError as error:
        raise BadInput(error.message, error.hint) from error


def _list(console: Console) -> int:
    known = registry.load(stage.scenario_directory())
    lines = ["suites:"]
    for suite in registry.SUITES.values():
        lines += [f"  {suite.name:<12}{suite.summary}", f"  {'':<12}{' '.join(suite.scenarios)}"]
    lines.append("scenarios:")
    lines += [f"  {name:<12}{known[name].summary}" for name in sorted(known)]
    lines.append("matrices:")
    for path in sorted((source_dir() / "fio-jobs" / "matrix").glob("*.toml")):
        plan = matrix.load(path)
        lines.append(f"  {plan.name:<12}{plan.summary} ({len(plan.cells)} cells)")
    lines.append(f"targets:\n  {' '.join(targets.names())}")
    console.print(Text("\n".join(lines)), soft_wrap=True)
    return 0


def _vmtest(options: argparse.Namespace, console: Console) -> int:
    if options.list:
        return _list(console)
    request = Request(
        target=options.target,
        suite=options.suite,
        scenarios=tuple(options.scenario),
        matrix=options.matrix,
        cells=tuple(options.cell),
    )
    if request.suite and request.scenarios:
        raise BadInput("--suite and --scenario exclude each other", "give one of them")
    _validate(request)
    if options.dry_run:
        return asyncio.run(dryrun.run(request, console))
    return vmtest.run(request, options.results or source_dir() / "results", console)


async def _one_stage(options: argparse.Namespace) -> None:
    """Run a stage so that SIGTERM ends it as a Ctrl-C does: with everything cleaned up."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    known = registry.load(stage.scenario_directory())
    await stage.run(
        name=options.name,
        scenarios=registry.choose(known, options.scenario),
        target_name=options.target,
        options=Options(options.matrix, tuple(options.cell), options.brief),
        run_dir=options.run_dir,
        progress=Progress(options.run_dir),
    )


def _stage(options: argparse.Namespace) -> int:
    try:
        asyncio.run(_one_stage(options))
    except asyncio.CancelledError:
        return 1
    # how the scenarios ended is in the fragment; this status only says that there is one
    return 0


def _dispatch(options: argparse.Namespace, console: Console) -> int:
    match options.command:
        case "vmtest":
            return _vmtest(options, console)
        case "bench":
            return _bench(options, console)
        case "console":
            attach(options.socket)
            return 0
        case "doctor":
            return doctor.run(console)
        case _:
            return _stage(options)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    options = _parser().parse_args(argv)
    try:
        return _dispatch(options, Console(highlight=False))
    except HarnessError as error:
        print(f"vhostlab: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("vhostlab: interrupted", file=sys.stderr)
        return 1
