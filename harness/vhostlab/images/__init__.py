# SPDX-License-Identifier: BSD-3-Clause
"""Guest images: built from recipes, kept in a content-addressed cache."""

from vhostlab.images.bootdisk import boot_disk
from vhostlab.images.build import build, cached, directory_of
from vhostlab.images.image import Image, verify
from vhostlab.images.recipe import DEFAULT_GUEST, load, micro_recipe, names, recipe_path
from vhostlab.images.windows import Media

__all__ = [
    "DEFAULT_GUEST",
    "Image",
    "Media",
    "boot_disk",
    "build",
    "cached",
    "directory_of",
    "load",
    "micro_recipe",
    "names",
    "recipe_path",
    "verify",
]
