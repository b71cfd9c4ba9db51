"""Plots: numbers in, the text of an SVG picture out.  No library draws here, and nothing is read or written.

    line_chart    lines over a common x, each named at its end          loads per expiry against the request rate
    strip_chart   one strip a series, all with the same axes            the load of the database over time
    unit_chart    a table of small squares, one for each of what is counted   round trips, by pattern and operation

Rules:

Rule 1  Everything is told twice: a series has its colour and its own mark, and its name stands beside it.
        The colours are those of Okabe and Ito, which people with any colour vision can tell apart.
Rule 2  Text is text, in the reader's own font, dark on a white ground that is part of the picture, so that it
        can be searched, and read on a dark page as well.
Rule 3  The same data give the same bytes: coordinates are rounded to a tenth of a point.
Rule 4  A picture has a title and a description for those who do not see it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

from cacheproof.models.errors import UsageError
from cacheproof.reports.scales import Scale, linear_scale, log_scale, number_text
from cacheproof.reports.words import plain

__all__ = ["Axis", "Frame", "Row", "Series", "line_chart", "strip_chart", "unit_chart"]

WIDTH = 860
"""Of every picture, in points."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#333333")
_INK, _PALE, _GRID, _FAINT = "#1f2328", "#57606a", "#d8dee4", "#eef1f4"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_LINE = 17
"""Points from one line of small text to the next."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis is about, with its unit ("reads per second"), and whether it is logarithmic."""

    label: str
    log: bool = False

    def scale(self, values: Iterable[float]) -> Scale:
        return log_scale(values) if self.log else linear_scale(values, ticks=8)


