"""The search for an order: Wing and Gong's, with the memory of Lowe's, and rules that keep it short.

A configuration is where a search stands: the front, which of the calls that may come there are in the order
(`done`) or need not come (`excused`), which ambiguous calls are in, and the state.  From each the search goes on
in all ways, depth first, and never from one that it has seen.  The rules, and why none of them loses anything:

Rule 1. A call that is possible now and never changes the state comes now.  In any order that goes on from here
        it can be moved to this place: nothing else notices.
Rule 2. Of two equal calls (same function, argument and result) the one that returns first comes first, of two
        equal ambiguous calls the one that was invoked first, and an ambiguous call never comes where one that
        returned could, to the same effect.  In any other order the two can change places.
Rule 3. An ambiguous call (`info`) may come at any time after its invocation, or never.  It comes only if it
        changes the state (or excuses a call, see rule 4), and if what comes next goes otherwise in some other
        state and is not blind: no others are in an order with the fewest calls.  Ambiguous reads never come.
Rule 4. A *blind* call (a write) leaves the same state behind whatever was before.  A call that is always
        accepted, and could have come right before a blind one, is excused: it need not come, for it can be put
        right there, where nobody sees it.  So it comes only if what comes next sees it, as in rule 3.

        A: |-------write 1-------|         Once 3 is written, 1 and 2 are excused.  Either may still come
        B: |-------write 2-------|         later, to be read; both ways at once have to be tried only when
        C: |-write 3-|  |-read 2-|         the front gets there, and only if such a read exists.

Rule 5. Of two configurations with the same front and state, one that has used fewer ambiguous calls, or has
        more calls excused, can do all that the other can.  The other is dropped.
Rule 6. Where a call waits that is accepted in one state only, and neither calls that only grow the state
        (appends, increments) lead there from here, nor may any other call come before it that could help, the
        configuration is dropped.

They hold together by one argument.  Of the configurations from which the history can be completed, and from
which the search went on, take one that needs the fewest further steps.  By the rules one of the steps that are
tried leads to one that needs fewer, and the search went on from that, or from one that is at least as good.
So there is one that needs none: the search ends with an order, if there is one.
"""

from collections.abc import Iterator
from enum import Enum

from cacheproof.models.fronts import NEVER, REFUSED, Ambiguous, Front, Timeline
from cacheproof.models.operation import Operation

__all__ = ["Search"]

Trail = tuple["Trail | None", "_Happened", int, int]
"""An order, its last step first: the steps before, what happened, and to which calls (see `_Happened`)."""

Configuration = tuple[int, int, int, int, int, Trail | None]
"""The place of the front, `done`, `excused`, the ambiguous calls that are in, the state, and how it was reached."""


class _Happened(Enum):
    """What a step of a trail says, with two numbers."""

    CAME = "members of a front came: its place, their bits"
    PASSED = "an excused call came somewhere before the last blind one: its place, 0"
    AMBIGUOUS = "an ambiguous call came: the index of its kind, its bit"


