"""Stale fills: a value was loaded before it changed, and cached after the invalidation."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import (
    CONDITIONAL,
    LEASE,
    OUTBOX,
    READ_DATABASE,
    SESSION_VERSION,
    SHORT_TTL,
    VERSIONED,
)

__all__ = ["FILLS"]

FILLS: tuple[Anomaly, ...] = (
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
        fixes=(LEASE, VERSIONED, CONDITIONAL, SHORT_TTL),
        source="Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1",
        related=(
            "old-snapshot-fill",
            "fill-over-write-through",
            "early-refresh-resurrection",
            "commit-window",
        ),
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
            (
                "update first, delete afterwards: of one reader and one writer 1 order in 10 ends stale, "
                "not 6; leaves open: that one, the stale set"
            ),
            VERSIONED,
        ),
        source="the order that cache-aside guides warn of: Microsoft, Azure Architecture Center, Cache-Aside",
        related=("stale-set", "double-delete-too-early", "invalidate-before-commit"),
    ),
    Anomaly(
        slug="invalidate-before-commit",
        number=3,
        title="invalidation inside the transaction",
        summary="The writer deletes the entry after its update but before its commit. A read in between "
        "still sees the old row, since the change is not visible yet, and caches it again.",
        steps=(
            "W begins a transaction and updates the row to v2",
            "W deletes the cache entry",
            "R misses, selects v1 (v2 is not committed) and sets the entry to v1",
            "W commits, and the entry stays v1",
        ),
        suffers=("every pattern that is called inside an open transaction",),
        fixes=(
            "invalidate in an after-commit hook; leaves open: a writer that dies before its hook has run",
            OUTBOX,
        ),
        source="PostgreSQL documentation, read committed isolation; a frequent bug of object mappers with "
        "caches",
        related=("pre-delete-race", "dirty-write-through", "event-before-data"),
    ),
    Anomaly(
        slug="old-snapshot-fill",
        number=4,
        title="fill from an old snapshot",
        summary="A reader's transaction sees the database as it was when it began. It misses after the "
        "invalidation, loads the old row from its snapshot and caches it: even a lease that it takes is "
        "valid.",
        steps=(
            "R begins a transaction (repeatable read), and its first SELECT takes the snapshot",
            "W updates the row to v2, commits and deletes the entry",
            "R misses in the cache, after the delete",
            "R selects v1 from its snapshot, and sets the entry to v1",
        ),
        suffers=("cache-aside", "read-through", "event-driven invalidation", "leases or locks alone"),
        fixes=(VERSIONED, "load in a transaction of its own, at read committed", READ_DATABASE),
        source="IQ framework, University of Southern California: leases alone do not help under snapshot "
        "isolation",
        related=("stale-set", "replica-lag-fill"),
    ),
    Anomaly(
        slug="replica-lag-fill",
        number=5,
        title="fill from a lagging replica",
        summary="The invalidation outruns replication. A reader misses, loads the row from a replica that "
        "does not have the new version yet, and caches the old one.",
        steps=(
            "W updates the row to v2 on the primary and deletes the entry",
            "R misses in the cache",
            "R selects v1 from a replica that lags behind",
            "R sets the entry to v1",
        ),
        suffers=("every pattern that loads from read replicas",),
        fixes=(
            VERSIONED,
            SESSION_VERSION,
            "fill only from the primary: a read may use a replica, a fill may not",
        ),
        source="Nishtala et al., Scaling Memcache at Facebook, NSDI 2013; IdentityCache separates reads "
        "from fills",
        related=("old-snapshot-fill", "event-before-data", "multi-region-lag", "cold-cluster-copy"),
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
            VERSIONED,
            "fill only if absent (NX); leaves open: entries that were deleted or have expired meanwhile",
        ),
        source="the stale set of Nishtala et al., NSDI 2013, section 3.2.1, over an entry that is there",
        related=("stale-set", "write-through-reorder", "warm-up-overwrite"),
    ),
    Anomaly(
        slug="resurrected-delete",
        number=11,
        title="resurrected delete",
        summary="A reader loads a row, is overtaken by its deletion and the invalidation, and then caches "
        "it. The record is gone from the database, and still served.",
        steps=(
            "R misses in the cache and selects the row",
            "W deletes the row, and then the entry",
            "R sets the entry: a record that does not exist any more",
        ),
        suffers=("cache-aside", "read-through", "event-driven invalidation"),
        fixes=(VERSIONED, LEASE, SHORT_TTL),
        source="the stale set over a deleted row; replayed on real servers",
        related=("stale-set", "stale-negative-entry", "warm-up-zombie"),
    ),
    Anomaly(
        slug="stale-negative-entry",
        number=12,
        title="stale negative entry",
        summary="A reader finds no row and is about to note that in the cache, when the row is inserted. "
        "The invalidation finds nothing to delete, and then absence is cached: the new record seems not to "
        "exist.",
        steps=(
            "R misses in the cache, and selects no row",
            "W inserts the row and deletes the entry: there is none yet",
            "R sets a negative entry, and later reads are told that there is no such record",
        ),
        suffers=("cache-aside with negative caching", "read-through"),
        fixes=(
            (
                "versioned set with a tombstone, in which absence has version 0; leaves open: "
                "a tombstone that ends before the slow fill"
            ),
            "a much shorter ttl for negative entries; leaves open: that time",
        ),
        source="django-cacheops, report of a user that could not be queried until the cache was cleared",
        related=("stale-set", "resurrected-delete", "penetration"),
    ),
    Anomaly(
        slug="early-refresh-resurrection",
        number=13,
        title="early refresh brings back the old value",
        summary="A reader hits, decides to refresh the entry early, and loads the row. A write and its "
        "invalidation overtake it, and the refresh puts the old value back. So even hot, warm keys go stale.",
        steps=(
            "R hits v1, decides to refresh early, and selects v1",
            "W updates the row to v2 and deletes the entry",
            "R sets the entry to v1 with a full ttl",
        ),
        suffers=("probabilistic early refresh", "stale-while-revalidate"),
        fixes=(VERSIONED, LEASE),
        source="Caffeine, issue 193: invalidate before refresh completes still stores the value",
        related=("stale-set", "stale-put-back", "joined-stale-load", "early-expiry-herd"),
    ),
    Anomaly(
        slug="stale-put-back",
        number=14,
        title="stale entry put back",
        summary="A reader finds an expired entry and writes it back with a longer life, so that others are "
        "served while it reloads. If a write came in between, the old value goes over the new one.",
        steps=(
            "R reads the expired entry v1",
            "W updates the row to v2, and sets or deletes the entry",
            "R writes v1 back with a later expiry, for the others",
        ),
        suffers=("caches with a grace time for expired entries, such as race_condition_ttl in Rails",),
        fixes=("put back by compare-and-set: only over the entry that was read", VERSIONED),
        source="Rails, ActiveSupport::Cache, handle_expired_entry; inferred from its source, not replayed",
        related=("early-refresh-resurrection", "stale-set", "refresh-never-lands"),
    ),
    Anomaly(
        slug="joined-stale-load",
        number=15,
        title="joined a load from before the invalidation",
        summary="A load is under way when a write invalidates the key. A read that begins after the write "
        "joins that load, as single flight wants it, and gets the old value, though no entry is stale.",
        steps=(
            "R misses and starts to load v1",
            "W updates the row to v2 and deletes the entry, and is told ok",
            "R2 begins, joins the load of R, and returns v1",
        ),
        suffers=("read-through with single flight", "request coalescing in a process"),
        fixes=(
            "detach on invalidation: later readers start a load of their own; leaves open: other processes",
            READ_DATABASE,
        ),
        source="replayed with two caching libraries; reported for Guava (issue 1881) and Trino (issue 22285)",
        related=("stale-set", "stampede", "process-local-lock"),
    ),
    Anomaly(
        slug="set-if-newer-without-tombstone",
        number=18,
        title="set if newer, but delete without a trace",
        summary="Fills are compared with the version in the cache, but an invalidation deletes the entry and "
        "its version with it. A late fill finds nothing to be older than, and is accepted.",
        steps=(
            "R misses and selects v1 with version 1",
            "W updates the row to v2 with version 2, and deletes entry and version",
            "R offers v1 with version 1; nothing is there to compare it with, so it is set",
        ),
        suffers=("versioned sets with a plain delete",),
        fixes=(VERSIONED,),
        source="found by exhaustive search: 1 of 10 orders of one reader and one writer ends stale, as "
        "without versions",
        related=("stale-set", "lost-tombstone", "version-reset"),
    ),
    Anomaly(
        slug="double-delete-too-early",
        number=19,
        title="second delete too early",
        summary="The writer deletes, updates, waits and deletes again. A reader that pauses for longer than "
        "that wait fills after the second delete, and a writer that dies in the wait never makes it.",
        steps=(
            "W deletes the entry and updates the row to v2; before that, R had selected v1",
            "W waits, and deletes the entry once more",
            "R was slower than that, and sets the entry to v1",
        ),
        suffers=("delayed double delete",),
        fixes=(LEASE, VERSIONED, "a longer wait, which is a mitigation; leaves open: every longer pause"),
        source="found by exhaustive search: 3 of 20 orders with a cold cache still end stale",
        related=("pre-delete-race", "stale-set"),
    ),
)