@dataclass(frozen=True, slots=True)
class Series:
    """A named line: points (x, y) in order of x.  `note` says more about it, where there is room for that."""

    name: str
    points: tuple[tuple[float, float], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a unit chart, such as a pattern: in each column ("read", "write") how many there are of each part."""

    name: str
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Frame:
    """The words around a picture: its title, and a line below it that says how to read it."""

    title: str
    subtitle: str = ""


@dataclass(frozen=True, slots=True)
class _Box:
    """The part of the picture that the axes enclose, and their scales."""

    left: float
    top: float
    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def place(self, x: float, y: float) -> tuple[float, float]:
        return self.left + self.x.at(x) * self.width, self.bottom - self.y.at(y) * self.height


def line_chart(frame: Frame, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Lines over one x, each named beside its end.  Raises UsageError for series that cannot be drawn."""
    _check(series)
    xs, ys = _values(series)
    height = 500
    box = _Box(76, 84, WIDTH - 76 - 214, height - 84 - 66, x.scale(xs), y.scale(ys))
    body = [*_grid(box), *_x_axis(box, x.label), *_y_axis(box, y.label)]
    for number, one in enumerate(series):
        body += _line(box, one, number)
    return _svg(frame, height, [*body, *_names(box, series)])


def strip_chart(frame: Frame, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """One strip for each series, all on the same axes, with the greatest value of each written at its place."""
    _check(series)
    xs, ys = _values(series)
    strip, gap, top = 92, 40, 102
    height = top + len(series) * (strip + gap) - gap + 62
    body: list[str] = []
    for number, one in enumerate(series):
        box = _Box(
            76,
            top + number * (strip + gap),
            WIDTH - 76 - 36,
            strip,
            x.scale(xs),
            linear_scale(ys, ticks=3),
        )
        body += [*_grid(box), *_y_ticks(box), *_strip(box, one, number)]
    body.append(_text(20, top + (height - top - 62) / 2, y.label, "axis", anchor="middle", turned=True))
    return _svg(frame, height, [*body, *_x_axis(box, x.label)])


def unit_chart(frame: Frame, rows: Sequence[Row], parts: Sequence[str]) -> str:
    """A table with a square for each of what is counted, coloured by its part, and their number behind them.

    The columns are those of the first row.  Raises UsageError if there are no rows or columns, or a row has a
    column or a part that is not among them.
    """
    columns = list(rows[0].counts) if rows else []
    _check_rows(rows, columns, parts)
    most = max(sum(counts.values()) for row in rows for counts in row.counts.values())
    left, top, high = 236, 132, 25
    across = (WIDTH - left - 16) / len(columns)
    side = min(13.0, (across - 34) / max(most, 1) - 3)
    height = top + high * len(rows) + 16
    body = [*_legend(parts, left, 78)]
    body += [_text(left + number * across, top - 12, name, "name") for number, name in enumerate(columns)]
    for place, row in enumerate(rows):
        y = top + high * place
        body += [_rule(20, y, WIDTH - 20, y, _GRID), _text(20, y + 17.5, row.name, "axis")]
        for number, column in enumerate(columns):
            counts = [(part, row.counts.get(column, {}).get(part, 0)) for part in parts]
            body += _units(left + number * across, y + (high - side) / 2, side, counts)
    return _svg(frame, height, body)


# -- what a chart is made of ----------------------------------------------------------------------------------


def _check(series: Sequence[Series]) -> None:
    if not series or not all(one.points for one in series):
        raise UsageError("a picture without points; pass at least one series, and each with a point")
    if len(series) > len(COLOURS):
        raise UsageError(f"{len(series)} series; {len(COLOURS)} can be told apart, so split the picture")
    for one in series:
        if any(before > after for (before, _), (after, _) in pairwise(one.points)):
            raise UsageError(f"the points of series {one.name!r} are not in order of x; sort them")


def _values(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    points = [point for one in series for point in one.points]
    return [x for x, _ in points], [y for _, y in points]


def _grid(box: _Box) -> Iterator[str]:
    lines = [(box.x, True, box.x.minor, _FAINT), (box.y, False, box.y.minor, _FAINT)]
    lines += [(box.x, True, box.x.ticks, _GRID), (box.y, False, box.y.ticks, _GRID)]
    for scale, upright, places, colour in lines:
        for place in places:
            share = scale.at(place)
            if upright:
                x = box.left + share * box.width
                yield _rule(x, box.top, x, box.bottom, colour)
            else:
                y = box.bottom - share * box.height
                yield _rule(box.left, y, box.right, y, colour)


def _x_axis(box: _Box, label: str) -> Iterator[str]:
    yield _rule(box.left, box.bottom, box.right, box.bottom, _PALE)
    for tick in box.x.ticks:
        x = box.left + box.x.at(tick) * box.width
        yield _text(x, box.bottom + 20, number_text(tick), "tick", anchor="middle")
    yield _text(box.left + box.width / 2, box.bottom + 46, label, "axis", anchor="middle")


def _y_axis(box: _Box, label: str) -> Iterator[str]:
    yield from _y_ticks(box)
    yield _text(20, box.top + box.height / 2, label, "axis", anchor="middle", turned=True)


def _y_ticks(box: _Box) -> Iterator[str]:
    for tick in box.y.ticks:
        y = box.bottom - box.y.at(tick) * box.height
        yield _text(box.left - 10, y + 4, number_text(tick), "tick", anchor="end")


def _line(box: _Box, series: Series, number: int) -> Iterator[str]:
    places = [box.place(*point) for point in series.points]
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
    colour = COLOURS[number]
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>'
    yield from (_mark(x, y, number) for x, y in places)


def _mark(x: float, y: float, number: int) -> str:
    """A small shape, another one for each series: circle, square, triangle, diamond, and so on."""
    style = f'fill="{COLOURS[number]}" stroke="#ffffff" stroke-width="1.2"'
    if number == 0:
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4.5" {style}/>'
    corners = _SHAPES[(number - 1) % len(_SHAPES)]
    points = " ".join(f"{_n(x + across)},{_n(y + down)}" for across, down in corners)
    return f'<polygon points="{points}" {style}/>'


_SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-4, -4), (4, -4), (4, 4), (-4, 4)),
    ((0, -5.5), (5, 3.5), (-5, 3.5)),
    ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
    ((0, 5.5), (5, -3.5), (-5, -3.5)),
    ((-5, -2), (0, -5), (5, -2), (3, 4), (-3, 4)),
    ((-5, -2.5), (5, -2.5), (5, 2.5), (-5, 2.5)),
)


def _names(box: _Box, series: Sequence[Series]) -> Iterator[str]:
    """The name of each line (and its note) beside its end, moved apart where they would touch."""
    ends = [box.place(*one.points[-1])[1] for one in series]
    heights = [_LINE * (2 if one.note else 1) + 6 for one in series]
    places = _apart(ends, heights, box.top - 8, box.bottom + 8)
    for number, (one, end, y) in enumerate(zip(series, ends, places, strict=True)):
        x = box.place(*one.points[-1])[0]
        middle = y if not one.note else y - _LINE / 2 + 2
        yield _rule(x + 7, end, box.right + 18, middle, COLOURS[number], thin=True)
        yield _mark(box.right + 24, middle, number)
        yield _text(box.right + 35, middle + 4.5, one.name, "name")
        if one.note:
            yield _text(box.right + 35, middle + 4.5 + _LINE - 1, one.note, "note")


