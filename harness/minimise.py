"""Minimising a failing schedule: from dozens of decisions to the few that matter.

A schedule is read as *operations* (an invocation and the exchanges delivered to its client until the next
one; what a worker does counts as one operation, which has no end), *faults*, and the *switches* between
clients.  A switch away from an operation that goes on later is a preemption: the stuff of races.

Rule 1: smaller is decided by one table, `_rank`: fewest operations, then fewest faults, then fewest
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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, pairwise
from typing import TypeGuard

from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    InFlight,
    Invoke,
    Kill,
    Restart,
    Start,
)

__all__ = ["Attempt", "Minimised", "minimise"]

Attempt = Callable[[tuple[Decision, ...]], tuple[Decision, ...] | None]
"""Runs decisions leniently on fresh state: a decision that is not enabled is skipped.

Returns the decisions that were executed if the run still shows the same finding, else None.
"""

_Schedule = tuple[Decision, ...]
_Owned = (Invoke, Deliver, Crash, Restart)
_World = (Kill, Start, Expire, Advance)

_SPARE = 24
"""Deliveries with which an operation surely ends (skipped where there is nothing to deliver).

An operation that needs more, or never ends, is left to later decisions and the epilogue from there on.
"""

_ORDERS = 40
"""How many re-interleavings are tried at a time."""

_FEW = 5
"""Up to so many operations, every subset of them is tried alone."""

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
) -> Minimised:
    """Look for the smallest schedule that shows the same finding as `decisions`.

    Takes at most `budget` calls of `attempt`; `progress` is told their number after each.  A finding that
    comes and goes makes the result worse, never wrong: it is always a schedule that did show the finding
    (or `decisions` itself, if none did).
    """
    search = _Search(decisions, attempt, budget, progress)
    try:
        minimal = search.begin()
        if minimal:
            search.run()
    except _BudgetSpent:
        minimal = False  # the best so far is the result
    return Minimised(search.current, search.replays, minimal)


class _BudgetSpent(Exception):
    """No replay is left."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """The indices of one operation in a schedule.

    `steps` are its invocation and deliveries; `faults` the crash that ended it and the restart after.
    `ends` is True if it can run to its end: it is no worker's, and not cut off by a crash.
    """

    client: int
    steps: tuple[int, ...]
    faults: tuple[int, ...]
    ends: bool

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(self.steps + self.faults)


def _operations(decisions: _Schedule) -> list[_Operation]:
    """Split a schedule into operations, in order of their first step."""
    steps: list[list[int]] = []
    faults: list[list[int]] = []
    going_on: dict[int, int] = {}
    latest: dict[int, int] = {}
    for index, decision in enumerate(decisions):
        if isinstance(decision, Crash | Restart):
            going_on.pop(decision.client, None)
            if decision.client in latest:
                faults[latest[decision.client]].append(index)
        elif isinstance(decision, Invoke) or (
            isinstance(decision, Deliver) and decision.client not in going_on
        ):
            going_on[decision.client] = latest[decision.client] = len(steps)
            steps.append([index])
            faults.append([])
        elif isinstance(decision, Deliver):
            steps[going_on[decision.client]].append(index)
    return [_operation(decisions, *indices) for indices in zip(steps, faults, strict=True)]


def _operation(decisions: _Schedule, steps: list[int], faults: list[int]) -> _Operation:
    first = decisions[steps[0]]
    assert isinstance(first, Invoke | Deliver)
    return _Operation(first.client, tuple(steps), tuple(faults), _is_call(first) and not faults)


def _is_call(decision: Decision) -> TypeGuard[Invoke]:
    """True for an invocation by a client; what a worker does has no end, even if it is invoked anew."""
    return isinstance(decision, Invoke) and decision.f != "work"


def _is_plain(decision: Decision) -> bool:
    return isinstance(decision, Deliver) and decision.pick == 0 and decision.fate is Fate.DELIVERED


def _final_run(decisions: _Schedule, operation: _Operation) -> range:
    """The indices of the plain deliveries, uninterrupted, with which an operation ends; maybe none."""
    stop = operation.steps[-1] + 1
    start = stop
    while start - 1 in operation.steps and _is_plain(decisions[start - 1]):
        start -= 1
    return range(start, stop)


def _respell(decisions: _Schedule, length: int, *, exactly: bool) -> _Schedule:
    """Make the final run of each operation `length` deliveries long: at least, or exactly."""
    runs: dict[int, _Schedule] = {}
    respelled: set[int] = set()
    for operation in _operations(decisions):
        if operation.ends:
            run = _final_run(decisions, operation)
            wanted = length if exactly else max(length, len(run))
            runs[operation.steps[-1]] = (Deliver(operation.client),) * wanted
            respelled.update(run)
    out: list[Decision] = []
    for index, decision in enumerate(decisions):
        out += () if index in respelled else (decision,)
        out += runs.get(index, ())
    return tuple(out)


def _is_fault(decision: Decision) -> bool:
    if isinstance(decision, Deliver):
        return decision.fate is not Fate.DELIVERED
    return not isinstance(decision, Invoke)


def _without(decisions: _Schedule, indices: Iterable[int]) -> _Schedule:
    gone = set(indices)
    return tuple(decision for index, decision in enumerate(decisions) if index not in gone)


def _gathered(decisions: _Schedule, indices: Sequence[int], at: int) -> _Schedule:
    """These decisions, one after the other, moved to before what was at index `at`."""
    moved = tuple(decisions[index] for index in indices)
    gone = set(indices)
    before = tuple(decisions[index] for index in range(at) if index not in gone)
    after = tuple(decisions[index] for index in range(at, len(decisions)) if index not in gone)
    return before + moved + after


def _changed(decisions: _Schedule, index: int, decision: Decision) -> _Schedule:
    return (*decisions[:index], decision, *decisions[index + 1 :])


# What smaller means


def _rank(decisions: _Schedule) -> tuple[object, ...]:
    """The order of schedules, as a tuple that compares: smaller is better.  See `_RANK` for its parts."""
    operations = _operations(decisions)
    return tuple(part(decisions, operations) for part in _RANK)


def _count_faults(decisions: _Schedule, operations: list[_Operation]) -> int:
    return sum(map(_is_fault, decisions))


def _count_preemptions(decisions: _Schedule, operations: list[_Operation]) -> int:
    going_on = {index for operation in operations for index in operation.steps[:-1]}
    stepping = [index for index, decision in enumerate(decisions) if isinstance(decision, _Owned)]
    return sum(
        index in going_on and _client(decisions[index]) != _client(decisions[following])
        for index, following in pairwise(stepping)
    )


def _count_struck(decisions: _Schedule, operations: list[_Operation]) -> int:
    """Faults of the world that strike in the middle of an operation: those between two read better."""
    return sum(
        isinstance(decision, _World) and any(item.steps[0] < index < item.steps[-1] for item in operations)
        for index, decision in enumerate(decisions)
    )


def _count_clients(decisions: _Schedule, operations: list[_Operation]) -> int:
    return len({operation.client for operation in operations})


def _count_keys(decisions: _Schedule, operations: list[_Operation]) -> int:
    return len({decision.key for decision in decisions if isinstance(decision, Invoke)} - {None})


def _count_odd(decisions: _Schedule, operations: list[_Operation]) -> int:
    """Decisions that have a plainer form."""
    return sum(any(True for _ in _plainer_forms(decision)) for decision in decisions)


def _plainer_forms(decision: Decision) -> Iterator[Decision]:
    """The first exchange, a request lost (a lost reply has an effect), a statement that ends with its client."""
    match decision:
        case Deliver(pick=pick) if pick > 0:
            yield replace(decision, pick=0)
        case Deliver(fate=Fate.REPLY_LOST):
            yield replace(decision, fate=Fate.REQUEST_LOST)
        case Crash(in_flight=InFlight.RUNS):
            yield replace(decision, in_flight=InFlight.CANCELLED)


def _sum_seconds(decisions: _Schedule, operations: list[_Operation]) -> float:
    return sum(decision.seconds for decision in decisions if isinstance(decision, Advance))


def _plainness(decisions: _Schedule, operations: list[_Operation]) -> int:
    """A read is plainer than a write, and a write than anything else."""
    return sum(_weight(decision.f) for decision in decisions if isinstance(decision, Invoke))


def _weight(f: str) -> int:
    return _PLAIN_FIRST.index(f) if f in _PLAIN_FIRST else len(_PLAIN_FIRST)


def _count_decisions(decisions: _Schedule, operations: list[_Operation]) -> int:
    return len(decisions)


def _shape(decisions: _Schedule, operations: list[_Operation]) -> tuple[int, ...]:
    """Who takes each step, numbered by first appearance: whoever runs goes on as long as possible."""
    order = _appearance(decisions)
    return tuple(order[decision.client] for decision in decisions if isinstance(decision, _Owned))


def _names(decisions: _Schedule, operations: list[_Operation]) -> tuple[str, ...]:
    return tuple(decision.f for decision in decisions if isinstance(decision, Invoke))


def _clients(decisions: _Schedule, operations: list[_Operation]) -> tuple[int, ...]:
    return tuple(_appearance(decisions))


_PLAIN_FIRST = ("read", "write")

# What must be small comes first, what reads well after it, and at last what makes the result unique.
_RANK: tuple[Callable[[_Schedule, list[_Operation]], object], ...] = (
    lambda decisions, operations: len(operations),
    _count_faults,
    _count_preemptions,
    _count_struck,
    _count_clients,
    _count_keys,
    _count_odd,
    _sum_seconds,
    _plainness,
    _count_decisions,
    _shape,
    _names,
    _clients,
)


def _client(decision: Decision) -> int | None:
    return decision.client if isinstance(decision, _Owned) else None


def _appearance(decisions: _Schedule) -> dict[int, int]:
    """Clients by first appearance: the first to act is 0."""
    order: dict[int, int] = {}
    for decision in decisions:
        if isinstance(decision, _Owned):
            order.setdefault(decision.client, len(order))
    return order


# Re-interleavings


@dataclass(frozen=True, slots=True)
class _Step:
    """A decision of a client and the faults of the world right after it, which stay together.

    `yields` is True if another client may follow at no cost: the operation is over.
    """

    decisions: tuple[Decision, ...]
    yields: bool


def _lanes(decisions: _Schedule) -> tuple[_Schedule, dict[int, list[_Step]]]:
    """The faults before anybody's first step, and the steps of each client."""
    pausing = {index for operation in _operations(decisions) for index in operation.steps[:-1]}
    first = next((i for i, decision in enumerate(decisions) if isinstance(decision, _Owned)), len(decisions))
    lanes: dict[int, list[_Step]] = {}
    lane: list[_Step] = []
    for index, decision in enumerate(decisions[first:], start=first):
        if isinstance(decision, _Owned):
            lane = lanes.setdefault(decision.client, [])
            lane.append(_Step((decision,), index not in pausing))
        else:
            lane[-1] = replace(lane[-1], decisions=(*lane[-1].decisions, decision))
    return decisions[:first], lanes


