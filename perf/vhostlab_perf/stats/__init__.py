# SPDX-License-Identifier: BSD-3-Clause
"""The statistics of paired, interleaved comparisons: pure functions on numpy arrays.

Concepts: a *difference* is log(head / base) of one figure in one block, the unit of replication.
"""
