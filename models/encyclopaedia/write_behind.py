"""Write-behind: the cache has acknowledged a change that the database has yet to get."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import LOG, VERSION_GUARD

__all__ = ["WRITE_BEHIND"]

_WATERMARK = (
    "watermark in the same transaction: the last change applied is stored with the value, and older ones are "
    "skipped; leaves open: changes without an order"
)
_RELIABLE = "reliable queue (LMOVE to a processing list), removed after the commit; leaves open: double apply"

WRITE_BEHIND: tuple[Anomaly, ...] = (
    Anomaly(
        slug="lost-write-behind",
        number=51,
        title="lost write-behind",
        summary="A write was acknowledged when it was in the cache, and the cache died before the change "
        "reached the database. The write is gone, and its client was told that it is safe.",
        steps=(
            "W sets the entry to v2 and queues the change",
            "W is told ok",
            "the cache is killed, with entry and queue",
            "the database keeps v1",
        ),
        suffers=("write-behind",),
        fixes=(LOG, "synchronous persistence (appendfsync always, WAITAOF) before the acknowledgement"),
        source="Redis documentation, persistence: what was not synced is lost",
        related=("pop-then-crash", "dirty-eviction", "durability-rollback"),
    ),
    Anomaly(
        slug="flush-reorder",
        number=52,
        title="flush in another order",
        summary="Two changes of one key are flushed in the other order, by two workers or by a redelivery. "
        "The database ends with the older one.",
        steps=(
            "W writes v1, then v2; both are queued",
            "worker Q takes v1, worker Q2 takes v2",
            "Q2 writes v2 to the database",
            "Q writes v1 over it",
        ),
        suffers=("write-behind with several workers", "write-behind with redelivery"),
        fixes=(
            VERSION_GUARD,
            "one active worker for each key (shard the queue); leaves open: a worker that is taken for dead",
        ),
        source="Redis documentation, streams: the consumers of a group share its messages out among them",
        related=("write-through-reorder", "clobbered-write", "double-apply", "dirty-flag-race"),
    ),
    Anomaly(
        slug="double-apply",
        number=53,
        title="applied twice",
        summary="A worker commits a change and dies before it acknowledges it. The change is delivered "
        "again, and applied again: ten increments count twenty.",
        steps=(
            "Q takes the change n + 10, and commits it in the database",
            "Q crashes before its XACK",
            "Q, or another worker, gets the change once more, and commits it again",
        ),
        suffers=("write-behind with counters",),
        fixes=(_WATERMARK, "flush values, not differences; leaves open: their order"),
        source="replayed with a stream: 20 for 10 acknowledged increments, and 10 with a watermark",
        related=("retry-double-apply", "torn-batch", "lost-increment"),
    ),
    Anomaly(
        slug="torn-batch",
        number=54,
        title="torn batch",
        summary="A batch of changes is flushed in several statements or transactions. A crash or an error "
        "in the middle leaves a part applied, and then the whole is dropped, or done again.",
        steps=(
            "Q takes a batch with changes of a and b",
            "Q commits a",
            "Q crashes, or b fails: the batch is half done",
            "the batch is repeated as a whole, or never",
        ),
        suffers=("write-behind with batches",),
        fixes=(
            "one transaction for each batch, with a watermark in it; leaves open: changes that always fail",
        ),
        source="BuildBuddy, pull request 6036; the rest derived",
        related=("double-apply", "poison-write"),
    ),
    Anomaly(
        slug="pop-then-crash",
        number=55,
        title="pop, then crash",
        summary="A worker takes a change off the queue and dies, or never hears the answer, before it has "
        "written the change to the database. It is in neither place.",
        steps=(
            "W sets the entry to v2, queues the change and is told ok",
            "Q pops the change: the queue is empty now",
            "Q crashes before its update",
            "the database keeps v1",
        ),
        suffers=("write-behind over a list or a set", "write-behind that acknowledges before it commits"),
        fixes=(_RELIABLE, LOG),
        source="Redis documentation, LMOVE: pattern reliable queue",
        related=("pending-list-black-hole", "lost-write-behind"),
    ),
    Anomaly(
        slug="dirty-eviction",
        number=56,
        title="eviction of what was not flushed",
        summary="An entry whose change has not reached the database is evicted, or expires. A read misses "
        "and gets the old row; and if the value was nowhere else, it is lost.",
        steps=(
            "W sets the entry to v2, and is told ok; the database still has v1",
            "the entry is evicted, or its ttl ends",
            "R misses, and selects v1",
        ),
        suffers=("write-behind in a cache with eviction or ttls",),
        fixes=(
            (
                "values in the log, and no ttl and no eviction for entries not yet flushed; leaves open: a "
                "full cache that refuses writes"
            ),
            "on a miss look into the pending changes before the database; leaves open: a lost log",
        ),
        source="Redis documentation, key eviction; replayed",
        related=("lost-write-behind", "read-your-writes-violation"),
    ),
    Anomaly(
        slug="dirty-flag-race",
        number=57,
        title="dirty flag cleared too late",
        summary="A worker reads an entry, a newer write marks it dirty (it is already), and then the worker "
        "stores the old value and clears the mark. The newer value is never flushed.",
        steps=(
            "Q finds the key in the dirty set, and reads v1",
            "W sets the entry to v2, and adds the key to the dirty set, where it is",
            "Q writes v1 to the database, and removes the key from the dirty set",
            "v2 stays in the cache, and nobody flushes it",
        ),
        suffers=("write-behind with a set of dirty keys",),
        fixes=(
            "clear the mark only if the version is still the one that was flushed (compare in a script)",
            "remove the mark first, then read, then flush; leaves open: a crash in between",
        ),
        source="derived from the design; no primary source",
        related=("flush-reorder", "pop-then-crash"),
    ),
    Anomaly(
        slug="clobbered-write",
        number=58,
        title="flush over a write by another path",
        summary="The row is changed directly, by another service or a repair. Later the flush writes the "
        "older value from the cache over it.",
        steps=(
            "W sets the entry to v1; the change waits in the queue",
            "W2 updates the row to v2, past the cache",
            "Q flushes v1: v2 is gone",
        ),
        suffers=("write-behind beside other writers",),
        fixes=(VERSION_GUARD, "one way to write for all; leaves open: those who do not know of it"),
        source="derived from the design; no primary source",
        related=("flush-reorder", "lost-update"),
    ),
    Anomaly(
        slug="poison-write",
        number=59,
        title="poison write",
        summary="The cache acknowledges a value that the database rejects: a constraint, a type, a length. "
        "The two never agree again, and if the worker retries for ever, nothing behind it is flushed either.",
        steps=(
            "W sets the entry to v2, queues the change and is told ok",
            "Q updates the row, and the database refuses v2",
            "the change is dropped, or retried for ever; the cache serves v2, the database v1",
        ),
        suffers=("write-behind",),
        fixes=(
            (
                "dead letter queue, and a compensating restore of the entry from the database; leaves open: the "
                "ok"
            ),
            "check values before the acknowledgement: leave as little as possible for the database to refuse",
        ),
        source="derived from the design; the documentation of Ehcache leaves it to the writer",
        related=("torn-batch", "lost-write", "divergence"),
    ),
    Anomaly(
        slug="missed-notification",
        number=60,
        title="missed notification",
        summary="The flush or the invalidation hangs on a notification, and notifications are fire and "
        "forget: who is not connected when it is sent never gets it. One about expiry also comes after the "
        "value has gone.",
        steps=(
            "Q's connection is down, or Q has not subscribed yet",
            "W changes the entry; the notification goes to nobody",
            "Q is back, and knows of nothing to do",
        ),
        suffers=("write-behind and event-driven invalidation on notifications or publish and subscribe",),
        fixes=(
            (
                "stream with a consumer group: what was missed is read later; leaves open: streams that are "
                "trimmed"
            ),
        ),
        source="Redis documentation, keyspace notifications",
        related=("disconnected-listener", "trimmed-stream", "lost-invalidation"),
    ),
)
