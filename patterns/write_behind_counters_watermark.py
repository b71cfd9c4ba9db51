"""Write-behind counters with a watermark: the database remembers how far it has counted, and so counts once.

    increment   XADD to a log: one entry for each increment; acknowledge
    worker      SELECT the watermark, the id of the last entry that was counted; then for ever: XREAD what comes
                after it, add up, and in one transaction
                    UPDATE … SET value = value + sum, for each key
                    UPDATE the watermark to the last id, where it is still what it was
                and then XTRIM what was counted
    read        SELECT: the count as of the last flush

Sums and watermark are committed together or not at all.  So it does not matter when a worker dies, which reply is
lost, or whether two workers are at it at once: what is behind the watermark has been counted, what is after it has
not, and whoever does not know asks the database.  Trimming frees memory and nothing else; if it fails, the next one
does it.  The log holds each increment, not their sum, because a sum has no id that could be remembered.

An increment whose own reply is lost may have been counted or not, and the caller is told so by an error.  The
driver must not repeat it by itself: `from_url` does not, Redis(host, port) does.

Claimed, wherever it is recommended:
    WB1  an increment is acknowledged after cache round trips only
    WB5  aggregated counters add up: the sum in the database equals the acknowledged increments
    WB7  no acknowledged increment is lost, even when the cache crashes

Kept: WB1 under every condition.  WB5 wherever it is claimed.  WB7 not: what was not stored dies with the cache,
unless its file is forced to the disk with each reply.

Known anomalies: 51 lost write-behind (the cache dies before the flush).  A cache that comes back empty on a machine
whose clock is behind gives ids below the watermark, which are passed over until the clock has caught up.  Avoided:
42 and 53 double apply, 54 torn batch, 55 pop then crash.
"""

from collections import Counter
from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.counters import ExactlyOnce
from cacheproof.models.round_trips import RoundTrips

__all__ = ["WRITE_BEHIND_COUNTERS_WATERMARK", "WriteBehindCountersWatermark"]

LOG = "write-behind:increments"
TABLE = """
create table if not exists watermarks (log text primary key, counted_to text not null)
"""


class WriteBehindCountersWatermark:
    """Counters of a database behind a cache that logs what is counted; nothing in it expires."""

    def __init__(self, env: Any) -> None:
        # The driver's own time-out of 5 s would end an XREAD that waits for ever.
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def increment(self, key: str, by: int) -> None:
        self.redis.xadd(LOG, {"key": key, "by": by})

    def read(self, key: str) -> int | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return int(row[0]) if row else None

    def work(self) -> NoReturn:
        self.db.execute(TABLE)
        self.db.execute("insert into watermarks values (%s, '0-0') on conflict do nothing", (LOG,))
        while True:
            counted_to = self._watermark()
            reply: Any = self.redis.xread({LOG: counted_to}, count=1000, block=0)
            entries: list[tuple[str, dict[str, str]]] = reply[0][1]  # [[log, entries]]
            last = entries[-1][0]
            if self._count(entries, counted_to, last):
                self.redis.xtrim(LOG, minid=last, approximate=False)

    def _watermark(self) -> str:
        row = self.db.execute("select counted_to from watermarks where log = %s", (LOG,)).fetchone()
        assert row is not None
        return str(row[0])

    def _count(self, entries: list[tuple[str, dict[str, str]]], counted_to: str, last: str) -> bool:
        """Count these entries, and remember it.  False if another worker has counted meanwhile."""
        sums: Counter[str] = Counter()
        for _, increment in entries:
            sums[increment["key"]] += int(increment["by"])
        with self.db.transaction() as transaction:
            moved = self.db.execute(
                "update watermarks set counted_to = %s where log = %s and counted_to = %s",
                (last, LOG, counted_to),
            )
            if moved.rowcount == 0:
                raise psycopg.Rollback(transaction)
            for key, added in sorted(sums.items()):
                self.db.execute(
                    "update records set value = (value::bigint + %s)::text where key = %s", (added, key)
                )
        return moved.rowcount > 0


_CONDITIONS = (
    Condition.QUIET,
    Condition.CONCURRENT,
    Condition.APP_CRASH,
    Condition.CACHE_CRASH,
    Condition.LOST_MESSAGES,
    Condition.DATABASE_CRASH,
)
_EVERYWHERE = frozenset(_CONDITIONS)
_WHILE_THE_CACHE_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}


def WRITE_BEHIND_COUNTERS_WATERMARK(ttl_s: float | None = None) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds says nothing here: nothing expires."""
    return Contract(
        name="write-behind counters with a watermark",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        operations=("increment",),
        guarantees=(
            Guarantee(
                "WB1",
                "an increment is acknowledged after cache round trips only",
                RoundTrips(0, "increment", "database"),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB5",
                "aggregated counters add up: the sum in the database equals the acknowledged increments",
                ExactlyOnce(),
                kept=_WHILE_THE_CACHE_LIVES,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee(
                "WB7",
                "no acknowledged increment is lost, even when the cache crashes",
                ExactlyOnce(),
                claimed=frozenset({Condition.CACHE_CRASH}),
            ),
        ),
    )
