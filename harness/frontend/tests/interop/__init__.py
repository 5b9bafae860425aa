# SPDX-License-Identifier: BSD-3-Clause
"""The library and vhost-bench against real back-ends."""
