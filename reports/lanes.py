"""Operations drawn as intervals, a lane a process: what overlaps in the drawing is concurrent.

    A  |--write v1--|              |--read v1--|
    B                |--write v2--|                   |--write v3--?

A line ends in "|" where the operation returned ok, in "!" where it failed, in "?" where its outcome is
unknown: such a line runs to the end.  Only the order of beginnings and ends is shown, not how far they are apart.
Where the drawing is too wide, words are shortened; where that does not help there is none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.register import pairs_of
from cacheproof.models.workload import Takes, kind_of
from cacheproof.reports.words import Names, plain, shorten, show

__all__ = ["draw_lanes", "operation_words"]

_ENDS = {Outcome.OK: "|", Outcome.FAIL: "!", Outcome.INFO: "?"}
_LETTERS = {"delete": "d", "read": "r", "write": "w"}
_SHORTER = ((False, 24), (False, 12), (True, 12), (True, 6), (True, 3))
"""Ways to write an operation, the best first: whether by letter, and how wide a value may be."""


def operation_words(operation: Operation, cells: int = 24, letter: bool = False) -> str:
    """ "read v1", "write v2", "cas 3 → 4", "cas 3 → 4 refused", "acquire", "read_many v1, v2"."""
    f = _LETTERS.get(operation.f, operation.f) if letter else operation.f
    if operation.f == "cas" and isinstance(operation.value, tuple) and len(operation.value) == 2:
        told = " → ".join(show(item, cells) for item in operation.value)
        return f"cas {told}{' refused' if operation.result is False else ''}"
    if kind_of(operation.f).takes in (Takes.KEYS, Takes.PAIRS):
        pairs = pairs_of(operation.value if operation.result is None else operation.result) or {}
        values = ", ".join(show(value, cells) for value in pairs.values())
        return shorten(f"{operation.f} {values}".rstrip(), 2 * cells + 12)
    silent = operation.value is None and (operation.f != "read" or operation.outcome is not Outcome.OK)
    return shorten(plain(f), 24) + ("" if silent else f" {show(operation.value, cells)}")


def draw_lanes(operations: Sequence[Operation], names: Names, width: int) -> tuple[str, ...] | None:
    """The drawing in at most `width` cells a line, or None if that is too narrow for it."""
    ordered = sorted(set(operations), key=lambda operation: operation.invoked)
    for letter, cells in _SHORTER:
        labels = [operation_words(operation, cells, letter) for operation in ordered]
        lines = tuple(_lines(ordered, labels, names))
        if all(cell_len(line) <= width for line in lines):
            return lines
    return None


@dataclass(slots=True)
class _Bar:
    """One operation in the drawing: its label, its lane, and the columns in which it begins and ends."""

    operation: Operation
    label: str
    lane: tuple[int, int]
    begin: int = 0
    end: int = 0

    @property
    def least(self) -> int:
        """How many columns its end must be behind its beginning."""
        return cell_len(self.label) + 5

    def drawn(self) -> str:
        room = self.end - self.begin - 1 - cell_len(self.label)
        end = _ENDS[self.operation.outcome]
        return f"|{'-' * (room // 2)}{self.label}{'-' * (room - room // 2)}{end}"


def _lines(operations: Sequence[Operation], labels: Sequence[str], names: Names) -> Iterator[str]:
    bars = [
        _Bar(operation, label, lane)
        for operation, label, lane in zip(operations, labels, _lanes(operations), strict=True)
    ]
    _place(bars)
    titles = {bar.lane: names.client(bar.operation.process) for bar in bars}
    margin = max(map(cell_len, titles.values()), default=0) + 2
    for lane in sorted(titles):
        line = titles[lane] + " " * (margin - cell_len(titles[lane]))
        for bar in bars:
            if bar.lane == lane:
                line += " " * (margin + bar.begin - cell_len(line)) + bar.drawn()
        yield line


def _lanes(operations: Sequence[Operation]) -> Iterator[tuple[int, int]]:
    """A lane for each operation: its process, and a further one where that process is still drawn there."""
    ends: dict[tuple[int, int], int | None] = {}
    for operation in operations:
        number = 0
        while (lane := (operation.process, number)) in ends and not _is_over(ends[lane], operation):
            number += 1
        ends[lane] = operation.returned
        yield lane


def _is_over(end: int | None, operation: Operation) -> bool:
    return end is not None and end < operation.invoked


def _place(bars: Sequence[_Bar]) -> None:
    """Give every beginning and end a column, in order, wide enough for the labels in between."""
    ticks = sorted({bar.operation.invoked for bar in bars} | {bar.operation.returned or 0 for bar in bars})
    column = -2
    for tick in ticks:
        ending = [bar for bar in bars if bar.operation.returned == tick]
        beginning = [bar for bar in bars if bar.operation.invoked == tick]
        if ending or beginning:
            column = max([column + 2, *(bar.begin + bar.least for bar in ending)])
        for bar in ending:
            bar.end = column
        for bar in beginning:
            bar.begin = column
    pending = [bar for bar in bars if bar.operation.returned is None]
    last = max([column + 2, *(bar.begin + bar.least for bar in pending)])
    for bar in pending:
        bar.end = last
