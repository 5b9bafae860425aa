# SPDX-License-Identifier: BSD-3-Clause
"""The report as PDF: page numbers, contents, charts as vector graphics."""

from __future__ import annotations

from typing import Any

from vhostlab_perf.report import Report, render


def _refuse(url: str, *_: Any, **__: Any) -> Any:
    """The page needs nothing from outside; whatever asks for it got in with somebody's text."""
    raise ValueError(f"the report refers to {url}")


def make(report: Report) -> bytes:
    """The same content as the page."""
    # slow to import, and only needed here
    import weasyprint  # type: ignore[import-untyped]

    page = weasyprint.HTML(string=render(report, paper=True), url_fetcher=_refuse)
    made: bytes = page.write_pdf()
    return made
