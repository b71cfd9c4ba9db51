"""The ladder: which models of consistency a set of histories satisfies, and what breaks each stronger one.

A rung is a property with a place in a partial order: what keeps the stronger keeps the weaker.  Two things
order operations, the clock and the database, and a rung goes by one of them:

    what clients saw, on one clock: operations alone, in real time

        linearizable ─┬─ sequential ─┬─ causal-convergence ─┬─ causal
                      │              └─ causal-memory ──────┘
                      ├─ delta-atomicity, from the least Δ to the greatest ── integrity
                      ├─ read-after-write
                      ├─ read-your-writes
                      └─ monotonic-reads

    what the database committed

        staleness-in-versions, 0 ─┬─ bounded-staleness, 0 s ── and so on, to the greatest bound
                                  └─ staleness-in-versions, 1 ── and so on
        convergence, 0 s ── and so on, and at last without any bound
        monotonic-writes        writes-follow-reads

Rule 1. What clients saw is judged without the commits.  Of concurrent writes the database makes one the older;
        who sees them the other way round breaks read-your-writes with regard to the database, in a history
        that is linearizable to all clients.  (As properties of their own read-your-writes, monotonic-reads
        and read-after-write know the commits, and so may say otherwise of the same history.)
Rule 2. Sequential consistency and what is below it know no clock.  So they do not imply the session guarantees
        of this package, which do; they imply those of textbooks, which do not.

            A: |--w1--|                             sequential, with w2 before w1; but 1 is older than 2
            B:           |--w2--|  |-r1-|           in real time, so this is no read of one's own write

Rule 3. The writes of one session, and what was read before, are always in order on the clock.  What puts
        monotonic-writes and writes-follow-reads to the test are commits alone.
Rule 4. A rung holds only if it was upheld: something was put to the test in some history, and no history left
        a doubt.  Unknown and not exercised are no success.

A rung that is refuted is not judged again, so a long set of histories costs little more than its good rungs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cacheproof.models.causal import Causal, CausalConvergence, CausalMemory
from cacheproof.models.convergence import Convergence
from cacheproof.models.delta_atomicity import DeltaAtomicity
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.sequential import Sequential
from cacheproof.models.sessions import MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Finding, Judgement, Property, Verdict, merge_verdicts
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.models.zones import Linearizable

__all__ = ["RUNGS", "Doubt", "Fall", "Ladder", "Rung", "Standing", "climb", "rungs"]


@dataclass(frozen=True, slots=True)
class Rung:
    """A place on the ladder: what is judged, and the names of the rungs right below.

    With `without_commits` the property does not get to know what the database committed (rule 1).
    """

    name: str
    property: Property
    implies: tuple[str, ...] = ()
    without_commits: bool = False


def rungs(
    seconds: Iterable[float] = (1, 10, 60, 300), versions: Iterable[int] = (0, 1, 2, 5)
) -> tuple[Rung, ...]:
    """All rungs, each before those that it implies.

    `seconds` are the bounds on the age of what is read, `versions` those on the versions that it may be
    behind.  Raises UsageError for a negative one.
    """
    ages, counts = sorted(set(seconds)), sorted(set(versions))
    atomic = _chain([DeltaAtomicity(age) for age in ages if age], "seconds", "integrity")
    bounded = _chain([BoundedStaleness(age) for age in sorted({0, *ages})], "seconds")
    behind = _chain([StalenessInVersions(count) for count in counts], "versions")
    limits: list[float | None] = [*sorted({0, *ages}), None]
    converging = _chain([Convergence(limit) for limit in limits], "within_s")
    if behind and not counts[0]:
        behind[0] = replace(behind[0], implies=(*behind[0].implies, bounded[0].name))
    below = atomic[0].name if atomic else "integrity"
    return (
        Rung(
            "linearizable",
            Linearizable(),
            ("sequential", below, "read-after-write", "read-your-writes", "monotonic-reads"),
        ),
        Rung("sequential", Sequential(), ("causal-convergence", "causal-memory")),
        Rung("causal-convergence", CausalConvergence(), ("causal",)),
        Rung("causal-memory", CausalMemory(), ("causal",)),
        Rung("causal", Causal()),
        *atomic,
        Rung("read-after-write", ReadAfterWrite(), without_commits=True),
        Rung("read-your-writes", ReadYourWrites(), without_commits=True),
        Rung("monotonic-reads", MonotonicReads(), without_commits=True),
        Rung("integrity", Integrity()),
        *behind,
        *bounded,
        Rung("monotonic-writes", MonotonicWrites()),
        Rung("writes-follow-reads", WritesFollowReads()),
        *converging,
    )


def _chain(items: Sequence[Property], parameter: str, below: str | None = None) -> list[Rung]:
    """Properties with one parameter, each of which implies the next: "bounded-staleness:seconds=60"."""
    names = [f"{item.name}:{parameter}={_written(getattr(item, parameter))}" for item in items]
    next_ones = [*((name,) for name in names[1:]), (below,) if below else ()][: len(names)]
    return [Rung(name, item, implied) for name, item, implied in zip(names, items, next_ones, strict=True)]


def _written(parameter: float | None) -> str:
    return "null" if parameter is None else f"{parameter:g}"


RUNGS: tuple[Rung, ...] = rungs()
"""The ladder that is climbed by default."""


@dataclass(frozen=True, slots=True)
class Fall:
    """The first counterexample to a rung: the place of the history among those given, and the first finding."""

    history: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class Doubt:
    """The first doubt about a rung: the place of the history, and why nothing can be said."""

    history: int
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one rung.

    `judged` counts what was put to the test, up to the first counterexample.  `fall` is that counterexample
    (None if there was none), `doubt` the first reason not to know (None if there was none before the fall).
    """

    rung: Rung
    verdict: Verdict
    judged: int = 0
    fall: Fall | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True)
