"""Which events of a counterexample are shown, and under which number.

A person reads a schedule of ten steps in a minute and one of fifty never, so what explains nothing is dropped:
commits (they belong to the exchange that caused them), the start of workers and their idle polls, the healing
and the reads of the epilogue that the finding does not need.  Steps are numbered 1, 2, 3, … and sentences
refer to these numbers.  What is still too much is elided in the middle: steps that change nothing first, then
those on other keys, never what the finding rests on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeGuard

from cacheproof.models.decision import Fate
from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.operation import Outcome
from cacheproof.models.report import Counterexample
from cacheproof.reports.changes import Change, changes_of

__all__ = ["Elided", "Step", "Steps", "is_take", "steps_of"]

MOST_LINES = 40
_SHORTEST_ELISION = 3

_TAKES = frozenset(
    {"BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZPOPMAX", "BZPOPMIN", "LMOVE", "LMPOP", "LPOP"}
    | {"RPOP", "RPOPLPUSH", "SPOP", "XAUTOCLAIM", "XREAD", "XREADGROUP", "ZPOPMAX", "ZPOPMIN"}
)
_SET_UP = frozenset({"CONFIG", "CREATE", "FUNCTION", "INFO", "PING", "SCRIPT", "XGROUP"})


@dataclass(frozen=True, slots=True)
class Step:
    """One event that is shown.  `call` is the invocation that it belongs to, `phase` that of the epilogue."""

    number: int
    event: Event
    changes: tuple[Change, ...] = ()
    call: Invoked | None = None
    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class Elided:
    """A stretch of steps that is not shown."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Steps:
    """The steps in order, and the same with the uneventful stretches elided."""

    items: tuple[Step, ...]
    shown: tuple[Step | Elided, ...]

    @cached_property
    def numbers(self) -> Mapping[int, int]:
        """Event index → number of the step."""
        return {step.event.index: step.number for step in self.items}

    def number(self, index: int | None) -> int | None:
        """The number of the step that shows event `index`; None if no step does."""
        return None if index is None else self.numbers.get(index)


def is_take(event: Exchanged) -> bool:
    """True for a command by which a worker asks for its next piece of work."""
    return event.verb in _TAKES


def steps_of(counterexample: Counterexample) -> Steps:
    """The steps of the counterexample, numbered from 1."""
    calls, phases = _context(counterexample.history.events)
    found = changes_of(counterexample)
    kept = _kept(counterexample, found, calls, phases)
    changes = _moved(found, counterexample.history.events, kept, calls)
    items = tuple(
        Step(number, event, changes.get(event.index, ()), calls.get(event.index), phases.get(event.index))
        for number, event in enumerate(kept, start=1)
    )
    return Steps(items, _elide(items, counterexample))


def _moved(
    changes: Mapping[int, tuple[Change, ...]],
    events: Sequence[Event],
    kept: Sequence[Event],
    calls: Mapping[int, Invoked],
) -> Mapping[int, tuple[Change, ...]]:
    """The changes, those of events that are dropped moved to the step before: nothing changes unseen.

    What a dropped final read changed concerns another key and stays dropped, as does everything that the
    epilogue changes after the last step.
    """
    shown = {event.index for event in kept}
    epilogue = next((event.index for event in events if isinstance(event, Entered)), len(events))
    end = max([*shown, epilogue])
    moved: dict[int, tuple[Change, ...]] = {}
    last: int | None = None
    for event in events:
        last = event.index if event.index in shown else last
        found = changes.get(event.index, ())
        call = calls.get(event.index)
        final = event.index not in shown and call is not None and call.final
        if found and last is not None and event.index <= end and not final and not _sets_up(event):
            moved[last] = (*moved.get(last, ()), *found)
    return moved


def _context(events: Sequence[Event]) -> tuple[dict[int, Invoked], dict[int, Phase]]:
    """For each event index the open invocation of its process, and the phase of the epilogue."""
    calls: dict[int, Invoked] = {}
    phases: dict[int, Phase] = {}
    opened: dict[int, Invoked] = {}
    phase: Phase | None = None
    for event in events:
        if isinstance(event, Entered):
            phase = event.phase
        if phase is not None:
            phases[event.index] = phase
        if isinstance(event, Invoked):
            opened[event.process] = event
        process = getattr(event, "process", None)
        if process in opened:
            calls[event.index] = opened[process]
        if isinstance(event, Returned):
            opened.pop(event.process, None)
    return calls, phases


def _kept(
    counterexample: Counterexample,
    changes: Mapping[int, tuple[Change, ...]],
    calls: Mapping[int, Invoked],
    phases: Mapping[int, Phase],
) -> list[Event]:
    workers = counterexample.history.workers
    final = _final_reads(counterexample, changes, calls)
    last = max(final, default=-1)
    kept: list[Event] = []
    for event in counterexample.history.events:
        call, phase = calls.get(event.index), phases.get(event.index)
        if isinstance(event, Faulted) and phase is not None:
            # Healing matters to a final read that is shown, waiting to an operation that is still open.
            keep = event.fault != "heal" and (event.index < last or phase is Phase.DRAIN)
        elif call is not None and call.final:
            keep = call.index in final
        else:
            keep = _is_shown(event, workers, changes, kept)
        if isinstance(event, Returned) and event.process in workers and phase is not None:
            keep = False  # it is started anew until it has nothing left to do
        if keep and not _follows_crash(event, kept) and not _starts_again(event, kept):
            _append(kept, event, changes)
    return _without_waiting(kept)


