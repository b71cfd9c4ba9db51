"""Orders and versions: database and cache, or several keys, change in an order that readers can tell."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import (
    DATABASE_FIRST,
    LEASE,
    ORDERED,
    QUARANTINE,
    SESSION_VERSION,
    VALIDATED,
    VERSIONED,
)

__all__ = ["ORDERING"]

ORDERING: tuple[Anomaly, ...] = (
    Anomaly(
        slug="write-through-reorder",
        number=6,
        title="write-through in another order",
        summary="Two writers update the database in one order and the cache in the other. The cache keeps "
        "the value that lost in the database.",
        steps=(
            "W updates the row to v1",
            "W2 updates the row to v2",
            "W2 sets the entry to v2",
            "W sets the entry to v1, which the database has overwritten",
        ),
        suffers=("write-through",),
        fixes=(ORDERED, "delete instead of set; leaves open: the stale set by a reader"),
        source="Nishtala et al., NSDI 2013: entries are deleted, not set, because deletes are idempotent",
        related=("fill-over-write-through", "flush-reorder", "version-inversion"),
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
        fixes=(DATABASE_FIRST, ORDERED),
        source="Berenson et al., A Critique of ANSI SQL Isolation Levels, SIGMOD 1995: dirty read (P1)",
        related=("dirty-read", "invalidate-before-commit"),
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
        fixes=(QUARANTINE, VALIDATED, "do not promise linearizability"),
        source="Herlihy and Wing, Linearizability, TOPLAS 1990: a register in two places needs a protocol",
        related=("non-linearizable", "late-invalidation", "crash-before-invalidation"),
    ),
    Anomaly(
        slug="lost-update",
        number=10,
        title="lost update through the cache",
        summary="A client computes a new value from what the cache told it. The cache was behind, so the "
        "write undoes another one that had been committed meanwhile.",
        steps=(
            "R reads v1 from the cache",
            "W updates the row to v2",
            "R writes what it computed from v1, and the change of W is gone",
        ),
        suffers=("every application that writes what it computed from cached reads",),
        fixes=(
            "optimistic lock (update … where version = seen): the write fails, and is done anew",
            "change in place (set n = n + 1); never write from the cache",
        ),
        source="IdentityCache, README, caveats; Berenson et al., SIGMOD 1995: lost update (P4)",
        related=("lost-increment", "clobbered-write", "retry-double-apply"),
    ),
    Anomaly(
        slug="version-inversion",
        number=16,
        title="newest row with the smaller version",
        summary="Versions taken from a clock can be in another order than the commits. The cache then takes "
        "the newest row for an old one and refuses it, until the ttl.",
        steps=(
            "W begins a transaction: its time is t1",
            "W2 begins at t2, updates the row with time t2, and commits",
            "W updates the row with time t1, and commits: the last value has the smaller version",
            "the cache holds t2, and refuses t1",
        ),
        suffers=("versioned sets on timestamps", "cache keys made of updated_at"),
        fixes=(
            (
                "a counter in the row (version = version + 1 in the same update), or the position in the "
                "log; leaves open: rows that are deleted and inserted anew"
            ),
        ),
        source="replayed on PostgreSQL, where now() is the time at which the transaction began",
        related=("version-reset", "write-through-reorder"),
    ),
    Anomaly(
        slug="version-reset",
        number=17,
        title="versions that start anew",
        summary="A row is deleted and inserted again, and its version starts at 1. The cache remembers a "
        "larger one and refuses the new row as old.",
        steps=(
            "the cache holds version 3 of the row",
            "W deletes the row, and inserts it again with version 1",
            "the cache refuses version 1, because 1 < 3, and goes on serving version 3",
        ),
        suffers=("every versioned cache over rows that can be inserted again",),
        fixes=(
            "versions from one sequence, the transaction id or the log position",
            "a tombstone row that carries the next version; leaves open: tombstones that are cleaned up",
        ),
        source="replayed on real servers",
        related=("version-inversion", "resurrected-delete", "set-if-newer-without-tombstone"),
    ),
    Anomaly(
        slug="fractured-read",
        number=20,
        title="fractured read",
        summary="One transaction changes two records, and a read of both gets one of them new and one old. "
        "The same happens to lists and counts derived from a record, which nobody thought to invalidate.",
        steps=(
            "W updates a and b in one transaction",
            "W deletes the entry of a",
            "R reads a new (it reloads) and b old (it hits)",
            "W deletes the entry of b",
        ),
        suffers=("every pattern that caches records one by one",),
        fixes=(
            "one generation in the keys of all that belongs together; leaves open: the moment of its change",
            "delete all keys with one command; leaves open: the window between commit and delete",
        ),
        source="Bailis et al., Scalable Atomic Visibility with RAMP Transactions, SIGMOD 2014; "
        "django-cacheops, issue 302",
        related=("commit-window", "non-monotonic-read", "group-clear-race"),
    ),
    Anomaly(
        slug="non-monotonic-read",
        number=21,
        title="time runs backwards",
        summary="A client reads a new version, and later an older one: from a local tier, a replica or "
        "another cluster that has not caught up.",
        steps=(
            "R reads v2 (from the database, or from one copy)",
            "R reads again, and another copy serves v1",
        ),
        suffers=("read-through with a local tier", "replicas", "gradual rollout"),
        fixes=(SESSION_VERSION, "sticky routing (one client, one copy); leaves open: a copy that fails"),
        source="Terry et al., Session Guarantees for Weakly Consistent Replicated Data, PDIS 1994",
        related=("read-your-writes-violation", "one-cache-invalidated", "non-linearizable"),
    ),
    Anomaly(
        slug="group-clear-race",
        number=22,
        title="clearing a group of keys races",
        summary="A clear lists the keys of a group and then deletes that list. What is set in between under "
        "a listed name is lost, and what appears behind the cursor survives the invalidation.",
        steps=(
            "W lists the keys of the group (KEYS or SCAN)",
            "W2 sets an entry to v2, or R fills one that the list does not have",
            "W deletes the keys of its list: too many, or too few",
        ),
        suffers=("invalidation by group or pattern",),
        fixes=(
            (
                "a generation in the key: the clear is one increment; leaves open: entries that wait for their "
                "ttl"
            ),
        ),
        source="Spring Framework, issue 36806",
        related=("stale-set", "fill-over-write-through"),
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
        fixes=("count the ttl from the read: SET … PXAT (time of the select + ttl)", LEASE, VERSIONED),
        source="contradicts the guides to cache-aside that call the ttl the upper bound of staleness",
        related=("stale-set", "stale-put-back", "staleness-beyond-bound"),
    ),
)
