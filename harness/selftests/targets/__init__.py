# SPDX-License-Identifier: BSD-3-Clause
"""Tests of single targets, and stand-ins for what they drive."""
