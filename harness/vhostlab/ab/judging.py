# SPDX-License-Identifier: BSD-3-Clause
"""Has the judge look at the blocks. It is a program of its own and knows nothing of us."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.process import output_of

AB_FILE = "ab.json"
PAGE_FILE = "ab.html"
AA_FILE = "aa.json"
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Answer:
    """What the judge said."""

    verdict: str
    reason: str
    action: str
    blocks: int
    cells: tuple[str, ...]
    document: dict[str, Any]


async def _judge(*words: str) -> None:
    argv = [sys.executable, "-m", "vhostlab_perf", *words]
    try:
        await output_of(argv, DEADLINE_S, {"OPENBLAS_NUM_THREADS": "1"})
    except Unavailable:
        raise
    except HarnessError as error:
        raise HarnessError(f"the blocks were not judged: {error.message}") from error


async def judge(directory: Path, qualification: Path, gates: Path | None) -> Answer:
    """Judge the blocks of a directory; ab.json and the page lie there afterwards."""
    words = ["ab", str(directory / "blocks.json"), "-o", str(directory)]
    words += ["--qualification", str(qualification)]
    words += ["--gates", str(gates)] if gates else []
    await _judge(*words)
    document = json.loads((directory / AB_FILE).read_text())
    wish = document["next"]
    return Answer(
        verdict=document["verdict"],
        reason=document["reason"],
        action=wish["action"],
        blocks=wish["blocks"],
        cells=tuple(wish["cells"]),
        document=document,
    )


async def qualify(runs: Sequence[Path], output: Path, gates: Path | None) -> dict[str, Any]:
    """Make the runner's qualification of A/A runs."""
    words = ["aa", *(str(r / "blocks.json") for r in runs), "-o", str(output)]
    words += ["--gates", str(gates)] if gates else []
    await _judge(*words)
    document: dict[str, Any] = await asyncio.to_thread(lambda: json.loads(output.read_text()))
    return document


def keep(source: Path, to: Path) -> None:
    """Replace the runner's qualification in one step."""
    to.parent.mkdir(parents=True, exist_ok=True)
    fresh = to.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(source.read_bytes())
    fresh.replace(to)
