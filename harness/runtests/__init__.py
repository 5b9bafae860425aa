# SPDX-License-Identifier: BSD-3-Clause
"""Whole runs with guests, and what becomes of them when something goes wrong outside of them."""
