"""The space-time diagram of a counterexample: a lane for each client and server, a line for each step.

          client A              client B                     cache          database
                                                             user:1 absent  user:1 = v1
      1                         ┌ read user:1
      2                         │ GET user:1 ──────────────► miss
      3   ┌ write user:1 := v2  ┆
      4   │ UPDATE … := v2 ────────────────────────────────────────────────► v2

Rules: an operation is a bracket in the lane of its client, "┆" where it is open while others act.  An arrow
runs to the lane of a server; at its head stands what the exchange changed there or, if nothing, the reply.
Faults stand in the lane of whom they hit; what hits everybody is a full-width line.  No line is wider than
the width asked for: lanes shrink to what their text needs, then text is shortened, and where even that leaves
lanes too narrow to read, the same steps become a list.

The result is lines of styled spans, which a renderer colours; joined, they are plain text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from cacheproof.models.decision import ServerName
from cacheproof.models.report import Counterexample
from cacheproof.reports.rows import Lane, Row, initial_rows, rows_of
from cacheproof.reports.steps import Steps, steps_of
from cacheproof.reports.words import Names, names_of, shorten

__all__ = ["Line", "Span", "draw"]

MARGIN = 6
"""Cells left of the first lane: the number of the step, right-aligned in four, and two blanks."""

_NARROWEST: Mapping[Lane, int] = {ServerName.CACHE: 15, ServerName.DATABASE: 11}
_NARROWEST_CLIENT = 16
_COMFORTABLE_LANE = 24
_ARROW = 4  # the shortest one to the next lane, with its blanks: " ─► "
_CROSSING = 2  # the shortest beginning of one that goes on through other lanes: " ─"


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style: plain, dim, strong, good, bad or fault."""

    text: str
    style: str = "plain"


Line = tuple[Span, ...]


def draw(counterexample: Counterexample, width: int, steps: Steps | None = None) -> tuple[Line, ...]:
    """The diagram in at most `width` cells a line.  Never raises for what a history can contain."""
    names = names_of(counterexample.history)
    rows = [*initial_rows(counterexample), *rows_of(counterexample, steps or steps_of(counterexample))]
    actors = sorted(
        {row.lane for row in rows if row.lane is not None and not isinstance(row.lane, ServerName)}
    )
    columns = _columns(actors, rows, width)
    if columns is None:
        lines = _as_list(rows, names, width)
    else:
        lines = iter([_titles(columns, names), *(_lay_out(row, columns, width) for row in rows)])
    return tuple(_fit(line, width) for line in lines)


def _columns(actors: Sequence[int], rows: Sequence[Row], width: int) -> Mapping[Lane, int] | None:
    """The column of each lane, or None if the lanes would be too narrow to read."""
    lanes: tuple[Lane, ...] = (*actors, *ServerName)
    floor = {lane: _NARROWEST.get(lane, _NARROWEST_CLIENT) for lane in lanes}
    room = width - MARGIN
    if sum(floor.values()) > room:
        return None
    innermost = actors[-1] if actors else None
    wanted = {lane: max(floor[lane], _natural(lane, lane == innermost, rows)) for lane in lanes}
    widths = _shrunk(wanted, floor, room) if sum(wanted.values()) > room else _relaxed(wanted, actors, room)
    columns, at = {}, MARGIN
    for lane in lanes:
        columns[lane] = at
        at += widths[lane]
    return columns


def _natural(lane: Lane, innermost: bool, rows: Sequence[Row]) -> int:
    """The cells that a lane needs so that no request, no state and no reply of the database is shortened."""
    return max((_cells_of(row, lane, innermost) for row in rows), default=0)


def _cells_of(row: Row, lane: Lane, innermost: bool) -> int:
    beside = cell_len(row.beside[lane]) + 2 if isinstance(lane, ServerName) and lane in row.beside else 0
    if row.lane == lane:
        wanted = cell_len(row.text) + 1
        if row.target is not None:
            return cell_len(row.text) + (_ARROW if innermost else _CROSSING)
        # What sends nothing may run on over the lanes beside it.
        return max(beside, min(wanted, _COMFORTABLE_LANE))
    if row.target is ServerName.DATABASE and lane is ServerName.DATABASE:
        return cell_len(row.label) + (cell_len(row.marks[0]) + 3 if row.marks else 0)
    return beside


def _shrunk(wanted: Mapping[Lane, int], floor: Mapping[Lane, int], room: int) -> Mapping[Lane, int]:
    """Take cells from the widest lane, one by one, until everything fits."""
    widths = dict(wanted)
    while sum(widths.values()) > room:
        widest = max(widths, key=lambda lane: widths[lane] - floor[lane])
        widths[widest] -= 1
    return widths


def _relaxed(wanted: Mapping[Lane, int], clients: Sequence[int], room: int) -> Mapping[Lane, int]:
    """Give spare cells to the lanes of clients, up to a width that is comfortable to read."""
    widths = dict(wanted)
    for _ in range(_COMFORTABLE_LANE):
        for lane in clients:
            if widths[lane] < _COMFORTABLE_LANE and sum(widths.values()) < room:
                widths[lane] += 1
    return widths


@dataclass(slots=True)
class _Canvas:
    """A line being filled from left to right."""

    spans: list[Span] = field(default_factory=list)
    used: int = 0

    def put(self, column: int, text: str, style: str = "plain") -> None:
        """Write `text` at `column`, or after what stands there already."""
        if not text:
            return
        if column > self.used:
            self.spans.append(Span(" " * (column - self.used)))
            self.used = column
        self.spans.append(Span(text, style))
        self.used += cell_len(text)


