"""Causal consistency, causal convergence and causal memory, across all keys.

Bouajjani, Enea, Guerraoui, Hamza, On Verifying Causal Consistency, POPL 2017: if every value is written once
(a key), a history has each of these properties if and only if it is free of certain bad patterns.  Let
"before" be causal order, that is program order and reads-from (see happens_before) and what follows.

Causal consistency (their CC): nobody reads what causality says is overwritten.
    fabricated, aborted     a read of a value that nobody wrote, or only a write that failed (ThinAirRead)
    causality-cycle         an operation is before itself                                  (CyclicCO)
    initial-after-write     a read of the initial record, and a write of its key before it (WriteCOInitRead)
    stale-causal-read       a read, the write of its value before another write of that key,
                            and that one before the read                                   (WriteCORead)

        A: |-w1@x-|  |-w2@y-|
        B:                     |-r2@y-|  |-r0@x-|     B has heard of w2@y, so w1@x cannot be news to it

Causal convergence (CCv) is causal consistency with one order of concurrent writes for all.
    arbitration-cycle       each of some writes lost against the next in the eyes of a reader  (CyclicCF)

        A: |-w1@x-|           B and C saw both writes, and disagree which is the last
        D: |-w2@x-|
        B:            |-r1@x-|  |-r2@x-|
        C:            |-r2@x-|  |-r1@x-|

Causal memory (CM) is causal consistency in which each session has one order of what it has seen.
    view-cycle              no one order explains all reads of a session  (WriteHBInitRead, CyclicHB)

        A: |-w1@x-|                               B puts w2@x first, then w1@x, and then w2@x again
        B: |-w2@x-|  |-r1@x-|  |-r2@x-|           (causal convergence forbids it, too)

The last two do not imply one another; sequential consistency implies them both.  What conditions their
happened-before relation puts on a session's order are those of saturation by that session's reads; its rule 2
covers WriteHBInitRead.  An ambiguous write that was seen took effect; one that was not is dropped.

Reads of values with several sources are set aside: the rest can be refuted, but not upheld.  Real time counts
for nothing: a session may lag behind for as long as it likes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cacheproof.models.happens_before import Scene, observe
from cacheproof.models.history import History
from cacheproof.models.operation import Operation
from cacheproof.models.saturation import LARGEST, Order, saturate
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Causal", "CausalConvergence", "CausalMemory", "causality_findings", "circle_finding"]

_BUDGET_STEPS = 20_000_000  # some fifteen seconds
_Further = Callable[[str, Scene], Judgement]


@dataclass(frozen=True, slots=True)
class Causal:
    """No read returns what the causal past of its session says is overwritten, on any key."""

    @property
    def name(self) -> str:
        return "causal"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding a key of each kind, or one cycle.  Judges ok reads.

        Culprit is the read, and `because` are the others in causal order: from the write that was missed, or
        for a stale read from the write of what was read, up to the read; for a cycle once round it, up to
        the write that the culprit read from.
        """
        return _judge(self.name, history)


@dataclass(frozen=True, slots=True)
class CausalConvergence:
    """Causal consistency, with one order of concurrent writes for all sessions."""

    @property
    def name(self) -> str:
        return "causal-convergence"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """As `Causal`; where that finds nothing, at most one "arbitration-cycle".

        Its culprit is the last read that takes part in it, `because` are the others in order of invocation.
        """
        return _judge(self.name, history, _arbitrate)


@dataclass(frozen=True, slots=True)
class CausalMemory:
    """Causal consistency, with one order for each session that explains all that it read."""

    @property
    def name(self) -> str:
        return "causal-memory"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """As `Causal`; where that finds nothing, at most one "view-cycle" a session.

        Its culprit is the last read that takes part in it, `because` are the others in order of invocation.
        """
        return _judge(self.name, history, _view)


