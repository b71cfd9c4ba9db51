"""Single flight: when an entry is missing it is loaded once, and not by everybody who misses it.

In each epoch of a key (epochs.py) there are at most k loads of it: in total, or for each process.  So at most
k loads of one epoch are open at the same time as well.

    expire k  |A: GET nil, SELECT, SET|                              one load
              |B: GET nil,               SELECT, SET|                and one too many: B could have waited
    expire k  |B: GET nil, SELECT, SET|                              a new epoch, a new load

Rule 1  However many statements an operation needs, it loads once.  What a process loads outside of operations
        counts once in an epoch.
Rule 2  Readers of a row that is not there stampede like all others.  `absent=False` leaves out the loads that
        found none, for caches that do not claim to remember absence.
Rule 3  A decision to load may be older than the load.  So each load is charged to one of the epochs from its
        decision (the first exchange of its operation) up to its SELECT, and only if no such charging keeps
        every epoch at k is it a stampede.  What can be charged to an epoch in which loads are free, is free.

Rule 3 is the scheduling of unit jobs with release times and deadlines on k machines: whoever takes the most
urgent load first finds a charging if there is one (Jackson 1955; Horn, Some simple scheduling algorithms,
Naval Research Logistics Quarterly 1974), in O(n log n).  Where there is none, some epochs in a row hold more
loads than they have room for (Hall 1935); the fewest such epochs are the evidence.

Where entries end by themselves (a deadline inside the value, early refresh, copies in processes), nothing on
the wire shows it: `lifetime_s` has to say for how long they serve at least.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from cacheproof.models.epochs import Epochs, Load, ledgers
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["SingleFlight"]


@dataclass(frozen=True, slots=True)
class SingleFlight:
    """At most `loads` loads of a key in each epoch: in total, or with `per_process` for each process.

    `absent` counts loads that found no row as well.  `lifetime_s` is for how many virtual seconds an entry
    serves at least if nothing voids it; None: for ever.
    """

    loads: int = 1
    per_process: bool = False
    absent: bool = True
    lifetime_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.loads, int) or isinstance(self.loads, bool) or self.loads < 1:
            raise UsageError(f"loads is {self.loads!r}; expected a whole number, 1 or more")
        if self.lifetime_s is not None and not 0 < self.lifetime_s < inf:
            raise UsageError(f"lifetime_s is {self.lifetime_s!r}; expected seconds, more than 0, or None")

    @property
    def name(self) -> str:
        return "single-flight"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """At most one finding "stampede" for each epoch of a key (and process).  Judges loads, but free ones.

        `culprit` is the operation of the first load that is one too many, `because` those of the others, `at`
        the indices of all these loads in order (a load outside of operations has no operation to show),
        `found` how many there are and `allowed` how many the epochs they fell into have room for.
        """
        findings: list[Finding] = []
        judged = 0
        books = ledgers(history, absent=self.absent, processes_end=self.per_process)
        for key, ledger in books.items():
            epochs = ledger.epochs(history.events, self.lifetime_s)
            charged = tuple(_charged(ledger.loads, epochs))
            judged += len(charged)
            processes = sorted({item.load.process for item in charged}) if self.per_process else [None]
            for process in processes:
                mine = [item for item in charged if process in (None, item.load.process)]
                findings += (self._finding(key, *surplus) for surplus in _surpluses(mine, self.loads))
        return Judgement(tuple(findings), judged)

    def _finding(self, key: str, loads: Sequence[Load], room: int) -> Finding:
        operations = [load.operation for load in loads]
        culprit = operations.pop(room)
        return Finding(
            property=self.name,
            kind="stampede",
            key=key,
            culprit=culprit,
            because=tuple(operation for operation in operations if operation is not None),
            at=tuple(load.index for load in loads),
            found=len(loads),
            allowed=(0, room),
        )


@dataclass(frozen=True, slots=True)
class _Charge:
    """A load with the first and the last epoch that it can be charged to."""

    first: int
    last: int
    load: Load


def _charged(loads: Iterable[Load], epochs: Epochs) -> Iterator[_Charge]:
    """The loads that are not free: one of each operation, and of each process in an epoch outside of them."""
    found: dict[tuple[int, int | None], _Charge] = {}
    for load in loads:
        first, last = epochs.at(load.since), epochs.at(load.index)
        which = (load.process, last) if load.operation is None else (load.operation.invoked, None)
        known = found.get(which)
        if known is None or known.last < last:
            found[which] = _Charge(first, last, load)
    return (item for item in found.values() if not epochs.any_free(item.first, item.last))


def _surpluses(charges: Iterable[_Charge], room: int) -> Iterator[tuple[list[Load], int]]:
    """The loads that cannot be charged with at most `room` in each epoch, with the room that they have.

    After each, what was decided on by then is forgotten, so that each stands for itself.
    """
    waiting = sorted(charges, key=lambda item: item.first, reverse=True)
    while waiting:
        epoch = waiting[-1].first
        seen: list[_Charge] = []
        urgent: list[tuple[int, int]] = []
        while waiting or urgent:
            epoch = epoch if urgent else waiting[-1].first
            while waiting and waiting[-1].first == epoch:
                heappush(urgent, (waiting[-1].last, len(seen)))
                seen.append(waiting.pop())
            for _ in range(min(room, len(urgent))):
                heappop(urgent)
            if urgent and urgent[0][0] == epoch:
                yield _crowd(seen, epoch, room)
                break
            epoch += 1


def _crowd(seen: Sequence[_Charge], last: int, room: int) -> tuple[list[Load], int]:
    """The loads in the fewest epochs up to `last` that hold more than they have room for, and the room."""
    inside = [item for item in seen if item.last <= last]
    counted = enumerate(reversed(inside), start=1)
    first = next(item.first for count, item in counted if count > room * (last - item.first + 1))
    loads = [item.load for item in inside if item.first >= first]
    return sorted(loads, key=lambda load: load.index), room * (last - first + 1)
