"""Who was interrupted, after which step and until when: the schedule in a sentence.

A client is preempted when it has an operation open, could go on, and another client acts instead.  A client
that waits for a reply is blocked, not preempted; a worker is interrupted only in the middle of a piece of work,
which ends where it asks for the next one.  The final reads of the epilogue run alone and count for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cacheproof.models.event import Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.reports.steps import Step, Steps, is_take
from cacheproof.reports.words import Names, listing, names_of

__all__ = ["Preemption", "preemption_words", "preemptions_of"]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MOST_TOLD = 4


@dataclass(frozen=True, slots=True)
class Preemption:
    """`process` stands still after step `after`, while the steps `between` of other clients happen.

    `resumed` is its next step, None if it never goes on.
    """

    process: int
    after: Step
    between: tuple[Step, ...]
    resumed: Step | None


def preemptions_of(steps: Steps, history: History) -> tuple[Preemption, ...]:
    """The preemptions among the steps, in the order in which they begin."""
    acting = [step for step in steps.items if _process(step) is not None and not _is_final(step)]
    found = []
    for position, step in enumerate(acting[:-1]):
        process = _process(step)
        if process is None or _process(acting[position + 1]) == process or _is_over(step):
            continue
        later = acting[position + 1 :]
        until = next((i for i, item in enumerate(later) if _process(item) == process), len(later))
        resumed = later[until] if until < len(later) else None
        if process in history.workers and _is_between_jobs(step, resumed):
            continue
        found.append(Preemption(process, step, tuple(later[:until]), resumed))
    return tuple(found)


def _process(step: Step) -> int | None:
    process: int | None = getattr(step.event, "process", None)
    return process


def _is_final(step: Step) -> bool:
    return step.call is not None and step.call.final


def _is_over(step: Step) -> bool:
    """True if the client has nothing to go on with after this step."""
    event: Event = step.event
    blocked = isinstance(event, Exchanged) and event.waits
    idle = isinstance(event, (Returned, Faulted))
    stray = isinstance(event, Exchanged) and step.call is None
    return blocked or idle or stray


def _is_between_jobs(step: Step, resumed: Step | None) -> bool:
    """A worker that asks for work next, or that never goes on after anything but taking a piece of work."""
    if resumed is not None:
        return isinstance(resumed.event, Exchanged) and is_take(resumed.event)
    return not (isinstance(step.event, Exchanged) and is_take(step.event))


def preemption_words(steps: Steps, history: History) -> str:
    """How many there are, and each in a clause: "one preemption: B waits after 3 until A has returned"."""
    found = preemptions_of(steps, history)
    if not found:
        return "no preemption: no operation interrupts another"
    names = names_of(history)
    count = _NUMBERS[len(found)] if len(found) < len(_NUMBERS) else str(len(found))
    told = [_sentence(item, names) for item in found[:_MOST_TOLD]]
    told += [f"and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
    return f"{count} preemption{'s' if len(found) > 1 else ''}: {'; '.join(told)}"


def _sentence(item: Preemption, names: Names) -> str:
    until = listing(_progress(item.between, names))
    who = f"{names.client(item.process)} waits after {item.after.number} until {until}"
    if item.resumed is None:
        return f"{who}, and never goes on"
    crashed = isinstance(item.resumed.event, Faulted)
    return f"{who}, and then crashes" if crashed else who


def _progress(between: Sequence[Step], names: Names) -> Iterator[str]:
    """How far the others got: "A has returned", "C has done 9"; those who returned are named together."""
    last = {_process(step): step for step in between}
    ended = [names.client(process) for process, step in last.items() if process is not None and _ended(step)]
    if ended:
        yield f"{listing(ended)} {'has' if len(ended) == 1 else 'have'} returned"
    for process, step in last.items():
        if process is None or _ended(step):
            continue
        name = names.client(process)
        if isinstance(step.event, Faulted):
            yield f"{name} has {'crashed' if step.event.fault == 'crash' else 'started anew'}"
        else:
            yield f"{name} has {'begun' if isinstance(step.event, Invoked) else 'done'} {step.number}"


def _ended(step: Step) -> bool:
    return isinstance(step.event, Returned)
