"""The encyclopaedia of cache anomalies: what happens, who suffers, what helps, and where it is described.

In the steps R is a reader, W a writer, W2 another one, Q a background worker; v1 is older than v2.  `number`
is the place in the catalogue of anomalies; the entries without one name what a property saw where no rule
told how it came about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ANOMALIES", "Anomaly"]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One named way in which a cache breaks a promise.

    `steps` are one schedule that shows it, in order; `suffers` the patterns that allow it; `fixes` what
    prevents it, the best first, with what it leaves open; `source` where it is described.
    """

    slug: str
    number: int | None
    title: str
    summary: str
    steps: tuple[str, ...]
    suffers: tuple[str, ...]
    fixes: tuple[str, ...]
    source: str


_LEASE = "lease: an invalidation voids the token without which a fill is refused"
_VERSIONED = "versioned set with a tombstone: the cache refuses what is older than its newest known version"
_OUTBOX = (
    "transactional outbox: the invalidation is part of the commit, and a relay repeats it until it works"
)
_SHORT_TTL = "a short time to live limits the damage, it does not prevent it"
_LOG = "write-behind log: value and change go into one durable stream, acknowledged after the commit"
_VERSION_GUARD = "version guard in the flush (update … where version < new): an older change cannot win"
_READ_DATABASE = "reads that must be fresh go to the database, or validate the version there"