class Search:
    """A search for an order of the calls before place `end` (by return), with any of the others.

    `found` says whether there is one, None until it is known.  `furthest` is the place of the furthest front:
    the calls before it have an order, `order()`.  If none was found, no order has the calls before `end`, nor
    those up to the place `hopeless`, or `furthest` if that is behind it.
    """

    def __init__(self, timeline: Timeline, end: int) -> None:
        self.found: bool | None = None
        self.steps = 0
        self.configurations = 0
        self.furthest = NEVER
        self.hopeless = NEVER
        self._timeline = timeline
        self._machine = timeline.machine
        self._end = end
        self._stack: list[Configuration] = []
        self._seen: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
        self._best: Configuration = (0, 0, 0, 0, self._machine.start, None)

    def run(self, steps: int, configurations: int) -> None:
        """Search on until it is known, or until about that many more steps or configurations are spent."""
        last_step, full = self.steps + steps, self.configurations + configurations
        if self.furthest == NEVER:
            self._settle(*self._best)
        while self.found is None and self._stack:
            if self.steps >= last_step or self.configurations >= full:
                return
            self._expand(*self._stack.pop())
        self.found = self.found is True
        self._stack.clear()
        self._seen.clear()

    def order(self) -> tuple[Operation, ...]:
        """An order of the calls before the furthest front, with those of the others that it needs."""
        trail, steps = self._best[-1], []
        while trail is not None:
            trail, happened, which, bits = trail
            steps.append((happened, which, bits))
        found: list[Operation] = []
        last_blind = 0
        for happened, which, bits in reversed(steps):
            if happened is _Happened.PASSED:
                found.insert(last_blind, self._timeline.calls[which])  # all that are put there overlap
                continue
            for call, kind in self._named(happened, which, bits):
                if self._machine.traits[kind].blind:
                    last_blind = len(found)
                found.append(call)
        return tuple(found)

    def rejected(self) -> Iterator[int]:
        """The places of the calls that may come at the furthest front, and are rejected behind `order()`."""
        place, done, _, _, state, _ = self._best
        timeline = self._timeline
        for bit, member in timeline.front(place).members:
            if not done & bit and self._machine.step(timeline.kinds[member], state) == REFUSED:
                yield member

    def _named(self, happened: _Happened, which: int, bits: int) -> Iterator[tuple[Operation, int]]:
        """The calls that came in one step, with their kinds."""
        timeline = self._timeline
        if happened is _Happened.AMBIGUOUS:
            item = timeline.ambiguous[which]
            yield item.calls[(bits // item.low).bit_length() - 1], item.kind
            return
        for bit, member in timeline.front(which).members:
            if bits & bit:
                yield timeline.calls[member], timeline.kinds[member]

    def _expand(
        self, place: int, done: int, excused: int, used: int, state: int, trail: Trail | None
    ) -> None:
        """Go on from a configuration in all ways; what is pushed last is taken up first."""
        front, machine = self._timeline.front(place), self._machine
        seen = self._seen_next(front, done, used)
        if front.open & ~used:
            self._try_ambiguous(seen, place, done, excused, used, state, trail)
        for bit, kind, twins in front.moves:
            equals = twins & ~done
            if done & bit or (equals and (equals & ~excused or excused & bit)):
                continue  # rule 2; one that must come is not spared by one that may
            self.steps += 1
            after = machine.rows[kind].get(state)
            if after is None:
                after = machine.step(kind, state)
            if after == REFUSED:
                continue
            traits, now = machine.traits[kind], done | bit
            if (
                traits.total
                and bit != front.bit
                and not (front.seers & ~now or after in seen or NEVER in seen)
            ):
                continue  # rules 3 and 4; behind the front there may come others, so it is not held to them
            spared = (excused | front.excusable if traits.blind else excused) & ~now
            self._settle(place, now, spared, used, after, (trail, _Happened.CAME, place, bit))

    def _try_ambiguous(
        self, seen: set[int], place: int, done: int, excused: int, used: int, state: int, trail: Trail | None
    ) -> None:
        timeline, machine = self._timeline, self._machine
        front = timeline.front(place)
        any_state = bool(front.seers & ~done) or NEVER in seen
        for index in timeline.leaving(None if any_state else seen):
            item = timeline.ambiguous[index]
            unused = front.open & ~used & item.mask
            self.steps += 1
            after = machine.step(item.kind, state) if unused else REFUSED
            if after == REFUSED or not (any_state or after in seen):
                continue
            blind = machine.traits[item.kind].blind
            spared = excused | (front.excusable & ~done) if blind else excused
            if (after == state and spared == excused) or self._has_equal(front, item, done, state, after):
                continue
            earliest = unused & -unused
            step = (trail, _Happened.AMBIGUOUS, index, earliest)
            self._settle(place, done, spared, used | earliest, after, step)

    def _has_equal(self, front: Front, item: Ambiguous, done: int, state: int, after: int) -> bool:
        """Whether a call that returned could come instead of the ambiguous one, to the same effect (rule 2)."""
        equals = front.equals.get(item.effect, ())
        return any(not done & bit and self._machine.step(kind, state) == after for bit, kind in equals)

    def _seen_next(self, front: Front, done: int, used: int) -> set[int]:
        """The states in which a call that may come next goes otherwise than in others.

        NEVER among them: an ambiguous call goes otherwise in any.  Those of `front.seers` do so too.
        """
        seen = {needs for needs, mask in front.seeing.items() if mask & ~done}
        unused = front.open & ~used
        if unused:
            seen.update(needs for needs, mask in self._timeline.ambiguous_seers if mask & unused)
        return seen

    def _settle(
        self, place: int, done: int, excused: int, used: int, state: int, trail: Trail | None
    ) -> None:
        """Let in what comes by itself (rule 1), and let the front pass as far as it may.

        An excused call that becomes the front either passes, or is taken at its word that it will be seen.
        """
        timeline, step = self._timeline, self._machine.step
        while place < self._end:
            self.steps += 1
            front = timeline.front(place)
            came = front.shown.get(state, 0) & ~done
            for bit, kind in front.checks:
                if not done & bit and step(kind, state) != REFUSED:
                    came |= bit
            if came:
                done |= came
                trail = (trail, _Happened.CAME, place, came)
            if done & front.bit:
                done ^= front.bit
            elif excused & front.bit:
                excused ^= front.bit
                if timeline.may_be_seen(place):
                    self._push(place, done, excused, used, state, trail)
                trail = (trail, _Happened.PASSED, place, 0)
            else:
                self._push(place, done, excused, used, state, trail)
                return
            place += 1
        self.found = True
        self._reach(place, done, excused, used, state, trail)

    def _push(self, place: int, done: int, excused: int, used: int, state: int, trail: Trail | None) -> None:
        """Remember a configuration, to go on from it later, unless it is of no use (rules 5 and 6)."""
        self._reach(place, done, excused, used, state, trail)
        front = self._timeline.front(place)
        if self._is_hopeless(front, done, used, state):
            return
        if self._is_new((place, state, done & ~front.excusable), (done & front.excusable, excused, used)):
            self._stack.append((place, done, excused, used, state, trail))

    def _reach(self, place: int, done: int, excused: int, used: int, state: int, trail: Trail | None) -> None:
        """Remember the first of the configurations that got furthest."""
        if place > self.furthest:
            self.furthest = place
            self._best = (place, done, excused, used, state, trail)

    def _is_hopeless(self, front: Front, done: int, used: int, state: int) -> bool:
        """Rule 6, for the calls that have to come at all."""
        for call in front.waiting:
            if call.place >= self._end:
                break
            if call.goal == state or done & call.bit or call.helpers & ~done or call.ambiguous & ~used:
                continue
            if not self._machine.leads(state, call.goal):
                self.hopeless = max(self.hopeless, call.place)
                return True
        return False

    def _is_new(self, key: tuple[int, int, int], found: tuple[int, int, int]) -> bool:
        """Rule 5; what is worse than what was found is forgotten."""
        known = self._seen.setdefault(key, [])
        self.steps += len(known)
        if any(_is_as_good(other, found) for other in known):
            return False
        if known:
            kept = [other for other in known if not _is_as_good(found, other)]
            self.configurations -= len(known) - len(kept)
            known[:] = kept
        known.append(found)
        self.configurations += 1
        return True


def _is_as_good(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Whether the first can do all that the second can: each call is excused, or stands as in the second."""
    done, excused, used = one
    other_done, other_excused, other_used = other
    return not (used & ~other_used or other_excused & ~excused or (done ^ other_done) & ~excused)
