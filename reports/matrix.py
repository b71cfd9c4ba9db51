"""The matrix: every cache and guarantee against every condition, at the end of a session.

A cell says how much was tried (`✓ 2,000`: upheld in so many schedules that exercised it) or what went wrong
(`✗ stale set`).  A "!" marks where reality and the contract disagree, in either direction: a promise said to be
kept that was refuted, or one said to be broken that nothing refuted.
"""

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import RenderableType

from cacheproof.models.contract import ALL_CONDITIONS, Condition
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Verdict
from cacheproof.reports.diagram import Line, Span
from cacheproof.reports.naming import anomaly_title
from cacheproof.reports.terminal import Page
from cacheproof.reports.words import plain, shorten, wrap

__all__ = ["disagrees", "render_matrix"]

_GAP = 2
_WIDEST_CLAIM = 44
_NARROWEST_CLAIM = 18
_WIDEST_CELL = 15
_NARROWEST_CELL = 8
_MOST_LINES = 4
_HYPHENATED = {"concurrent": "concur- rent"}
"""The one name of a condition that is too long a word for the columns of a narrow terminal."""

_LEGEND = (
    "✓ upheld in so many schedules that exercised it",
    "✗ refuted by",
    "? unknown",
    "– not exercised",
    "! not what the contract says",
)


def render_matrix(reports: Sequence[Report], *, width: int | None = None) -> RenderableType:
    """The cells of all reports.  Fits 120 columns, and 80 with cells of two or three lines."""
    return Page(lambda cells: _matrix_lines(reports, cells), width)


def disagrees(cell: Cell) -> bool:
    """True where the verdict is not what the contract says: kept but refuted, or broken but upheld."""
    return cell.verdict is (Verdict.REFUTED if cell.kept else Verdict.UPHELD)


def _matrix_lines(reports: Sequence[Report], width: int) -> Iterator[Line]:
    used = {cell.condition for report in reports for cell in report.cells}
    conditions = [condition for condition in ALL_CONDITIONS if condition in used]
    if not conditions:
        yield (Span("nothing was judged", "dim"),)
        return
    claim, cell = _widths(reports, conditions, width)
    if not claim:
        yield from _as_list(reports, width)
    else:
        yield from _as_table(reports, conditions, claim, cell)
    yield ()
    gaps = any(len(cells) < len(conditions) for report in reports for cells in _by_guarantee(report).values())
    items = [*_LEGEND, "empty: not claimed"] if claim and gaps else _LEGEND
    yield from ((Span(line, "dim"),) for line in _legend(items, width))


