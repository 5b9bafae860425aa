# SPDX-License-Identifier: BSD-3-Clause
"""The report as PDF: page numbers, contents, charts as vector graphics."""

from __future__ import annotations

import logging
from typing import Any

from vhostlab_perf.report import Report, render


def make(report: Report) -> bytes:
    """The same content as the page."""
    # slow to import, and only needed here
    import weasyprint  # type: ignore[import-untyped]
    from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]

    class Refuse(URLFetcher):  # type: ignore[misc]
        """The page needs nothing from outside; what asks for it got in with somebody's text."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            raise ValueError(f"the report refers to {url}")

    # it warns of every property that is for screens only
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    page = weasyprint.HTML(string=render(report, paper=True), url_fetcher=Refuse())
    made: bytes = page.write_pdf()
    return made
