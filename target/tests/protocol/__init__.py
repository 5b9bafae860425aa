# SPDX-License-Identifier: BSD-3-Clause
"""Protocol tests: a small front-end in Python against the real daemon over a real socket."""
