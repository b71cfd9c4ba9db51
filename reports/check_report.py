"""What `check` found in a file, for a terminal and as JSON.

    REFUTED  etcd_000.log
    jepsen-log · 85 operations · 1 key · 5 processes · 0.02 s

    ✗ linearizable as cas-register
        31 operations on register fit one order, up to B's write 4; what is open then cannot follow:
        A's read 3 (events 70 to 73)

        A             |--read 3--|
        B  |--write 4--|

    ✓ upheld, ✗ refuted, ? unknown with its reason, – not exercised: nothing was there to be judged

Words are made here from the data of the answers alone.  Nothing that a history holds can change the layout.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from cacheproof.models.checked import Answer, Checked, Problem
from cacheproof.models.general import KeyResult
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Verdict
from cacheproof.reports.diagram import Line, Span
from cacheproof.reports.finding_json import finding_to_dict, jsonable, operation_to_dict
from cacheproof.reports.findings import finding_words
from cacheproof.reports.lanes import draw_lanes, operation_words
from cacheproof.reports.terminal import Page
from cacheproof.reports.words import Names, counted, listing, plain, seconds_words, shorten, show, wrap

__all__ = ["check_to_dict", "render_check", "render_summary"]

_MARKS = {
    Verdict.UPHELD: ("✓", "good"),
    Verdict.REFUTED: ("✗", "bad"),
    Verdict.UNKNOWN: ("?", "fault"),
    Verdict.NOT_EXERCISED: ("–", "dim"),
}
_INDENT = 4
_MOST_FINDINGS = 3
_MOST_OPERATIONS = 8
"""More than this many findings, or operations in a drawing, are counted instead of shown."""

_LAST_OF_ORDER = 3
"""So many of the last operations that fit are shown with those that do not."""


def render_check(checked: Checked, *, width: int | None = None) -> RenderableType:
    """One file: its verdict, what it holds, and each answer with its evidence."""
    return Page(lambda cells: _lines(checked, cells), width)


def render_summary(checked: Sequence[Checked]) -> str:
    """ "3 files: 1 upheld, 1 refuted, 1 cannot be checked"."""
    tally: dict[str, int] = dict.fromkeys([*(verdict.value for verdict in _MARKS), "cannot be checked"], 0)
    for item in checked:
        tally[item.verdict.value if item.verdict else "cannot be checked"] += 1
    parts = [f"{number:,} {words}" for words, number in tally.items() if number]
    return f"{counted(len(checked), 'file')}: {', '.join(parts)}"


def check_to_dict(checked: Checked) -> dict[str, Any]:
    """One file as JSON values, its keys in a fixed order:

    - `file`; `format` ("json-lines", "jepsen-log", "edn", or null); `verdict` ("upheld", "refuted",
      "unknown", "not exercised", or null where there is a problem);
    - `operations`, `keys`, `processes`: how many; `seconds`: what reading and checking took;
    - `answers`: for each question `question`, `verdict`, `judged` (operations put to the test), `unknown`
      (the reason, or null), `findings` (as in the report of `verify`), and `searches`: for each key on which
      the general checker found no order `key`, `ordered` (how many operations of the longest prefix have
      one), `last` (the last of these, in that order), `stuck` (the operations that cannot follow), and `steps` and
      `configurations` (what the search took);
    - `left_out`: which questions were not asked, or null;
    - `problem`: null, or `what`, `line` and `column` (from 1, or null), and `who` must act ("user", "machine" or
      "us").
    """
    out = {
        "file": checked.file,
        "format": checked.format,
        "verdict": checked.verdict.value if checked.verdict else None,
        "operations": checked.operations,
        "keys": checked.keys,
        "processes": checked.processes,
        "seconds": round(checked.seconds, 3),
        "answers": [_answer_to_dict(answer) for answer in checked.answers],
        "left_out": checked.left_out,
        "problem": _problem_to_dict(checked.problem) if checked.problem else None,
    }
    return {name: jsonable(value) for name, value in out.items()}


def _answer_to_dict(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "verdict": answer.judgement.verdict.value,
        "judged": answer.judgement.judged,
        "unknown": answer.judgement.unknown,
        "findings": [finding_to_dict(finding) for finding in answer.judgement.findings],
        "searches": [_search_to_dict(search) for search in answer.searches],
    }


def _search_to_dict(search: KeyResult) -> dict[str, Any]:
    return {
        "key": search.key,
        "ordered": len(search.order),
        "last": [operation_to_dict(operation) for operation in search.order[-_LAST_OF_ORDER:]],
        "stuck": [operation_to_dict(operation) for operation in search.stuck],
        "steps": search.steps,
        "configurations": search.configurations,
    }


def _problem_to_dict(problem: Problem) -> dict[str, Any]:
    return {
        "what": problem.what,
        "line": problem.line,
        "column": problem.column,
        "who": problem.who.value,
    }


def _lines(checked: Checked, width: int) -> Iterator[Line]:
    verdict = checked.verdict
    told = verdict.value.upper() if verdict else "CANNOT BE CHECKED"
    style = _MARKS[verdict][1] if verdict else "bad"
    yield (
        Span(told, style),
        Span(f"  {shorten(plain(checked.file), max(width - len(told) - 2, 20))}", "strong"),
    )
    if checked.problem is not None:
        yield from _paragraph(_problem_words(checked.problem), width, "plain")
        return
    yield from _paragraph(_facts(checked), width, "dim")
    names = Names(checked.workers)
    for answer in checked.answers:
        yield from _answer_lines(answer, names, width)
    if checked.left_out is not None:
        yield from _paragraph(checked.left_out, width, "plain")


def _problem_words(problem: Problem) -> str:
    place = f"line {problem.line}, column {problem.column}: " if problem.line is not None else ""
    return place + plain(problem.what)


def _facts(checked: Checked) -> str:
    """ "edn · 405 operations · 10 keys · 10 processes · 0.1 s"."""
    parts = [
        str(checked.format),
        counted(checked.operations, "operation"),
        counted(checked.keys, "key"),
        f"{checked.processes:,} process{'' if checked.processes == 1 else 'es'}",
        seconds_words(max(round(checked.seconds, 2), 0.01)),
    ]
    return " · ".join(parts)


def _answer_lines(answer: Answer, names: Names, width: int) -> Iterator[Line]:
    judgement = answer.judgement
    mark, style = _MARKS[judgement.verdict]
    told = {
        Verdict.UPHELD: f"  {counted(judgement.judged, 'operation')} judged",
        Verdict.REFUTED: "",
        Verdict.UNKNOWN: f"  {plain(judgement.unknown)}",
        Verdict.NOT_EXERCISED: "  not exercised",
    }[judgement.verdict]
    first, *more = wrap(f"{plain(answer.question)}{told}", max(width - 2, 20))
    yield (Span(mark, style), Span(f" {first}"))
    yield from ((Span(f"  {line}"),) for line in more)
    if answer.searches:
        told_all = (_search_lines(search, names, width) for search in answer.searches)
    else:
        told_all = (_finding_lines(finding, names, width) for finding in judgement.findings)
    for number, lines in enumerate(told_all):
        if number == _MOST_FINDINGS:
            break
        yield from lines
    if (left := len(judgement.findings) - _MOST_FINDINGS) > 0:
        yield from _paragraph(f"and {counted(left, 'finding')} more, with --json", width, "dim")


def _search_lines(search: KeyResult, names: Names, width: int) -> Iterator[Line]:
    """How far an order goes, what cannot follow, and both drawn."""
    where = f" on {show(search.key)}" if search.key is not None else ""
    until = f", up to {_act(search.order[-1], names)}" if search.order else ""
    none = "none of these can follow" if len(search.stuck) > 1 else "this cannot follow"
    fit = "fits" if len(search.order) == 1 else "fit"
    told = f"{counted(len(search.order), 'operation')}{where} {fit} one order{until}; {none}:"
    yield from _paragraph(told, width, "plain")
    yield from _operations_lines(search.stuck, names, width)
    yield from _drawing([*search.order[-_LAST_OF_ORDER:], *search.stuck], names, width)


def _finding_lines(finding: Finding, names: Names, width: int) -> Iterator[Line]:
    """What is wrong, in a sentence; where to look it up in the file; and the operations drawn."""
    yield from _paragraph(finding_words(finding, names), width, "plain")
    if evidence := "; ".join(_evidence(finding, names)):
        yield from _paragraph(evidence, width, "dim")
    yield from _drawing(_operations(finding), names, width)


def _operations(finding: Finding) -> list[Operation]:
    """All operations of a finding, in order of invocation."""
    shown = [*finding.because, *([finding.culprit] if finding.culprit else [])]
    return sorted(shown, key=lambda operation: operation.invoked)


def _evidence(finding: Finding, names: Names) -> Iterator[str]:
    """The operations with their events, and all that was measured."""
    operations = _operations(finding)
    told = [f"{_act(item, names)}{_interval(item)}" for item in operations[:_MOST_OPERATIONS]]
    if left := len(operations) - len(told):
        told.append(counted(left, "operation") + " more")
    if told:
        yield listing(told)
    yield from _measures(finding)


def _measures(finding: Finding) -> Iterator[str]:
    if finding.versions:
        versions = listing(
            f"{show(item.value)} (version {item.version}, event {item.index})" for item in finding.versions
        )
        yield f"the database committed {versions}"
    if finding.stale_s:
        yield f"stale for {seconds_words(finding.stale_s)}"
    if finding.found is not None:
        yield f"found {finding.found:,.6g}{_limits(finding.allowed)}"
    if finding.at:
        events = [str(index) for index in finding.at[:_MOST_OPERATIONS]]
        yield f"see event{'' if len(events) == 1 else 's'} {listing(events)}"


def _limits(allowed: tuple[float | None, float | None] | None) -> str:
    least, most = allowed or (None, None)
    parts = [
        f"{word} {limit:,.6g}"
        for word, limit in (("at least", least), ("at most", most))
        if limit is not None
    ]
    return f", allowed {' and '.join(parts)}" if parts else ""


def _operations_lines(operations: Sequence[Operation], names: Names, width: int) -> Iterator[Line]:
    for operation in operations[:_MOST_OPERATIONS]:
        yield from _paragraph(f"{_act(operation, names)}{_interval(operation)}", width, "bad")
    if (left := len(operations) - _MOST_OPERATIONS) > 0:
        yield from _paragraph(f"and {counted(left, 'operation')} more", width, "plain")


def _drawing(operations: Sequence[Operation], names: Names, width: int) -> Iterator[Line]:
    """The operations as intervals, unless there are too many or the width is too small."""
    if not 1 < len(set(operations)) <= _LAST_OF_ORDER + _MOST_OPERATIONS:
        return
    drawn = draw_lanes(operations, names, width - _INDENT)
    if drawn is not None:
        yield ()
        yield from ((Span(" " * _INDENT + line),) for line in drawn)


def _act(operation: Operation, names: Names) -> str:
    """ "A's read v1"."""
    return f"{names.client(operation.process)}'s {operation_words(operation)}"


def _interval(operation: Operation) -> str:
    """ " (events 3 to 7)"; what never returned has no end."""
    if operation.returned is None:
        return f" (event {operation.invoked}, outcome unknown)"
    failed = ", failed" if operation.outcome is Outcome.FAIL else ""
    return f" (events {operation.invoked} to {operation.returned}{failed})"


def _paragraph(text: str, width: int, style: str) -> Iterator[Line]:
    """Wrapped text, indented."""
    for line in wrap(text, max(width - _INDENT, 20)):
        yield (Span(" " * _INDENT + line, style),)
