"""What cache and database hold, step by step: only what changes, and where the cache falls behind.

The database's side comes from the history itself (commits are ground truth), the cache's from the snapshots.
Commits are no steps of their own: their changes belong to the exchange that caused them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cacheproof.models.decision import ServerName
from cacheproof.models.event import Committed, Event, Exchanged, Faulted
from cacheproof.models.history import History
from cacheproof.models.operation import Value
from cacheproof.models.report import Counterexample, Snapshot

__all__ = ["Change", "cached_record", "changes_of", "final_cache", "older_in_cache"]

_Cache = Mapping[str, tuple[str, float | None]]

_STRUCTURES = ("list ", "set ", "stream ", "zset ")
"""How the words of a structure begin that is a queue or an index, never the cached copy of one record."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key of a server holds something else than before.

    `value` is in words for the cache (None: absent) and a value for the database (None: no row).
    For the cache, `older` says that the value is a committed version older than the database's.  For the
    database, `cached` is the value that the cache still serves for the key, if this change made it old.
    """

    server: ServerName
    key: str
    value: Value
    older: bool = False
    cached: str | None = None


@dataclass(slots=True)
class _World:
    """What is held now; values seen so far of each key, oldest first."""

    cache: _Cache
    versions: dict[str, list[Value]]


def changes_of(counterexample: Counterexample) -> Mapping[int, tuple[Change, ...]]:
    """The changes that each event brought about, by event index; events without any are left out."""
    history = counterexample.history
    snapshots = {snapshot.index: snapshot for snapshot in counterexample.snapshots}
    before = [snapshot for snapshot in counterexample.snapshots if snapshot.index < 0]
    world = _World(
        cache=before[-1].cache if before else {},
        versions={key: [value] for key, value in history.initial.items()},
    )
    changes: dict[int, list[Change]] = {}
    for position, event in enumerate(history.events):
        found = _step(world, event, snapshots.get(event.index))
        if found:
            changes.setdefault(_cause(history.events, position), []).extend(found)
    return {index: tuple(items) for index, items in changes.items()}


def _cause(events: Sequence[Event], position: int) -> int:
    """The index of the event to which the changes of the event at `position` belong."""
    event = events[position]
    if not isinstance(event, Committed):
        return event.index
    earlier = [item for item in events[:position] if not isinstance(item, Committed)]
    own = [item for item in earlier if isinstance(item, Exchanged) and item.process == event.process]
    recent = earlier[-1:] if event.process is None else own[-1:] or earlier[-1:]
    return recent[0].index if recent else event.index


def _step(world: _World, event: Event, snapshot: Snapshot | None) -> list[Change]:
    """Apply one event and the snapshot after it; the database moves first, so that `older` is judged by it."""
    changes = []
    if isinstance(event, Committed):
        world.versions.setdefault(event.key, [None]).append(event.value)
    previous = world.cache
    world.cache = _after_fault(event, snapshot.cache if snapshot else previous, previous)
    if isinstance(event, Committed):
        cached = older_in_cache(event.key, world.cache, world.versions)
        changes.append(Change(ServerName.DATABASE, event.key, event.value, cached=cached))
    for key in sorted({*previous, *world.cache}):
        was, now = previous.get(key, (None, None))[0], world.cache.get(key, (None, None))[0]
        if was != now:
            older = now is not None and _is_older(key, now, world.versions)
            changes.append(Change(ServerName.CACHE, key, now, older=older))
    return changes


def _after_fault(event: Event, cache: _Cache, previous: _Cache) -> _Cache:
    """The cache once the fault has done its work: a snapshot may have been taken as it was announced."""
    if not isinstance(event, Faulted):
        return cache
    if event.fault == "kill" and event.server is ServerName.CACHE:
        return {}
    if event.fault == "expire":
        return {key: entry for key, entry in cache.items() if key != event.detail}
    if event.fault == "advance" and isinstance(event.detail, (int, float)) and cache == previous:
        aged = {
            key: (words, ttl if ttl is None else ttl - event.detail) for key, (words, ttl) in cache.items()
        }
        return {key: entry for key, entry in aged.items() if entry[1] is None or entry[1] > 0}
    return cache


def cached_record(cache_key: str, records: Mapping[str, object]) -> str | None:
    """The record whose copy `cache_key` is: the longest key of `records` that occurs in it as a whole word."""
    hits = [key for key in records if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", cache_key)]
    return max(hits, key=len, default=None)


def _is_older(cache_key: str, words: str, versions: Mapping[str, Sequence[Value]]) -> bool:
    record = cached_record(cache_key, versions)
    if record is None or words.startswith(_STRUCTURES):
        return False
    known = [str(value) for value in versions[record] if value is not None]
    named = {words} if words in known else {item for item in known if _mentions(words, item)}
    current = versions[record][-1]
    return len(named) == 1 and (current is None or str(current) not in named)


def _mentions(words: str, value: str) -> bool:
    return bool(value) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", words) is not None


def older_in_cache(key: str, cache: _Cache, versions: Mapping[str, Sequence[Value]]) -> str | None:
    """The words under which `cache` holds a version of record `key` that is older than the last of `versions`."""
    for cache_key, (words, _) in sorted(cache.items()):
        if cached_record(cache_key, versions) == key and _is_older(cache_key, words, versions):
            return words
    return None


def final_cache(
    key: str, history: History, snapshots: Sequence[Snapshot], until: int | None = None
) -> tuple[str, float | None] | None:
    """What the cache holds for record `key` in the last snapshot up to event `until`: words and ttl in seconds."""
    reached = [item for item in snapshots if until is None or item.index <= until]
    cache = reached[-1].cache if reached else {}
    for cache_key, entry in sorted(cache.items()):
        if cached_record(cache_key, history.initial) == key and not entry[0].startswith(_STRUCTURES):
            return entry
    return None
