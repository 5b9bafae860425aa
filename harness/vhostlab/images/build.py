# SPDX-License-Identifier: BSD-3-Clause
"""From a recipe to a bootable image in the cache.

``images/<name>-<id>/`` holds the files of an image and its manifest.json; the id is a hash of the
recipe, the seed files and all that is fetched. ``images/by-recipe/<digest>`` names the newest image
of a recipe, so a second run looks at nothing else and needs no network.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from vhostlab import paths
from vhostlab.images import image as images
from vhostlab.images.cloud import CloudBuilder
from vhostlab.images.debian import DebianBuilder
from vhostlab.images.image import Image
from vhostlab.images.lock import locked
from vhostlab.images.micro import MicroBuilder
from vhostlab.images.progress import Progress, Silent
from vhostlab.images.recipe import (
    FORMAT,
    CloudRecipe,
    DebianRecipe,
    MicroRecipe,
    Recipe,
    WindowsRecipe,
    load,
    micro_recipe,
)
from vhostlab.images.windows import Media, WindowsBuilder


class Builder(Protocol):
    """Makes the image of one recipe."""

    async def identity(self) -> str:
        """The id of the image, after a look at what it would be made of."""
        ...

    async def fill(self, new: Path) -> dict[str, Any]:
        """Write the files of the image; return what the manifest is to say about them."""
        ...


async def build(
    recipe: Path | None = None,
    cache_dir: Path | None = None,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
    media: Media | None = None,
) -> Image:
    """The image of a recipe (the micro guest's by default), out of the cache or newly built.

    ``refresh`` asks for newer packages although there is an image. ``media``: what a guest that
    is made from the user's discs is to be made from; it is made anew when they are given.
    """
    wanted = load(recipe or micro_recipe())
    root = _root(cache_dir)
    root.mkdir(parents=True, exist_ok=True)
    refresh = refresh or media is not None
    if not refresh and (image := _cached(wanted, root)):
        return image
    async with locked(root / f"{wanted.name}.lock", f"the build of the {wanted.name} image"):
        if not refresh and (image := _cached(wanted, root)):
            return image
        return await _build(wanted, root, progress or Silent(), media or Media())


def cached(recipe: Path, cache_dir: Path | None = None) -> Image | None:
    """The image of a recipe if it has been built; nothing is fetched."""
    return _cached(load(recipe), _root(cache_dir))


def directory_of(recipe: Path, cache_dir: Path | None = None) -> Path | None:
    """Where the image of a recipe is, whole or not; None when it was never built."""
    return _directory(load(recipe), _root(cache_dir))


def _directory(recipe: Recipe, root: Path) -> Path | None:
    try:
        identity = (root / "by-recipe" / recipe.digest).read_text().strip()
    except OSError:
        return None
    return root / f"{recipe.name}-{identity}"


def _root(cache_dir: Path | None) -> Path:
    return (cache_dir or paths.cache_dir()) / "images"


def _cached(recipe: Recipe, root: Path) -> Image | None:
    directory = _directory(recipe, root)
    try:
        return None if directory is None else images.load(directory)
    except (OSError, json.JSONDecodeError, KeyError):
        return None


def _builder(recipe: Recipe, cache: Path, work: Path, progress: Progress, media: Media) -> Builder:
    match recipe:
        case MicroRecipe():
            return MicroBuilder(recipe, cache, progress)
        case DebianRecipe():
            return DebianBuilder(recipe, work, progress)
        case CloudRecipe():
            return CloudBuilder(recipe, cache, work, progress)
        case WindowsRecipe():
            return WindowsBuilder(recipe, media, work, progress)


async def _build(recipe: Recipe, root: Path, progress: Progress, media: Media) -> Image:
    with tempfile.TemporaryDirectory(prefix=".new-", dir=root) as work:
        builder = _builder(recipe, root.parent, Path(work), progress, media)
        identity = await builder.identity()
        final = root / f"{recipe.name}-{identity}"
        if images.verify(final):
            new = Path(work) / "image"
            new.mkdir()
            manifest = {
                "format": FORMAT,
                "kind": recipe.kind,
                "name": recipe.name,
                "id": identity,
                "recipe_sha256": recipe.digest,
                "memory_mib": recipe.memory_mib,
                "tcg_qemu": recipe.tcg_qemu,
                "firmware": "bios",
                **await builder.fill(new),
                **images.describe(new),
            }
            text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
            (new / images.MANIFEST).write_text(text)
            shutil.rmtree(final, ignore_errors=True)
            new.rename(final)
    index = root / "by-recipe"
    index.mkdir(exist_ok=True)
    fresh = index / f".{recipe.digest}.{os.getpid()}"
    fresh.write_text(identity + "\n")
    fresh.rename(index / recipe.digest)
    return images.load(final)
