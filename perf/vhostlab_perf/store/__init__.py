# SPDX-License-Identifier: BSD-3-Clause
"""The results store: every run that was imported, in SQLite or PostgreSQL.

``engine`` opens it, ``load`` fills it, ``query`` asks it. docs/RESULTS.md has the tables in words.
"""

from vhostlab_perf.store.engine import Store, chosen_url, opened, url_of
from vhostlab_perf.store.errors import BrokenResult, StoreError

__all__ = ["BrokenResult", "Store", "StoreError", "chosen_url", "opened", "url_of"]
