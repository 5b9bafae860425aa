# SPDX-License-Identifier: BSD-3-Clause
"""Put the scripts of ci/ where their tests can import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
