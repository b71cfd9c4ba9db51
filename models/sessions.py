"""The session guarantees: what one client may expect of its own reads and writes.

Terry et al., Session Guarantees for Weakly Consistent Replicated Data, PDIS 1994, in the form of Viotti and
Vukolić, Consistency in Non-Transactional Distributed Storage Systems, ACM Computing Surveys 2016, key by key.
All four say the same of two operations of one session, the earlier of which had returned ok: the version of
the earlier one is older than that of the later one, unless both are the same.

                                earlier    later
    read-your-writes            write      read
    monotonic reads             read       read
    monotonic writes            write      write
    writes-follow-reads         read       write

A history satisfies a guarantee if and only if there is for each key one total order of its versions that
extends all that is known (see version_order) and all that the guarantee demands in all sessions together.
There is none exactly if demands and known facts form a circle:

        A: |--w1--|  |--w2--|  |-r1-|     read-your-writes demands 2 < 1, and real time knows 1 < 2

        A: |--w1--|                       nobody knows which of the concurrent writes came first: B's reads
        B: |--w2--|  |-r1-| |-r2-|        alone would be in order, and C's too, but together they demand
        C:           |-r2-| |-r1-|        1 < 2 < 1

Rule 1. A session is one life of a client.  A client that crashed or was started anew remembers nothing.
Rule 2. Only an acknowledged write has to be seen or followed; one that ended `info` must still follow what
        came before it.  Failed operations and ambiguous reads say nothing.
Rule 3. The final reads of the epilogue are reads of the client that makes them, with the same memory: it is
        the process that lived through the run, and its user expects to see what it wrote and saw.
Rule 4. Values with several possible versions are set aside: a read of one cannot be placed.  What is left
        can still be refuted; where one was part of a demand, it can no longer be upheld.
Rule 5. A value that nobody had begun to write is not the business of these properties (see integrity).

What cannot be seen: in real time the writes of a session are in order, and follow what was read, by
themselves.  So monotonic writes and writes-follow-reads are put to the test only by what the database
committed, and only commits can break them: 2 before 1 where one client wrote 1 first, or had read it.  That
somebody read 2 and later 1 is not monotonic for the reader, and no evidence against the writer.

Cost: the graph of facts and demands has O(n) edges, made in O(n log n).  A demand is left out where others
imply it: the last read stands for all before it, the newest of a client's writes for those known to be older.
"""

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, is_write, judge_registers, written
from cacheproof.models.verdict import Finding, Judgement
from cacheproof.models.version_order import Edge, OrderGraph, Version, VersionOrder

__all__ = [
    "Circle",
    "MonotonicReads",
    "MonotonicWrites",
    "ReadYourWrites",
    "SessionResult",
    "WritesFollowReads",
    "check_sessions",
    "restarts",
]


