# SPDX-License-Identifier: BSD-3-Clause
"""Draws charts as SVG that is put into a page.

A chart is drawn for each *layout* that is needed: wide and narrow screens, where CSS shows one of
the two, and paper. Colours are written as placeholders; on a screen they become CSS variables, so
that one drawing serves light and dark, on paper what these variables stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

#: Placeholder colours and the CSS variables they become.
_INK, _FAINT = "#010101", "#020202"
_COLOURS = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306")
VARIABLES = {_INK: "--ink", _FAINT: "--line"} | {
    colour: f"--series-{n}" for n, colour in enumerate(_COLOURS, start=1)
}

_FONT = "DejaVu Sans, Verdana, sans-serif"
_SHORT = "abs(datum.value) < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"
_DASHES = ((1, 0), (5, 4), (2, 2), (8, 3))
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

#: Longer names would leave no room for the drawing; the table has all of them.
LONGEST_NAME = 48


@dataclass(frozen=True)
class Layout:
    """For what width a chart is drawn, and how many bars and panels one drawing may have."""

    name: str
    width: int
    columns: int
    panel: int
    label_above: bool
    bars: int
    panels: int

    def panel_width(self, count: int) -> int:
        """Few panels may be broader."""
        return self.panel if count >= self.columns else min(self.width // count - 70, 640)


WIDE = Layout("wide", 1140, 3, 310, False, 60, 12)
NARROW = Layout("narrow", 330, 1, 268, True, 60, 12)
#: A page of paper has no room for more, and half a page is not to be left empty too often.
PAPER = Layout("paper", 660, 2, 262, True, 12, 4)
SCREEN = (WIDE, NARROW)


@dataclass(frozen=True)
class Key:
    """One entry of a legend that the page draws itself."""

    label: str
    colour: str = ""
    dashes: str = ""


@dataclass(frozen=True)
class Point:
    """One point of a line."""

    panel: str
    series: str
    x: float | str
    y: float
    low: float | None = None
    high: float | None = None
    kind: str = ""
    """Lines of one series that differ in this are told apart by their dashes."""


@dataclass(frozen=True)
class Bar:
    """One bar."""

    name: str
    group: str
    value: float
    shown: str
    low: float | None = None
    high: float | None = None
    panel: str = ""
    """Bars of one panel stand together, where there are panels."""


@dataclass(frozen=True)
class Chart:
    """A drawing; for some layouts in several parts, each of which fits a page."""

    parts: Callable[[Layout], Sequence[Any]]
    legend: tuple[Key, ...] = ()

    def draw(self, layout: Layout, prefix: str) -> tuple[str, ...]:
        """The parts as ``<svg>`` elements with placeholder colours and ids of their own."""
        return tuple(
            _svg(_styled(part), f"{prefix}-{layout.name}-{n}")
            for n, part in enumerate(self.parts(layout))
        )


def coloured(text: str, colours: Mapping[str, str] | None = None) -> str:
    """Put CSS variables in the place of placeholders, or what these stand for."""
    for colour, variable in VARIABLES.items():
        value = colours[variable] if colours else f"var({variable})"
        text = re.sub(re.escape(colour), value, text, flags=re.IGNORECASE)
    return text


def _svg(chart: alt.TopLevelMixin, prefix: str) -> str:
    # Altair's check of a specification takes longer than making it, and Vega-Lite checks it too
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
    # several drawings share one page, so their ids must differ
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    if size is None:
        raise ValueError("the chart has no size")
    return re.sub(
        r"<svg ([^>]*?)width=\"[^\"]+\" height=\"[^\"]+\"",
        # the figure around it has its name and its table: a reader need not spell out the strokes
        rf'<svg \1width="{size[1]}" height="{size[2]}" aria-hidden="true" focusable="false"',
        svg,
        count=1,
    )


def _styled(chart: Any) -> Any:
    return (
        chart.configure(font=_FONT, background="transparent", padding=2, aria=False)
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
        .configure_header(labelColor=_INK, labelFontSize=13, labelFontWeight="bold", labelLimit=300)
        .configure_text(color=_INK, fontSize=12)
    )


def _colour(n: int) -> str:
    return _COLOURS[n % len(_COLOURS)]


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def short(name: str) -> str:
    """A name that leaves room for the drawing: its middle is cut out."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _bars(
    rows: Sequence[Mapping[str, Any]], groups: list[str], title: str, top: float, lay: Layout
) -> Any:
    panels = _distinct([r["panel"] for r in rows])
    many = len(panels) > 1
    above = lay.label_above or many
    axis = None if above else alt.Axis(title=None, labelLimit=340, ticks=False, domain=False)
    data = alt.InlineData(values=list(rows))
    sort = alt.EncodingSortField(field="order", op="min")
    base = (alt.Chart() if many else alt.Chart(data)).encode(
        y=alt.Y("name:N", sort=sort, axis=axis, scale=alt.Scale(paddingInner=0.25))
    )
    # room for the number beside the longest bar; panels, each with its own scale, have it above
    room = top * (1.3 if above else 1.15)
    x = alt.X(
        "value:Q",
        scale=alt.Scale(zero=True) if many else alt.Scale(domain=[0, room]),
        axis=alt.Axis(title=title, labelExpr=_SHORT, tickCount=4 if above else 8, domain=False),
    )
    offset = 7 if above else 0
    scale = alt.Scale(domain=groups, range=[_colour(n) for n in range(len(groups))])
    bars = base.mark_bar(size=12 if above else 15, yOffset=offset, cornerRadiusEnd=2).encode(
        x=x, color=alt.Color("group:N", scale=scale, legend=None)
    )
    spread = base.mark_rule(color=_INK, yOffset=offset, strokeWidth=1.5).encode(
        x=alt.X("low:Q"), x2="high:Q"
    )
    numbers = base.mark_text(align="left", dx=6, dy=offset).encode(
        x=alt.X("high:Q"), text="shown:N"
    )
    layers = [bars, spread, *([] if many else [numbers])]
    if above:
        names = base.mark_text(align="left", dy=-8, limit=lay.width - 10).encode(
            x=alt.value(0), text="both:N" if many else "name:N"
        )
        layers.append(names)
    drawn = alt.layer(*layers)
    if many:
        width = lay.panel_width(len(panels))
        return (
            drawn.properties(width=width, height=alt.Step(36))
            .facet(
                facet=alt.Facet("panel:N", sort=panels, title=None),
                data=data,
                columns=lay.columns,
                spacing=24,
            )
            .resolve_scale(x="independent", y="independent")
        )
    longest = max(len(str(r["name"])) for r in rows)
    width = lay.width if above else lay.width - min(7 * longest, 340) - 30
    return drawn.properties(width=width, height=alt.Step(36 if above else 22))


