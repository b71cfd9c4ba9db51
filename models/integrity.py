"""Integrity: a read returns only what was written to its key.

A read may return the initial value of its key, or the value of a write to that key that had begun before the
read returned and did not fail.  Anything else is one of five kinds, and the first that fits is named:

    aborted       only a write that certainly did not happen had written it
    premature     its write began after the read had returned
    foreign       it belongs to another key
    fabricated    nobody ever wrote it (or wrote it as another type)
    uncommitted   written, but not committed in the database when the read returned

The last kind is asked for by `committed=True`, and fits contracts in which the database is written first.
It is sound for in-doubt commits too: a commit is on record before any client can hear of it, and so before
any client can pass its value on.  What is served earlier was put into the cache before the commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, is_write, judge_registers, written
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Integrity"]

_Identity = tuple[type, Value]


@dataclass(frozen=True, slots=True)
class Integrity:
    """Reads return values that were written to their key; with `committed`, only committed ones."""

    committed: bool = False

    @property
    def name(self) -> str:
        return "integrity"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding for each read of a wrong value; `because` are the writes that explain where it came from.

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
                findings.append(Finding(self.name, kind, register.key, read, because, versions))
        return Judgement(tuple(findings), len(register.reads))

    def _classify(self, register: Register, read: Operation) -> tuple[str | None, tuple[Operation, ...]]:
        if register.is_initial(read.value):
            return None, ()
        begun = [write for write in register.wrote(read.value) if not read.precedes(write)]
        sources = tuple(write for write in begun if write.outcome is not Outcome.FAIL)
        if sources:
            dirty = self.committed and register.position(read.value, read.returned) is None
            return ("uncommitted", sources) if dirty else (None, ())
        if begun:
            return "aborted", tuple(begun)
        later = register.wrote(read.value)
        return ("premature" if later else "fabricated"), later


def _owners(history: History) -> Mapping[_Identity, frozenset[str]]:
    """The keys that each value belongs to.  None, the absence of a record, belongs to nobody."""
    found: dict[_Identity, frozenset[str]] = {}
    pairs = [(key, value) for key, value in history.initial.items()]
    pairs += [(op.key, written(op)) for op in history.operations if op.key is not None and is_write(op)]
    for key, value in pairs:
        if value is not None:
            found[identity(value)] = found.get(identity(value), frozenset()) | {key}
    return found
