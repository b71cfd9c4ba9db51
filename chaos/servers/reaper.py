"""What a harness leaves at the Docker engine when it is killed, and how the next one removes it.

Everything that is made there has two labels: whose it is (owner.py), and to which pair of servers it belongs.

Rule 1  Only what has our labels is ever touched.
Rule 2  Of that, only what belongs to a harness that has certainly ended; a label that cannot be read is nobody's.
Rule 3  What cannot be removed (a network that another container has joined since) is left, and stops nobody.
"""

from collections.abc import Iterator
from typing import Final

from cacheproof.chaos.servers.engine import Engine, Kind
from cacheproof.chaos.servers.owner import Owner
from cacheproof.models.errors import EnvironmentFault

__all__ = ["OWNER", "PAIR", "reap", "remove_pair"]

OWNER: Final = "cacheproof.owner"
PAIR: Final = "cacheproof.pair"

_IN_ORDER: Final = (Kind.CONTAINER, Kind.NETWORK, Kind.VOLUME)
"""A network or volume that a container uses cannot be removed, so containers go first."""


def reap(engine: Engine, here: Owner) -> list[str]:
    """Remove everything whose owner is gone; returns the kinds and names of what was removed."""
    removed: list[str] = []
    for kind in _IN_ORDER:
        for name, label in engine.labelled(kind, OWNER).items():
            owner = Owner.parse(label)
            if owner is not None and owner.is_gone(here):
                removed += _try_to_remove(engine, kind, name)
    return removed


def remove_pair(engine: Engine, pair: str) -> list[str]:
    """Remove everything that belongs to a pair of servers; raises EnvironmentFault if something stays."""
    removed: list[str] = []
    for kind in _IN_ORDER:
        for name in engine.labelled(kind, f"{PAIR}={pair}"):
            engine.remove(kind, name)
            removed.append(f"{kind} {name}")
    return removed


def _try_to_remove(engine: Engine, kind: Kind, name: str) -> Iterator[str]:
    try:
        engine.remove(kind, name)
    except EnvironmentFault:
        return
    yield f"{kind} {name}"
