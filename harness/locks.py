"""Which lock a client holds: what it has acquired and not released again since, for all that it knows.

    A: |-acquire → True-|~~~~~~~~~|-release-|          ~ it holds the lock
    A: |-acquire → False-|                             it does not

Nobody releases what he does not hold, and nobody acquires a second lock while he holds one: a cache would
rightly refuse, or wait for ever.  So whoever chooses operations asks here first.
"""

from collections.abc import Sequence

from cacheproof.models.event import Event, Faulted, Invoked, Returned
from cacheproof.models.operation import Outcome

__all__ = ["held_lock"]


def held_lock(events: Sequence[Event], client: int) -> str | None:
    """The key of the lock that the client holds, or None.

    An acquire that raised, or whose client has died since, holds nothing that anybody could release.
    """
    acquired = False
    for event in reversed(events):
        if getattr(event, "process", None) != client:
            continue
        match event:
            case Faulted(fault="crash" | "restart"):
                return None
            case Returned():
                acquired = event.outcome is Outcome.OK and bool(event.value)
            case Invoked(f="release"):
                return None
            case Invoked(f="acquire") if acquired:
                return event.key
    return None