def _widths(reports: Sequence[Report], conditions: Sequence[Condition], width: int) -> tuple[int, int]:
    """Cells for the claim, and for each condition: as much as is wanted, and less where room is short."""
    cells = [cell for report in reports for cell in report.cells]
    wanted = max(cell_len(item) for cell in cells for item in (_words(cell), cell.condition.value))
    claims = max(cell_len(_claim(cell)) for cell in cells)
    claim = min(claims, _WIDEST_CLAIM)
    room = (width - max(min(claim, width * 3 // 10), _NARROWEST_CLAIM)) // len(conditions) - _GAP
    column = max(min(wanted, _WIDEST_CELL, room), _NARROWEST_CELL)
    left = width - len(conditions) * (column + _GAP)
    return (min(claim, left) if left >= _NARROWEST_CLAIM else 0), column


def _as_table(
    reports: Sequence[Report], conditions: Sequence[Condition], claim: int, cell: int
) -> Iterator[Line]:
    header = [[""], *(list(wrap(_title(condition, cell), cell)) for condition in conditions)]
    yield from _table_row(header, ["plain", *["strong"] * len(conditions)], claim, cell, at_bottom=True)
    for report in reports:
        yield (Span(shorten(plain(report.cache), claim + cell), "strong"),)
        for name, cells in _by_guarantee(report).items():
            found = [cells.get(condition) for condition in conditions]
            first = next(iter(cells.values()))
            texts = [_lines(_claim(first), claim, hang=cell_len(plain(name)) + 3)]
            texts += [_lines(_words(item), cell, hang=2) if item else [""] for item in found]
            styles = ["plain", *(_style(item) if item else "plain" for item in found)]
            yield from _table_row(texts, styles, claim, cell)


def _title(condition: Condition, width: int) -> str:
    words = condition.value.split()
    return " ".join(_HYPHENATED.get(word, word) if cell_len(word) > width else word for word in words)


def _by_guarantee(report: Report) -> Mapping[str, Mapping[Condition, Cell]]:
    found: dict[str, dict[Condition, Cell]] = {}
    for cell in report.cells:
        found.setdefault(cell.guarantee, {})[cell.condition] = cell
    return found


def _claim(cell: Cell) -> str:
    return f"  {plain(cell.guarantee)} {plain(cell.claim)}"


def _words(cell: Cell) -> str:
    """ "✓ 2,000", "✗ stale set", "? unknown", "–", with "!" where the contract says otherwise."""
    mark = "! " if disagrees(cell) else ""
    match cell.verdict:
        case Verdict.UPHELD:
            return f"{mark}✓ {cell.exercised:,}"
        case Verdict.REFUTED:
            found = cell.counterexample
            return f"{mark}✗ {anomaly_title(found.anomaly) if found else 'refuted'}"
        case Verdict.UNKNOWN:
            return "? unknown"
    return "–"


def _style(cell: Cell) -> str:
    if disagrees(cell):
        return "bad"
    styles = {Verdict.UPHELD: "good", Verdict.REFUTED: "fault", Verdict.UNKNOWN: "strong"}
    return styles.get(cell.verdict, "dim")


def _lines(text: str, width: int, hang: int) -> list[str]:
    """`text` in a few lines, those after the first indented by `hang` unless that would break a word."""
    lead, words = len(text) - len(text.lstrip()), [shorten(word, width) for word in text.split()]
    if max((cell_len(word) for word in words), default=0) > width - hang:
        hang = min(lead, width // 2)
    first = next(wrap(" ".join(words), width - lead), "")
    rest = list(wrap(" ".join(words).removeprefix(first), width - hang))
    if len(rest) >= _MOST_LINES:
        rest = [*rest[: _MOST_LINES - 2], shorten(" ".join(rest[_MOST_LINES - 2 :]), width - hang)]
    return [f"{' ' * lead}{first}", *(f"{' ' * hang}{line}" for line in rest)]


def _table_row(
    texts: Sequence[Sequence[str]], styles: Sequence[str], claim: int, cell: int, at_bottom: bool = False
) -> Iterator[Line]:
    height = max(len(lines) for lines in texts)
    for number in range(height):
        line: list[Span] = []
        for column, (lines, style) in enumerate(zip(texts, styles, strict=True)):
            place = number - (height - len(lines)) if at_bottom else number
            text = lines[place] if 0 <= place < len(lines) else ""
            width = claim if column == 0 else cell
            gap = "" if column == len(texts) - 1 else " " * _GAP
            line.append(Span(text, style))
            line.append(Span(" " * (width - cell_len(text)) + gap))
        yield _trimmed(line)


def _trimmed(line: list[Span]) -> Line:
    while line and not line[-1].text.strip():
        line.pop()
    return tuple(line)


def _as_list(reports: Sequence[Report], width: int) -> Iterator[Line]:
    """For a terminal too narrow for columns: a line for each cell."""
    for report in reports:
        yield (Span(shorten(plain(report.cache), width), "strong"),)
        for cell in report.cells:
            text = f"  {plain(cell.guarantee)} {cell.condition.value}: {_words(cell)}"
            yield from ((Span(line, _style(cell)),) for line in _lines(text, width, hang=4))


def _legend(items: Sequence[str], width: int) -> Iterator[str]:
    """The legend, broken between its items only where they fit."""
    line = ""
    for item in items:
        longer = f"{line} · {item}" if line else item
        if line and cell_len(longer) > width:
            yield from wrap(line, width)
            longer = item
        line = longer
    yield from wrap(line, width)
