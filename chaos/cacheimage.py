"""Images of what the cache holds, so that it can be put back to an earlier moment of the run.

A server that restarts from an older snapshot, that has lost the unsynced tail of its file, or that was a
replica which lagged behind, holds exactly what the cache held before its last writes.  So each state is kept
as the server itself serialises it (DUMP, FUNCTION DUMP), with the deadlines of the virtual clock.  Functions
are part of the data; scripts are not: whoever starts anew, or takes over, knows none of them.

    write 1     write 2     write 3  ✕
    |- image 1 -|- image 2 -|- image 3            2 writes behind: image 1

Two images are the same if nothing was written between them.  The bytes of a stream do not tell that, since
they hold the real time at which a consumer was seen last; so streams are compared by what is in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.wire.resp import RespValue
from cacheproof.models.errors import HarnessError

__all__ = ["CacheImage", "put_back", "take_image"]

_STREAMS: Final = frozenset({b"\x0f", b"\x13", b"\x15"})
"""The types of streams in a dump (RDB_TYPE_STREAM_LISTPACKS and its second and third version)."""

_REAL_TIMES: Final = frozenset({b"seen-time", b"active-time"})


@dataclass(frozen=True, slots=True)
class CacheImage:
    """What the cache held from `at_ns` (virtual, since the start of the run) on.

    `values` are the keys as DUMP gives them, `deadlines` their virtual unix ms (None: no time to live).
    `functions` are what FUNCTION DUMP gives, None on a server that has none.  `streams` tell streams apart.
    """

    at_ns: int
    values: Mapping[bytes, bytes]
    deadlines: Mapping[bytes, int | None]
    functions: bytes | None = None
    streams: Mapping[bytes, RespValue] = field(default_factory=dict)

    def same_as(self, other: "CacheImage") -> bool:
        """True if nothing was written between the two."""
        return self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        plain = {key: value for key, value in self.values.items() if key not in self.streams}
        return (plain, self.streams, self.deadlines, self.functions)


def take_image(clock: CacheClock, at_ns: int) -> CacheImage:
    """What the cache holds now."""
    keys = clock.all_keys()
    functions, *dumped = clock.admin.call_many([("FUNCTION", "DUMP"), *(("DUMP", key) for key in keys)])
    values = {
        key: reply.value for key, reply in zip(keys, dumped, strict=True) if isinstance(reply.value, bytes)
    }
    streams = [key for key, value in values.items() if value[:1] in _STREAMS]
    told = clock.admin.call_many([("XINFO", "STREAM", key, "FULL", "COUNT", 0) for key in streams])
    return CacheImage(
        at_ns,
        values,
        {key: clock.deadline_ms(key) for key in values},
        functions.value if isinstance(functions.value, bytes) else None,
        {key: _timeless(reply.value) for key, reply in zip(streams, told, strict=True)},
    )


def _timeless(told: RespValue) -> RespValue:
    """What XINFO STREAM … FULL says, without when consumers were seen and entries delivered.

    Entries that are pending are (id, consumer, time, count) in a group, and (id, time, count) in a consumer.
    """
    if not isinstance(told, tuple):
        return told
    kept: list[RespValue] = []
    for name, value in zip(told[::2], told[1::2], strict=True):
        if name in (b"pending", b"pel") and isinstance(value, tuple):
            kept += (name, tuple((*entry[:-2], entry[-1]) for entry in value if isinstance(entry, tuple)))
        elif name in (b"groups", b"consumers") and isinstance(value, tuple):
            kept += (name, tuple(_timeless(item) for item in value))
        elif name not in _REAL_TIMES:
            kept += (name, value)
    return tuple(kept)


def put_back(image: CacheImage, clock: CacheClock) -> None:
    """Give an empty cache what an image holds, without what has come due since."""
    alive = {key: at_ms for key, at_ms in image.deadlines.items() if at_ms is None or at_ms > clock.now_ms}
    commands: list[tuple[bytes | str | int, ...]] = [
        ("RESTORE", key, 0 if at_ms is None else clock.real_ms(at_ms), image.values[key])
        for key, at_ms in alive.items()
    ]
    if image.functions is not None:
        commands.append(("FUNCTION", "RESTORE", image.functions, "FLUSH"))
    replies = clock.admin.call_many(commands)
    if failed := [reply.value for reply in replies if reply.is_error]:
        raise HarnessError(f"the cache does not take back what it held: {failed[0]!r}")
    clock.adopt(alive)
