# SPDX-License-Identifier: BSD-3-Clause
"""What happens in a run, one JSON line per event, for whoever watches.

The stages are processes of their own; the file ``progress.jsonl`` of the run is how they tell.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.results import PROGRESS_FILE


@dataclass(frozen=True)
class Progress:
    """Appends events. Lines of several processes do not mix: each is one small write."""

    run_dir: Path

    def emit(self, event: str, **facts: Any) -> None:
        """Write one event down."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        with (self.run_dir / PROGRESS_FILE).open("a") as file:
            file.write(line + "\n")


class Follower:
    """Reads the events that came since it last looked."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / PROGRESS_FILE
        self._offset = 0

    def skip(self) -> None:
        """Only what comes from now on."""
        for _ in self.news():
            pass

    def news(self) -> Iterator[dict[str, Any]]:
        """Every whole line that is new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)
