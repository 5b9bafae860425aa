# SPDX-License-Identifier: BSD-3-Clause
"""vhostlab: boots real guests on vhost-user storage targets and measures what they get."""