def _merges(lanes: Sequence[Sequence[_Step]], preemptions: int) -> Iterator[list[_Step]]:
    """Every merge of the lanes with exactly so many preemptions, the longest runs first."""

    def extend(at: tuple[int, ...], running: int, left: int) -> Iterator[list[_Step]]:
        if all(at[lane] == len(steps) for lane, steps in enumerate(lanes)):
            if left == 0:
                yield []
            return
        paused = running >= 0 and at[running] > 0 and not lanes[running][at[running] - 1].yields
        for lane in sorted(range(len(lanes)), key=lambda lane: lane != running):
            cost = int(paused and lane != running)
            if at[lane] < len(lanes[lane]) and cost <= left:
                following = (*at[:lane], at[lane] + 1, *at[lane + 1 :])
                for rest in extend(following, lane, left - cost):
                    yield [lanes[lane][at[lane]], *rest]

    yield from extend((0,) * len(lanes), -1, preemptions)


def _orders(decisions: _Schedule, most: int) -> Iterator[_Schedule]:
    """Re-interleavings with at most so many preemptions, the smallest first; at most `_ORDERS` of each."""
    prefix, lanes = _lanes(decisions)
    for preemptions in range(most + 1):
        merges = islice(_merges(list(lanes.values()), preemptions), 4 * _ORDERS)
        orders = [prefix + tuple(d for step in merge for d in step.decisions) for merge in merges]
        yield from sorted(orders, key=_rank)[:_ORDERS]


