"""What cache and database hold after each event: looked at only when a counterexample is drawn.

Looking goes over the director's own line, so the run and its history are the same with and without it.
"""

from collections.abc import Callable, Mapping

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.wire.resp import reply_to_json
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.harness.world import World
from cacheproof.models.event import Committed, Event, Exchanged, Faulted
from cacheproof.models.operation import Value
from cacheproof.models.report import Snapshot

__all__ = ["Observer"]

Contents = dict[str, tuple[str, float | None]]

_LOOK: dict[str, tuple[str, ...]] = {
    "list": ("LRANGE", "0", "-1"),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1"),
    "hash": ("HGETALL",),
    "stream": ("XRANGE", "-", "+"),
}


class Observer:
    """Takes a snapshot after every event that may have changed a server."""

    def __init__(self, world: World, initial: Mapping[str, Value]) -> None:
        self._world = world
        self._database: dict[str, Value] = dict(initial)
        self.snapshots: list[Snapshot] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Committed):
            self._database[event.key] = event.value
        if isinstance(event, (Exchanged, Faulted, Committed)):
            cache = contents(self._world.cache_clock) if self._world.cache_is_up() else {}
            self.snapshots.append(Snapshot(event.index, cache, dict(self._database)))


def contents(clock: CacheClock) -> Contents:
    """Every key of the cache: its value in words, and its remaining ttl in virtual seconds."""
    admin = clock.admin
    names = reply_to_json(admin.call("KEYS", "*").value)
    found: Contents = {}
    for name in sorted(names):
        key = name.encode()
        found[name] = (_value(admin, key), clock.remaining_s(key))
    return found


def _value(admin: RedisUpstream, key: bytes) -> str:
    kind = str(reply_to_json(admin.call("TYPE", key).value))
    if kind == "string":
        return str(reply_to_json(admin.call("GET", key).value))
    if kind not in _LOOK:
        return kind
    command, *rest = _LOOK[kind]
    said = reply_to_json(admin.call(command, key, *rest).value)
    return _FORMS.get(kind, _members)(kind, said)


def _members(kind: str, said: list[str]) -> str:
    return f"{kind} [{', '.join(str(item) for item in said)}]"


def _pairs(kind: str, said: list[str]) -> str:
    fields = zip(said[::2], said[1::2], strict=True)
    return f"{kind} {{{', '.join(f'{name}={value}' for name, value in fields)}}}"


def _entries(kind: str, said: list[list[object]]) -> str:
    shown = []
    for _, fields in said:
        assert isinstance(fields, list)
        pairs = zip(fields[::2], fields[1::2], strict=True)
        shown.append(" ".join(f"{name}={value}" for name, value in pairs))
    return f"{kind} [{', '.join(shown)}]"


_FORMS: dict[str, Callable[..., str]] = {"hash": _pairs, "stream": _entries}