def _append(kept: list[Event], event: Event, changes: Mapping[int, tuple[Change, ...]]) -> None:
    """Add the event; time that passes in several goes, with nothing to see in between, passes once."""
    before = kept[-1] if kept else None
    if _is_advance(event) and _is_advance(before) and before is not None and not changes.get(before.index):
        event = replace(event, detail=_seconds(before) + _seconds(event))
        kept.pop()
    kept.append(event)


def _without_waiting(kept: list[Event]) -> list[Event]:
    """Time that passes after everything else explains nothing."""
    while kept and _is_advance(kept[-1]) and len(kept) > 1:
        kept.pop()
    return kept


def _is_advance(event: Event | None) -> TypeGuard[Faulted]:
    return isinstance(event, Faulted) and event.fault == "advance" and isinstance(event.detail, (int, float))


def _seconds(event: Faulted) -> float:
    return event.detail if isinstance(event.detail, (int, float)) else 0.0


def _final_reads(
    counterexample: Counterexample, changes: Mapping[int, tuple[Change, ...]], calls: Mapping[int, Invoked]
) -> list[int]:
    """The invocations of those final reads that are needed.

    They are those that the finding names, and before the culprit those with an effect.
    """
    finding = counterexample.finding
    culprit, key = finding.culprit, finding.key
    named = {operation.invoked for operation in finding.because if operation.final}
    named |= {calls[index].index for index in finding.at if index in calls and calls[index].final}
    if culprit is None or not culprit.final:
        return sorted(named)
    effective = {
        call.index
        for index, call in calls.items()
        if call.final and call.key == key and call.index <= culprit.invoked and changes.get(index)
    }
    return sorted({*effective, *named, culprit.invoked})


def _is_shown(
    event: Event, workers: Sequence[int], changes: Mapping[int, tuple[Change, ...]], kept: Sequence[Event]
) -> bool:
    if isinstance(event, (Committed, Entered)) or _sets_up(event):
        return False
    process = getattr(event, "process", None)
    if process not in workers or isinstance(event, Faulted):
        return True
    if isinstance(event, (Invoked, Returned)):
        return isinstance(event, Returned) and event.outcome is not Outcome.OK
    return isinstance(event, Exchanged) and not _is_idle(event, bool(changes.get(event.index)), bool(kept))


def _sets_up(event: Event) -> bool:
    """Creates a group, loads a script: what a cache has to do once, and no part of any story."""
    return isinstance(event, Exchanged) and event.verb.split(" ")[0] in _SET_UP


def _is_idle(event: Exchanged, changed: bool, begun: bool) -> bool:
    """A worker that finds nothing to do."""
    failed = isinstance(event.reply, dict) and "error" in event.reply
    empty = event.waits or failed or event.reply in (None, [], {})
    polls = is_take(event) and event.fate is Fate.DELIVERED
    return not changed and (polls and empty or not begun and polls)


def _starts_again(event: Event, kept: Sequence[Event]) -> bool:
    """A client that was started anew and has done nothing since: once more is no news."""
    if not isinstance(event, Faulted) or event.fault != "restart":
        return False
    before = next((item for item in reversed(kept) if getattr(item, "process", None) == event.process), None)
    return isinstance(before, Faulted) and before.fault == "restart"


def _follows_crash(event: Event, kept: Sequence[Event]) -> bool:
    """The return of an operation that a crash has just ended says nothing that the crash did not say."""
    if not isinstance(event, Returned) or event.outcome is not Outcome.INFO:
        return False
    own = (item for item in reversed(kept) if getattr(item, "process", None) == event.process)
    before = next(own, None)
    return isinstance(before, Faulted) and before.fault == "crash"


def _elide(items: tuple[Step, ...], counterexample: Counterexample) -> tuple[Step | Elided, ...]:
    """Elide as little as brings the diagram down to MOST_LINES."""
    finding = counterexample.finding
    anchors = {op.invoked for op in (*finding.because, *([finding.culprit] if finding.culprit else []))}

    def weight(step: Step) -> int:
        return _weight(step, anchors, finding.key)

    shown: tuple[Step | Elided, ...] = items
    for level in range(3):
        if len(shown) <= MOST_LINES:
            break
        shown = tuple(_without(items, weight, level))
    return shown


def _weight(step: Step, anchors: set[int], key: str | None) -> int:
    """How much a step explains: 3 the finding rests on it, 2 it changes the key, 1 it changes something."""
    if isinstance(step.event, Faulted) or (step.call is not None and step.call.index in anchors):
        return 3
    if any(change.key == key or change.older for change in step.changes):
        return 2
    return 1 if step.changes else 0


def _without(items: Sequence[Step], weight: Callable[[Step], int], level: int) -> Iterator[Step | Elided]:
    """The steps, with each stretch of weights up to `level` elided, save its first and last step."""
    stretch: list[Step] = []
    for step in [*items, None]:
        if step is not None and weight(step) <= level:
            stretch.append(step)
            continue
        yield from _shorter(stretch)
        stretch = []
        if step is not None:
            yield step


def _shorter(stretch: list[Step]) -> Iterator[Step | Elided]:
    if len(stretch) < _SHORTEST_ELISION + 2:
        yield from stretch
        return
    yield stretch[0]
    yield Elided(tuple(stretch[1:-1]))
    yield stretch[-1]
