"""How many readers load one entry when it expires: a simulation, event by event, from a seed.

Readers of one key arrive at random (a Poisson process), `rate` a second.  A load takes `load_s`.  What counts
are the loads that begin until the entry is renewed and nobody is left who had missed it:

    expiry   |- load -|              the first reader to miss, or to renew early
              |- load -|             and everybody who comes before the entry is there again

The decisions are those of the pages: `is_due` of the two early expiries is called for each reader, and the locks
live and make wait as long as in their pages.  A message with the cache takes a millisecond on average, and no two
the same, since that is what lets a reader miss before a fill and take the lock after it.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from cacheproof.patterns import early_expiry, early_expiry_xfetch, stampede_lock, stampede_mutex

__all__ = ["RULES", "Situation", "loads_of_one_expiry"]

_MESSAGE_S = 0.001
_LONGEST_S = 30.0
"""For how long readers come if nobody manages to fill."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What readers meet: how many come a second, how long a load takes, and from when on they may renew."""

    rate: float
    load_s: float = 0.5
    threshold_s: float = 10.0


Rule = Callable[[Situation, random.Random], int]
"""The loads of one expiry."""


def loads_of_one_expiry(rule: str, situation: Situation, seed: int) -> int:
    """How many loads one expiry leads to under a rule of RULES; the same for the same seed."""
    return RULES[rule](situation, random.Random(f"{rule} {situation.rate} {seed}"))


def none(situation: Situation, chance: random.Random) -> int:
    """Whoever misses loads."""
    return 1 + sum(1 for _ in _arrivals(situation.rate, 0.0, situation.load_s, chance))


def early_simple(situation: Situation, chance: random.Random) -> int:
    """A hit is a miss if its remaining life is shorter than a random part of the threshold."""

    def due(remaining_s: float) -> bool:
        return early_expiry.is_due(remaining_s, situation.threshold_s, chance.random())

    return _renewals(situation, chance, due, situation.threshold_s)


def early_xfetch(situation: Situation, chance: random.Random) -> int:
    """A hit is a miss if it would expire within an exponentially distributed number of loads."""
    load_s = situation.load_s

    def due(remaining_s: float) -> bool:
        return early_expiry_xfetch.is_due(-remaining_s, 0.0, load_s, 1.0, 1.0 - chance.random())

    # Earlier, less than one in 3,000 windows sees a renewal.
    lead_s = load_s * (math.log(max(situation.rate * load_s, 1.0)) + 8)
    return _renewals(situation, chance, due, lead_s)


def _renewals(
    situation: Situation, chance: random.Random, due: Callable[[float], bool], lead_s: float
) -> int:
    """The loads from the first reader who finds the entry due, or gone, until that one has loaded."""
    loads, renewed = 0, math.inf
    for at in _arrivals(situation.rate, -lead_s, math.inf, chance):
        if at >= renewed:
            break
        if at >= 0 or due(-at):
            loads += 1
            renewed = min(renewed, at + situation.load_s)
    return loads


def _arrivals(rate: float, since: float, until: float, chance: random.Random) -> Iterator[float]:
    at = since
    while (at := at + chance.expovariate(rate)) < until:
        yield at


# -- locks ----------------------------------------------------------------------------------------------------


class _Locked:
    """One key, its lock, and readers who ask for it; each step of a reader is an event at its time."""

    def __init__(self, situation: Situation, chance: random.Random) -> None:
        self.situation, self.chance = situation, chance
        self.loads = 0
        self.filled = math.inf
        self._owner: int | None = None
        self._until = -math.inf
        self._readers = 0
        self._events: list[tuple[float, int, Iterator[float]]] = []

    def run(self, reader: Callable[["_Locked", int], Iterator[float]]) -> int:
        """Let readers come until the entry is filled, and wait for all who missed it; returns the loads."""
        arrivals = _arrivals(self.situation.rate, 0.0, math.inf, self.chance)
        arrival = 0.0
        while (coming := arrival < min(self.filled, _LONGEST_S)) or self._events:
            if self._events and (self._events[0][0] <= arrival or not coming):
                self._go_on()
                continue
            self._readers += 1
            heappush(self._events, (arrival, self._readers, reader(self, self._readers)))
            arrival = next(arrivals)
        return self.loads

    def _go_on(self) -> None:
        self.now, number, steps = heappop(self._events)
        if (wait := next(steps, None)) is not None:
            heappush(self._events, (self.now + wait, number, steps))

    def message(self) -> float:
        return self.chance.expovariate(1 / _MESSAGE_S)

    def hit(self) -> bool:
        return self.now >= self.filled

    def acquire(self, who: int, life_s: float) -> bool:
        """SET lock NX with a ttl."""
        if self._owner is not None and self.now < self._until:
            return False
        self._owner, self._until = who, self.now + life_s
        return True

    def holds(self, who: int) -> bool:
        return self._owner == who and self.now < self._until

    def release(self) -> None:
        self._owner = None

    def fill(self) -> None:
        self.filled = min(self.filled, self.now)


def mutex(situation: Situation, chance: random.Random) -> int:
    """The recipe: SET NX, load, SET, DEL; else sleep and start over."""
    return _Locked(situation, chance).run(_mutex_reader)


def _mutex_reader(key: _Locked, who: int) -> Iterator[float]:
    """A GET has just reached the cache; every yield is the time until the next thing does."""
    while not key.hit():
        yield key.message()
        if key.acquire(who, stampede_mutex.LOCK_S):
            key.loads += 1
            yield key.situation.load_s + key.message()
            key.fill()
            yield key.message()
            key.release()
            return
        yield stampede_mutex.PAUSE_S + key.message()


def lock(situation: Situation, chance: random.Random) -> int:
    """The corrected lock: look again once it is held, and fill only if it still is."""
    return _Locked(situation, chance).run(_lock_reader)


def _lock_reader(key: _Locked, who: int) -> Iterator[float]:
    give_up = key.now + stampede_lock.WAIT_S
    while not key.hit():
        yield key.message()
        last = key.now >= give_up
        if key.acquire(who, stampede_lock.LOCK_S):
            yield from _load_under_lock(key, who)
            return
        if last:
            return
        yield key.chance.uniform(*stampede_lock.PAUSES_S) + key.message()


def _load_under_lock(key: _Locked, who: int) -> Iterator[float]:
    yield key.message()
    if not key.hit():
        key.loads += 1
        yield key.situation.load_s + key.message()
        if key.holds(who):
            key.fill()
    if key.holds(who):
        key.release()


RULES: Mapping[str, Rule] = {
    "none": none,
    "mutex recipe": mutex,
    "corrected lock": lock,
    "simple early expiry": early_simple,
    "XFetch": early_xfetch,
}
"""What readers do about an entry that expires, by name."""