def _chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[n : n + size] for n in range(0, len(values), size)]


def bars(found: Sequence[Bar], title: str) -> Chart | None:
    """Horizontal bars; None when there is nothing to draw."""
    if not found:
        return None
    groups = _distinct([short(b.group) for b in found])
    seen: dict[tuple[str, str], int] = {}
    rows: list[dict[str, Any]] = []
    for bar in found:
        name = short(bar.name)
        nth = seen[bar.panel, name] = seen.get((bar.panel, name), 0) + 1
        rows.append(
            {
                # two bars of one name would be drawn over each other
                "name": name if nth == 1 else f"{name} ({nth})",
                "panel": short(bar.panel),
                "both": f"{name}: {bar.shown}",
                "order": len(rows),
                "group": short(bar.group),
                "value": bar.value,
                "shown": bar.shown,
                "low": bar.value if bar.low is None else bar.low,
                "high": bar.value if bar.high is None else bar.high,
            }
        )
    legend = tuple(Key(g, colour=_colour(n)) for n, g in enumerate(groups))
    panels = _distinct([r["panel"] for r in rows])

    def chunks(lay: Layout) -> list[Sequence[Any]]:
        if len(panels) < 2:
            return _chunks(rows, lay.bars)
        return [[r for r in rows if r["panel"] in c] for c in _chunks(panels, lay.panels)]

    # one scale for all parts, so that their bars can be compared
    top = max(max(b["value"], b["high"]) for b in rows) or 1.0
    return Chart(
        parts=lambda lay: [_bars(c, groups, title, top, lay) for c in chunks(lay)],
        legend=legend if len(groups) > 1 else (),
    )


@dataclass(frozen=True)
class Axis:
    """How a number is laid out along an axis."""

    title: str
    log: bool = False
    """Values above 0 on a logarithmic axis, else a linear one that begins at 0."""
    names: tuple[str, ...] = ()
    """Not a number at all: these, in this order."""
    ticks: tuple[float, ...] = ()
    time: bool = False

    def encode(self, kind: type[Any], field: str) -> Any:
        """The Altair channel."""
        plain = alt.Axis(title=self.title, labelExpr=_SHORT, tickCount=5)
        if self.names:
            axis = alt.Axis(title=self.title, labelAngle=0, grid=False)
            scale = alt.Scale(padding=0.3)
            return kind(f"{field}:N", sort=list(self.names), axis=axis, scale=scale)
        if self.time:
            axis = alt.Axis(
                title=self.title, labelAngle=0, grid=False, tickCount=4, format="%m-%d %H:%M"
            )
            return kind(f"{field}:T", axis=axis, scale=alt.Scale(padding=10, type="utc"))
        if self.log:
            base = 2 if self.ticks else 10
            ticks = self.ticks or tuple(10.0**n for n in range(-3, 13))
            axis = alt.Axis(
                title=self.title, values=list(ticks), labelExpr=_SHORT, labelOverlap=True
            )
            scale = alt.Scale(type="log", base=base, nice=not self.ticks, padding=8)
            return kind(f"{field}:Q", axis=axis, scale=scale)
        if self.ticks:
            plain = alt.Axis(title=self.title, values=list(self.ticks), labelOverlap=True)
        return kind(f"{field}:Q", axis=plain, scale=alt.Scale(zero=True, nice=True))


