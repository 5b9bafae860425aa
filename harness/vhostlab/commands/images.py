# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab images``: the guest images, what there is of them, and making them."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vhostlab import images
from vhostlab.commands.common import BadInput
from vhostlab.errors import HarnessError
from vhostlab.images.progress import Progress, Shown, Silent
from vhostlab.qemu import newer

HELP = "list, build and verify guest images"

MIB = 1024 * 1024


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("list", "build", "verify"))
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="images, or recipe files; without: list and verify all, build the micro guest",
    )
    parser.add_argument("--json", action="store_true", help="for programs, on standard output")
    parser.add_argument(
        "--refresh", action="store_true", help="build: with the newest packages or cloud image"
    )

    windows = parser.add_argument_group("build of windows guests")
    windows.add_argument("--iso", type=Path, metavar="FILE", help="your installation disc")
    windows.add_argument("--iso-sha256", default="", metavar="SUM", help="what it is to have")
    windows.add_argument("--virtio-win", type=Path, metavar="FILE", help="the disc of the drivers")
    windows.add_argument(
        "--tool",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="fio's .msi or diskspd.exe; may be given several times",
    )
    windows.add_argument(
        "--product-key", default="", metavar="KEY", help="not for evaluation discs"
    )
    windows.add_argument("--firmware", choices=("bios", "uefi"), help="default: the recipe's")


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    recipes = _recipes(options.names)
    match options.action:
        case "list":
            return _list(recipes, options.json, console)
        case "verify":
            return _verify(recipes, bool(options.names), options.json, console)
    if not options.names:
        recipes = [images.micro_recipe()]
    return _build(recipes, options, console)


def _recipes(names: Sequence[str]) -> list[Path]:
    try:
        recipes = [images.recipe_path(name) for name in names or images.names()]
        for recipe in recipes:
            images.load(recipe)
    except HarnessError as error:
        raise BadInput(error.message, error.hint) from error
    return recipes


def _described(recipe: Path) -> dict[str, Any]:
    wanted = images.load(recipe)
    image = images.cached(recipe)
    row: dict[str, Any] = {
        "name": wanted.name,
        "kind": wanted.kind,
        "summary": wanted.summary,
        "built": image is not None,
    }
    if image is not None:
        row |= {
            "id": image.id,
            "directory": str(image.directory),
            "bytes": sum(image.manifest["sizes"].values()),
            "kernel": image.manifest.get("kernel_version"),
        }
    return row


def _list(recipes: Sequence[Path], as_json: bool, console: Console) -> int:
    rows = [_described(recipe) for recipe in recipes]
    if as_json:
        _print_json(rows)
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "built", "size", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for row in rows:
        size = f"{row['bytes'] // MIB} MiB" if row["built"] else ""
        table.add_row(row["name"], row["kind"], row.get("id", "no"), size, row["summary"])
    console.print(table)
    return 0


def _verify(recipes: Sequence[Path], named: bool, as_json: bool, console: Console) -> int:
    """Compare the files of built images with the checksums of their manifests."""
    rows: list[dict[str, Any]] = []
    for recipe in recipes:
        directory = images.directory_of(recipe)
        name = images.load(recipe).name
        if directory is None:
            if named:
                rows.append({"name": name, "ok": False, "wrong": ["it was not built yet"]})
            continue
        wrong = images.verify(directory)
        rows.append({"name": name, "ok": not wrong, "wrong": wrong})
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            line = Text("ok       " if row["ok"] else "changed  ")
            console.print(line.append(f"{row['name']} {'; '.join(row['wrong'])}"), soft_wrap=True)
        if not rows:
            console.print("no image has been built yet")
    return 0 if all(row["ok"] for row in rows) else 1


def _build(recipes: Sequence[Path], options: argparse.Namespace, console: Console) -> int:
    media = _media(options)
    strange = [r.name for r in map(images.load, recipes) if r.kind != "windows"]
    if media is not None and strange:
        raise BadInput(f"{strange[0]} is not made from a disc", "leave the options for Windows out")

    async def each(progress: Progress) -> None:
        for recipe in recipes:
            image = await images.build(
                recipe, refresh=options.refresh, progress=progress, media=media
            )
            # Whoever builds it now wants no other work when it is to be booted.
            await newer.ensure(image, "tcg", progress)

    if options.json:
        asyncio.run(each(Silent()))
        _print_json([_described(recipe) for recipe in recipes])
        return 0
    with Shown(console) as progress:
        asyncio.run(each(progress))
    for recipe in recipes:
        row = _described(recipe)
        console.print(Text(f"{row['name']} {row['id']} {row['directory']}"), soft_wrap=True)
    return 0


def _media(options: argparse.Namespace) -> images.Media | None:
    media = images.Media(
        iso=options.iso,
        iso_sha256=options.iso_sha256,
        virtio_win=options.virtio_win,
        tools=tuple(options.tool),
        product_key=options.product_key,
        firmware=options.firmware or "",
    )
    return None if media == images.Media() else media


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
