"""Faults: what crashes, lost messages, outages and failovers leave behind."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import FAIL_LOUDLY, LEASE, OUTBOX, SHORT_TTL, VERSIONED

__all__ = ["FAULTS"]

_EPOCH = (
    "epoch: a number that changes with every failover or restart, and invalidates all that is older; leaves "
    "open: reads before the change is noticed"
)
_REPLICATED = (
    "acknowledged by replicas (WAIT, min-replicas-to-write), and a failed write where they are too few; "
    "leaves open: a promotion of a replica that was not asked"
)

FAULTS: tuple[Anomaly, ...] = (
    Anomaly(
        slug="crash-before-invalidation",
        number=39,
        title="crash before the invalidation",
        summary="The writer commits and then dies, or loses its connection and gives up, before it deletes "
        "or sets the entry. Nobody else knows that there is something to invalidate.",
        steps=(
            "the cache holds v1",
            "W commits v2 in the database",
            "W crashes, or its operation ends with an error",
            "R is served v1 until the ttl, and without one for ever",
        ),
        suffers=("cache-aside", "write-through", "read-through"),
        fixes=(OUTBOX, "invalidate after an ambiguous commit too", SHORT_TTL),
        source="Richardson, Microservices Patterns, 2018: the dual write, and the transactional outbox",
        related=("ambiguous-commit", "dual-write-gap", "lost-invalidation"),
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
        fixes=(OUTBOX, FAIL_LOUDLY, SHORT_TTL),
        source="django-redis and similar clients: options that ignore exceptions also ignore lost deletes",
        related=("crash-before-invalidation", "one-way-partition", "missed-notification", "zombie-write"),
    ),
    Anomaly(
        slug="zombie-write",
        number=41,
        title="zombie write",
        summary="A request times out at its client, which gives it up, while it is still on its way. It "
        "arrives after a newer write and its invalidation, and sets the old value.",
        steps=(
            "R sends SET v1, and times out; the request is still in a queue",
            "W updates the row to v2 and deletes the entry",
            "the cache carries out SET v1",
        ),
        suffers=("cache-aside", "write-through", "read-through"),
        fixes=(VERSIONED, LEASE, "do not count on a reset: it does not call back what was sent"),
        source="the mechanism of the reordered sets in Nishtala et al., Scaling Memcache at Facebook, NSDI "
        "2013",
        related=("stale-set", "unfenced-late-write", "lost-invalidation"),
    ),
    Anomaly(
        slug="retry-double-apply",
        number=42,
        title="retry that counts twice",
        summary="The reply to a command is lost after the server has carried it out. The client, or its "
        "library unasked, sends the command again: one increment counts two, one change is queued twice.",
        steps=(
            "W sends INCR, and the cache increments",
            "the reply is lost",
            "W, or its library, sends INCR again: two for one",
        ),
        suffers=(
            "write-behind with counters",
            "event-driven invalidation",
            "clients that retry by themselves",
        ),
        fixes=(
            (
                "idempotency key: the server refuses what it has done already; leaves open: keys that are "
                "forgotten"
            ),
            "no automatic retries for writes: report the doubt; leaves open: a caller who retries",
        ),
        source="redis-py 8.1: ten retries by default; replayed with INCR and XADD",
        related=("double-apply", "ambiguous-commit", "lost-increment", "shadow-side-effects"),
    ),
    Anomaly(
        slug="ambiguous-commit",
        number=43,
        title="ambiguous commit",
        summary="The connection breaks during the commit. The writer takes that for a failure and does not "
        "invalidate; but the database has committed, and the cache stays old.",
        steps=(
            "the cache holds v1",
            "W sends COMMIT (or an update that commits by itself); the database commits v2",
            "the reply is lost, W takes it for a failure and leaves the cache alone",
            "R is served v1 until the ttl",
        ),
        suffers=("cache-aside", "write-through"),
        fixes=("invalidate when in doubt: after an unknown outcome as after success", OUTBOX, SHORT_TTL),
        source="Kingsbury, Jepsen: Postgres; the two generals problem",
        related=("crash-before-invalidation", "retry-double-apply"),
    ),
    Anomaly(
        slug="failover-rollback",
        number=44,
        title="failover brings back the past",
        summary="The master dies before it has replicated its last writes. The promoted replica holds "
        "entries and leases that had been deleted, and lacks writes that had been acknowledged.",
        steps=(
            "the entry v1 and a lease are replicated",
            "the link to the replica breaks, and W deletes both on the master",
            "the master dies, and the replica is promoted",
            "R is served v1, and a fill with the old lease is accepted",
        ),
        suffers=("every pattern, worst of all write-behind, locks and leases",),
        fixes=(_REPLICATED, _EPOCH),
        source="Kingsbury, Call me maybe: Redis; replayed with a replica",
        related=("durability-rollback", "lock-lost-on-failover", "split-brain"),
    ),
    Anomaly(
        slug="durability-rollback",
        number=45,
        title="restart brings back the past",
        summary="The cache restarts from what it had persisted, a snapshot or a log that was synced once a "
        "second. Deleted entries are back, and the last acknowledged changes are gone.",
        steps=(
            "W updates the row to v2 and deletes the entry v1",
            "the power fails before the delete has reached the disk",
            "the cache restarts, and serves v1",
        ),
        suffers=("every pattern on a persistent cache, worst of all write-behind",),
        fixes=(
            "flush the cache at every start: what is in it may be old; leaves open: the cold start",
            _EPOCH,
            "sync always (appendfsync always); leaves open: its price, and disks that lie",
        ),
        source="Redis documentation, persistence: up to a second of writes may be lost; replayed by "
        "truncation",
        related=("failover-rollback", "lost-write-behind", "lost-tombstone"),
    ),
    Anomaly(
        slug="split-brain",
        number=46,
        title="split brain",
        summary="A partition leaves two masters. The clients on the side of the old one go on reading and "
        "deleting there, and all that they did is discarded when the network heals.",
        steps=(
            "a partition separates the master, and a new one is elected",
            "W, on the old side, deletes the entry on the old master",
            "the network heals, the old master becomes a replica, and the delete is discarded",
        ),
        suffers=("every pattern on a cache with automatic failover (Sentinel, Cluster)",),
        fixes=(_REPLICATED, "short time-outs at the clients: they notice sooner; leaves open: that time"),
        source="Kingsbury, Call me maybe: Redis",
        related=("failover-rollback", "one-way-partition"),
    ),
    Anomaly(
        slug="lost-tombstone",
        number=47,
        title="lost tombstone",
        summary="The mark that makes the cache refuse an old fill, a tombstone or a voided lease, is lost "
        "to a flush, a restart or an eviction. The fill finds nothing that speaks against it.",
        steps=(
            "R misses and selects v1",
            "W updates the row to v2, and leaves a mark in the cache",
            "the mark is lost: flush, restart, eviction",
            "R's fill is accepted, and the entry is v1",
        ),
        suffers=("leases, versioned sets and tags that take absence for consent",),
        fixes=(
            (
                "a fill needs its own token to be present: absence refuses it; leaves open: a cache that "
                "restores old tokens"
            ),
            "keep marks where nothing is evicted",
        ),
        source="IdentityCache, README: a schedule in seven steps; rockscache compares the owner of the lock",
        related=("set-if-newer-without-tombstone", "stale-set", "durability-rollback"),
    ),
    Anomaly(
        slug="response-desync",
        number=48,
        title="somebody else's reply",
        summary="A call is cancelled after its request went out and before its reply was read. The "
        "connection is used again, and the next caller reads the reply that was meant for the first: "
        "another key's value.",
        steps=(
            "R sends GET for key a, and is cancelled before it has read the reply",
            "the connection goes back to the pool",
            "R2 takes it, sends GET for key b, and reads the reply for a",
        ),
        suffers=("asynchronous clients that cancel, and pools that take connections back unread",),
        fixes=(
            "drop a connection whose reply was abandoned",
            "keep the key beside the value, and compare it on every hit; leaves open: replies without a key",
        ),
        source="CVE-2023-28859, and the incident of March 2023 that made it known",
        related=("fabricated-value",),
    ),
    Anomaly(
        slug="one-way-partition",
        number=49,
        title="writers cut off, readers not",
        summary="The writers cannot reach the cache and leave the invalidation out, so as not to fail. The "
        "readers can, and are served what was never invalidated.",
        steps=(
            "the cache holds v1",
            "W commits v2, cannot reach the cache, and carries on",
            "R reaches the cache, and is served v1",
        ),
        suffers=("every pattern that tolerates an outage of the cache on its write path",),
        fixes=(OUTBOX, FAIL_LOUDLY, "readers bound the age of what they accept; leaves open: that age"),
        source="IdentityCache, README, caveats: network unavailability",
        related=("lost-invalidation", "split-brain", "cache-outage"),
    ),
    Anomaly(
        slug="cache-outage",
        number=50,
        title="without the cache not just slower",
        summary="The cache is down, and reads that should only have become slower fail, or wait for "
        "time-outs and retries of the client library that add up to seconds or more.",
        steps=(
            "the cache refuses connections, or does not answer",
            "R asks it, and its client library waits and retries",
            "R raises, or returns much later than the database would have taken",
        ),
        suffers=("cache-aside", "read-through"),
        fixes=(
            (
                "a breaker, a small time-out and no retries on the read path, then the database; leaves "
                "open: a database that cannot carry all reads"
            ),
        ),
        source="replayed with redis-py 8.1: 4.55 s for a GET to a port that refuses, with default settings",
        related=("slow", "metastable-cold-cache", "one-way-partition"),
    ),
)
