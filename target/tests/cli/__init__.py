# SPDX-License-Identifier: BSD-3-Clause
"""The daemon and vhostctl as an operator meets them: command line, files, messages, exit status."""
