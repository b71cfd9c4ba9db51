"""Write-behind over a Stream with two workers: twice as fast, and in no particular order.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   MULTI; SET (without a ttl); XADD to the stream; EXEC; acknowledge
    worker  (two of them, in one consumer group) take the pending entries first (XREADGROUP from 0), then for
            ever one new one (XREADGROUP from >): UPDATE, then XACK

A consumer group gives each entry to one of its workers, and that is all it promises.  The stream is in order,
and so is what one worker is given; but two changes of the same record go to two workers, and whoever updates
last wins:

    Q1  takes v2                     UPDATE v2        the database holds v2 for good,
    Q2           takes v3  UPDATE v3                  the cache v3

The same happens with one worker, when its crash has a second one take over what the first is still at.  What
helps is a version guard in the UPDATE (write_behind_log.py), or a worker of its own for each part of the keys.

Claimed, wherever the pattern is explained:
    WB2  writes are lost only if the cache loses them before the flush
    WB3  a queue keeps the order of the writes
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB8  reads return only values that somebody wrote to that key

Kept: WB6 and WB8, unless the cache crashes (or evicts).  WB2, WB3 and WB4 are not, and it takes no fault: an
operation is acknowledged before its flush, so that flushes overlap even where the operations did not.

Known anomalies: 52 reorder, and all those of write-behind over a Stream: 51 lost write-behind, 56 eviction of
a dirty key, 58 clobbered out-of-band write, 59 poison write.
"""

from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_BEHIND_WORKERS", "WriteBehindWorkers"]

STREAM, GROUP = "write-behind:changes", "database"


class WriteBehindWorkers:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end an XREADGROUP that waits for ever.
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.name = env.client  # a worker that is started anew has the name that it had
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self.redis.set(key, value, nx=True, ex=self.ttl)  # never over a value that is not yet stored
        return value

    def write(self, key: str, value: str) -> None:
        with self.redis.pipeline(transaction=True) as both:
            both.set(key, value)
            both.xadd(STREAM, {"key": key, "value": value})
            both.execute()

    def work(self) -> NoReturn:
        position = "0"
        while True:
            changes = self._take(position)
            if not changes:
                position = ">"  # nothing is pending any more
            for number, change in changes:
                values = (change["value"], change["key"])  # the other worker may be at a newer one
                self.db.execute("update records set value = %s where key = %s", values)
                self.redis.xack(STREAM, GROUP, number)

    def _take(self, position: str) -> list[tuple[str, dict[str, str]]]:
        try:
            reply: Any = self.redis.xreadgroup(GROUP, self.name, {STREAM: position}, count=1, block=0)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._create_group()  # the first worker of all; or the cache has restarted empty
            return []
        changes: list[tuple[str, dict[str, str]]] = reply[0][1]  # [[stream, changes]]
        return changes

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)  # 0: from the first entry on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT)
_EVERYWHERE = frozenset(_CONDITIONS)
_OVERLAPPING = frozenset({Condition.CONCURRENT})
"""Where a flush may overlap another one."""


def WRITE_BEHIND_WORKERS(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, two workers",
        ttl_s=ttl_s,
        workers=2,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                claimed=_OVERLAPPING,
            ),
            Guarantee("WB3", "a queue keeps the order of the writes", FlushOrder(), claimed=_OVERLAPPING),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                claimed=_OVERLAPPING,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB8",
                "reads return only values that somebody wrote to that key",
                Integrity(committed=False),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
