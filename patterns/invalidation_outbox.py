"""Invalidation by outbox: the event is a row, written in the transaction that changes the record.

    read    HGET of the value; on a hit return it
            on a miss SELECT value and version, then fill unless the cache has heard of a newer version
    write   BEGIN; UPDATE … RETURNING version, which counts the row's version up; INSERT key and version into the
            outbox; COMMIT; acknowledge
    worker  for ever, first as relay: SELECT what is in the outbox, XADD it to a stream, DELETE it from the outbox;
            then as consumer: take pending events, then new ones; invalidate unless the cache has heard of
            that version; XACK

Record and event are committed together or not at all, so no crash comes between them.  From there on everything is
done at least once: the relay deletes a row only after the XADD, the consumer acknowledges an event only
after the invalidation.  What is done twice, late, or in another order does no harm, because an event carries
the version that it is about, and the cache keeps with each entry the newest version that it has heard of:
a floor, below which no reader may fill.  An invalidation leaves this floor behind, without a value.

The relay selects all rows that are there, never those behind the last id that it saw: an id is given out before its
transaction commits, so a row with a smaller one may appear later.  The stream is there for more caches than one:
each has a consumer group of its own, and the database need not know of them.  With a single cache the relay
might as well invalidate by itself.

Claimed, wherever the pattern is explained:
    EV1   every commit is followed by an invalidation: a minute later no cache serves an older value
    EV2   a crash of the worker loses nothing: every event that was sent is followed by an invalidation
    CA2   the cache converges to the database within its ttl
    H10a  once all have come to rest, cache and database agree, without help from the ttl

Kept: EV1, EV2 and H10a whoever crashes, writer, reader or worker, and whatever message is lost.  EV2 also when
entries expire.  EV1 and H10a are not claimed for that, because a floor may expire too early, nor are the three
for a crash of the cache, which takes stream and entries with it.  CA2 under every condition, but without a ttl
only as H10a.  That the next read sees a write is not claimed at all: it may come before the worker.

Known anomalies: 47 lost tombstone (the floor expires, or is evicted, while a slow reader still holds an older
value: `FLOOR_S` must be longer than any load), 9 window between COMMIT and invalidation.  17 version reset: a row
that is deleted and inserted anew must not start again at 0.  Avoided: 1 stale set, 61 pending list black hole,
64 dual-write gap, 65 outbox sequence gap.
"""

import time
from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.reaches_cache import ReachesCache

__all__ = ["INVALIDATION_OUTBOX", "OutboxInvalidation"]

OUTBOX = """
create table if not exists outbox (
    id bigint generated always as identity primary key, key text not null, version bigint not null)
"""
STREAM, GROUP, WORKER = "invalidation:outbox", "cache", "invalidator"
FLOOR_S = 300
"""Seconds for which an invalidation is remembered; longer than any reader takes from SELECT to fill."""
POLL_S = 0.1

FILL = """
local heard_of = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
if heard_of > tonumber(ARGV[1]) then
    return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
if ARGV[3] ~= '' then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
else
    redis.call('PERSIST', KEYS[1])
end
return 1
"""
"""KEYS: the entry.  ARGV: version, value, ttl in seconds or '' for none.  Returns 1 if it was filled."""

INVALIDATE = """
local heard_of = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
if heard_of >= tonumber(ARGV[1]) then
    return 0
end
redis.call('HDEL', KEYS[1], 'value')
redis.call('HSET', KEYS[1], 'version', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""KEYS: the entry.  ARGV: version, seconds to remember it.  Returns 1 if the version was news."""


class OutboxInvalidation:
    """Records of a database behind a cache of versioned entries that live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.db.execute(OUTBOX)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached: Any = self.redis.hget(key, "value")
        if cached is not None:
            return str(cached)
        row = self.db.execute("select version, value from records where key = %s", (key,)).fetchone()
        if row is None:
            return None
        version, value = row
        self.redis.eval(FILL, 1, key, version, value, "" if self.ttl is None else self.ttl)
        return str(value)

    def write(self, key: str, value: str) -> None:
        with self.db.transaction():
            changed = self.db.execute(
                "update records set value = %s, version = version + 1 where key = %s returning version",
                (value, key),
            ).fetchone()
            if changed is not None:
                self.db.execute("insert into outbox (key, version) values (%s, %s)", (key, changed[0]))

    def work(self) -> NoReturn:
        self._create_group()
        self._consume("0")  # what an earlier life was given and did not finish
        while True:
            relayed = self._relay()
            consumed = self._consume(">")
            if not relayed and not consumed:
                time.sleep(POLL_S)

    def _relay(self) -> int:
        """Move rows from the outbox to the stream; returns how many."""
        rows = self.db.execute("select id, key, version from outbox order by id limit 100").fetchall()
        for number, key, version in rows:
            self.redis.xadd(STREAM, {"key": key, "version": version})
            self.db.execute("delete from outbox where id = %s", (number,))
        return len(rows)

    def _consume(self, position: str) -> int:
        """Invalidate for each event from `position` on; returns for how many."""
        reply: Any = self.redis.xreadgroup(GROUP, WORKER, {STREAM: position}, count=100)
        events = reply[0][1] if reply else []  # [[stream, events]]
        for number, event in events:
            self.redis.eval(INVALIDATE, 1, event["key"], event["version"], FLOOR_S)
            self.redis.xack(STREAM, GROUP, number)
        return len(events)

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)  # 0: from the first event on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_WHILE_THE_STREAM_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}
_NOTHING_FORGOTTEN = _WHILE_THE_STREAM_LIVES - {Condition.EXPIRY}


def INVALIDATION_OUTBOX(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="invalidation by outbox",
        ttl_s=ttl_s,
        workers=1,
        guarantees=(
            Guarantee(
                "EV1",
                "every commit is followed by an invalidation, within a minute",
                Invalidation(60),
                kept=_NOTHING_FORGOTTEN,
                claimed=_NOTHING_FORGOTTEN,
            ),
            Guarantee(
                "EV2",
                "a crash of the worker loses nothing: every event is followed by an invalidation",
                ReachesCache(after="event"),
                kept=_WHILE_THE_STREAM_LIVES,
                claimed=_WHILE_THE_STREAM_LIVES,
            ),
            Guarantee(
                "CA2",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_NOTHING_FORGOTTEN if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee(
                "H10a",
                "once all have come to rest, cache and database agree",
                Convergence(within_s=0),
                kept=_NOTHING_FORGOTTEN,
                claimed=_NOTHING_FORGOTTEN,
            ),
        ),
    )
