"""Minimising a failing schedule: from dozens of decisions to the few that matter.

A schedule is read (reading.py) as *operations* (an invocation and the exchanges delivered to its client until the next
one; what a worker does counts as one operation, which has no end), *faults*, and the *switches* between
clients.  A switch away from an operation that goes on later is a preemption: the stuff of races.

Rule 1: smaller is decided by one table, `rank` (rank.py): fewest operations, then fewest faults, then fewest
        preemptions, then what reads best.  Only what is smaller is kept, so minimising always ends.
Rule 2: every operation runs to its end by decisions of the schedule, not in the epilogue, as far as the
        finding allows.  A candidate is therefore run with spare deliveries where each operation ends; the
        run skips what is not enabled and says what it executed.  So an operation that needs more exchanges
        than before, because another one is gone, still ends where it ended.
Rule 3: a delivery cannot be taken out of an operation that runs to its end, only be postponed.  Removing one
        is thus another interleaving, or the same history in another spelling; it is tried, and kept if
        smaller by rule 1.  *Minimal* means: each decision was tried so, and none of them can go.
Rule 4: no candidate is run twice, and spellings of one candidate count as one.

Phases, repeated until nothing changes: whole operations (the largest chunks first, as in Zeller and
Hildebrandt's ddmin, 2002), faults, re-interleavings with the fewest preemptions first (in the spirit of
Musuvathi and Qadeer's iterative context bounding, 2007), plainer operations, single decisions, and at last
the re-interleavings of a few operations alone, which finds what one removal at a time cannot.  What a phase
after the second one wins sends the search back to the first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, pairwise

from cacheproof.harness.interleavings import MOST_ORDERS, orders
from cacheproof.harness.isolation import alone
from cacheproof.harness.rank import PLAIN_FIRST, count_preemptions, count_struck, plainer_forms, rank, weight
from cacheproof.harness.reading import (
    OWNED,
    WORLD,
    Decisions,
    appearance,
    changed_at,
    gathered,
    is_call,
    is_fault,
    operations_of,
    renumber,
    respell,
    without,
)
from cacheproof.models.decision import Advance, Decision, Deliver, Fate, Invoke

__all__ = ["Attempt", "Minimised", "minimise"]

Attempt = Callable[[tuple[Decision, ...]], tuple[Decision, ...] | None]
"""Runs decisions leniently on fresh state: a decision that is not enabled is skipped.

Returns the decisions that were executed if the run still shows the same finding, else None.
"""

_SPARE = 24
"""Deliveries with which an operation surely ends (skipped where there is nothing to deliver).

