"""Write-behind counters: increments are added up in the cache, and a timer stores the sums with one UPDATE each.

    increment   HINCRBY in the hash of what is not stored yet; acknowledge
    worker      every second: HGETALL; for each key with a sum: UPDATE … SET value = value + sum, and then
                HINCRBY by minus the sum
    read        SELECT: the count as of the last round

A thousand increments a second become one UPDATE a second, and since an increment during a round is merely a part
of the next sum, nothing is lost in a race.  But to add is not idempotent, and here two things are done twice:

    a worker that dies, or loses a reply, between the UPDATE and the HINCRBY leaves the sum where it is, and its
    next life adds it once more;

    a driver that gets no reply sends the command again.  redis-py does so on its own, up to ten times with
    Redis(host, port), and not with from_url; here it is asked to do so once.  The server may have counted already.

What helps is to let the database remember how far it has counted (write_behind_counters_watermark.py).

Claimed, wherever the pattern is explained:
    WB1  an increment is acknowledged after cache round trips only
    WB5  aggregated counters add up: the sum in the database equals the acknowledged increments
    WB7  no acknowledged increment is lost, even when the cache crashes

Kept: WB1 under every condition.  WB5 as long as nobody dies and no reply is lost.  WB7 never.

Known anomalies: 53 double apply (of a flush), 42 double apply (of a retry), 51 lost write-behind (the cache dies
before the flush).
"""

import time
from typing import Any, NoReturn

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.counters import ExactlyOnce
from cacheproof.models.round_trips import RoundTrips

__all__ = ["WRITE_BEHIND_COUNTERS", "WriteBehindCounters"]

PENDING = "write-behind:increments"
EVERY_S = 1.0


class WriteBehindCounters:
    """Counters of a database behind a cache that adds up what is counted; nothing in it expires."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.Redis.from_url(
            env.redis_url, decode_responses=True, retry=Retry(NoBackoff(), retries=1)
        )
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def increment(self, key: str, by: int) -> None:
        self.redis.hincrby(PENDING, key, by)

    def read(self, key: str) -> int | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return int(row[0]) if row else None

    def work(self) -> NoReturn:
        while True:
            self.flush()
            time.sleep(EVERY_S)

    def flush(self) -> None:
        """One round: store what has been added up until now."""
        pending: Any = self.redis.hgetall(PENDING)
        for key, text in sorted(pending.items()):
            if (added := int(text)) == 0:
                continue
            self.db.execute(
                "update records set value = (value::bigint + %s)::text where key = %s", (added, key)
            )
            self.redis.hincrby(PENDING, key, -added)  # what came meanwhile stays


_CONDITIONS = (
    Condition.QUIET,
    Condition.CONCURRENT,
    Condition.APP_CRASH,
    Condition.CACHE_CRASH,
    Condition.LOST_MESSAGES,
)
_EVERYWHERE = frozenset(_CONDITIONS)
_UNHARMED = frozenset({Condition.QUIET, Condition.CONCURRENT})


def WRITE_BEHIND_COUNTERS(ttl_s: float | None = None) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds says nothing here: nothing expires."""
    return Contract(
        name="write-behind counters",
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
                kept=_UNHARMED,
                claimed=_EVERYWHERE - {Condition.CACHE_CRASH},
            ),
            Guarantee(
                "WB7",
                "no acknowledged increment is lost, even when the cache crashes",
                ExactlyOnce(),
                claimed=frozenset({Condition.CACHE_CRASH}),
            ),
        ),
    )
