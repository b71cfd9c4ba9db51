"""Bounded staleness: a read returns a version that was current at most so many virtual seconds ago.

Exact, because the database tells when each version became visible.  A version is current from its commit
until the next commit of the key.  A read that was invoked at t must return a version that was current at
some instant in [t - seconds, its return]:

        db: 1      2           3        seconds = 0: r may return 1, 2 or 3, whatever overlaps it
        A:    |---------r---------|     and not what was superseded before it was invoked

With a bound of 0 the event index decides, so nothing superseded before the invocation will do.  With a
positive bound the whole instant t - seconds still counts.  A value that is not yet committed when the read
returns (write-behind: the cache is ahead of the database) is not stale; nor is one that another write of the
same value may yet commit.
"""

from dataclasses import dataclass

from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation
from cacheproof.models.register import Register, identity, judge_registers
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["BoundedStaleness"]

_TOLERANCE_S = 1e-6  # virtual seconds are sums of floats, and a bound must not fail by rounding


@dataclass(frozen=True, slots=True)
class BoundedStaleness:
    """No read returns what had been superseded for more than `seconds` when it was invoked."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise UsageError(f"a bound on staleness is {self.seconds!r}; write 0 or more seconds")

    @property
    def name(self) -> str:
        return "bounded-staleness"

    @property
    def probes_s(self) -> tuple[float, ...]:
        """One second before the bound.

        An entry with `seconds` to live that was filled d seconds after its value was read is still served
        then, and has been stale for at least seconds - 1 + d: beyond the bound if d is more than a second.
        At the bound itself an entry filled in time has just expired, and so has most evidence.
        """
        return (max(self.seconds - 1.0, 0.0),)

    def check(self, history: History) -> Judgement:
        """One finding "staleness-beyond-bound" for each read that is too stale.

        Judges reads that were invoked after the key changed for the first time.
        """
        return judge_registers(history, self._judge)

    def _judge(self, register: Register) -> Judgement:
        if not register.commits:
            return Judgement()
        judged = [read for read in register.reads if read.invoked > register.commits[0].index]
        findings = (self._finding(register, read) for read in judged)
        return Judgement(tuple(finding for finding in findings if finding), len(judged))

    def _finding(self, register: Register, read: Operation) -> Finding | None:
        ended = _superseded(register, read)
        if ended is None or (self.seconds and read.invoked_s - ended.at_s <= self.seconds + _TOLERANCE_S):
            return None
        return Finding(
            property=self.name,
            kind="staleness-beyond-bound",
            key=register.key,
            culprit=read,
            because=register.sources(ended.value),
            versions=(*register.versions(read.value), ended),
            stale_s=read.invoked_s - ended.at_s,
        )


def _superseded(register: Register, read: Operation) -> Committed | None:
    """The commit before the invocation that ended the last version the read can have seen, or None."""
    if read.returned is None or _pending(register, read):
        return None
    place = register.position(read.value, read.returned)
    if place is None or place == len(register.commits):
        return None
    ended = register.commits[place]
    return ended if ended.index < read.invoked else None


def _pending(register: Register, read: Operation) -> bool:
    """True if more writes of the value had begun than the database had committed versions of it."""
    begun = sum(not read.precedes(write) for write in register.sources(read.value))
    seen = sum(
        read.returned is not None
        and commit.index < read.returned
        and identity(commit.value) == identity(read.value)
        for commit in register.commits
    )
    return begun > seen
