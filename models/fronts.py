"""The calls on one key, laid out for a search: numbered states, and who may come next at every moment.

        A: |---1---|  |---3---|            by return: 2, 1, 4, 3
        B:   |-2-|       |-4-|             front 2: 1 and 2 may come     front 4: 3 and 4 may come
                                           front 1: 1                    front 3: 3

Time passes from return to return.  The *front* is the first call, by return, that is not in the order yet.
Calls that were invoked when it returns, at the latest, may come before it (intervals are closed); all others
have to wait.  All calls that may come at a front overlap, at the moment when it returns, so each can have a
bit of its own, and calls that never meet can share one: sets of calls are small ints, however long the
history.  Ambiguous calls never return.  They have bits of their own kind, side by side for equal calls.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate
from math import inf
from operator import or_

from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.specifications import Rejection, Specification, State, Traits, mark

__all__ = ["NEVER", "REFUSED", "Ambiguous", "Front", "Machine", "Timeline", "Waiting"]

REFUSED = -1
"""In place of the number of a state: the call is rejected."""

NEVER = -1
"""In place of the number of a state, or of a call: there is none."""

_SOON = 8
"""So many calls that are yet to be invoked are looked at, to see whether they can still be accepted."""

_FAR = 64
"""So many calls that are yet to be invoked are looked at, to see whether one of them helps."""


class Machine:
    """A specification with its states and calls numbered, and every step taken only once.

    Equal calls are of one *kind*.  `rows[kind][state]` is the state after it, or REFUSED, if that is known
    already.  `traits`, `needs` and `leaves` are those of each kind (NEVER: none).
    """

    def __init__(self, specification: Specification, initial: Value) -> None:
        self._specification = specification
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._kinds: dict[object, int] = {}
        self._calls: list[tuple[str, Value, Value]] = []
        self._helps: dict[tuple[int, int], bool] = {}
        self.rows: list[dict[int, int]] = []
        self.traits: list[Traits] = []
        self.needs: list[int] = []
        self.leaves: list[int] = []
        self.start = self._number(specification.start(initial))

    def kind(self, f: str, value: Value, result: Value) -> int:
        found = self._kinds.setdefault((f, mark(value), mark(result)), len(self._calls))
        if found == len(self._calls):
            traits = self._specification.traits(f, value, result)
            self._calls.append((f, value, result))
            self.rows.append({})
            self.traits.append(traits)
            self.needs.append(NEVER if traits.needs is None else self._number(traits.needs))
            self.leaves.append(NEVER if traits.leaves is None else self._number(traits.leaves))
        return found

    def step(self, kind: int, state: int) -> int:
        """The state after a call of that kind, or REFUSED."""
        row = self.rows[kind]
        if state not in row:
            after = self._specification.step(self._states[state], *self._calls[kind])
            row[state] = REFUSED if isinstance(after, Rejection) else self._number(after)
        return row[state]

    def leads(self, state: int, goal: int) -> bool:
        return self._specification.leads(self._states[state], self._states[goal])

    def helps(self, kind: int, goal: int) -> bool:
        """Whether a call of that kind may lead to `goal` from where nothing that only grows does."""
        known = self._helps.get((kind, goal))
        if known is None:
            traits, leaves = self.traits[kind], self.leaves[kind]
            known = not (traits.pure or traits.grows) and (leaves == NEVER or self.leads(leaves, goal))
            self._helps[kind, goal] = known
        return known

    def sees(self, kind: int) -> bool:
        """Whether a call of that kind that returned may go otherwise in any state than in some other."""
        return not self.traits[kind].blind and not self.sees_one(kind)

    def sees_one(self, kind: int) -> bool:
        """Whether a call of that kind that returned is accepted in one state only."""
        return self.needs[kind] != NEVER and not self.traits[kind].total

    def _number(self, state: State) -> int:
        found = self._numbers.setdefault(state, len(self._states))
        if found == len(self._states):
            self._states.append(state)
        return found


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """All ambiguous calls of one kind, by invocation, the first one at the bit `low`; `mask` is all of them."""

    kind: int
    calls: tuple[Operation, ...]
    low: int
    mask: int

    @property
    def effect(self) -> object:
        return _effect(self.calls[0])


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that may come now, and is accepted in one state only, its goal.

    Where the state does not lead there, one of the calls that help has to come before: `helpers` are those
    that may come now, `ambiguous` the ambiguous ones.
    """

    place: int
    bit: int
    goal: int
    helpers: int
    ambiguous: int


