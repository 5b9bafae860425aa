# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab``: the same as the command ``vhostlab``."""

import sys

from vhostlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
