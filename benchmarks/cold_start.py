"""What a database has to bear when a cache starts empty, with each way to warm it up: a simulation, from a seed.

Reads of `keys` keys arrive at random, the n-th key being asked for n times less often than the first (Zipf).  Who
misses loads, alone for each key, and the entry lives for `ttl_s`:

    none        traffic comes at once, and finds nothing
    eager       every key is loaded first, as fast as it goes; then traffic comes.  All expire together.
    limited     the same with an admission limit, the hottest keys first, and with jitter on the ttl
    gradual     5 % of the traffic, then 25, 50 and 100; the old cache serves the rest
"""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["WARM_UPS", "ColdStart", "database_load"]

_FAST = 1_000
_LIMIT = 100
"""Loads a second of a warm-up that takes what it can get, and of one that is limited."""

_STAGES = ((0.0, 0.05), (20.0, 0.25), (40.0, 0.5), (60.0, 1.0))
"""(from this second on, this share of the traffic goes to the new cache)."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The traffic, and for how many seconds it is watched."""

    keys: int = 2_000
    rate: float = 2_000.0
    ttl_s: float = 60.0
    load_s: float = 0.05
    seconds: int = 160
    jitter: float = 0.3
    """Of a ttl with jitter: it is shorter by a random part of this share."""


@dataclass(slots=True)
class _Cache:
    """When each key expires, and the loads that have begun, by their second."""

    start: ColdStart
    chance: random.Random
    jitter: float = 0.0
    ends: dict[int, float] = field(default_factory=dict)
    loads: Counter[int] = field(default_factory=Counter)

    def load(self, key: int, at: float) -> None:
        ttl = self.start.ttl_s * (1 - self.jitter * self.chance.random())
        self.loads[int(at)] += 1
        self.ends[key] = at + self.start.load_s + ttl

    def read(self, key: int, at: float) -> None:
        if self.ends.get(key, -1.0) < at:
            self.load(key, at)


def database_load(warm_up: str, start: ColdStart, seed: int) -> tuple[int, ...]:
    """How many loads begin in each second after the start, with a warm-up of WARM_UPS."""
    chance = random.Random(f"{warm_up} {seed}")
    cache = _Cache(start, chance, start.jitter if warm_up == "limited" else 0.0)
    WARM_UPS[warm_up](cache)
    return tuple(cache.loads[second] for second in range(start.seconds))


def none(cache: _Cache) -> None:
    for at, key in _reads(cache, 0.0):
        cache.read(key, at)


def eager(cache: _Cache) -> None:
    _warm_up_then_serve(cache, _FAST)


def limited(cache: _Cache) -> None:
    _warm_up_then_serve(cache, _LIMIT)


def _warm_up_then_serve(cache: _Cache, loads_a_second: int) -> None:
    ready = cache.start.keys / loads_a_second
    for key in range(cache.start.keys):
        cache.load(key, key / loads_a_second)
    for at, key in _reads(cache, ready):
        cache.read(key, at)


def gradual(cache: _Cache) -> None:
    for at, key in _reads(cache, 0.0):
        share = max(share for since, share in _STAGES if since <= at)
        if cache.chance.random() < share:
            cache.read(key, at)


def _reads(cache: _Cache, since: float) -> Iterator[tuple[float, int]]:
    """(time, key) of every read, up to the end."""
    start, chance = cache.start, cache.chance
    weights = list(accumulate(1 / place for place in range(1, start.keys + 1)))
    at = since
    while (at := at + chance.expovariate(start.rate)) < start.seconds:
        yield at, bisect_left(weights, chance.random() * weights[-1])


WARM_UPS: Mapping[str, Callable[[_Cache], None]] = {
    "none": none,
    "eager": eager,
    "limited": limited,
    "gradual": gradual,
}
"""What is done about an empty cache, by name."""