@dataclass(frozen=True, slots=True)
class Front:
    """The calls that may come at a front, as bits, and what the search has to know of them.

    `bit` is that of the front itself.  `members` are all of them with their places, by return.  `shown` are
    pure calls by the one state that accepts them, `checks` the other pure ones; `moves` are those that are
    not pure, the one that returns last first: bit, kind, and its equals that return earlier.  `excusable` are
    those that are always accepted, if there are blind calls in the history.  `seers` may go otherwise in any
    state, `seeing` in one.  `equals` are the calls by function and argument.  `open` are the ambiguous calls
    that were invoked by now.  `waiting` are calls whose goal no call helps that is yet to be invoked.
    """

    bit: int
    members: tuple[tuple[int, int], ...]
    shown: Mapping[int, int]
    checks: tuple[tuple[int, int], ...]
    moves: tuple[tuple[int, int, int], ...]
    excusable: int
    seers: int
    seeing: Mapping[int, int]
    equals: Mapping[object, Sequence[tuple[int, int]]]
    open: int
    waiting: tuple[Waiting, ...]


class Timeline:
    """The calls on one key: those that returned, by return, the ambiguous ones by kind, and the fronts.

    Ambiguous calls that never change the state are left out.
    """

    def __init__(self, machine: Machine, operations: Iterable[Operation]) -> None:
        self.machine = machine
        self.calls: list[Operation] = []
        maybe: list[Operation] = []
        for call in operations:
            (self.calls if call.outcome is Outcome.OK else maybe).append(call)
        self.calls.sort(key=lambda call: (_finish(call), call.invoked))
        self.kinds = [machine.kind(call.f, call.value, call.result) for call in self.calls]
        self.ambiguous = _ambiguous(machine, maybe)
        self._seers = _last_seers(machine, self.kinds, self.ambiguous)
        self._leaving: dict[int, list[int]] = {}
        self._helping: dict[int, int] = {}
        self._blind = any(traits.blind for traits in machine.traits)
        self._bits = _bits(self.calls)
        self._moments, self._opened = _openings(self.ambiguous)
        self._arrivals = sorted(range(len(self.calls)), key=lambda place: self.calls[place].invoked)
        self._arrived = 0
        self._present: list[int] = []
        self._fronts: list[Front] = []
        for index, item in enumerate(self.ambiguous):
            self._leaving.setdefault(machine.leaves[item.kind], []).append(index)
        self.ambiguous_seers = [
            (machine.needs[item.kind], item.mask)
            for item in self.ambiguous
            if not machine.traits[item.kind].blind
        ]

    def front(self, place: int) -> Front:
        """The front at the call of that place.  Fronts are made in order, when they are first needed."""
        while place >= len(self._fronts):
            self._fronts.append(self._next_front(len(self._fronts)))
        return self._fronts[place]

    def leaving(self, states: Iterable[int] | None) -> Iterator[int]:
        """The ambiguous kinds (their indices) that may leave one of these states behind (None: any state)."""
        if states is None:
            yield from range(len(self.ambiguous))
            return
        for state in (NEVER, *states):
            yield from self._leaving.get(state, ())

    def may_be_seen(self, place: int) -> bool:
        """Whether some call at or behind that place sees what the call there leaves behind."""
        any_state, one_state = self._seers
        leaves = self.machine.leaves[self.kinds[place]]
        return leaves == NEVER or max(any_state, one_state.get(leaves, NEVER)) >= place

    def _next_front(self, place: int) -> Front:
        moment = _finish(self.calls[place])
        while self._arrived < len(self.calls):
            arrival = self._arrivals[self._arrived]
            if self.calls[arrival].invoked > moment:
                break
            insort(self._present, arrival)
            self._arrived += 1
        front = self._make_front(place, moment)
        self._present.remove(place)
        return front

    def _make_front(self, place: int, moment: float) -> Front:
        traits, bits, kinds = self.machine.traits, self._bits, self.kinds
        pure = [member for member in self._present if traits[kinds[member]].pure]
        shown, checks = self._by_state(pure)
        moves = [member for member in self._present if not traits[kinds[member]].pure]
        excusable = [member for member in moves if self._blind and traits[kinds[member]].total]
        seers = [member for member in self._present if self.machine.sees(kinds[member])]
        seeing = [member for member in self._present if self.machine.sees_one(kinds[member])]
        return Front(
            bit=bits[place],
            members=tuple((bits[member], member) for member in self._present),
            shown=shown,
            checks=tuple((bits[member], kinds[member]) for member in checks),
            moves=self._with_twins(moves),
            excusable=sum(bits[member] for member in excusable),
            seers=sum(bits[member] for member in seers),
            seeing=self._by_state(seeing)[0],
            equals=self._by_effect(moves) if self.ambiguous else {},
            open=self._open_at(moment),
            waiting=tuple(self._waiting(seeing)),
        )

    def _by_state(self, members: Iterable[int]) -> tuple[dict[int, int], list[int]]:
        """Those that are accepted in one state only, by that state, and the rest."""
        found: dict[int, int] = {}
        rest = []
        for member in members:
            if self.machine.sees_one(self.kinds[member]):
                needs = self.machine.needs[self.kinds[member]]
                found[needs] = found.get(needs, 0) | self._bits[member]
            else:
                rest.append(member)
        return found, rest

    def _with_twins(self, members: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        twins: dict[int, int] = {}
        found = []
        for member in members:
            bit, kind = self._bits[member], self.kinds[member]
            found.append((bit, kind, twins.get(kind, 0)))
            twins[kind] = twins.get(kind, 0) | bit
        return tuple(reversed(found))

    def _by_effect(self, members: Sequence[int]) -> dict[object, list[tuple[int, int]]]:
        found: dict[object, list[tuple[int, int]]] = {}
        for member in members:
            equals = found.setdefault(_effect(self.calls[member]), [])
            equals.append((self._bits[member], self.kinds[member]))
        return found

    def _waiting(self, present: Sequence[int]) -> Iterator[Waiting]:
        """Those present that are accepted in one state only, and some that are invoked next."""
        soon = self._arrivals[self._arrived : self._arrived + _SOON]
        coming = [member for member in soon if self.machine.sees_one(self.kinds[member])]
        for member in sorted((*present, *coming)):
            goal, until = self.machine.needs[self.kinds[member]], _finish(self.calls[member])
            if not self._is_helped_later(member, goal, until):
                yield Waiting(
                    place=member,
                    bit=self._bits[member] if member in present else 0,
                    goal=goal,
                    helpers=self._helpers(member, goal),
                    ambiguous=self._open_at(until) & self._ambiguous_helpers(goal),
                )

    def _is_helped_later(self, member: int, goal: int, until: float) -> bool:
        """Whether a call that is invoked later, but not after that moment, helps.  Where too many: perhaps."""
        coming = self._arrivals[self._arrived : self._arrived + _FAR]
        for other in coming:
            if self.calls[other].invoked > until:
                return False
            if other != member and self.machine.helps(self.kinds[other], goal):
                return True
        return len(coming) == _FAR

    def _helpers(self, member: int, goal: int) -> int:
        helps, kinds = self.machine.helps, self.kinds
        return sum(
            self._bits[other] for other in self._present if other != member and helps(kinds[other], goal)
        )

    def _open_at(self, moment: float) -> int:
        """The ambiguous calls that were invoked at that moment, at the latest."""
        return self._opened[bisect_right(self._moments, moment)]

    def _ambiguous_helpers(self, goal: int) -> int:
        if goal not in self._helping:
            helps = self.machine.helps
            self._helping[goal] = sum(item.mask for item in self.ambiguous if helps(item.kind, goal))
        return self._helping[goal]


def _finish(call: Operation) -> float:
    return inf if call.returned is None else call.returned


def _effect(call: Operation) -> object:
    """What an ambiguous call has in common with those that returned."""
    return call.f, mark(call.value)


def _ambiguous(machine: Machine, calls: Iterable[Operation]) -> list[Ambiguous]:
    """The ambiguous calls that can matter, by kind."""
    groups: dict[int, list[Operation]] = {}
    for call in sorted(calls, key=lambda call: call.invoked):
        groups.setdefault(machine.kind(call.f, call.value, None), []).append(call)
    found, low = [], 1
    for kind, group in groups.items():
        if not machine.traits[kind].pure:
            found.append(Ambiguous(kind, tuple(group), low, low * ((1 << len(group)) - 1)))
            low <<= len(group)
    return found


def _openings(items: Sequence[Ambiguous]) -> tuple[list[int], list[int]]:
    """When ambiguous calls were invoked, in order, and the bits of those invoked before each, and of all."""
    found = sorted((call.invoked, item.low << n) for item in items for n, call in enumerate(item.calls))
    return [moment for moment, _ in found], [0, *accumulate((bit for _, bit in found), or_)]


def _last_seers(
    machine: Machine, kinds: Sequence[int], ambiguous: Sequence[Ambiguous]
) -> tuple[int, dict[int, int]]:
    """The place of the last call that sees any state, and of the last one that sees each state.

    An ambiguous call may see it however late: its place is behind all others.
    """
    end = len(kinds)
    any_state, one_state = NEVER, dict[int, int]()
    for place, kind in enumerate(kinds):
        if machine.sees_one(kind):
            one_state[machine.needs[kind]] = place
        elif machine.sees(kind):
            any_state = place
    for item in ambiguous:
        if machine.needs[item.kind] != NEVER:
            one_state[machine.needs[item.kind]] = end
        elif not machine.traits[item.kind].blind:
            any_state = end
    return any_state, one_state


def _bits(calls: Sequence[Operation]) -> list[int]:
    """A bit for each call, such that calls that overlap have different ones (as few bits as possible)."""
    bits = [0] * len(calls)
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for place in sorted(range(len(calls)), key=lambda place: calls[place].invoked):
        while busy and busy[0][0] < calls[place].invoked:
            heappush(free, heappop(busy)[1])
        bits[place] = heappop(free) if free else 1 << len(busy)
        heappush(busy, (_finish(calls[place]), bits[place]))
    return bits