class Ladder:
    """What is known of every rung, after `histories` histories."""

    standings: tuple[Standing, ...]
    histories: int = 0

    @cached_property
    def strongest(self) -> tuple[Rung, ...]:
        """The rungs that hold and that no other one that holds implies."""
        held = {item.rung.name for item in self.standings if item.verdict is Verdict.UPHELD}
        implied = {name for other in held for name in self._below[other]}
        return tuple(item.rung for item in self.standings if item.rung.name in held - implied)

    def stronger(self, name: str) -> tuple[Standing, ...]:
        """What is known of the rungs that imply the one of this name.  Raises KeyError for an unknown name."""
        self.standing(name)
        return tuple(item for item in self.standings if name in self._below[item.rung.name])

    def standing(self, name: str) -> Standing:
        """What is known of the rung of this name.  Raises KeyError for an unknown one."""
        return {item.rung.name: item for item in self.standings}[name]

    @cached_property
    def _below(self) -> Mapping[str, frozenset[str]]:
        """The names of all rungs that each rung implies, at once or by way of others."""
        return _closure([item.rung for item in self.standings])


def _closure(ladder: Sequence[Rung]) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for rung in reversed(ladder):
        found[rung.name] = frozenset(rung.implies).union(*(found[name] for name in rung.implies))
    return found


def climb(histories: Iterable[History], ladder: Sequence[Rung] = RUNGS) -> Ladder:
    """Judge every history on every rung, until the rung has fallen.

    The histories are taken one at a time.  Raises UsageError if two rungs have one name, or if one implies a
    rung that does not come after it.
    """
    _require_order(ladder)
    climbers = [_Climber(rung) for rung in ladder]
    count = 0
    for place, history in enumerate(histories):
        count = place + 1
        views = _Views(history)
        for climber in climbers:
            climber.take(place, views)
    return Ladder(tuple(climber.standing() for climber in climbers), count)


@dataclass(frozen=True)
class _Views:
    """A history, and what is left of it without the commits, made once if a rung asks for it."""

    whole: History

    @cached_property
    def without_commits(self) -> History:
        kept = tuple(event for event in self.whole.events if not isinstance(event, Committed))
        return replace(self.whole, events=kept)


def _require_order(ladder: Sequence[Rung]) -> None:
    seen: set[str] = set()
    for rung in reversed(ladder):
        if rung.name in seen:
            raise UsageError(f"two rungs are called {rung.name!r}; give each a name of its own")
        if unknown := [name for name in rung.implies if name not in seen]:
            raise UsageError(f"{rung.name!r} implies {unknown!r}; put those rungs behind it")
        seen.add(rung.name)


class _Climber:
    """One rung, and what has been found out of it so far."""

    def __init__(self, rung: Rung) -> None:
        self.rung = rung
        self._verdict = Verdict.NOT_EXERCISED
        self._judged = 0
        self._fall: Fall | None = None
        self._doubt: Doubt | None = None

    def take(self, place: int, views: _Views) -> None:
        if self._fall is not None:
            return
        seen = views.without_commits if self.rung.without_commits else views.whole
        judgement = _judged(self.rung.property, seen)
        self._judged += judgement.judged
        self._verdict = merge_verdicts((self._verdict, judgement.verdict))
        if judgement.findings:
            self._fall = Fall(place, judgement.findings[0])
        elif judgement.unknown is not None and self._doubt is None:
            self._doubt = Doubt(place, judgement.unknown)

    def standing(self) -> Standing:
        return Standing(self.rung, self._verdict, self._judged, self._fall, self._doubt)


def _judged(item: Property, history: History) -> Judgement:
    """A checker that raises has not found anything out."""
    try:
        return item.check(history)
    except Exception as error:
        return Judgement(unknown=f"the checker failed with {error!r}; please report it")
