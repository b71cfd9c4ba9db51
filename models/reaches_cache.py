"""What happened reaches the cache: somebody sets or deletes the entry because of it.

Two things have to reach the cache, and each in its own way:

    acknowledgement   a write that returned ok has itself set or deleted the entry, before it returned
    event             after a message that tells of the key (XADD, RPUSH, PUBLISH, …) a worker sets or deletes the
                      entry, sooner or later

        A: |--UPDATE--DEL--|                  the write of A has reached the cache
        B: |--UPDATE--XADD--|                 the write of B has not, but the event has:
        Q:                    XREADGROUP--DEL--XACK

A step counts if the server carried it out, whatever became of its reply.  What it left in the cache is for other
properties to say: this one is about whether anybody there has heard.  One step may follow many events.

Rule 1. An event counts if it was certainly carried out: one whose server died meanwhile need not be followed.
Rule 2. A step that was sent and not answered, or answered with an error, may have been carried out (the
        connection may have broken behind it): where nothing else follows, that leaves a doubt.
Rule 3. Workers may still act until the run has come to rest: without an end nothing is missing, but in doubt.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cacheproof.models.decision import Fate
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Exchanged, Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation
from cacheproof.models.register import Register, is_write, judge_registers
from cacheproof.models.trace import Step, error_of, operation_at, publishes, steps
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["AFTER", "ReachesCache"]

AFTER = ("acknowledgement", "event")
"""What has to reach the cache."""

_NEVER = (Fate.REQUEST_LOST, Fate.REFUSED)


@dataclass(frozen=True, slots=True)
class _Need:
    """Something that has to reach the cache by a step after event `since` and before event `until`."""

    index: int
    since: int
    until: int
    operation: Operation | None


@dataclass(frozen=True, slots=True)
class ReachesCache:
    """Every acknowledged write, or every event, is followed by a step that sets or deletes the entry."""

    after: str

    def __post_init__(self) -> None:
        if self.after not in AFTER:
            raise UsageError(f"what reaches the cache is {self.after!r}; write one of {', '.join(AFTER)}")

    @property
    def name(self) -> str:
        return "reaches-cache"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "unheard-write" or "unheard-event" for each write or event that nobody acted on.

        The culprit is the first read after it that returned something older, and `because` the operation that
        wrote or sent; if there is no such read, that operation is the culprit.  `at` is the exchange of the
        event.  Judges acknowledged writes, or events about a key.  Unknown if all that follows may not have
        been carried out, and for missing steps of workers if the run never came to rest.
        """
        return judge_registers(history, lambda register: self._judge(history, register))

    def _judge(self, history: History, register: Register) -> Judgement:
        sent = steps(history, register.key)
        told = self.after == "event"
        needs = list(_events(history, register) if told else _acknowledgements(register))
        findings, doubt = [], None
        for need in needs:
            following = [step for step in sent if _follows(step, need, history if told else None)]
            if any(_carried_out(step) for step in following):
                continue
            if any(_perhaps(step) for step in following):
                doubt = f"what followed event {need.index} at the cache may not have been carried out"
            elif told and history.phase_start(Phase.READ) is None:
                doubt = "the run never came to rest: a worker may still be about to act"
            else:
                findings.append(self._finding(register, need))
        return Judgement(tuple(findings), len(needs), doubt)

    def _finding(self, register: Register, need: _Need) -> Finding:
        told, operation = self.after == "event", need.operation
        read = _stale_read(register, need.index)
        return Finding(
            property=self.name,
            kind="unheard-event" if told else "unheard-write",
            key=register.key,
            culprit=read or operation,
            because=(operation,) if read and operation else (),
            versions=() if read is None else register.versions(read.value, register.final),
            stale_s=None if read is None else register.stale_s(read),
            at=(need.index,) if told else (),
        )


def _acknowledgements(register: Register) -> Iterator[_Need]:
    for write in register.acknowledged:
        assert write.returned is not None
        yield _Need(write.returned, write.invoked, write.returned, write)


def _events(history: History, register: Register) -> Iterator[_Need]:
    end = len(history.events)
    for exchange in history.exchanges:
        if register.key in exchange.keys and publishes(exchange) and _certain(exchange):
            operation = operation_at(history, exchange.process, exchange.index)
            sent_by = operation if operation is not None and is_write(operation) else None
            yield _Need(exchange.index, exchange.index, end, sent_by)


def _certain(exchange: Exchanged) -> bool:
    return not exchange.waits and exchange.fate not in _NEVER and error_of(exchange) is None


def _follows(step: Step, need: _Need, history: History | None) -> bool:
    """Whether a step would do: a worker's for an event (of `history`), else the operation's own."""
    if not (step.touches and need.since < step.index < need.until):
        return False
    if history is not None:
        return step.exchange.process in history.workers
    return step.operation == need.operation


def _carried_out(step: Step) -> bool:
    return step.took_effect and not step.exchange.waits


def _perhaps(step: Step) -> bool:
    """Sent, and neither certainly carried out nor certainly not: it waits, or an error came back."""
    lost = step.exchange.fate in _NEVER
    return not lost and (step.exchange.waits or error_of(step.exchange) is not None)


def _stale_read(register: Register, index: int) -> Operation | None:
    """The first read after event `index` of a version that had been superseded before that."""
    for read in register.reads:
        ended = register.superseded(read.value, index)
        if read.invoked > index and ended is not None:
            return read
    return None
