"""A counterexample, and a whole report, for a terminal.

The order is that in which a tired person asks: what is broken, why is it wrong, how did it come about, what can
be done, how do I see it again.  Nothing here is markup: text from a cache can hold "[red]" and stays text.

Colour is the console's business: `rich` leaves it out where the output is no terminal or NO_COLOR is set.
`to_text` is for places that want a string, such as the message of a failing test.  Print pages with
`console.print(page, soft_wrap=True)`: else a command with a word wider than the terminal is cropped.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from cacheproof.models.report import Cell, Counterexample, Report, Scope
from cacheproof.models.verdict import Verdict
from cacheproof.reports.diagram import Line, Span, draw
from cacheproof.reports.findings import finding_sentences
from cacheproof.reports.naming import anomaly_fixes, anomaly_title, is_catalogued
from cacheproof.reports.preemptions import preemption_words
from cacheproof.reports.steps import steps_of
from cacheproof.reports.words import counted, listing, plain, seconds_words, shorten, wrap

__all__ = ["WIDEST", "Page", "render_counterexample", "render_report", "render_verdict_line", "to_text"]

WIDEST = 120
"""Wider lines are hard to read, so a wider terminal is not filled."""

LABEL_CELLS = 15
_BESIDE = 6
_MOST_FIXES = 2

_STYLES: Mapping[str, str] = {
    "plain": "",
    "dim": "dim",
    "strong": "bold",
    "good": "green",
    "bad": "bold red",
    "fault": "yellow",
}


@dataclass(frozen=True, slots=True)
class Page:
    """Lines that depend on the width; `rich` asks for them when it knows it."""

    lines: Callable[[int], Iterable[Line]]
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(self.width or min(options.max_width, WIDEST)):
            text = Text(no_wrap=True, overflow="ignore")
            for span in line:
                text.append(span.text, _STYLES[span.style])
            yield text


def to_text(renderable: RenderableType, width: int = 100, color: bool = False) -> str:
    """The renderable as a string, plain unless `color`, whatever the environment says of terminals."""
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        force_jupyter=False,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(renderable, soft_wrap=True)
    return out.getvalue()


def render_counterexample(cell: Cell, report: Report, *, width: int | None = None) -> RenderableType:
    """The counterexample of a refuted cell: what, why, how, and how to see it again."""
    return Page(lambda cells: _counterexample_lines(cell, report, cells), width)


def render_report(
    report: Report, *, cells: Collection[Cell] | None = None, width: int | None = None
) -> RenderableType:
    """The counterexamples of all refuted cells, or of `cells` alone, and then what else has to be known.

    What the contract says is kept comes first.  Of several conditions under which one anomaly refutes the same
    guarantee, only the first is drawn and the others are named.
    """
    chosen = [cell for cell in report.cells if cell.verdict is Verdict.REFUTED]
    if cells is not None:
        chosen = [cell for cell in chosen if cell in cells]
    chosen = [each for cell in chosen for each in _one_by_one(cell)]
    return Page(lambda cells_wide: _report_lines(report, chosen, cells_wide), width)


def _one_by_one(cell: Cell) -> Iterator[Cell]:
    """The cell once for each of its counterexamples."""
    yield replace(cell, others=())
    for other in cell.others:
        yield replace(cell, counterexample=other, others=())


def render_verdict_line(report: Report) -> str:
    """ "cache-aside: 5 upheld, 4 refuted as the contract expects · 3,200 schedules · 41 s · seed 17"."""
    parts = [f"{number:,} {words}" for words, number in _tally(report).items() if number]
    facts = [
        counted(report.schedules, "schedule"),
        seconds_words(_about(report.seconds)),
        f"seed {report.seed}",
    ]
    return f"{plain(report.cache)}: {' · '.join([', '.join(parts) or 'nothing was judged', *facts])}"


def _about(seconds: float) -> float:
    """Whole seconds from ten on, tenths below: nobody needs more."""
    return float(round(seconds)) if 10 <= seconds < float("inf") else round(seconds, 1)


def _tally(report: Report) -> Mapping[str, int]:
    """How many cells there are of each kind, what differs from the contract by itself."""
    tally = dict.fromkeys(
        [
            "upheld",
            "upheld although the contract expects a refutation",
            "refuted although the contract says it is kept",
            "refuted as the contract expects",
            "unknown",
            "not exercised",
        ],
        0,
    )
    for cell in report.cells:
        tally[_standing(cell)] += 1
    return tally


def _standing(cell: Cell) -> str:
    match cell.verdict:
        case Verdict.UPHELD:
            return "upheld" if cell.kept else "upheld although the contract expects a refutation"
        case Verdict.REFUTED:
            kept = "refuted although the contract says it is kept"
            return kept if cell.kept else "refuted as the contract expects"
    return cell.verdict.value


# A counterexample


def _counterexample_lines(cell: Cell, report: Report, width: int) -> Iterator[Line]:
    yield from _headline(cell, report, width)
    found = cell.counterexample
    if found is None:
        yield from _paragraph(cell.reason or "no counterexample was kept", width)
        return
    steps = steps_of(found)
    yield from _paragraph(_provenance(cell, found, report.scopes), width, "dim")
    yield ()
    for sentence in finding_sentences(found, steps):
        yield from _paragraph(sentence, width)
    yield ()
    yield from draw(found, width, steps)
    yield ()
    yield from _paragraph(preemption_words(steps, found.history), width)
    if found.minimal:
        yield from _paragraph("every step is needed: without any one of them the guarantee holds", width)
    yield from _ways_on(found, report, width)


def _headline(cell: Cell, report: Report, width: int) -> Iterator[Line]:
    """One line if it fits; else the guarantee goes to a second one."""
    where = f"({plain(cell.guarantee)}, condition: {cell.condition.value})"
    what = f'{plain(report.cache)}: "{plain(cell.claim)}"'
    if cell_len(f"REFUTED  {what}   {where}") <= width:
        yield (Span("REFUTED", "bad"), Span(f"  {what}", "strong"), Span(f"   {where}", "dim"))
        return
    first, *more = wrap(f"REFUTED  {what}", width) or [""]
    yield (Span("REFUTED", "bad"), Span(f"  {first.removeprefix('REFUTED').lstrip()}", "strong"))
    yield from ((Span(line, "strong"),) for line in more)
    yield from _paragraph(where, width, "dim")


def _provenance(cell: Cell, found: Counterexample, scopes: Sequence[Scope]) -> str:
    parts = [
        anomaly_title(found.anomaly),
        _found_by(cell, found, scopes),
        _shrinking(found),
        f"replayed {found.replayed} of {found.replays}" if found.replays else "not replayed",
    ]
    return " · ".join(part for part in parts if part)


def _found_by(cell: Cell, found: Counterexample, scopes: Sequence[Scope]) -> str:
    own = [item for item in scopes if item.condition is cell.condition and item.name in found.found_by]
    if own:
        name = plain(own[0].name)
        return f"schedule {found.found_after:,} of the exhaustive {name} ({own[0].schedules:,})"
    return f"found by {plain(found.found_by)} after {counted(found.found_after, 'schedule')}"


def _shrinking(found: Counterexample) -> str:
    now = len(found.schedule.decisions)
    if found.shrunk_from <= now:
        return counted(now, "decision")
    return f"shrunk from {counted(found.shrunk_from, 'decision')} to {now}"


def _ways_on(found: Counterexample, report: Report, width: int) -> Iterator[Line]:
    """What helps, how to see it again, and where chance came from."""
    fixes = " · ".join(anomaly_fixes(found.anomaly)[:_MOST_FIXES])
    explain = f"cacheproof explain {plain(found.anomaly)}" if is_catalogued(found.anomaly) else ""
    if fixes and explain and cell_len(fixes) + _BESIDE + cell_len(explain) <= width - LABEL_CELLS:
        fixes, explain = f"{fixes}{' ' * _BESIDE}{explain}", ""
    yield from _labelled("known fixes", fixes, width)
    yield from _labelled("more", explain, width)
    if found.replay_command:
        yield from _command("replay", plain(found.replay_command), width)
    yield from _labelled("seed", f"{report.seed} (profile {plain(report.profile)})", width)


def _labelled(label: str, text: str, width: int) -> Iterator[Line]:
    """A label in its column, and the text beside it, wrapped."""
    for position, line in enumerate(_beside(text, width)):
        name = label if position == 0 else ""
        yield (Span(f"{name:<{LABEL_CELLS}}", "dim"), Span(line))


def _beside(text: str, width: int) -> Iterator[str]:
    """`text` wrapped to what a label leaves of the width."""
    room = max(width - LABEL_CELLS, 4)
    return iter([text]) if text and cell_len(text) <= room else wrap(text, room)


def _command(label: str, command: str, width: int) -> Iterator[Line]:
    """A command to paste.  Too long a one is broken as a shell allows it, and no word of it is ever cut."""
    room = width - LABEL_CELLS
    lines, line = [], ""
    for word in command.split(" "):
        if line and cell_len(f"{line} {word} \\") > room:
            lines.append(f"{line} \\")
            line = ""
        line = f"{line} {word}" if line else word
    for position, part in enumerate([*lines, line]):
        yield (Span(f"{label if position == 0 else '':<{LABEL_CELLS}}", "dim"), Span(part, "strong"))


def _paragraph(text: str, width: int, style: str = "plain") -> Iterator[Line]:
    return ((Span(line, style),) for line in wrap(text, width))


# A report


def _report_lines(report: Report, chosen: Sequence[Cell], width: int) -> Iterator[Line]:
    first, again = _grouped(chosen)
    drawn: dict[object, Cell] = {}
    for cell in first:
        like = drawn.setdefault(_picture(cell), cell)
        if like is cell:
            yield from _counterexample_lines(cell, report, width)
        else:
            yield from _same_picture(cell, like, report, width)
        yield from _also(again.get(_story(cell), []), width)
        yield ()
        yield ()
    yield from _paragraph(render_verdict_line(report), width, "strong")
    yield from _notes(report, width)


def _story(cell: Cell) -> tuple[str, str]:
    return cell.guarantee, cell.counterexample.anomaly if cell.counterexample else cell.condition.value


def _picture(cell: Cell) -> object:
    """What two cells have in common whose diagrams would be the same."""
    found = cell.counterexample
    return (found.schedule, found.finding.culprit) if found else (cell.guarantee, cell.condition)


def _grouped(chosen: Sequence[Cell]) -> tuple[list[Cell], Mapping[tuple[str, str], list[Cell]]]:
    """The cells to draw, what is kept first; and those that would tell the same story again."""
    first: dict[tuple[str, str], Cell] = {}
    again: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(chosen, key=lambda cell: not cell.kept):
        if first.setdefault(_story(cell), cell) is not cell:
            again.setdefault(_story(cell), []).append(cell)
    return list(first.values()), again


def _same_picture(cell: Cell, like: Cell, report: Report, width: int) -> Iterator[Line]:
    """A guarantee that is refuted by a schedule which was drawn already."""
    yield from _headline(cell, report, width)
    found = cell.counterexample
    if found is None:
        return
    yield from _paragraph(_provenance(cell, found, report.scopes), width, "dim")
    yield ()
    yield from _paragraph(" ".join(finding_sentences(found)), width)
    where = f"the same schedule as for {plain(like.guarantee)} ({like.condition.value}) above"
    yield from _labelled("diagram", where, width)
    if found.replay_command:
        yield from _command("replay", plain(found.replay_command), width)


def _also(cells: Sequence[Cell], width: int) -> Iterator[Line]:
    """That the same anomaly refutes the guarantee under other conditions too, and how to see that."""
    if cells:
        under = listing(dict.fromkeys(cell.condition.value for cell in cells))
        yield from _labelled("also", f"refuted under {under}, by the same anomaly", width)
    told: set[str] = set()
    for cell in cells:
        command = cell.counterexample.replay_command if cell.counterexample else None
        if command and command not in told:
            told.add(command)
            yield from _command(f" {cell.condition.value}", plain(command), width)


def _notes(report: Report, width: int) -> Iterator[Line]:
    """What is not known, what was searched to the end, where it ran: everything a verdict rests on."""
    for verdict in (Verdict.UNKNOWN, Verdict.NOT_EXERCISED):
        for text in _without_verdict(report, verdict):
            yield from _labelled(verdict.value, text, width)
    for condition in dict.fromkeys(scope.condition for scope in report.scopes):
        scopes = (_scope_words(scope) for scope in report.scopes if scope.condition is condition)
        yield from _labelled("searched", f"{condition.value}: {'; '.join(scopes)}", width)
    for server, words in sorted(report.servers.items()):
        yield from _labelled(shorten(plain(server), LABEL_CELLS - 2), plain(words), width)
    for warning in report.warnings:
        yield from _labelled("warning", plain(warning), width)


def _without_verdict(report: Report, verdict: Verdict) -> Iterator[str]:
    """The cells of this verdict by reason: "CA2 (app crash), CA4 (expiry): …"."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for cell in report.cells:
        if cell.verdict is verdict:
            conditions = reasons.setdefault(cell.reason or "", {}).setdefault(cell.guarantee, [])
            conditions.append(cell.condition.value)
    for reason, cells in reasons.items():
        where = listing(f"{plain(name)} ({', '.join(conditions)})" for name, conditions in cells.items())
        yield f"{where}: {plain(reason)}" if reason else where


def _scope_words(scope: Scope) -> str:
    number = counted(scope.schedules, "schedule")
    return f"{'all' if scope.complete else 'only the first'} {number} of {plain(scope.name)}"
