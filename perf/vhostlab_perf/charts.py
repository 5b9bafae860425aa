# SPDX-License-Identifier: BSD-3-Clause
"""The charts of the report, as SVG that is put into the page.

A chart is drawn twice, for a wide and for a narrow page, and CSS shows one of the two. Colours are
written as placeholders and replaced by CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from vhostlab_perf.reader import Cell

#: Placeholder colours and the CSS variables they become.
_INK, _FAINT = "#010101", "#020202"
_SERIES = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306")
_VARIABLES = {_INK: "--ink", _FAINT: "--line"} | {
    colour: f"--series-{n}" for n, colour in enumerate(_SERIES, start=1)
}

_PERCENTILES = (
    ("latency_p50", "50"),
    ("latency_p90", "90"),
    ("latency_p99", "99"),
    ("latency_p99_9", "99.9"),
    ("latency_p99_99", "99.99"),
)

#: Grid lines of a logarithmic axis of microseconds: whole powers of ten only.
_DECADES = tuple(10**n for n in range(8))
_SHORT = "datum.value == 0 ? '0' : format(datum.value, '~s')"
_DASHES = ((1, 0), (5, 4), (2, 2), (8, 3))

_FONT = "DejaVu Sans, Verdana, sans-serif"


@dataclass(frozen=True)
class Key:
    """One entry of a legend that the page draws itself: a coloured dot or a dashed line."""

    label: str
    colour: str = ""
    dashes: str = ""


@dataclass(frozen=True)
class Chart:
    """One figure in its two widths, both complete ``<svg>`` elements."""

    wide: str
    narrow: str
    legend: tuple[Key, ...] = ()


def _svg(chart: alt.TopLevelMixin, prefix: str) -> str:
    spec: dict[str, Any] = chart.to_dict()
    svg: str = vl_convert.vegalite_to_svg(spec)
    for colour, variable in _VARIABLES.items():
        svg = re.sub(re.escape(colour), f"var({variable})", svg, flags=re.IGNORECASE)
    # several drawings share one page, so their ids must differ
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    width, height = _size(svg)
    return re.sub(
        r"<svg ([^>]*?)width=\"[^\"]+\" height=\"[^\"]+\"",
        rf'<svg \1width="{width}" height="{height}" role="img"',
        svg,
        count=1,
    )


def _size(svg: str) -> tuple[str, str]:
    match = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    if match is None:
        raise ValueError("the chart has no size")
    return match[1], match[2]


def _styled(chart: Any) -> Any:
    return (
        chart.configure(font=_FONT, background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_INK,
            titleColor=_INK,
            domainColor=_FAINT,
            tickColor=_FAINT,
            gridColor=_FAINT,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_legend(
            labelColor=_INK,
            titleColor=_INK,
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_header(labelColor=_INK, labelFontSize=13, labelFontWeight="bold")
        .configure_text(color=_INK, fontSize=12)
    )


def _scale(values: Sequence[str]) -> alt.Scale:
    colours = [_SERIES[n % len(_SERIES)] for n in range(len(values))]
    return alt.Scale(domain=list(values), range=colours)


def _dashes(count: int) -> list[list[int]]:
    return [list(_DASHES[n % len(_DASHES)]) for n in range(count)]


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [
        {
            "cell": f"{cell.workload()}  {cell.series()}",
            "workload": cell.workload(),
            "device": str(cell.params.get("device", "disk")),
            "bdev": str(cell.params.get("bdev", "bdev")),
            "iops": cell.metrics["iops"],
            "shown": f"{cell.metrics['iops']:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
        }
        for cell in cells
        if "iops" in cell.metrics
    ]


def _iops(rows: Sequence[dict[str, Any]], width: int, label_above: bool) -> Any:
    order = [r["cell"] for r in rows]
    devices = _distinct([r["device"] for r in rows])
    top = max((float(r["iops"]) for r in rows), default=1.0)
    axis = None if label_above else alt.Axis(title=None, labelLimit=320, ticks=False, domain=False)
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("cell:N", sort=order, axis=axis, scale=alt.Scale(paddingInner=0.25))
    )
    # room for the number beside the longest bar
    x = alt.X(
        "iops:Q",
        scale=alt.Scale(domain=[0, top * (1.25 if label_above else 1.12)]),
        axis=alt.Axis(
            title="IOPS", labelExpr=_SHORT, tickCount=4 if label_above else 8, domain=False
        ),
    )
    offset = 7 if label_above else 0
    bars = base.mark_bar(size=12 if label_above else 15, yOffset=offset, cornerRadiusEnd=2).encode(
        x=x,
        color=alt.Color(
            "device:N", scale=_scale(devices), legend=alt.Legend(title=None, orient="top")
        ),
    )
    numbers = base.mark_text(align="left", dx=5, dy=offset).encode(x=x, text="shown:N")
    layers = [bars, numbers]
    if label_above:
        names = base.mark_text(align="left", dy=-8).encode(x=alt.value(0), text="cell:N")
        layers.append(names)
    return alt.layer(*layers).properties(width=width, height=alt.Step(36 if label_above else 22))


def iops(cells: Sequence[Cell]) -> Chart | None:
    """Bars of IOPS, one per cell; None when no cell has any."""
    rows = sorted(_rows(cells), key=lambda r: str(r["workload"]))
    if not rows:
        return None
    return Chart(
        wide=_svg(_styled(_iops(rows, 920, label_above=False)), "iops-wide"),
        narrow=_svg(_styled(_iops(rows, 330, label_above=True)), "iops-narrow"),
    )


def _latency(rows: Sequence[dict[str, Any]], columns: int, width: int) -> Any:
    order = [name for _, name in _PERCENTILES]
    bdevs = _distinct([str(r["bdev"]) for r in rows])
    devices = _distinct([str(r["device"]) for r in rows])
    lines = (
        alt.Chart()
        .mark_line(point=alt.OverlayMarkDef(size=36), strokeWidth=2)
        .encode(
            x=alt.X(
                "percentile:N",
                sort=order,
                axis=alt.Axis(title="percentile", labelAngle=0, grid=False),
                scale=alt.Scale(padding=0.3),
            ),
            y=alt.Y(
                "us:Q",
                scale=alt.Scale(type="log", nice=True),
                axis=alt.Axis(title="latency, \N{MICRO SIGN}s", values=list(_DECADES), format="~s"),
            ),
            color=alt.Color("bdev:N", scale=_scale(bdevs), legend=None),
            strokeDash=alt.StrokeDash(
                "device:N",
                scale=alt.Scale(domain=devices, range=_dashes(len(devices))),
                legend=None,
            ),
            detail="series:N",
        )
        .properties(width=width, height=190)
    )
    workloads = _distinct([str(r["workload"]) for r in rows])
    return lines.facet(
        facet=alt.Facet("workload:N", sort=workloads, title=None),
        data=alt.InlineData(values=list(rows)),
        columns=columns,
        spacing=24,
    ).resolve_axis(x="independent", y="independent")


def latency(cells: Sequence[Cell]) -> Chart | None:
    """Lines of latency over percentile, one panel per workload; None without percentiles."""
    rows: list[dict[str, Any]] = []
    for cell in sorted(cells, key=Cell.workload):
        for metric, name in _PERCENTILES:
            if cell.metrics.get(metric, 0) > 0:
                rows.append(
                    {
                        "workload": cell.workload(),
                        "series": cell.series(),
                        "device": str(cell.params.get("device", "disk")),
                        "bdev": str(cell.params.get("bdev", "bdev")),
                        "percentile": name,
                        "us": cell.metrics[metric] / 1000,
                    }
                )
    if not rows:
        return None
    bdevs = _distinct([str(r["bdev"]) for r in rows])
    devices = _distinct([str(r["device"]) for r in rows])
    colours = [_VARIABLES[_SERIES[n % len(_SERIES)]] for n in range(len(bdevs))]
    dashes = [" ".join(map(str, d)) for d in _dashes(len(devices))]
    return Chart(
        wide=_svg(_styled(_latency(rows, 3, 310)), "latency-wide"),
        narrow=_svg(_styled(_latency(rows, 1, 300)), "latency-narrow"),
        legend=(
            *(Key(b, colour=c) for b, c in zip(bdevs, colours, strict=True)),
            *(Key(d, dashes=s) for d, s in zip(devices, dashes, strict=True)),
        ),
    )
