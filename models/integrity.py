"""Integrity: a read returns only what was written to its key.

A read may return the initial value of its key, or the value of a write to that key that had begun before the
read returned and did not fail.  Anything else is one of six kinds, and the first that fits is named:

    aborted       only a write that certainly did not happen had written it
    premature     its write began after the read had returned
    foreign       it belongs to another key
    fabricated    nobody ever wrote it (or wrote it as another type)
    uncommitted   written, but not committed in the database when the read returned
    resurrected   it had been deleted before the read began, and nobody wrote it again

The last two kinds are asked for, by `committed=True` and `resurrected=True`.

Uncommitted values are wrong where contracts say that the database is written first.  To find them is sound for
in-doubt commits too: a commit is on record before any client can hear of it, and so before any client can pass
its value on.  What is served earlier was put into the cache before the commit.

A value is resurrected if a deletion lies certainly between it and the read:

Rule 1. Real time: a delete was invoked after all writes of the value had returned, and had itself returned ok
        before the read was invoked.  The initial record is older than everything.

        A: |--w1--|  |--d--|                      w1 < d < r, so 1 is resurrected
        B:                    |-r1-|

Rule 2. Commit order: the database committed the value for the last time before a deletion, and the deletion
        before the read was invoked; and nobody can write it again: all writes of the value and all deletes
        that had begun had also ended by then, and every one of those writes had been committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, judge_registers, registers, written
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Integrity"]

_Identity = tuple[type, Value]


@dataclass(frozen=True, slots=True)
class Integrity:
    """Reads return values that were written to their key.

    With `committed` only those that were committed, with `resurrected` none that had been deleted.
    """

    committed: bool = False
    resurrected: bool = False

    @property
    def name(self) -> str:
        return "integrity"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding for each read of a wrong value.

        `because` are the writes that explain where it came from; for "resurrected" the last delete before the
        read.  `versions` are those of the value, and for "resurrected" the last deletion before the read.
        Judges every ok read.
        """
        owners = _owners(history)
        return judge_registers(history, lambda register: self._judge(register, owners))

    def _judge(self, register: Register, owners: Mapping[_Identity, frozenset[str]]) -> Judgement:
        findings = []
        for read in register.reads:
            kind, because = self._classify(register, read)
            if kind == "fabricated" and owners.get(identity(read.value), frozenset()) - {register.key}:
                kind = "foreign"
            if kind is not None:
                versions = register.versions(read.value)
                if kind == "resurrected":
                    versions += _deletions(register, read)[-1:]
                findings.append(Finding(self.name, kind, register.key, read, because, versions))
        return Judgement(tuple(findings), len(register.reads))

    def _classify(self, register: Register, read: Operation) -> tuple[str | None, tuple[Operation, ...]]:
        begun = [write for write in register.wrote(read.value) if not read.precedes(write)]
        sources = tuple(write for write in begun if write.outcome is not Outcome.FAIL)
        if not register.is_initial(read.value):
            if not sources and begun:
                return "aborted", tuple(begun)
            if not sources:
                later = register.wrote(read.value)
                return ("premature" if later else "fabricated"), later
            if self.committed and register.position(read.value, read.returned) is None:
                return "uncommitted", sources
        if self.resurrected and (delete := _deleted(register, read, begun)):
            return "resurrected", (delete,)
        return None, ()


def _deleted(register: Register, read: Operation, begun: list[Operation]) -> Operation | None:
    """The last delete before a read, if one lies certainly between the value that was read and the read."""
    if read.value is None:
        return None
    deletes = [op for op in register.wrote(None) if op.outcome is Outcome.OK and op.precedes(read)]
    if not deletes:
        return None
    last = deletes[-1]
    in_time = all(write.precedes(last) for write in begun)
    return last if in_time or _deletion_committed(register, read, begun) else None


def _deletion_committed(register: Register, read: Operation, begun: list[Operation]) -> bool:
    """Rule 2 of resurrection."""
    deletes = [delete for delete in register.wrote(None) if not read.precedes(delete)]
    if not all(operation.precedes(read) for operation in (*begun, *deletes)):
        return False
    until = inf if read.returned is None else read.returned
    same = [
        commit
        for commit in register.commits
        if identity(commit.value) == identity(read.value) and commit.index < until
    ]
    if len(same) < len(begun) or not (same or register.is_initial(read.value)):
        return False
    last = same[-1].index if same else -1
    return any(commit.index > last for commit in _deletions(register, read))


def _deletions(register: Register, read: Operation) -> tuple[Committed, ...]:
    """The deletions that the database had committed before the read was invoked."""
    return tuple(
        commit for commit in register.commits if commit.value is None and commit.index < read.invoked
    )


def _owners(history: History) -> Mapping[_Identity, frozenset[str]]:
    """The keys that each value belongs to.  None, the absence of a record, belongs to nobody."""
    found: dict[_Identity, frozenset[str]] = {}
    pairs = [(key, value) for key, value in history.initial.items()]
    pairs += [(register.key, written(op)) for register in registers(history) for op in register.writes]
    for key, value in pairs:
        if value is not None:
            found[identity(value)] = found.get(identity(value), frozenset()) | {key}
    return found
