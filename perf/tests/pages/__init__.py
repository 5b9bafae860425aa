# SPDX-License-Identifier: BSD-3-Clause
"""Tests of pages: reports and the site."""
