"""Atomic reads: a read of several keys sees all of a transaction, or nothing of it.

`write_many` writes ((key, value), …) in one transaction; `read_many` reads (key, …) and returns
((key, value), …).  A read is *fractured* if it returns what a transaction w wrote to one key, and for another
key that w wrote as well a version that is older than w's (Bailis, Fekete, Ghodsi, Hellerstein, Stoica:
Scalable Atomic Visibility with RAMP Transactions, SIGMOD 2014, section 3.1: read atomic isolation):

    A: |--<write_many> a=1 b=1--|
    B:                            |--<read_many> a=1 b=0--|      b lags behind a

What a key holds between the two writes of somebody else's does not matter; a version that is newer than w's is
as good as w's.  Which version of a key is the older one is a question of evidence:

Rule 1. Real time: a write that returned before another was invoked is older; the initial record is older than
        everything.
Rule 2. Commit order: of two values that the database committed once, and that only one write each can have
        written, the first is older.
Rule 3. What follows from these two in turn is certain as well, for every write that may have written what was
        read.  Where they contradict each other, as after a flush in the wrong order, nothing is.

A value counts as w's only if nobody else may have written it.  What a failed transaction wrote and somebody
read is an aborted read, which is for integrity to find.  Versions that became visible together are not taken
for one transaction: a flush may bundle the writes of many, and a reader owes nothing to the bundle.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, obstacle, pairs_of, registers, written
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["AtomicReads"]

_Pairs = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class AtomicReads:
    """No `read_many` sees one part of a `write_many` without the other."""

    @property
    def name(self) -> str:
        return "atomic-reads"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """One finding "fractured-read" for each read and key that lags behind.

        The culprit is the `read_many`, `because` the `write_many` of which it saw a part, `key` the key that
        lags, `versions` what was read of it and what should have been, where they were committed.  Judges
        reads of two keys or more that one transaction wrote.  Unknown if something that is neither a read
        nor a write of whole values was called on such a key, or a call has no readable argument or result.
        """
        transactions = _transactions(history)
        keys = {register.key: register for register in registers(history)}
        findings: list[Finding] = []
        judged, unknown = 0, _unreadable(history)
        for read, seen in _reads(history):
            shared = [item for item in transactions if len(item[1].keys() & seen.keys()) > 1]
            judged += bool(shared)
            doubts = [doubt for _, wrote in shared for doubt in _doubts(keys, wrote.keys() & seen.keys())]
            if doubts:
                unknown = unknown or doubts[0]
            else:
                findings += self._fractures(keys, read, seen, shared)
        return Judgement(tuple(findings), judged, unknown)

    def _fractures(
        self,
        keys: Mapping[str, Register],
        read: Operation,
        seen: _Pairs,
        shared: list[tuple[Operation, _Pairs]],
    ) -> Iterator[Finding]:
        lagging: set[str] = set()
        for transaction, wrote in shared:
            common = sorted(wrote.keys() & seen.keys())
            if not any(_is_its(keys[key], seen[key], transaction, wrote[key]) for key in common):
                continue
            for key in common:
                if key not in lagging and _is_older(keys[key], seen[key], transaction, wrote[key]):
                    lagging.add(key)
                    yield self._finding(keys[key], read, seen[key], transaction, wrote[key])

    def _finding(
        self, register: Register, read: Operation, old: Value, transaction: Operation, new: Value
    ) -> Finding:
        return Finding(
            property=self.name,
            kind="fractured-read",
            key=register.key,
            culprit=read,
            because=(transaction,),
            versions=register.versions(old, new),
        )


def _transactions(history: History) -> list[tuple[Operation, _Pairs]]:
    """The transactions that did not certainly fail, with what they wrote."""
    return [
        (op, wrote)
        for op in history.operations
        if op.f == "write_many" and op.outcome is not Outcome.FAIL and (wrote := pairs_of(op.value))
    ]


def _reads(history: History) -> Iterator[tuple[Operation, _Pairs]]:
    for op in history.operations:
        if op.f == "read_many" and op.outcome is Outcome.OK and (seen := pairs_of(op.result)):
            yield op, seen


def _unreadable(history: History) -> str | None:
    """The first call whose argument or result is not what it should be, in words."""
    for op in history.operations:
        if op.f == "write_many" and op.outcome is not Outcome.FAIL and pairs_of(op.value) is None:
            return f"a write_many took {op.value!r}; expected ((key, value), …)"
        if op.f == "read_many" and op.outcome is Outcome.OK and pairs_of(op.result) is None:
            return f"a read_many returned {op.result!r}; expected ((key, value), …)"
    return None


def _doubts(keys: Mapping[str, Register], named: set[str]) -> Iterator[str]:
    for key in sorted(named):
        if (doubt := obstacle(keys[key].operations)) is not None:
            yield doubt


def _is_its(register: Register, seen: Value, transaction: Operation, value: Value) -> bool:
    """True if what was read is the transaction's, and can be nobody else's."""
    if identity(seen) != identity(value) or register.is_initial(seen):
        return False
    return [source.invoked for source in register.sources(seen)] == [transaction.invoked]


def _is_older(register: Register, seen: Value, transaction: Operation, value: Value) -> bool:
    """True if `seen` is certainly an older version than the one that the transaction wrote."""
    sources = register.sources(seen)
    if not (sources or register.is_initial(seen)) or identity(seen) == identity(value):
        return False
    old, new = _places(register, seen), _places(register, value)
    if old and new and max(old) > min(new):
        return False
    if len(old) > len(sources):  # it came back, and nobody knows by whom
        return False
    its = next(op for op in register.writes if op.invoked == transaction.invoked)
    return all(its in _later(register, source) and source not in _later(register, its) for source in sources)


def _later(register: Register, write: Operation) -> list[Operation]:
    """The writes that certainly came after this one: in real time, by commit order, or by both in turn."""
    found: list[Operation] = []
    frontier = [write]
    candidates = [op for op in register.writes if op.outcome is not Outcome.FAIL]
    while frontier:
        one = frontier.pop()
        place = _place(register, one)
        for other in candidates:
            behind = _place(register, other)
            committed = place is not None and behind is not None and place < behind
            if (one.precedes(other) or committed) and other not in found:
                found.append(other)
                frontier.append(other)
    return found


def _place(register: Register, write: Operation) -> int | None:
    """Where the database committed what this write alone wrote, once; None if that is not known."""
    value = written(write)
    if len(register.sources(value)) > 1 or register.is_initial(value):
        return None
    places = _places(register, value)
    return places[0] if len(places) == 1 else None


def _places(register: Register, value: Value) -> list[int]:
    return [place for place, item in enumerate(register.commits) if identity(item.value) == identity(value)]
