# SPDX-License-Identifier: BSD-3-Clause
"""Judges what ``vhostlab gate`` has measured.

``rules``    perf/gates.toml and perf/coverage.json
``work``     T0: counted work per request
``tiers``    every tier's verdict, from the files that the measuring left
``verdict``  the one verdict, gate.json, gate.html
"""