An operation that needs more, or never ends, is left to later decisions and the epilogue from there on.
"""

_ROUND_SECONDS = (1.0, 10.0, 60.0, 300.0, 3600.0)
"""Amounts of time that read well, tried in place of what a search came up with."""


@dataclass(frozen=True, slots=True)
class Minimised:
    """The smallest schedule found.

    `replays` is how often `attempt` was called.  `minimal` is True when every single decision was tried and
    none can go (rule 3); False if the budget ran out first, or the finding did not show again at all.
    """

    decisions: tuple[Decision, ...]
    replays: int
    minimal: bool


def minimise(
    decisions: tuple[Decision, ...],
    attempt: Attempt,
    *,
    budget: int = 400,
    progress: Callable[[int], None] | None = None,
    operations: Collection[str] = PLAIN_FIRST,
) -> Minimised:
    """Look for the smallest schedule that shows the same finding as `decisions`.

    Takes at most `budget` calls of `attempt`; `progress` is told their number after each; `operations` are
    what clients can be asked for in place of something else.  A finding that
    comes and goes makes the result worse, never wrong: it is always a schedule that did show the finding
    (or `decisions` itself, if none did).
    """
    search = _Search(decisions, attempt, budget, progress, operations)
    try:
        minimal = search.begin()
        if minimal:
            search.run()
    except _BudgetSpent:
        minimal = False  # the best so far is the result
    return Minimised(search.current, search.replays, minimal)


class _BudgetSpent(Exception):
    """No replay is left."""


@dataclass
class _Search:
    """The state of one minimisation: the best schedule so far, and what is known of others."""

    current: Decisions
    attempt: Attempt
    budget: int
    progress: Callable[[int], None] | None
    operations: Collection[str]
    replays: int = 0
    completes: bool = False
    known: dict[Decisions, Decisions | None] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)
    """By name, how many deliveries an operation was seen to take at most."""
    clients: set[int] = field(default_factory=set)
    """Whoever was seen to invoke operations."""

    def begin(self) -> bool:
        """Show the finding once, with every operation run to its end if possible.  False if it is not shown."""
        if self.complete():
            return True
        executed = self.replay(self.current)
        if executed is not None:
            self.accept(executed)
        return executed is not None

    def complete(self) -> bool:
        """Run every operation to its end by decisions, if that is not so and the finding allows it.

        What is open is ended as the epilogue would do it, one client after the other, or all in turn.
        """
        if self.completes:
            return False
        open_clients = sorted({item.client for item in operations_of(self.current) if item.ends})
        one_by_one = tuple(Deliver(client) for client in open_clients for _ in range(_SPARE))
        in_turn = tuple(Deliver(client) for _ in range(_SPARE) for client in open_clients)
        for tail in (one_by_one, in_turn):
            executed = self.replay(self.current + tail)
            if executed is not None:
                self.completes = True
                self.accept(executed)
                return True
        return False

    def run(self) -> None:
        """All phases until none of them finds anything smaller."""
        phases = (
            self.remove_faults,
            self.remove_operations,
            self.reorder,
            self.simplify,
            self.remove_decisions,
            self.isolate,
            self.complete,
        )
        position = 0
        while position < len(phases):
            changed = phases[position]()
            position = 0 if changed and position >= 2 else position + 1

    def replay(self, candidate: Decisions) -> Decisions | None:
        """Run a candidate unless it is known; returns what was executed if the finding showed."""
        key, spelled = candidate, candidate
        if self.completes:
            key = respell(candidate, 1, exactly=True)
            spelled = respell(candidate, _SPARE, exactly=False)
        if key in self.known:
            return self.known[key]
        if self.replays >= self.budget:
            raise _BudgetSpent
        self.replays += 1
        executed = self.attempt(spelled)
        self.known[key] = executed
        if self.progress is not None:
            self.progress(self.replays)
        return executed

    def accept(self, executed: Decisions) -> None:
        self.current = executed
        self.known[respell(executed, 1, exactly=True) if self.completes else executed] = executed
        for operation in operations_of(executed):
            call = executed[operation.steps[0]]
            if is_call(call):
                self.clients.add(call.client)
                seen = self.longest.get(call.f, 0)
                self.longest[call.f] = max(seen, len(operation.steps) - 1)

    def improves(self, candidate: Decisions) -> bool:
        """Try a candidate, and take what it executed if that is smaller and shows the finding."""
        executed = self.replay(candidate)
        if executed is None or rank(executed) >= rank(self.current):
            return False
        self.accept(executed)
        return True

    def improves_any(self, candidates: Iterable[Decisions]) -> bool:
        return any(self.improves(candidate) for candidate in candidates)

    # Phase 1: operations

    def remove_operations(self) -> bool:
        return self.remove_chunks(lambda: len(operations_of(self.current)), self.fewer_operations)

    def remove_chunks(self, count: Callable[[], int], fewer: Callable[[slice], Decisions]) -> bool:
        """Try to remove each run of so many things, the earliest first: half of them, a quarter, … one."""
        changed = False
        size = max(1, count() // 2)
        while size >= 1:
            at = 0
            while at < count():
                if self.improves(fewer(slice(at, at + size))):
                    changed = True
                else:
                    at += size
            size = min(size, count()) // 2
        return changed

    def fewer_operations(self, which: slice) -> Decisions:
        chosen = operations_of(self.current)[which]
        return without(self.current, [index for item in chosen for index in item.indices])

    # Phase 2: faults

    def remove_faults(self) -> bool:
        changed = self.improves(self.fewer_faults(slice(None)))
        changed = self.remove_chunks(lambda: sum(map(is_fault, self.current)), self.fewer_faults) or changed
        return self.first_of(self.joined_advances) or changed

    def fewer_faults(self, which: slice) -> Decisions:
        """The schedule without some of its faults; what they lost is delivered."""
        faults = [index for index, decision in enumerate(self.current) if is_fault(decision)][which]
        mended: list[Decision] = []
        for index, decision in enumerate(self.current):
            if index not in faults:
                mended.append(decision)
            elif isinstance(decision, Deliver):
                mended.append(replace(decision, fate=Fate.DELIVERED, error=None))
        return tuple(mended)

    def first_of(self, candidates: Callable[[], Iterator[Decisions]]) -> bool:
        """Take the first candidate that improves, and begin anew with what it gives, until none does."""
        changed = False
        while self.improves_any(candidates()):
            changed = True
        return changed

    def joined_advances(self) -> Iterator[Decisions]:
        decisions = self.current
        times = [index for index, decision in enumerate(decisions) if isinstance(decision, Advance)]
        for one, other in pairwise(times):
            total = Advance(
                sum(d.seconds for d in (decisions[one], decisions[other]) if isinstance(d, Advance))
            )
            yield without(changed_at(decisions, other, total), [one])
            yield without(changed_at(decisions, one, total), [other])

    # Phase 3: interleavings

    def reorder(self) -> bool:
        """Join what one operation does apart; then the first of all re-interleavings that shows the finding."""
        changed = self.first_of(self.joined_runs)
        current = self.current
        most = count_preemptions(current, operations_of(current))
        smaller = (order for order in orders(current, most) if rank(order) < rank(current))
        return self.improves_any(islice(smaller, MOST_ORDERS)) or changed

    def joined_runs(self) -> Iterator[Decisions]:
        """Where an operation is preempted: what it does later moved up, or what it did so far moved down."""
        for operation in operations_of(self.current):
            for before, after in pairwise(operation.steps):
                if any(isinstance(other, OWNED) for other in self.current[before + 1 : after]):
                    early = [index for index in operation.steps if index <= before]
                    late = [index for index in operation.steps if index >= after]
                    yield gathered(self.current, late, before + 1)
                    yield gathered(self.current, early, after)

    # Phase 4: plainer operations and faults

    def simplify(self) -> bool:
        phases = (
            self.fewer_clients,
            self.one_key,
            self.plainer,
            self.calmer,
            self.moved_faults,
            self.renumbered,
        )
        changed = False
        for phase in phases:
            changed = self.first_of(phase) or changed
        return changed

    def fewer_clients(self) -> Iterator[Decisions]:
        """One client does the work of another, where the two never have an operation open at a time."""
        spans: dict[int, list[tuple[int, int]]] = {}
        for operation in operations_of(self.current):
            if is_call(self.current[operation.steps[0]]):
                spans.setdefault(operation.client, []).append((operation.steps[0], operation.steps[-1]))
        for kept, gone in combinations(sorted(spans), 2):
            apart = all(a[1] < b[0] or b[1] < a[0] for a in spans[kept] for b in spans[gone])
            if apart:
                yield renumber(self.current, {gone: kept})

    def one_key(self) -> Iterator[Decisions]:
        keys = sorted({d.key for d in self.current if isinstance(d, Invoke) and d.key is not None})
        for key in keys if len(keys) > 1 else ():
            yield tuple(
                replace(d, key=key) if isinstance(d, Invoke) and d.key is not None else d
                for d in self.current
            )

    def plainer(self) -> Iterator[Decisions]:
        """A read in place of anything else, then a write in place of anything but a read, where clients do that."""
        for index, decision in enumerate(self.current):
            if isinstance(decision, Invoke) and decision.key is not None:
                for f in PLAIN_FIRST[: weight(decision.f)]:
                    if f in self.operations:
                        yield changed_at(self.current, index, replace(decision, f=f))

    def calmer(self) -> Iterator[Decisions]:
        """The plain form of an odd decision, and a round number of seconds in place of a larger one."""
        for index, decision in enumerate(self.current):
            for plain in plainer_forms(decision):
                yield changed_at(self.current, index, plain)
            if isinstance(decision, Advance):
                for seconds in _ROUND_SECONDS:
                    if seconds < decision.seconds:
                        yield changed_at(self.current, index, Advance(seconds))

    def moved_faults(self) -> Iterator[Decisions]:
        """Each fault of the world that strikes within an operation, moved to where none is open."""
        operations = operations_of(self.current)
        if count_struck(self.current, operations) == 0:
            return
        for index, decision in enumerate(self.current):
            if isinstance(decision, WORLD):
                rest = without(self.current, [index])
                for at in range(len(rest) + 1):
                    moved = (*rest[:at], decision, *rest[at:])
                    if rank(moved) < rank(self.current):
                        yield moved

    def renumbered(self) -> Iterator[Decisions]:
        """Clients numbered by first appearance.  Workers keep their numbers."""
        clients = {d.client for d in self.current if is_call(d)}
        order = [client for client in appearance(self.current) if client in clients]
        numbers = dict(zip(order, range(len(order)), strict=True))
        if any(client != number for client, number in numbers.items()):
            yield renumber(self.current, numbers)

    # Phase 5: single decisions

    def remove_decisions(self) -> bool:
        return self.first_of(self.single_decisions)

    def single_decisions(self) -> Iterator[Decisions]:
        """Without each decision; an invocation goes with its operation."""
        whole = {item.steps[0]: item.indices for item in operations_of(self.current)}
        for index, decision in enumerate(self.current):
            if isinstance(decision, Invoke):
                yield without(self.current, whole[index])
            else:
                yield without(self.current, [index])

    # Phase 6: a few operations alone

    def isolate(self) -> bool:
        """A few of the operations alone, in every order with at most one preemption.

        It frees what removal one by one cannot: a read that fills the cache and a write that empties it
        again may only be needed because of each other.
        """
        if len(operations_of(self.current)) < 2:
            return False
        return self.improves_any(islice(alone(self.current, self.clients, self.longest), MOST_ORDERS))