# The search


@dataclass
class _Search:
    """The state of one minimisation: the best schedule so far, and what is known of others."""

    current: _Schedule
    attempt: Attempt
    budget: int
    progress: Callable[[int], None] | None
    replays: int = 0
    completes: bool = False
    known: dict[_Schedule, _Schedule | None] = field(default_factory=dict)
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
        open_clients = sorted({item.client for item in _operations(self.current) if item.ends})
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

    def replay(self, candidate: _Schedule) -> _Schedule | None:
        """Run a candidate unless it is known; returns what was executed if the finding showed."""
        key, spelled = candidate, candidate
        if self.completes:
            key = _respell(candidate, 1, exactly=True)
            spelled = _respell(candidate, _SPARE, exactly=False)
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

    def accept(self, executed: _Schedule) -> None:
        self.current = executed
        self.known[_respell(executed, 1, exactly=True) if self.completes else executed] = executed
        for operation in _operations(executed):
            call = executed[operation.steps[0]]
            if _is_call(call):
                self.clients.add(call.client)
                seen = self.longest.get(call.f, 0)
                self.longest[call.f] = max(seen, len(operation.steps) - 1)

    def improves(self, candidate: _Schedule) -> bool:
        """Try a candidate, and take what it executed if that is smaller and shows the finding."""
        executed = self.replay(candidate)
        if executed is None or _rank(executed) >= _rank(self.current):
            return False
        self.accept(executed)
        return True

    def improves_any(self, candidates: Iterable[_Schedule]) -> bool:
        return any(self.improves(candidate) for candidate in candidates)

    # Phase 1: operations

    def remove_operations(self) -> bool:
        return self.remove_chunks(lambda: len(_operations(self.current)), self.fewer_operations)

    def remove_chunks(self, count: Callable[[], int], fewer: Callable[[slice], _Schedule]) -> bool:
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

    def fewer_operations(self, which: slice) -> _Schedule:
        chosen = _operations(self.current)[which]
        return _without(self.current, [index for item in chosen for index in item.indices])

    # Phase 2: faults

    def remove_faults(self) -> bool:
        changed = self.improves(self.fewer_faults(slice(None)))
        changed = self.remove_chunks(lambda: sum(map(_is_fault, self.current)), self.fewer_faults) or changed
        return self.first_of(self.joined_advances) or changed

    def fewer_faults(self, which: slice) -> _Schedule:
        """The schedule without some of its faults; what they lost is delivered."""
        faults = [index for index, decision in enumerate(self.current) if _is_fault(decision)][which]
        mended: list[Decision] = []
        for index, decision in enumerate(self.current):
            if index not in faults:
                mended.append(decision)
            elif isinstance(decision, Deliver):
                mended.append(replace(decision, fate=Fate.DELIVERED))
        return tuple(mended)

    def first_of(self, candidates: Callable[[], Iterator[_Schedule]]) -> bool:
        """Take the first candidate that improves, and begin anew with what it gives, until none does."""
        changed = False
        while self.improves_any(candidates()):
            changed = True
        return changed

    def joined_advances(self) -> Iterator[_Schedule]:
        decisions = self.current
        times = [index for index, decision in enumerate(decisions) if isinstance(decision, Advance)]
        for one, other in pairwise(times):
            total = Advance(
                sum(d.seconds for d in (decisions[one], decisions[other]) if isinstance(d, Advance))
            )
            yield _without(_changed(decisions, other, total), [one])
            yield _without(_changed(decisions, one, total), [other])

    # Phase 3: interleavings

    def reorder(self) -> bool:
        """Join what one operation does apart; then the first of all re-interleavings that shows the finding."""
        changed = self.first_of(self.joined_runs)
        current = self.current
        most = _count_preemptions(current, _operations(current))
        smaller = (order for order in _orders(current, most) if _rank(order) < _rank(current))
        return self.improves_any(islice(smaller, _ORDERS)) or changed

    def joined_runs(self) -> Iterator[_Schedule]:
        """Where an operation is preempted: what it does later moved up, or what it did so far moved down."""
        for operation in _operations(self.current):
            for before, after in pairwise(operation.steps):
                if any(isinstance(other, _Owned) for other in self.current[before + 1 : after]):
                    early = [index for index in operation.steps if index <= before]
                    late = [index for index in operation.steps if index >= after]
                    yield _gathered(self.current, late, before + 1)
                    yield _gathered(self.current, early, after)

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

    def fewer_clients(self) -> Iterator[_Schedule]:
        """One client does the work of another, where the two never have an operation open at a time."""
        spans: dict[int, list[tuple[int, int]]] = {}
        for operation in _operations(self.current):
            if _is_call(self.current[operation.steps[0]]):
                spans.setdefault(operation.client, []).append((operation.steps[0], operation.steps[-1]))
        for kept, gone in combinations(sorted(spans), 2):
            apart = all(a[1] < b[0] or b[1] < a[0] for a in spans[kept] for b in spans[gone])
            if apart:
                yield _renumber(self.current, {gone: kept})

    def one_key(self) -> Iterator[_Schedule]:
        keys = sorted({d.key for d in self.current if isinstance(d, Invoke) and d.key is not None})
        for key in keys if len(keys) > 1 else ():
            yield tuple(
                replace(d, key=key) if isinstance(d, Invoke) and d.key is not None else d
                for d in self.current
            )

    def plainer(self) -> Iterator[_Schedule]:
        """A read in place of anything else, then a write in place of anything but a read."""
        for index, decision in enumerate(self.current):
            if isinstance(decision, Invoke) and decision.key is not None:
                for f in _PLAIN_FIRST[: _weight(decision.f)]:
                    yield _changed(self.current, index, replace(decision, f=f))

    def calmer(self) -> Iterator[_Schedule]:
        """The plain form of an odd decision, and a round number of seconds in place of a larger one."""
        for index, decision in enumerate(self.current):
            for plain in _plainer_forms(decision):
                yield _changed(self.current, index, plain)
            if isinstance(decision, Advance):
                for seconds in _ROUND_SECONDS:
                    if seconds < decision.seconds:
                        yield _changed(self.current, index, Advance(seconds))

    def moved_faults(self) -> Iterator[_Schedule]:
        """Each fault of the world that strikes within an operation, moved to where none is open."""
        operations = _operations(self.current)
        if _count_struck(self.current, operations) == 0:
            return
        for index, decision in enumerate(self.current):
            if isinstance(decision, _World):
                rest = _without(self.current, [index])
                for at in range(len(rest) + 1):
                    moved = (*rest[:at], decision, *rest[at:])
                    if _rank(moved) < _rank(self.current):
                        yield moved

    def renumbered(self) -> Iterator[_Schedule]:
        """Clients numbered by first appearance.  Workers keep their numbers."""
        clients = {d.client for d in self.current if _is_call(d)}
        order = [client for client in _appearance(self.current) if client in clients]
        numbers = dict(zip(order, range(len(order)), strict=True))
        if any(client != number for client, number in numbers.items()):
            yield _renumber(self.current, numbers)

    # Phase 5: single decisions

    def remove_decisions(self) -> bool:
        return self.first_of(self.single_decisions)

    def single_decisions(self) -> Iterator[_Schedule]:
        """Without each decision; an invocation goes with its operation."""
        whole = {item.steps[0]: item.indices for item in _operations(self.current)}
        for index, decision in enumerate(self.current):
            if isinstance(decision, Invoke):
                yield _without(self.current, whole[index])
            else:
                yield _without(self.current, [index])

    # Phase 6: a few operations alone

    def isolate(self) -> bool:
        """A few of the operations alone, in every order with at most one preemption.

        It frees what removal one by one cannot: a read that fills the cache and a write that empties it
        again may only be needed because of each other.
        """
        operations = _operations(self.current)
        if len(operations) < 2:
            return False
        return self.improves_any(islice(self.alone(operations), _ORDERS))

    def alone(self, operations: list[_Operation]) -> Iterator[_Schedule]:
        """Of few operations every subset, of many one or two of each kind; the fewest first."""
        few = len(operations) <= _FEW
        invoked = [item for item in operations if self.call(item) is not None]
        pool = invoked if few else self.of_each_kind(invoked)
        unbidden = [item for item in operations if self.call(item) is None]
        for size in range(1, len(pool) + 1 if few else 3):
            for chosen in combinations(pool, size):
                others = [i for item in invoked if item not in chosen for i in item.indices]
                apart = self.spread(chosen)
                for shorter in self.shortened(unbidden):
                    alone = _without(apart, [*others, *shorter])
                    if _rank(alone) < _rank(self.current):
                        yield from _orders(self.stretched(alone), 1)

    def spread(self, chosen: Sequence[_Operation]) -> _Schedule:
        """The schedule with the chosen operations on clients of their own, so that they can interleave."""
        decisions = list(self.current)
        free = sorted(self.clients - {item.client for item in chosen})
        taken: set[int] = set()
        for item in chosen:
            client = free.pop(0) if item.client in taken and free else item.client
            taken.add(client)
            for index in item.indices:
                decisions[index] = _moved(decisions[index], {item.client: client})
        return tuple(decisions)

    def call(self, operation: _Operation) -> Invoke | None:
        first = self.current[operation.steps[0]]
        return first if _is_call(first) else None

    def of_each_kind(self, invoked: list[_Operation]) -> list[_Operation]:
        """The first operation of each name and key, and the first such one by another client."""
        kinds: dict[tuple[object, ...], list[_Operation]] = {}
        for item in invoked:
            call = self.call(item)
            kind = kinds.setdefault((call and call.f, call and call.key, item.ends), [])
            if len(kind) < 2 and all(item.client != other.client for other in kind):
                kind.append(item)
        return [item for kind in kinds.values() for item in kind]

    def shortened(self, unbidden: list[_Operation]) -> Iterator[frozenset[int]]:
        """The indices to leave out so that a worker only takes its first steps: none, one, two … of them.

        What a worker does is one long operation; with fewer writes to flush, it has fewer steps to take.
        """
        for taken in range(max((len(item.steps) for item in unbidden), default=0) + 1):
            yield frozenset(i for item in unbidden for i in item.steps[taken:])

    def stretched(self, decisions: _Schedule) -> _Schedule:
        """Each operation with as many deliveries as one of its name was ever seen to take."""
        extra: dict[int, _Schedule] = {}
        for operation in _operations(decisions):
            call = decisions[operation.steps[0]]
            if operation.ends and _is_call(call):
                lacking = self.longest[call.f] - (len(operation.steps) - 1)
                extra[operation.steps[-1]] = (Deliver(operation.client),) * lacking
        return tuple(d for i, decision in enumerate(decisions) for d in (decision, *extra.get(i, ())))


def _moved(decision: Decision, numbers: dict[int, int]) -> Decision:
    """The decision for another client, where `numbers` has one for it."""
    if isinstance(decision, _Owned) and decision.client in numbers:
        return replace(decision, client=numbers[decision.client])
    return decision


def _renumber(decisions: _Schedule, numbers: dict[int, int]) -> _Schedule:
    return tuple(_moved(decision, numbers) for decision in decisions)
