# SPDX-License-Identifier: BSD-3-Clause
"""Judges and reports results. Reads ``result.json`` and imports nothing of the harness."""
