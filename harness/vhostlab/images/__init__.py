# SPDX-License-Identifier: BSD-3-Clause
"""Guest images: built from recipes, kept in a content-addressed cache."""

from vhostlab.images.build import Image, build
from vhostlab.images.recipe import micro_recipe

__all__ = ["Image", "build", "micro_recipe"]
