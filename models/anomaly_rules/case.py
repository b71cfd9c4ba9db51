"""A case: a finding, and the few moments of its history that tell how it came about.

For a value that was read although a newer one existed these are, in the notation of the rules,

    load      the SELECT that read it from the database        fill   the SET that put it into the cache
    commit    the commit that superseded it, and its writer    seen   the GET (or SELECT) of the culprit

Steps are those that concern the entry of the finding's key: what was sent to locks alone is in `lock_steps`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from cacheproof.models.availability import Outage, outages
from cacheproof.models.decision import ServerName
from cacheproof.models.event import Committed, Exchanged
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.register import Register, is_write, written
from cacheproof.models.trace import Step, locks, operation_at, steps, targets
from cacheproof.models.verdict import Finding

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A finding and the moments of its history that rules ask for."""

    finding: Finding
    history: History

    @cached_property
    def end(self) -> int:
        return len(self.history.events)

    @cached_property
    def register(self) -> Register:
        key = self.finding.key or ""
        commits = self.history.commits.get(key, ())
        return Register(key, self.history.initial.get(key), self.history.on_key(key), commits)

    @cached_property
    def locks(self) -> frozenset[str]:
        return locks(self.history)

    @cached_property
    def _all_steps(self) -> tuple[Step, ...]:
        return steps(self.history, self.finding.key)

    @cached_property
    def lock_steps(self) -> tuple[Step, ...]:
        """The steps that concern a lock, in order."""
        return tuple(step for step in self._all_steps if not self.locks.isdisjoint(targets(step.exchange)))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that concern the entry or the row, in order."""
        return tuple(step for step in self._all_steps if not self._locks_only(step.exchange))

    def _locks_only(self, exchange: Exchanged) -> bool:
        addressed = targets(exchange)
        return bool(addressed) and addressed <= self.locks

    @cached_property
    def effects(self) -> tuple[Step, ...]:
        """The steps that the server carried out."""
        return tuple(step for step in self.steps if step.took_effect)

    @cached_property
    def read(self) -> Operation | None:
        """The culprit, if it is a read."""
        culprit = self.finding.culprit
        return culprit if culprit is not None and not is_write(culprit) else None

    @cached_property
    def seen(self) -> int:
        """Where the culprit got its value: its last look into cache or database, its return, or the end."""
        if self.read is None:
            return self.end
        looks = [step.index for step in self.effects if step.operation == self.read and step.looks]
        return looks[-1] if looks else self.read.returned or self.end

    @cached_property
    def commit(self) -> Committed | None:
        """The commit that superseded what the culprit read."""
        return self.register.superseded(self.read.value, self.seen) if self.read else None

    @cached_property
    def writer(self) -> Operation | None:
        """The write of the superseding value; where several wrote it, the operation that committed it."""
        if self.commit is None:
            return None
        sources = self.register.wrote(self.commit.value)
        return sources[0] if len(sources) == 1 else self.committer(self.commit)

    def committer(self, commit: Committed) -> Operation | None:
        """The operation during which a version was committed."""
        return None if commit.process is None else operation_at(self.history, commit.process, commit.index)

    @cached_property
    def fill(self) -> Step | None:
        """The last SET before the culprit looked, of the value it read if requests are readable."""
        value = self.read.value if self.read else None
        sets = [step for step in self.effects if step.sets and step.index < self.seen]
        return next(iter([step for step in reversed(sets) if step.mentions(value)] or sets[::-1]), None)

    @cached_property
    def load(self) -> Step | None:
        """The SELECT whose row the fill put into the cache: the last before it in the same operation."""
        if self.fill is None or not self.fill.by_reader:
            return None
        return next((step for step in reversed(self.before_fill) if step.loads), None)

    @cached_property
    def before_fill(self) -> tuple[Step, ...]:
        """What the client of the fill had done to the entry before, as part of the same operation."""
        fill = self.fill
        return tuple(
            step for step in self.effects if fill and _same_work(step, fill) and step.index < fill.index
        )

    @cached_property
    def late_fill(self) -> bool:
        """True if the value was loaded before the commit that superseded it, and cached after it."""
        if self.commit is None or self.fill is None or self.load is None:
            return False
        return self.load.index < self.commit.index < self.fill.index

    @cached_property
    def overtaken(self) -> tuple[Step, ...]:
        """What writers did to the entry between the commit and the fill of the older value."""
        if self.commit is None or self.fill is None:
            return ()
        return tuple(step for step in self.touches(self.commit.index, self.fill.index) if step.took_effect)

    @cached_property
    def marks(self) -> tuple[Step, ...]:
        """Those of `overtaken` that left more than an absence: a script, or a delete and a set in one."""
        return tuple(step for step in self.overtaken if step.scripted or (step.sets and step.deletes))

    @cached_property
    def cut_off(self) -> tuple[tuple[int, Outage], ...]:
        """The outages of the cache that the writer met: as it had committed, or at its end; each with that event."""
        if self.writer is None or self.commit is None:
            return ()
        process, end = self.writer.process, self.writer.returned or self.end
        away = outages(self.history, ServerName.CACHE)
        moments = (self.commit.index, end)
        return tuple((at, item) for at in moments for item in away if item.covers(process, at))

    def touches(self, after: int, before: int) -> Iterator[Step]:
        """What writers and workers sent to the cache entry between two events, whether or not it arrived."""
        return (s for s in self.steps if after < s.index < before and s.touches and not s.by_reader)

    @cached_property
    def lost(self) -> Operation | None:
        """An acknowledged write that concerns the finding and was not committed when the culprit looked."""
        concerned = [op for op in (self.finding.culprit, *self.finding.because) if op and is_write(op)]
        if self.read is not None:
            concerned += self.register.sources(self.read.value)
        for write in concerned:
            committed = self.register.position(written(write), self.seen)
            if write.outcome is Outcome.OK and not committed:
                return write
        return None

    def crash_of(self, process: int, after: int) -> int | None:
        """The event at which a client crashed for the first time after another event."""
        crashes = (fault for fault in self.history.faults if fault.fault == "crash")
        return next((f.index for f in crashes if f.process == process and f.index > after), None)


def _same_work(one: Step, other: Step) -> bool:
    return one.exchange.process == other.exchange.process and one.operation == other.operation