def _apart(wanted: Sequence[float], heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """Middles near the wanted ones, in their order, such that what is so high does not overlap."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    places = [0.0] * len(wanted)
    free = top
    for number in order:
        places[number] = max(wanted[number], free + heights[number] / 2)
        free = places[number] + heights[number] / 2
    limit = bottom
    for number in reversed(order):
        places[number] = min(places[number], limit - heights[number] / 2)
        limit = places[number] - heights[number] / 2
    return places


def _strip(box: _Box, series: Series, number: int) -> Iterator[str]:
    colour = COLOURS[number]
    places = [box.place(*point) for point in series.points]
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
    ground = f"{_n(places[-1][0])},{_n(box.bottom)} {_n(places[0][0])},{_n(box.bottom)}"
    yield f'<polygon points="{path} {ground}" fill="{colour}" fill-opacity="0.22"/>'
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>'
    yield _rule(box.left, box.bottom, box.right, box.bottom, _PALE)
    yield _mark(box.left + 5, box.top - 12, number)
    yield _text(box.left + 16, box.top - 8, series.name, "name")
    yield _text(box.right, box.top - 8, series.note, "note", anchor="end")
    x, y = max(series.points, key=lambda point: point[1])
    at_x, at_y = box.place(x, y)
    above = at_y - 6 if at_y - 18 > box.top else box.top + 13
    yield _text(at_x + 8, above, number_text(y), "peak")


def _check_rows(rows: Sequence[Row], columns: Sequence[str], parts: Sequence[str]) -> None:
    if not columns:
        raise UsageError("a table without rows or columns; pass at least one row, with a column")
    for row in rows:
        named = {part for counts in row.counts.values() for part in counts}
        if unknown := sorted({*row.counts} - {*columns}) + sorted(named - {*parts}):
            raise UsageError(
                f"row {row.name!r} has {unknown!r}; expected columns {list(columns)}, parts {list(parts)}"
            )


def _units(left: float, top: float, side: float, counts: Sequence[tuple[str, int]]) -> Iterator[str]:
    """So many squares in a row, and how many they are; a dash for none."""
    x = left
    for number, (part, count) in enumerate(counts):
        for _ in range(count):
            yield (
                f'<rect x="{_n(x)}" y="{_n(top)}" width="{_n(side)}" height="{_n(side)}" rx="2" '
                f'fill="{COLOURS[number]}"><title>{_words(part)}</title></rect>'
            )
            x += side + 3
    total = sum(count for _, count in counts)
    yield _text(x + 4 if total else x, top + side - 2, number_text(total) if total else "–", "tick")


def _legend(parts: Sequence[str], left: float, y: float) -> Iterator[str]:
    for number, part in enumerate(parts):
        yield f'<rect x="{_n(left)}" y="{_n(y)}" width="12" height="12" fill="{COLOURS[number]}"/>'
        yield _text(left + 18, y + 10.5, part, "name")
        left += 18 + 8 * len(part) + 24


# -- SVG ------------------------------------------------------------------------------------------------------


_STYLE = (
    f"text {{ font-family: {_FONT}; font-size: 12.5px; fill: {_PALE}; }} "
    f".title {{ font-size: 19px; font-weight: 600; fill: {_INK}; }} "
    f".subtitle {{ font-size: 13.5px; }} .axis {{ font-size: 13.5px; fill: {_INK}; }} "
    f".name {{ font-size: 13.5px; font-weight: 600; fill: {_INK}; }} "
    f".note {{ font-size: 12px; }} .peak {{ font-weight: 600; fill: {_INK}; }} "
    ".tick { font-variant-numeric: tabular-nums; }"
)


def _svg(frame: Frame, height: float, body: Iterable[str]) -> str:
    """The whole document.  It is as wide as the page lets it be, at most its own size."""
    size = f"{WIDTH} {_n(height)}"
    said = _words(f"{frame.title}. {frame.subtitle}" if frame.subtitle else frame.title)
    box = f'viewBox="0 0 {size}" width="{WIDTH}" height="{_n(height)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label={quoteattr(plain(frame.title))}>',
        f"<title>{_words(frame.title)}</title>",
        f"<desc>{said}</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{_n(height)}" rx="8" fill="#ffffff"/>',
        _text(20, 34, frame.title, "title"),
        _text(20, 58, frame.subtitle, "subtitle"),
        *body,
        "</svg>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _text(
    x: float,
    y: float,
    words: str,
    kind: str,
    *,
    anchor: str = "start",
    turned: bool = False,
) -> str:
    """A line of text, or nothing if there are no words.  `turned`: it runs upwards."""
    if not words:
        return ""
    place = f'x="{_n(x)}" y="{_n(y)}"'
    turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
    end = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{kind}" {place}{end}{turn}>{_words(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, *, thin: bool = False) -> str:
    ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{"0.8" if thin else "1"}"/>'


def _words(text: str) -> str:
    """Text as it may stand in XML, which has no way to say most control characters."""
    return escape(plain(text))


def _n(value: float) -> str:
    """A coordinate, to a tenth of a point."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