@dataclass(frozen=True)
class _Look:
    """What the series and kinds of a chart look like, the same in all of its parts."""

    series: list[str]
    kinds: list[str]

    def key(self, point: Point) -> dict[str, Any]:
        n = self.series.index(short(point.series))
        k = self.kinds.index(point.kind) if len(self.kinds) > 1 else n // len(_COLOURS)
        return {"colour": n, "dash": k % len(_DASHES), "shape": n % len(_SHAPES)}

    def legend(self) -> tuple[Key, ...]:
        many = len(self.kinds) > 1
        names = [
            Key(
                s,
                colour=_colour(n),
                dashes="" if many else " ".join(map(str, _DASHES[n // 6 % len(_DASHES)])),
            )
            for n, s in enumerate(self.series)
        ]
        kinds = [
            Key(k, dashes=" ".join(map(str, _DASHES[n % len(_DASHES)])))
            for n, k in enumerate(self.kinds)
        ]
        return (*names, *(kinds if many else ()))


def _lines(rows: Sequence[Mapping[str, Any]], x: Axis, y: Axis, lay: Layout) -> Any:
    def scale(field: str, values: Sequence[Any]) -> alt.Scale:
        used = sorted({r[field] for r in rows})
        return alt.Scale(domain=used, range=[values[n % len(values)] for n in used])

    base = alt.Chart().encode(
        x=x.encode(alt.X, "x"),
        color=alt.Color("colour:N", scale=scale("colour", _COLOURS), legend=None),
        detail=["series:N", "kind:N"],
    )
    up = y.encode(alt.Y, "y")
    line = base.mark_line(strokeWidth=2).encode(
        y=up,
        order="order:Q",
        strokeDash=alt.StrokeDash(
            "dash:N", scale=scale("dash", [list(d) for d in _DASHES]), legend=None
        ),
    )
    points = base.mark_point(filled=True, size=44, opacity=1).encode(
        y=up,
        shape=alt.Shape("shape:N", scale=scale("shape", _SHAPES), legend=None),
    )
    layers = [line, points]
    if any(r["low"] != r["high"] for r in rows):
        layers.append(base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q"))
    panels = _distinct([str(r["panel"]) for r in rows])
    drawn = alt.layer(*layers).properties(width=lay.panel_width(len(panels)), height=190)
    return (
        drawn.facet(
            facet=alt.Facet("panel:N", sort=panels, title=None),
            data=alt.InlineData(values=list(rows)),
            columns=lay.columns,
            spacing=24,
        )
        .resolve_axis(x="independent", y="independent")
        .resolve_scale(
            x="independent" if not x.names else "shared", y="shared" if y.log else "independent"
        )
    )


def lines(found: Sequence[Point], x: Axis, y: Axis) -> Chart | None:
    """A panel for each ``Point.panel``, with a line for each series and kind in it.

    Points are joined in the order in which they come.
    """
    usable = [p for p in found if p.y > 0 or not y.log]
    if not usable:
        return None
    look = _Look(_distinct([short(p.series) for p in usable]), _distinct([p.kind for p in usable]))
    rows = [
        {
            "panel": short(p.panel),
            "series": short(p.series),
            "kind": p.kind,
            "order": n,
            "x": p.x,
            "y": p.y,
            "low": p.y if p.low is None or (y.log and p.low <= 0) else p.low,
            "high": p.y if p.high is None else p.high,
            **look.key(p),
        }
        for n, p in enumerate(usable)
    ]
    panels = _distinct([str(r["panel"]) for r in rows])
    return Chart(
        parts=lambda lay: [
            _lines([r for r in rows if r["panel"] in c], x, y, lay)
            for c in _chunks(panels, lay.panels)
        ],
        legend=look.legend(),
    )


def sparkline(values: Sequence[float], width: int = 150, height: int = 36) -> str:
    """The points of a small line over time whose floor is 0, for ``<polyline points>``."""
    top = max(values, default=0.0) or 1.0
    step = (width - 4) / max(len(values) - 1, 1)
    return " ".join(
        f"{2 + n * step:.1f},{height - 2 - v / top * (height - 4):.1f}"
        for n, v in enumerate(values)
    )
