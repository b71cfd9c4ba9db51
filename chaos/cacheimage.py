"""Images of what the cache holds, so that it can be put back to an earlier moment of the run.

A server that restarts from an older snapshot, that has lost the unsynced tail of its file, or that was a
replica which lagged behind, holds exactly what the cache held before its last writes.  So each state is kept
as the server itself serialises it (DUMP), with the deadlines of the virtual clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.models.errors import HarnessError

__all__ = ["CacheImage", "put_back", "take_image"]


@dataclass(frozen=True, slots=True)
class CacheImage:
    """What the cache held from `at_ns` (virtual, since the start of the run) on.

    `values` are the keys as DUMP gives them, `deadlines` their virtual unix ms (None: no time to live).
    """

    at_ns: int
    values: Mapping[bytes, bytes]
    deadlines: Mapping[bytes, int | None]

    def same_as(self, other: "CacheImage") -> bool:
        """True if nothing was written between the two."""
        return self.values == other.values and self.deadlines == other.deadlines


def take_image(clock: CacheClock, at_ns: int) -> CacheImage:
    """What the cache holds now."""
    keys = clock.all_keys()
    replies = clock.admin.call_many([("DUMP", key) for key in keys])
    values = {key: reply.value for key, reply in zip(keys, replies, strict=True)}
    return CacheImage(
        at_ns,
        {key: value for key, value in values.items() if isinstance(value, bytes)},
        {key: clock.deadline_ms(key) for key in keys},
    )


def put_back(image: CacheImage, clock: CacheClock) -> None:
    """Give an empty cache what an image holds, without what has come due since."""
    alive = {key: at_ms for key, at_ms in image.deadlines.items() if at_ms is None or at_ms > clock.now_ms}
    commands = [
        ("RESTORE", key, 0 if at_ms is None else at_ms - clock.now_ms, image.values[key])
        for key, at_ms in alive.items()
    ]
    replies = clock.admin.call_many(list(commands))
    if failed := [reply.value for reply in replies if reply.is_error]:
        raise HarnessError(f"the cache does not take back what it held: {failed[0]!r}")
    clock.adopt(alive)