def _judge(name: str, history: History, further: _Further | None = None) -> Judgement:
    """Causal consistency first; what goes further is asked only of a history that has it."""
    scene = observe(history)
    findings = tuple(scene.made_up(name))
    if len(scene.operations) > LARGEST:
        doubt = f"{len(scene.operations)} operations order one another, and at most {LARGEST} are compared"
        return Judgement(findings, scene.judged, doubt)
    findings += tuple(causality_findings(name, scene))
    if findings or further is None:
        return Judgement(findings, scene.judged, scene.unknown)
    more = further(name, scene)
    return Judgement(more.findings, scene.judged, scene.unknown or more.unknown)


def causality_findings(name: str, scene: Scene) -> Iterator[Finding]:
    """The cycle of causal order, or else of each key the first read that causality says is too old.

    For property `name`.  The scene should not be larger than an order can hold.
    """
    order = Order(scene)
    if order.pasts is None:
        yield _cycle_finding(name, order)
        return
    keys = set[str | None]()
    for read in sorted(scene.sources):
        key = scene.operations[read].key
        if key not in keys and (newer := _overwritten(order, read)) is not None:
            keys.add(key)
            yield _overwritten_finding(name, order, read, newer)


def _cycle_finding(name: str, order: Order) -> Finding:
    """Culprit is the read that is the furthest ahead of the write that it read from."""
    scene = order.scene
    circle = order.circle()
    reads = [node for node in circle if scene.sources.get(node) is not None]
    culprit = max(reads, key=lambda node: (scene.sources[node] or 0) - node)
    place = circle.index(culprit)
    because = (*circle[place + 1 :], *circle[:place])
    return scene.finding(name, "causality-cycle", scene.operations[culprit], _named(scene, because))


def _overwritten(order: Order, read: int) -> int | None:
    """A write of the same key between the source of a read and the read, in causal order.

    The last write of each chain in the past of the read has the largest past, so it speaks for all of them.
    """
    scene, pasts = order.scene, order.pasts or ()
    source = scene.sources[read]
    for write in scene.latest(pasts[read], scene.operations[read].key):
        if source is None or (write != source and pasts[write] >> source & 1):
            return write
    return None


def _overwritten_finding(name: str, order: Order, read: int, newer: int) -> Finding:
    scene, source = order.scene, order.scene.sources[read]
    told = order.path(newer, read)[:-1]
    if source is None:
        return scene.finding(name, "initial-after-write", scene.operations[read], _named(scene, told))
    because = (*order.path(source, newer)[:-1], *told)
    return scene.finding(name, "stale-causal-read", scene.operations[read], _named(scene, because))


def _arbitrate(name: str, scene: Scene) -> Judgement:
    """CyclicCF: rule 1 of saturation, once, for all reads."""
    order = Order(scene)
    order.grow(sorted(scene.sources), 1, both_rules=False)
    if order.pasts is None:
        return Judgement((circle_finding(name, "arbitration-cycle", order),))
    return Judgement()


def _view(name: str, scene: Scene) -> Judgement:
    """CyclicHB and WriteHBInitRead: saturation by the reads of each session."""
    sessions: dict[int, list[int]] = {}
    for read in sorted(scene.sources):
        sessions.setdefault(scene.chains[read], []).append(read)
    findings, doubt = [], None
    for reads in sessions.values():
        order = saturate(scene, reads, _BUDGET_STEPS // len(sessions))
        if order is None:
            process = scene.operations[reads[0]].process
            doubt = f"what process {process} saw was not put in order within {_BUDGET_STEPS} steps"
        elif order.pasts is None:
            findings.append(circle_finding(name, "view-cycle", order))
    return Judgement(tuple(findings), unknown=doubt)


def circle_finding(name: str, kind: str, order: Order) -> Finding:
    """What goes in a circle, down to program order and reads-from.  Culprit is the last read among it."""
    scene = order.scene
    proof = order.proof(order.circle())
    culprit = max(node for node in proof if node in scene.sources)
    because = (node for node in proof if node != culprit)
    return scene.finding(name, kind, scene.operations[culprit], _named(scene, because))


def _named(scene: Scene, nodes: Iterable[int]) -> tuple[Operation, ...]:
    return tuple(scene.operations[node] for node in nodes)
