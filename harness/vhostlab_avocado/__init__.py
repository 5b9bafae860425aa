# SPDX-License-Identifier: BSD-3-Clause
"""Avocado plugins of vhostlab: thin, so that nothing else needs to know the runner."""
