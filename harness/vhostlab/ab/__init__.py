# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ab``: two builds of the target, measured in turns; judged elsewhere.

Concepts: an *arm* is one of the two builds, base (A) or head (B). A *block* is a fresh daemon of
each, every cell measured on both in turns; it is the unit of replication. What comes out is
blocks.json (docs/ab-blocks.schema.json), which the judge (``python -m vhostlab_perf ab``) turns
into ab.json (docs/ab.schema.json), a page, and the wish for more blocks.
"""
