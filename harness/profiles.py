"""Profiles: how much to search.  Ours, not Hypothesis': nothing is derandomised behind the user's back.

quick      a first look, in CI on every commit
default    what `pytest -m chaos` does
thorough   for nights
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cacheproof.models.errors import UsageError

__all__ = ["PROFILES", "Profile", "profile_named"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Budgets for each condition.

    `scopes` are the small scopes searched exhaustively (names of `exhaustive.SCOPES`), each given up after
    `scope_limit` schedules; `random` schedules are chosen by Hypothesis; a counterexample is replayed
    `confirmations` times.  With `repeats` some of the runs without a finding are replayed too, to see whether the
    cache does the same again; who knows that it does, saves a third of the time.
    """

    name: str
    scopes: tuple[str, ...]
    scope_limit: int
    random: int
    confirmations: int
    repeats: bool = True


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("quick", ("1 reader × 1 writer", "2 writers"), 40, 4, 3),
        Profile("default", ("1 reader × 1 writer", "2 writers"), 72, 8, 10),
        Profile("thorough", ("1 reader × 1 writer", "2 writers", "1 reader × 2 writers"), 20_000, 5_000, 50),
    )
}


def profile_named(name: str) -> Profile:
    """The profile of this name.  Raises UsageError for any other."""
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r}; choose from {', '.join(PROFILES)}")
    return PROFILES[name]