def _titles(columns: Mapping[Lane, int], names: Names) -> Line:
    canvas = _Canvas()
    for lane, column in columns.items():
        title = lane.value if isinstance(lane, ServerName) else names.lane(lane)
        canvas.put(column, title, "strong")
    return tuple(canvas.spans)


def _lay_out(row: Row, columns: Mapping[Lane, int], width: int) -> Line:
    canvas = _Canvas()
    canvas.put(0, f"{row.number:>4}" if row.number is not None else "", "dim")
    if row.ruled:
        _put_ruled(canvas, row, columns, width)
    else:
        _put_lanes(canvas, row, columns, width)
    _put_mark(canvas, row, width)
    return tuple(canvas.spans)


def _put_ruled(canvas: _Canvas, row: Row, columns: Mapping[Lane, int], width: int) -> None:
    """A full-width line: the words, a dotted rule, and what changed in the lanes of the servers."""
    canvas.put(MARGIN, shorten(row.text, width - MARGIN), row.style)
    for server, words in row.beside.items():
        column = columns[server]
        if canvas.used + 2 < column:
            canvas.put(canvas.used + 1, "┈" * (column - canvas.used - 2), "dim")
        canvas.put(max(column, canvas.used + 1), words, row.style)
    if row.number is not None and not row.marks and canvas.used + 2 < width:
        canvas.put(canvas.used + 1, "┈" * (width - canvas.used - 1), "dim")


def _put_lanes(canvas: _Canvas, row: Row, columns: Mapping[Lane, int], width: int) -> None:
    placed = [(columns[lane], lane) for lane in columns]
    for column, lane in placed:
        following = next((at for at, _ in placed if at > column), width)
        if lane == row.lane:
            _put_actor(canvas, row, columns, width)
        elif isinstance(lane, ServerName) and lane in row.beside:
            other = any(at > column and name in row.beside for at, name in placed)
            canvas.put(column, shorten(row.beside[lane], (following - 2 if other else width) - column))
        elif lane in row.open_lanes and canvas.used < column:
            canvas.put(column, "┆", "dim")


def _put_actor(canvas: _Canvas, row: Row, columns: Mapping[Lane, int], width: int) -> None:
    """The words of who acts and, if it sends a request, the arrow and its label."""
    if row.lane is None or row.target is None:
        column = columns[row.lane] if row.lane is not None else MARGIN
        canvas.put(column, shorten(row.text, _room(row, columns, width) - column), row.style)
        return
    column, target = columns[row.lane], columns[row.target]
    following = _next_lane(column, columns)
    room = following - column - (_ARROW if following == columns[ServerName.CACHE] else _CROSSING)
    text = row.text if cell_len(row.text) <= room else row.brief or row.text
    canvas.put(column, shorten(text, room), row.style)
    length = target - 1 - canvas.used - 1
    canvas.put(canvas.used + 1, _arrow(row.arrow, length), "fault" if "✗" in row.arrow else "dim")
    canvas.put(target, shorten(row.label, width - target), row.label_style)


def _arrow(kind: str, length: int) -> str:
    """An arrow of `length` cells: to the server, from it, or lost on the way."""
    if kind == "◄──":
        return "◄" + "─" * max(length - 1, 1)
    if kind == "──►":
        return "─" * max(length - 1, 1) + "►"
    return "─" * max(2, length // 2) + kind.lstrip("─")


def _next_lane(column: int, columns: Mapping[Lane, int]) -> int:
    return min((at for at in columns.values() if at > column), default=column)


def _room(row: Row, columns: Mapping[Lane, int], width: int) -> int:
    """Where the words of a row without an arrow have to end: they may run on over lanes that are idle."""
    column = columns[row.lane] if row.lane is not None else MARGIN
    busy = [at for lane, at in columns.items() if lane in row.open_lanes and at > column]
    return width if row.marks or row.style == "fault" else min([at - 1 for at in busy], default=width)


def _put_mark(canvas: _Canvas, row: Row, width: int) -> None:
    """The first wording that fits, else the last one shortened."""
    if not row.marks:
        return
    room = width - canvas.used - 3
    mark = next((mark for mark in row.marks if cell_len(mark) <= room), row.marks[-1])
    canvas.put(canvas.used + 3, shorten(mark, room), row.mark_style)


def _fit(line: Line, width: int) -> Line:
    """Cut a line to the width, whatever it is made of, and drop blanks at its end."""
    kept: list[Span] = []
    used = 0
    for span in line:
        text = shorten(span.text, width - used)
        kept.append(Span(text, span.style))
        used += cell_len(text)
    while kept and not kept[-1].text.strip():
        kept.pop()
    return tuple(kept)


# Where there is no room for lanes


def _as_list(rows: Iterable[Row], names: Names, width: int) -> Iterator[Line]:
    """The same steps without lanes: number, who, what, and at the server what came of it."""
    for row in rows:
        canvas = _Canvas()
        canvas.put(0, f"{row.number:>4}" if row.number is not None else "", "dim")
        if row.lane is not None:
            who = row.lane.value if isinstance(row.lane, ServerName) else names.client(row.lane)
            canvas.put(MARGIN - 1, f"{who:<2}", "strong")
        canvas.put(max(canvas.used + 1, MARGIN - 1), row.text, row.style)
        if row.target is not None:
            canvas.put(canvas.used + 1, row.arrow, "fault" if "✗" in row.arrow else "dim")
            reached = "on the way to the " if "✗" in row.arrow else ""
            canvas.put(canvas.used + 1, f"{reached}{row.target.value} {row.label}".rstrip(), row.label_style)
        for server, words in row.beside.items():
            canvas.put(max(canvas.used + 2, MARGIN - 1), f"{server.value}: {words}")
        _put_mark(canvas, row, width)
        yield tuple(canvas.spans)
