"""Invalidation: so many virtual seconds after a commit, no copy in a cache serves an older version.

A copy is looked at through the eyes of clients, in two ways.  A GET (or its like) that the cache answers with
a value shows the copy at the cache server.  A read that returns without a single exchange of its client shows
a copy inside that process, a local tier; it is taken to have served at its invocation.

    db:    1     2                   bound 10 s: the GET of B at 12 s shows that the copy at the server is late
    A:        |--w2--|
    B:                  |-GET→1-|    evidence, whatever the read then returns
    s:  0     1                12

Evidence has to be certain:

Rule 1. A reply shows a version if its text, or a string in it read as JSON, contains exactly one value that
        the key ever had, as a whole; and, if it answers for several keys, one that no other key ever had.
        Numbers, which may be anything, and what is encoded otherwise cannot be recognised: not judged.
Rule 2. A value is older than a commit only if it was committed once (or is the initial one, and never came
        back), before it.  What is not committed yet, as in a write-behind cache, is not old.
Rule 3. A value that more writes had begun to write than the database had versions of it by then may be a new
        one: no evidence.

With a bound of 0 the order of events decides: nothing superseded may be served at all.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cacheproof.models.decision import ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value
from cacheproof.models.register import Register, identity, judge_registers, registers, written
from cacheproof.models.trace import steps
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Invalidation", "Look", "looks"]

_JUST_AFTER_S = 0.001
"""What may still be served at the bound sharp: the look is a millisecond later."""

_TOLERANCE_S = 1e-6  # virtual seconds are sums of floats, and a bound must not fail by rounding

_Identity = tuple[type, Value]


@dataclass(frozen=True, slots=True)
class Look:
    """A copy was seen to hold `value` at event `index`, or at some time from then to event `until`.

    `process` is the client in which the copy is, None for the cache server.  `operation` looked; `exchange`
    is the index of the exchange that showed it, None for a local tier.
    """

    value: Value
    index: int
    until: int
    at_s: float
    process: int | None
    operation: Operation | None
    exchange: int | None


@dataclass(frozen=True, slots=True)
class Invalidation:
    """`within_s` virtual seconds after a commit no copy serves an older version."""

    within_s: float

    def __post_init__(self) -> None:
        if not self.within_s >= 0:
            raise UsageError(f"invalidation within {self.within_s!r}; write 0 or more seconds")

    @property
    def name(self) -> str:
        return "invalidation"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (self.within_s + _JUST_AFTER_S if self.within_s else 0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "late-invalidation" for each copy and old version: the first look that shows it.

        `versions` are the old one (if it was committed in the run) and the one that superseded it, `because`
        the writes of the latter, `found` the seconds since its commit.  `at` is the exchange; it is empty
        for a local tier, whose copy is that of the culprit's process.  The culprit is None for an exchange
        outside any operation.  Judges looks that came later than the bound after some commit of the key.
        """
        owners = _owners(history)
        return judge_registers(history, lambda register: self._judge(history, register, owners))

    def _judge(
        self, history: History, register: Register, owners: Mapping[_Identity, frozenset[str]]
    ) -> Judgement:
        findings: dict[tuple[int | None, _Identity], Finding] = {}
        judged = 0
        for look in looks(history, register, owners):
            if not (register.commits and self._is_late(look, register.commits[0])):
                continue
            judged += 1
            ended = _superseded(register, look)
            if ended is not None and self._is_late(look, ended):
                findings.setdefault(
                    (look.process, identity(look.value)), self._finding(register, look, ended)
                )
        return Judgement(tuple(findings.values()), judged)

    def _is_late(self, look: Look, commit: Committed) -> bool:
        passed_s = look.at_s - commit.at_s
        return commit.index < look.index and (not self.within_s or passed_s > self.within_s + _TOLERANCE_S)

    def _finding(self, register: Register, look: Look, ended: Committed) -> Finding:
        return Finding(
            property=self.name,
            kind="late-invalidation",
            key=register.key,
            culprit=look.operation,
            because=register.sources(ended.value),
            versions=(*register.versions(look.value), ended),
            stale_s=look.at_s - ended.at_s,
            at=() if look.exchange is None else (look.exchange,),
            found=look.at_s - ended.at_s,
            allowed=(0.0, self.within_s),
        )


def looks(history: History, register: Register, owners: Mapping[_Identity, frozenset[str]]) -> Iterator[Look]:
    """Every look at a copy of one key that showed a version for certain, in order; `owners` as in rule 1."""
    found = [*_looks_at_the_server(history, register, owners), *_looks_inside(history, register)]
    yield from sorted(found, key=lambda look: look.index)


def _looks_at_the_server(
    history: History, register: Register, owners: Mapping[_Identity, frozenset[str]]
) -> Iterator[Look]:
    """What is read by a worker is its queue, or its own business: only what serves clients is a copy."""
    known = {identity(value): value for value in _values(register) if _is_telling(value)}
    for step in steps(history, register.key):
        by_worker = step.exchange.process in history.workers
        if by_worker or not step.looks or step.exchange.server is not ServerName.CACHE:
            continue
        shown = [known[leaf] for leaf in _leaves(step.exchange.reply) if leaf in known]
        alone = len(step.exchange.keys) == 1 or all(len(owners[identity(value)]) == 1 for value in shown)
        if len(shown) == 1 and alone:
            yield Look(shown[0], step.index, step.index, step.at_s, None, step.operation, step.index)


def _looks_inside(history: History, register: Register) -> Iterator[Look]:
    """The reads that no exchange of their client came between."""
    for read in register.reads:
        until = read.invoked if read.returned is None else read.returned
        talked = any(
            exchange.process == read.process and read.invoked < exchange.index < until
            for exchange in history.exchanges
        )
        if not talked:
            yield Look(read.value, read.invoked, until, read.invoked_s, read.process, read, None)


def _is_telling(value: Value) -> bool:
    """A string with a letter in it.  A number in a reply may be anything: a version, a counter, a time to live."""
    return isinstance(value, str) and any(letter.isalpha() for letter in value)


def _superseded(register: Register, look: Look) -> Committed | None:
    """The commit that certainly ended the one version with this value, if it came before the look."""
    same = [commit for commit in register.commits if identity(commit.value) == identity(look.value)]
    if len(same) + register.is_initial(look.value) != 1:
        return None
    begun = sum(write.invoked < look.until for write in register.wrote(look.value))
    if begun > sum(commit.index < look.until for commit in same):
        return None
    return register.superseded(look.value, look.index)


def _values(register: Register) -> tuple[Value, ...]:
    """Every value that the key ever had, or may have had."""
    return (
        register.initial,
        *(written(write) for write in register.writes),
        *(commit.value for commit in register.commits),
    )


def _owners(history: History) -> Mapping[_Identity, frozenset[str]]:
    """The keys that ever had each value."""
    found: dict[_Identity, set[str]] = {}
    for register in registers(history):
        for value in _values(register):
            found.setdefault(identity(value), set()).add(register.key)
    return {value: frozenset(keys) for value, keys in found.items()}


def _leaves(reply: Any) -> set[_Identity]:
    """The scalars in a reply, and in those of its strings that are JSON documents."""
    if isinstance(reply, dict):
        return set().union(*(_leaves(item) for item in reply.values()), *(_leaves(key) for key in reply))
    if isinstance(reply, (list, tuple)):
        return set().union(*(_leaves(item) for item in reply))
    found = {identity(reply)}
    if isinstance(reply, str) and reply[:1] in ("{", "[", '"'):
        try:
            found |= _leaves(json.loads(reply))
        except ValueError:
            return found  # it only looks like JSON: an opaque value
    return found
