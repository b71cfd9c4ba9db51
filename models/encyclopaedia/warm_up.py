"""Warm-up and rollout: a cache is filled, or takes over, while the world goes on."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import SESSION_VERSION, VERSIONED, WARM_UP

__all__ = ["WARM_UPS"]

WARM_UPS: tuple[Anomaly, ...] = (
    Anomaly(
        slug="warm-up-overwrite",
        number=73,
        title="warm-up over a newer value",
        summary="The loader reads many rows, and sets them a while later. A write in between has set or "
        "deleted the entry already, and the warm-up puts the old value there.",
        steps=(
            "the loader selects v1, among many",
            "W updates the row to v2, and sets or deletes the entry",
            "the loader sets the entry to v1",
        ),
        suffers=("eager warm-up",),
        fixes=(WARM_UP, "set only if absent (NX); leaves open: entries that were deleted meanwhile"),
        source="the stale set, with a reader that reads everything; replayed",
        related=("stale-set", "fill-over-write-through", "warm-up-zombie"),
    ),
    Anomaly(
        slug="warm-up-zombie",
        number=74,
        title="warm-up of rows that are gone",
        summary="The loader sets rows that were deleted since it read them, and gives all entries the same "
        "ttl, so that they expire together.",
        steps=(
            "the loader selects the row, among many",
            "W deletes the row, and the entry, which is not there yet",
            "the loader sets the entry: a record that does not exist any more",
        ),
        suffers=("eager warm-up",),
        fixes=(WARM_UP,),
        source="derived from the design; no primary source",
        related=("resurrected-delete", "avalanche", "warm-up-overwrite"),
    ),
    Anomaly(
        slug="shadow-side-effects",
        number=75,
        title="shadow traffic with side effects",
        summary="Recorded requests are replayed to warm a new cache, and some of them write: to the "
        "database, to counters and queues, or to locks. Even reads double the load, and fill with what is "
        "true now.",
        steps=(
            "requests are recorded, writes and reads with side effects among them",
            "they are replayed against the new cache",
            "the database, or the live cache, is changed a second time",
        ),
        suffers=("shadow traffic", "warm-up by replay"),
        fixes=(
            (
                "list of what may be replayed: reads only, and a database that refuses writes; leaves open: the "
                "load"
            ),
        ),
        source="derived from the design; no primary source",
        related=("retry-double-apply", "warm-up-overwrite"),
    ),
    Anomaly(
        slug="one-cache-invalidated",
        number=76,
        title="two caches, one invalidated",
        summary="A part of the traffic goes to a new cache, and the writers still invalidate only the old "
        "one. The new one serves old values, and a user who is sent back and forth sees time run backwards.",
        steps=(
            "R fills the new cache with v1",
            "W updates the row to v2, and deletes the entry in the old cache",
            "R is served v2 by the old cache, and v1 by the new one",
        ),
        suffers=("gradual rollout of a new cache",),
        fixes=(
            "invalidate both caches before the first read of the new one; leaves open: a lost invalidation",
            "sticky routing: one user, one cache; leaves open: old values",
            SESSION_VERSION,
        ),
        source="derived from the design; no primary source",
        related=("non-monotonic-read", "namespace-rollover", "competing-consumers"),
    ),
    Anomaly(
        slug="cold-cluster-copy",
        number=77,
        title="a cold cluster copies old entries",
        summary="A cold cache fills its misses from a warm one instead of the database. A write deletes the "
        "entry in the cold one, and a reader brings the old value back from the warm one.",
        steps=(
            "W updates the row to v2, and deletes the entry in the cold cluster",
            "R misses there, and reads v1 from the warm cluster, which is not invalidated yet",
            "R sets v1 in the cold cluster",
        ),
        suffers=("warm-up from a peer cache",),
        fixes=(
            "hold-off: after a delete the cold cluster refuses fills for a while; leaves open: a slower copy",
            VERSIONED,
        ),
        source="Nishtala et al., Scaling Memcache at Facebook, NSDI 2013: cold cluster warm-up",
        related=("replica-lag-fill", "warm-up-overwrite"),
    ),
)
