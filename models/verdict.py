"""Findings, judgements and verdicts: what a property says of a history, and what that adds up to.

A property is a pure function from a history to a Judgement.  It returns data; words are made in `reports`.
A verdict is upheld, refuted, unknown or not exercised, and verdicts merge by one table: a refutation
outweighs everything, doubt outweighs success, and what was not exercised proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation

__all__ = ["Finding", "Judgement", "Property", "Verdict", "merge_verdicts"]


class Verdict(StrEnum):
    """What is known of a guarantee."""

    UPHELD = "upheld"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    NOT_EXERCISED = "not exercised"


_PRIORITY = (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.UPHELD, Verdict.NOT_EXERCISED)


def merge_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over several runs: the first in (refuted, unknown, upheld, not exercised) that occurs."""
    seen = set(verdicts)
    return next((verdict for verdict in _PRIORITY if verdict in seen), Verdict.NOT_EXERCISED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a history breaks a property.

    `kind` names the way ("stale-read", "lost-write", …); `culprit` is the operation that shows it, `because`
    the operations that make it wrong (for a stale read: the write that had returned before it), `versions`
    the committed versions concerned, oldest first.  `stale_s` is how long the value had been superseded.
    `at` are the indices of other events that show it (the loads of a stampede, the fault that was survived
    badly), in order.  Where something is counted or measured, `found` is what it was, and `allowed` the least
    and the most that the property permits, both included (None: no limit on that side).
    """

    property: str
    kind: str
    key: str | None
    culprit: Operation | None = None
    because: tuple[Operation, ...] = ()
    versions: tuple[Committed, ...] = ()
    stale_s: float | None = None
    at: tuple[int, ...] = ()
    found: float | None = None
    allowed: tuple[float | None, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one property says of one history.

    `judged` counts the operations (or keys) that were put to the test: 0 means not exercised.
    """

    findings: tuple[Finding, ...] = ()
    judged: int = 0
    unknown: str | None = None

    @property
    def verdict(self) -> Verdict:
        if self.findings:
            return Verdict.REFUTED
        if self.unknown is not None:
            return Verdict.UNKNOWN
        return Verdict.UPHELD if self.judged else Verdict.NOT_EXERCISED


class Property(Protocol):
    """A pure function from a history to a judgement, with a name and the moments it needs to look at.

    `probes_s` are virtual seconds after quiescence at which the epilogue has to read for this property.
    """

    @property
    def name(self) -> str: ...

    @property
    def probes_s(self) -> tuple[float, ...]: ...

    def check(self, history: History) -> Judgement: ...
