# SPDX-License-Identifier: BSD-3-Clause
"""The errors of the store: one line each, that says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used as asked: it is missing, of another revision, or out of reach."""


class BrokenResult(StoreError):
    """A run's directory does not hold a result that can be kept."""