@dataclass(frozen=True, slots=True)
class Circle:
    """Why no order of the versions of a key will do.

    `culprit` is the first operation whose demand closed a circle, and of the circles that it closed this is a
    shortest one.  `because` are the operations behind the other demands and behind what real time knows, in
    order of invocation; `values` the versions on the circle, each older than the next, and the last one older
    than the first.  What the commits know of these values is the rest of the evidence.
    """

    culprit: Operation
    because: tuple[Operation, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class SessionResult:
    """A circle, or none; how many operations were put to the test; and why there may be one nevertheless."""

    circle: Circle | None
    judged: int
    unknown: str | None


class _Mark(NamedTuple):
    """What a session remembers: a node of the graph that later operations have to come after, and why."""

    node: int
    because: tuple[Operation, ...]
    version: Version


_Remember = Callable[[OrderGraph, list[_Mark], _Mark], list[_Mark]]


@dataclass(frozen=True, slots=True)
class _Guarantee:
    """What the four guarantees share: they differ in the row of the table that is their `_rule`."""

    _rule: ClassVar["_Rule"]

    @property
    def name(self) -> str:
        return self._rule.name

    @property
    def probes_s(self) -> tuple[float, ...]:
        return () if self._rule.later_writes else (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding a key: one circle settles it.

        Judges the operations of which something is demanded; writes only where the database committed both
        them and something that they have to follow.
        """
        lives = restarts(history)
        return judge_registers(history, lambda register: self._judge(register, lives))

    def _judge(self, register: Register, lives: Mapping[int, Sequence[int]]) -> Judgement:
        result = check_sessions(register, self.name, lives)
        if result.circle is None:
            return Judgement(judged=result.judged, unknown=result.unknown)
        culprit = result.circle.culprit
        finding = Finding(
            property=self.name,
            kind=self._rule.kind,
            key=register.key,
            culprit=culprit,
            because=result.circle.because,
            versions=register.versions(*result.circle.values),
            stale_s=None if is_write(culprit) else register.stale_s(culprit),
        )
        return Judgement((finding,), result.judged)


def restarts(history: History) -> Mapping[int, Sequence[int]]:
    """The event indices at which each client crashed or was started anew, in order."""
    found: dict[int, list[int]] = {}
    for fault in history.faults:
        if fault.process is not None and fault.fault in ("crash", "restart"):
            found.setdefault(fault.process, []).append(fault.index)
    return found


def check_sessions(
    register: Register, guarantee: str, lives: Mapping[int, Sequence[int]] | None = None
) -> SessionResult:
    """Whether the sessions on one key keep a guarantee, given by its name ("monotonic-reads", …).

    The operations are reads, writes and deletes (see `obstacle` in register).
    `lives` are the event indices at which clients lost their memory (see `restarts`).  The operations of one
    client must not overlap each other; those of a History never do.  Raises KeyError for an unknown name.
    """
    engine = _Engine(register, _RULES[guarantee], lives or {})
    engine.read()
    circle = engine.graph.first_circle()
    return SessionResult(
        circle=engine.explain(circle) if circle else None,
        judged=max(engine.judged, len(circle[:1])),
        unknown=engine.unknown,
    )


def _last(graph: OrderGraph, memory: list[_Mark], mark: _Mark) -> list[_Mark]:
    """The last one only: the guarantee itself has ordered those before it."""
    return [mark]


def _newest(graph: OrderGraph, memory: list[_Mark], mark: _Mark) -> list[_Mark]:
    """Those not known to be older than another: at most two, the last in real time and the last committed."""
    known = graph.order.known
    kept = [item for item in memory if not known(item.version, mark.version)]
    return kept if any(known(mark.version, item.version) for item in kept) else [*kept, mark]


def _all(graph: OrderGraph, memory: list[_Mark], mark: _Mark) -> list[_Mark]:
    """All of them, behind a node of their own: whatever follows it follows each of them."""
    collector = graph.add_node()
    for item in memory:
        graph.add(item.node, Edge(collector, 0))
    graph.add(mark.node, Edge(collector, 0, because=mark.because))
    return [_Mark(collector, (), mark.version)]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A row of the table: which operations demand, of which later ones, and what a session has to remember."""

    name: str
    kind: str
    earlier_writes: bool
    later_writes: bool
    remember: _Remember

    def demands(self, operation: Operation) -> bool:
        return is_write(operation) is self.earlier_writes and operation.outcome is Outcome.OK

    def obliges(self, operation: Operation) -> bool:
        """Reads that returned, and writes that may have happened."""
        says = operation.outcome is Outcome.OK or (self.later_writes and operation.outcome is Outcome.INFO)
        return is_write(operation) is self.later_writes and says


_TABLE = (
    _Rule("read-your-writes", "read-your-writes", True, False, _newest),
    _Rule("monotonic-reads", "non-monotonic-read", False, False, _last),
    _Rule("monotonic-writes", "non-monotonic-write", True, True, _last),
    _Rule("writes-follow-reads", "write-before-read", False, True, _all),
)
_RULES: Mapping[str, _Rule] = {rule.name: rule for rule in _TABLE}


@dataclass(frozen=True, slots=True)
class ReadYourWrites(_Guarantee):
    """What a client reads is not older than what it wrote before and was acknowledged."""

    _rule: ClassVar[_Rule] = _RULES["read-your-writes"]


@dataclass(frozen=True, slots=True)
class MonotonicReads(_Guarantee):
    """What a client reads is not older than what it read before."""

    _rule: ClassVar[_Rule] = _RULES["monotonic-reads"]


@dataclass(frozen=True, slots=True)
class MonotonicWrites(_Guarantee):
    """The writes of a client take effect in the order in which it made them."""

    _rule: ClassVar[_Rule] = _RULES["monotonic-writes"]


@dataclass(frozen=True, slots=True)
class WritesFollowReads(_Guarantee):
    """What a client writes takes effect after what it had read before."""

    _rule: ClassVar[_Rule] = _RULES["writes-follow-reads"]


@dataclass(slots=True)
class _Memory:
    """What one session has read or written so far, as far as it demands something of later operations.

    `values` are all such values, `vague` those of them that are set aside, `committed` says whether the
    database changed to one of them.
    """

    marks: list[_Mark] = field(default_factory=list)
    values: set[tuple[type, Value]] = field(default_factory=set)
    vague: dict[tuple[type, Value], None] = field(default_factory=dict)
    committed: bool = False


class _Engine:
    """Reads the operations on one key in order of invocation, and makes the graph of facts and demands."""

    def __init__(self, register: Register, rule: _Rule, lives: Mapping[int, Sequence[int]]) -> None:
        self.register, self.rule, self.lives = register, rule, lives
        self.order = VersionOrder(register)
        self.graph = OrderGraph(self.order)
        self.closers: list[Operation] = []
        self.judged = 0
        self.unknown: str | None = None

    def read(self) -> None:
        """Walk through all sessions at once."""
        sessions: dict[tuple[int, int], _Memory] = {}
        for operation in sorted(self.register.operations, key=lambda op: op.invoked):
            version = self._version(operation)
            if version is None:
                continue
            life = bisect(self.lives.get(operation.process, ()), operation.invoked)
            memory = sessions.setdefault((operation.process, life), _Memory())
            if self.rule.obliges(operation) and memory.values:
                self._oblige(memory, operation, version)
            if self.rule.demands(operation):
                self._remember(memory, operation, version)

    def explain(self, edges: Sequence[Edge]) -> Circle:
        closing = self.closers[max(edge.rank for edge in edges)]
        named = dict.fromkeys(op for edge in edges for op in edge.because if op is not closing)
        return Circle(
            culprit=closing,
            because=tuple(sorted(named, key=lambda op: op.invoked)),
            values=tuple(version.value for version in self.graph.passed(edges)),
        )

    def _version(self, operation: Operation) -> Version | None:
        """The version that an operation read or wrote, unless it cannot have read it (rule 5)."""
        if is_write(operation):
            return self.order.find(written(operation))
        version = self.order.find(operation.value)
        if version is None or version.initial or not all(map(operation.precedes, version.sources)):
            return version
        return None

    def _oblige(self, memory: _Memory, operation: Operation, version: Version) -> None:
        if self.rule.later_writes and not self.register.commits:
            return
        value = identity(version.value)
        vague = not version.unique or len(memory.vague) > (value in memory.vague)
        if vague and len(memory.values) > (value in memory.values):
            self.unknown = self.unknown or _doubt(version, memory)
        elif not self.rule.later_writes or (memory.committed and _changed_to(version)):
            self.judged += 1
        if version.unique:
            self._demand(memory, operation, self.graph.node(version))

    def _demand(self, memory: _Memory, operation: Operation, node: int) -> None:
        rank = len(self.closers)
        self.closers.append(operation)
        for mark in memory.marks:
            if mark.node != node:
                self.graph.add(mark.node, Edge(node, 1, rank, (*mark.because, operation)))

    def _remember(self, memory: _Memory, operation: Operation, version: Version) -> None:
        value = identity(version.value)
        memory.values.add(value)
        if not version.unique:
            memory.vague[value] = None
            return
        memory.committed = memory.committed or _changed_to(version)
        mark = _Mark(self.graph.node(version), (operation,), version)
        memory.marks = self.rule.remember(self.graph, memory.marks, mark)


def _changed_to(version: Version) -> bool:
    """True if the database did not start with the version, but changed to it."""
    return version.places is not None and version.places[1] > 0


def _doubt(version: Version, memory: _Memory) -> str:
    others = (value for value in memory.vague if value != identity(version.value))
    value = next(others)[1] if version.unique else version.value
    return f"{value!r} may be more than one version"
