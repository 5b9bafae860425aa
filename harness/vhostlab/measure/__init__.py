# SPDX-License-Identifier: BSD-3-Clause
"""Measures cells of a matrix through guests.

Concepts: cells that need the same guest and the same start of the target are one *boot*
(``matrix.boots``), and each boot is one stage of the run. ``plan`` divides, ``placement`` gives
cores, ``layout`` says which disks and which VM, ``verify`` looks whether the guest is what was
asked for, ``cell`` has fio measure one cell in one guest or in several at once, ``carry`` does all
that for the stage.
"""

from vhostlab.measure.metrics import metrics

__all__ = ["metrics"]
