"""What each line of a diagram says, before anybody knows where it stands.

A step becomes a row: who acts, with which words, towards which server, and what came of it there.  An exchange
says what it changed at its server; where it changed nothing, the reply.  What another server holds differently
gets a row of its own.  Rows are data: `diagram` lays them out in lanes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.report import Counterexample
from cacheproof.reports.changes import Change
from cacheproof.reports.findings import culprit_mark
from cacheproof.reports.requests import Known, brief_request_words, known_of, reply_words, request_words
from cacheproof.reports.steps import Elided, Step, Steps, is_take
from cacheproof.reports.words import PHASE_NOTES, call_words, counted, fault_words, outcome_words, show

__all__ = ["Lane", "Row", "initial_rows", "rows_of"]

_MOST_KEYS = 4
_EVERYWHERE = frozenset({"advance", "expire"})

Lane = int | ServerName
"""A process number, or a server."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line before it is laid out.

    `lane` is who acts, with `text`, or `brief` where that is too wide; `target` is the server at the other end of the arrow, with `label`.
    `marks` are said after everything else, the longest wording first, as many cells as there are.
    `open_lanes` are the processes that have an operation open meanwhile.
    """

    number: int | None = None
    lane: Lane | None = None
    text: str = ""
    brief: str = ""
    style: str = "plain"
    target: ServerName | None = None
    label: str = ""
    label_style: str = "plain"
    arrow: str = "──►"
    marks: tuple[str, ...] = ()
    mark_style: str = "bad"
    beside: Mapping[ServerName, str] = field(default_factory=dict)
    open_lanes: frozenset[int] = frozenset()
    ruled: bool = False


def rows_of(counterexample: Counterexample, steps: Steps) -> Iterator[Row]:
    """The rows of the steps that are shown, with notes where the epilogue changes phase."""
    known, marks = known_of(counterexample.history), _mark_of_culprit(counterexample, steps)
    workers = frozenset(counterexample.history.workers)
    opened: set[int | None] = set()
    phase: Phase | None = None
    for position, item in enumerate(steps.shown):
        if isinstance(item, Elided):
            yield _elided_row(item)
            _follow(item.steps, opened)
            continue
        if item.phase is not None and item.phase is not phase:
            if workers or item.phase is not Phase.QUIESCE:
                begins = "" if phase else "epilogue: "
                yield Row(text=f"┈┈ {begins}{PHASE_NOTES[item.phase]}", style="dim", ruled=True)
            phase = item.phase
        working = _workers_inside(steps.shown, position, workers)
        yield from _step_rows(item, known, marks, _clients(opened, workers) | working)
        _follow([item], opened)


def _elided_row(item: Elided) -> Row:
    quiet = "" if any(step.changes for step in item.steps) else ", which change nothing"
    return Row(text=f"⋮ {counted(len(item.steps), 'more step')}{quiet}", style="dim", ruled=True)


def _follow(steps: Iterable[Step], opened: set[int | None]) -> None:
    """Keep `opened`, the processes with an operation open, up to date."""
    for step in steps:
        event = step.event
        crashed = event.process if isinstance(event, Faulted) and event.fault == "crash" else None
        if isinstance(event, Invoked):
            opened.add(event.process)
        else:
            opened.discard(event.process if isinstance(event, Returned) else crashed)


def _clients(opened: Iterable[int | None], workers: frozenset[int]) -> frozenset[int]:
    return frozenset(process for process in opened if process is not None and process not in workers)


def _workers_inside(items: Sequence[Step | Elided], position: int, workers: frozenset[int]) -> frozenset[int]:
    """The workers that are in the middle of a piece of work: they go on later without taking a new one."""
    before = {
        item.event.process: item
        for item in items[:position]
        if isinstance(item, Step) and isinstance(item.event, (Exchanged, Faulted))
    }
    after = {
        item.event.process: item
        for item in reversed(items[position + 1 :])
        if isinstance(item, Step) and isinstance(item.event, (Exchanged, Faulted))
    }
    return frozenset(
        process
        for process in workers
        if process in before and process in after
        if isinstance(before[process].event, Exchanged)
        if not _begins_work(after[process])
    )


def _begins_work(step: Step) -> bool:
    event = step.event
    return (isinstance(event, Exchanged) and is_take(event)) or (
        isinstance(event, Faulted) and event.fault != "crash"
    )


def _mark_of_culprit(counterexample: Counterexample, steps: Steps) -> Mapping[int, str]:
    """The mark of the culprit, by the event index of its last step."""
    culprit = counterexample.finding.culprit
    if culprit is None:
        return {}
    own = [step.event.index for step in steps.items if step.call and step.call.index == culprit.invoked]
    return {own[-1]: f"✗ {culprit_mark(counterexample, steps)}"} if own else {}


def _step_rows(step: Step, known: Known, marks: Mapping[int, str], opened: frozenset[int]) -> Iterator[Row]:
    event = step.event
    said = (marks[event.index],) if event.index in marks else ()
    match event:
        case Invoked():
            text = f"┌ {call_words(event)}"
            yield Row(step.number, event.process, text, open_lanes=opened, marks=said)
        case Returned():
            text = f"└ {outcome_words(event, step.call)}"
            style = "plain" if not event.error else "fault"
            yield Row(step.number, event.process, text, style, open_lanes=opened, marks=said)
        case Exchanged():
            yield _exchange_row(step, event, known, opened, said)
        case Faulted():
            yield _fault_row(step, event, known, opened)
    here = event.server if isinstance(event, (Exchanged, Faulted)) else None
    beside = _beside([change for change in step.changes if change.server is not here], known)
    if beside and not (isinstance(event, Faulted) and event.fault in _EVERYWHERE):
        yield Row(beside=beside, open_lanes=opened, marks=_state_marks(step.changes))


def _exchange_row(
    step: Step, event: Exchanged, known: Known, opened: frozenset[int], said: tuple[str, ...]
) -> Row:
    bar = "·" if step.call is None else "│"
    text, brief = f"{bar} {request_words(event, known)}", f"{bar} {brief_request_words(event, known)}"
    if event.fate is Fate.REQUEST_LOST:
        return Row(step.number, event.process, text, target=event.server, arrow="──✗ lost", open_lanes=opened)
    if event.fate is Fate.DELAYED and event.waits:
        return Row(
            step.number, event.process, text, target=event.server, arrow="──✗ delayed", open_lanes=opened
        )
    mine = [change for change in step.changes if change.server is event.server]
    reply = reply_words(event, known)
    label, failed = _state(mine, event, known) or reply, reply.startswith("✗")
    lost = event.fate is Fate.REPLY_LOST
    ending = "◄✗ reply lost" if lost else ""
    return Row(
        step.number,
        event.process,
        text,
        brief=brief,
        target=event.server,
        label=f"{label}   {ending}".strip() if lost else label,
        label_style="fault" if lost or failed else "plain",
        arrow="◄──" if event.waited and event.fate is not Fate.DELAYED else "──►",
        marks=said or _state_marks(mine),
        mark_style="dim" if mine and not any(change.older for change in mine) and not said else "bad",
        open_lanes=opened,
    )


def _state(changes: Sequence[Change], event: Exchanged, known: Known) -> str:
    """What the server holds after the exchange, where it changed; the key only where it is not obvious."""
    if is_take(event):
        return ""  # what was taken says more than what is left
    obvious = event.request if len(changes) == 1 else event.keys[:1]
    deletes = any(verb in event.verb for verb in ("DEL", "UNLINK"))
    ordered = sorted(changes, key=lambda change: change.key not in obvious)
    return ", ".join(_holds(change, known, change.key in obvious, deletes) for change in ordered)


def _holds(change: Change, known: Known, obvious: bool = False, deletes: bool = False) -> str:
    key, nothing = show(change.key), change.value is None
    if change.server is ServerName.DATABASE:
        words = "no row" if nothing else show(change.value)
        return words if obvious else f"{key} {'has ' if nothing else '= '}{words}"
    if nothing:
        return "deleted" if obvious and deletes else "absent" if obvious else f"{key} absent"
    words = show(known.gist(str(change.value)))
    return words if obvious else f"{key} = {words}"


def _state_marks(changes: Sequence[Change]) -> tuple[str, ...]:
    """That the cache holds something older than the database, in wordings from long to short."""
    if any(change.older for change in changes):
        return ("✗ older than the database", "✗ older than database", "✗ older", "✗")
    cached = [change.cached for change in changes if change.cached is not None]
    return (f"(cache: {show(cached[0])})",) if cached else ()


def _beside(changes: Sequence[Change], known: Known) -> Mapping[ServerName, str]:
    """What changed at each server, with keys."""
    found: dict[ServerName, str] = {}
    for change in changes:
        words = _holds(change, known)
        found[change.server] = f"{found[change.server]}, {words}" if change.server in found else words
    return found


def _fault_row(step: Step, event: Faulted, known: Known, opened: frozenset[int]) -> Row:
    words = fault_words(event)
    if event.fault in _EVERYWHERE or (event.process is None and event.server is None):
        return Row(
            step.number,
            text=words,
            style="fault",
            ruled=True,
            beside=_beside(step.changes, known),
            marks=_state_marks(step.changes),
        )
    if event.process is not None:
        return Row(step.number, event.process, words, style="fault", open_lanes=opened)
    changed = [change for change in step.changes if change.server is event.server]
    gone = "all gone" if changed and all(change.value is None for change in changed) else ""
    held = gone or ", ".join(_holds(change, known) for change in changed)
    return Row(
        step.number, event.server, f"{words}: {held}" if held else words, style="fault", open_lanes=opened
    )


def initial_rows(counterexample: Counterexample) -> Iterator[Row]:
    """What cache and database hold before the first step, one key a line, the key of the finding first."""
    initial, key = counterexample.history.initial, counterexample.finding.key
    before = [snapshot.cache for snapshot in counterexample.snapshots if snapshot.index < 0]
    cache = before[-1] if before else {}
    keys = sorted(initial, key=lambda name: name != key)
    for position, name in enumerate(keys[:_MOST_KEYS]):
        has = initial[name]
        held = f"{show(name)} {'has no row' if has is None else f'= {show(has)}'}"
        entry = cache.get(name)
        empty = "empty" if position == 0 and not cache and len(keys) > 1 else ""
        words = f"{show(name)} = {show(entry[0])}" if entry else empty or f"{show(name)} absent"
        cached = words if cache or position == 0 else ""
        yield Row(beside={ServerName.CACHE: cached, ServerName.DATABASE: held})
    if len(keys) > _MOST_KEYS:
        yield Row(beside={ServerName.DATABASE: f"… {counted(len(keys) - _MOST_KEYS, 'key')} more"})
