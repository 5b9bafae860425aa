# SPDX-License-Identifier: BSD-3-Clause
"""Judges what ``vhostlab ab`` measured: blocks.json to ab.json and a page."""