_ENTRIES = (
    Anomaly(
        slug="stale-set",
        number=1,
        title="stale set",
        summary="A reader loads a row, is overtaken by a write and its invalidation, and then puts the old "
        "value into the cache. The invalidation came too early to remove it, so it stays until its ttl.",
        steps=(
            "R misses in the cache",
            "R selects v1 from the database",
            "W updates the row to v2",
            "W deletes the cache entry: there is nothing to delete yet",
            "R sets the entry to v1, and every later read is served v1",
        ),
        suffers=("cache-aside", "read-through", "event-driven invalidation", "lock-based loading"),
        fixes=(_LEASE, _VERSIONED, _SHORT_TTL),
        source="Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1",
    ),
    Anomaly(
        slug="pre-delete-race",
        number=2,
        title="delete before update",
        summary="The writer deletes the entry before it updates the row. A read in between loads the old row "
        "and fills the cache with it, and nothing removes that entry afterwards.",
        steps=(
            "W deletes the cache entry",
            "R misses in the cache",
            "R selects v1 from the database",
            "R sets the entry to v1",
            "W updates the row to v2, and the entry stays v1",
        ),
        suffers=("cache-aside with delete before update", "delayed double delete whose second delete fails"),
        fixes=(
            "update first, delete afterwards: of one reader and one writer 1 order in 10 is left",
            _VERSIONED,
        ),
        source="the order that cache-aside guides warn of: Microsoft, Azure Architecture Center, Cache-Aside",
    ),
    Anomaly(
        slug="invalidate-before-commit",
        number=3,
        title="invalidation inside the transaction",
        summary="The writer deletes the entry after its update but before its commit. A read in between still "
        "sees the old row, since the change is not visible yet, and caches it again.",
        steps=(
            "W begins a transaction and updates the row to v2",
            "W deletes the cache entry",
            "R misses, selects v1 (v2 is not committed) and sets the entry to v1",
            "W commits, and the entry stays v1",
        ),
        suffers=("every pattern that is called inside an open transaction",),
        fixes=("invalidate in an after-commit hook", _OUTBOX),
        source="PostgreSQL documentation, read committed isolation; a frequent bug of object mappers with caches",
    ),
    Anomaly(
        slug="write-through-reorder",
        number=6,
        title="write-through in another order",
        summary="Two writers update the database in one order and the cache in the other. The cache keeps the "
        "value that lost in the database.",
        steps=(
            "W updates the row to v1",
            "W2 updates the row to v2",
            "W2 sets the entry to v2",
            "W sets the entry to v1, which the database has overwritten",
        ),
        suffers=("write-through",),
        fixes=("ordered write-through: set only if the row's version is newer", "delete instead of set"),
        source="Nishtala et al., NSDI 2013: entries are deleted, not set, because deletes are idempotent",
    ),
    Anomaly(
        slug="fill-over-write-through",
        number=7,
        title="fill over a newer write-through",
        summary="A reader loads a row, is overtaken by a writer that updates both row and entry, and then "
        "fills the cache with the old value, over the new one.",
        steps=(
            "R misses in the cache and selects v1",
            "W updates the row to v2",
            "W sets the entry to v2",
            "R sets the entry to v1",
        ),
        suffers=("write-through with cache-aside reads", "early refresh", "cache warm-up"),
        fixes=(
            _VERSIONED,
            "fill only if absent (NX): enough as long as nothing deletes or expires the entry",
        ),
        source="the stale set of Nishtala et al., NSDI 2013, section 3.2.1, over an entry that is there",
    ),
    Anomaly(
        slug="dirty-write-through",
        number=8,
        title="dirty write-through",
        summary="The cache is set before the database has committed. Readers see a value that is not there "
        "yet, and if the transaction rolls back or the writer dies, one that never will be.",
        steps=(
            "W sets the entry to v2, before its commit or before its update",
            "R is served v2",
            "W rolls back, or crashes: v2 never existed",
        ),
        suffers=("write-through inside a transaction", "write-through with the cache first"),
        fixes=("set the entry after the commit", _VERSIONED),
        source="Berenson et al., A Critique of ANSI SQL Isolation Levels, SIGMOD 1995: dirty read (P1)",
    ),
    Anomaly(
        slug="commit-window",
        number=9,
        title="window between commit and invalidation",
        summary="Between the commit and the invalidation the cache still serves the old value, while the "
        "database already shows the new one. It ends by itself, but no pattern with two steps closes it.",
        steps=(
            "W commits v2 in the database",
            "R hits v1 in the cache, although v2 can be seen elsewhere",
            "W deletes or sets the entry",
        ),
        suffers=("cache-aside", "write-through", "read-through", "event-driven invalidation"),
        fixes=(
            "quarantine: mark the key before the commit, and let marked keys be read from the database",
            _READ_DATABASE,
            "do not promise linearizability",
        ),
        source="Herlihy and Wing, Linearizability, TOPLAS 1990: a register in two places needs a protocol",
    ),
    Anomaly(
        slug="staleness-beyond-ttl",
        number=23,
        title="staleness beyond the ttl",
        summary="The ttl counts from the moment the entry is set, not from the moment its value was read. A "
        "reader that pauses between the two makes an entry that is stale for the pause and the ttl together.",
        steps=(
            "R selects v1",
            "R pauses: garbage collection, a slow network, a busy machine",
            "W updates the row to v2 and invalidates in vain",
            "R sets the entry to v1 with a full ttl",
        ),
        suffers=("every pattern that bounds staleness by a ttl",),
        fixes=("count the ttl from the read: SET … PXAT (time of the select + ttl)", _LEASE, _VERSIONED),
        source="contradicts the guides to cache-aside that call the ttl the upper bound of staleness",
    ),
    Anomaly(
        slug="crash-before-invalidation",
        number=39,
        title="crash before the invalidation",
        summary="The writer commits and then dies, or loses its connection and gives up, before it deletes or "
        "sets the entry. Nobody else knows that there is something to invalidate.",
        steps=(
            "the cache holds v1",
            "W commits v2 in the database",
            "W crashes, or its operation ends with an error",
            "R is served v1 until the ttl, and without one for ever",
        ),
        suffers=("cache-aside", "write-through", "read-through"),
        fixes=(_OUTBOX, "invalidate after an ambiguous commit too", _SHORT_TTL),
        source="Richardson, Microservices Patterns, 2018: the dual write, and the transactional outbox",
    ),
    Anomaly(
        slug="lost-invalidation",
        number=40,
        title="lost invalidation",
        summary="The request that deletes or sets the entry never reaches the cache, and the writer carries "
        "on. The database holds the new value, the cache goes on serving the old one.",
        steps=(
            "the cache holds v1",
            "W commits v2 in the database",
            "W sends DEL: the connection breaks, and the error is swallowed or comes too late",
            "R is served v1 until the ttl",
        ),
        suffers=("cache-aside", "write-through", "event-driven invalidation", "caches tolerant of outages"),
        fixes=(_OUTBOX, "report the failure, and repeat the invalidation until it works", _SHORT_TTL),
        source="django-redis and similar clients: options that ignore exceptions also ignore lost deletes",
    ),
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
        fixes=(_LOG, "synchronous persistence (appendfsync always, WAITAOF) before the acknowledgement"),
        source="Redis documentation, persistence: what was not synced is lost",
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
        fixes=(_VERSION_GUARD, "one active worker for each key: shard the queue"),
        source="Redis documentation, streams: the consumers of a group share its messages out among them",
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
        fixes=("reliable queue: LMOVE to a processing list, removed after the commit", _LOG),
        source="Redis documentation, LMOVE: pattern reliable queue",
    ),
    Anomaly(
        slug="no-invalidation",
        number=None,
        title="no invalidation",
        summary="The write never told the cache. Whatever it held is served until the ttl runs out; reads "
        "after an acknowledged write are stale for as long as that, by design.",
        steps=(
            "the cache holds v1",
            "W updates the row to v2 and is told ok",
            "R is served v1 until the ttl",
        ),
        suffers=("ttl only",),
        fixes=("delete the entry after the commit", _READ_DATABASE, _SHORT_TTL),
        source="the design itself: expiry is the only thing that ends staleness",
    ),
    Anomaly(
        slug="stale-read",
        number=None,
        title="stale read",
        summary="A read returned an older value although a newer write had been acknowledged before it began.",
        steps=("W is told ok for v2", "R begins afterwards, and returns v1"),
        suffers=("every cache without an order between fills and invalidations",),
        fixes=(_VERSIONED, _READ_DATABASE),
        source="Terry et al., Session Guarantees for Weakly Consistent Replicated Data, PDIS 1994",
    ),
    Anomaly(
        slug="staleness-beyond-bound",
        number=None,
        title="staleness beyond the bound",
        summary="A read returned a version that had been superseded for longer than the contract allows.",
        steps=("v2 is committed", "more time passes than the bound", "R returns v1"),
        suffers=("every cache whose entries can outlive their bound",),
        fixes=("count the ttl from the read of the database", _VERSIONED),
        source="Golab, Li, Shah, Analyzing Consistency Properties for Fun and Profit, PODC 2011",
    ),
    Anomaly(
        slug="divergence",
        number=None,
        title="divergence",
        summary="Everything had come to rest, and the cache still served something else than the database.",
        steps=("all operations end and all faults are healed", "R is served v1, the database holds v2"),
        suffers=("every cache in which an entry can outlive its row",),
        fixes=(_VERSIONED, _OUTBOX, _SHORT_TTL),
        source="Terry et al., Managing Update Conflicts in Bayou, SOSP 1995: eventual consistency",
    ),
    Anomaly(
        slug="lost-write",
        number=None,
        title="lost write",
        summary="A write was acknowledged, and at the end the database holds only what is older.",
        steps=("W is told ok for v2", "the run comes to rest", "the database holds v1"),
        suffers=("write-behind", "write-through with the cache first"),
        fixes=("write to the database before the acknowledgement", _LOG),
        source="Gray and Reuter, Transaction Processing, 1993: durability",
    ),
    Anomaly(
        slug="fabricated-value",
        number=None,
        title="value from nowhere",
        summary="A read returned a value that nobody had written to its key: made up, of another type, of "
        "another key, or not written yet.",
        steps=("R reads a key", "R returns what nobody wrote to it"),
        suffers=("caches that confuse keys, connections or encodings",),
        fixes=("keep the key and a checksum beside the value", "drop a connection whose reply was abandoned"),
        source="CVE-2023-28859: replies delivered to the wrong caller by a cancelled client",
    ),
    Anomaly(
        slug="dirty-read",
        number=None,
        title="dirty read",
        summary="A read returned a value that was never committed: its write failed, or had not got that far.",
        steps=("W writes v2 and does not commit it", "R returns v2"),
        suffers=("caches that are written before the database",),
        fixes=("write to the cache after the commit",),
        source="Berenson et al., A Critique of ANSI SQL Isolation Levels, SIGMOD 1995: dirty read (P1)",
    ),
    Anomaly(
        slug="non-linearizable",
        number=None,
        title="no order fits",
        summary="No order of the operations that respects real time explains what the reads returned: one "
        "read saw the new value, and a later one the old value again.",
        steps=("W writes v2", "R returns v2", "R2 begins afterwards, and returns v1"),
        suffers=("every cache with more than one place to read from",),
        fixes=(_READ_DATABASE, "quarantine the key while a write is under way"),
        source="Herlihy and Wing, Linearizability, TOPLAS 1990",
    ),
)

ANOMALIES: Mapping[str, Anomaly] = MappingProxyType({entry.slug: entry for entry in _ENTRIES})
"""Every entry by its slug."""
