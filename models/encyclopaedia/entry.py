"""What an entry of the encyclopaedia holds.

In the steps R is a reader, W a writer, W2 another one, Q a background worker; v1 is older than v2.  A fix
says what it is called, what it does, and what it does not help against:

    lease: an invalidation voids the token without which a fill is refused; leaves open: fills from a replica
"""

from dataclasses import dataclass

__all__ = ["LEAVES_OPEN", "Anomaly"]

LEAVES_OPEN = "; leaves open: "
"""What stands in a fix between what it does and what it leaves open."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One named way in which a cache breaks a promise.

    `number` is the place in the catalogue of anomalies; the entries without one (None) name what a property
    saw where no rule told how it came about.  `steps` are one schedule that shows it, in order; `suffers` the
    patterns that allow it; `fixes` what prevents it, the best first, with what it leaves open; `source` where
    it is described; `related` the slugs of the entries to read next.
    """

    slug: str
    number: int | None
    title: str
    summary: str
    steps: tuple[str, ...]
    suffers: tuple[str, ...]
    fixes: tuple[str, ...]
    source: str
    related: tuple[str, ...] = ()
