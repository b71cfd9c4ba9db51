"""Faults of the database's read replica: it falls behind, and catches up.

Until it is told to, it lags not at all: what is committed is there at once.  It shares the server with the
database, and so its crashes; what it has of its own is its time.
"""

from collections.abc import Iterator

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Decision, Lag, Replicate, ServerName

__all__ = ["can_lag", "can_replicate", "lag", "mends", "replicate"]


def can_lag(parts: Parts, decision: Lag) -> bool:
    world = parts.situation.world
    return world.database_is_up() and world.records.behind is None


def lag(parts: Parts, decision: Lag) -> None:
    """It gets nothing more from now on."""
    parts.situation.fault("lag", server=ServerName.DATABASE)
    parts.situation.world.records.lag()


def can_replicate(parts: Parts, decision: Replicate) -> bool:
    world = parts.situation.world
    return world.database_is_up() and world.records.behind is not None and decision.commits > 0


def replicate(parts: Parts, decision: Replicate) -> None:
    """It gets the oldest commits that it lacks; when it has them all, it lags no more."""
    parts.situation.fault("replicate", server=ServerName.DATABASE, detail=decision.commits)
    parts.situation.world.records.replicate(decision.commits)


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue has to do so that the replica lags no more."""
    behind = parts.situation.world.records.behind
    if behind is not None:
        yield Replicate(max(1, len(behind)))
