"""Events and copies: several caches, tiers and regions, and the messages that should keep them in step."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import CLIENT_SIDE, OUTBOX, SESSION_VERSION, SHORT_TTL, VERSIONED

__all__ = ["COPIES"]

_OWN_GROUP = "one consumer group for each copy of the cache; leaves open: copies that come and go"
_PENDING_FIRST = (
    "read what is pending first (id 0, or XAUTOCLAIM), then what is new; leaves open: double apply"
)
_DETECT_GAP = "detect the gap, and flush the whole copy; leaves open: the cold start"

COPIES: tuple[Anomaly, ...] = (
    Anomaly(
        slug="pending-list-black-hole",
        number=61,
        title="pending entries that nobody takes up",
        summary="A worker is given entries of a stream and dies before it acknowledges them. After its "
        "restart it asks for new entries only, so the old ones stay pending for ever.",
        steps=(
            "Q reads an event with XREADGROUP, which makes it pending",
            "Q crashes before its DEL and XACK",
            "Q restarts, and reads with '>': new entries only",
            "the entry v1 is never invalidated",
        ),
        suffers=("event-driven invalidation", "write-behind over a stream"),
        fixes=(_PENDING_FIRST,),
        source="Redis documentation, streams: recovering from permanent failures; replayed",
        related=("pop-then-crash", "competing-consumers", "dual-write-gap"),
    ),
    Anomaly(
        slug="competing-consumers",
        number=62,
        title="consumers that compete",
        summary="Several copies of the cache share one consumer group. A group shares its events out, so "
        "each event reaches one copy, and the others go on serving what it was about.",
        steps=(
            "the copies of R and R2 hold v1; both listen in one group",
            "W updates the row to v2, and adds an event",
            "the event goes to R, which deletes its copy",
            "R2 is never told, and serves v1",
        ),
        suffers=("event-driven invalidation of several copies",),
        fixes=(_OWN_GROUP,),
        source="Redis documentation, streams: consumer groups; replayed with two regions",
        related=("pending-list-black-hole", "multi-region-lag", "one-cache-invalidated"),
    ),
    Anomaly(
        slug="trimmed-stream",
        number=63,
        title="trimmed stream",
        summary="The stream keeps a limited number of entries. A consumer that was away for longer finds "
        "only the newest, and does not notice that there were others.",
        steps=(
            "Q is away",
            "writers add more events than the stream keeps (MAXLEN)",
            "Q comes back, and reads what is left",
        ),
        suffers=("event-driven invalidation", "write-behind", "both on capped streams"),
        fixes=(_DETECT_GAP,),
        source="replayed: 1,000 of 5,000 events were left",
        related=("missed-notification", "pending-list-black-hole"),
    ),
    Anomaly(
        slug="dual-write-gap",
        number=64,
        title="gap between commit and event",
        summary="The writer commits, and dies before it has added the event. The invalidation depends on an "
        "event that does not exist. The other way round, the event is there and the commit is not.",
        steps=(
            "the cache holds v1",
            "W commits v2 in the database",
            "W crashes before its XADD",
            "no worker ever hears of it, and R is served v1",
        ),
        suffers=("event-driven invalidation",),
        fixes=(OUTBOX,),
        source="Richardson, Microservices Patterns, 2018: transactional outbox",
        related=("crash-before-invalidation", "outbox-sequence-gap", "event-before-data"),
    ),
    Anomaly(
        slug="outbox-sequence-gap",
        number=65,
        title="a gap in the outbox",
        summary="The relay polls for ids above the last one it saw. Ids are given out before the commit, so "
        "a smaller one can appear after a larger one, and is skipped for ever.",
        steps=(
            "W inserts event 1, and its transaction stays open",
            "W2 inserts event 2, and commits",
            "the relay reads event 2, and remembers 2",
            "W commits; the relay asks for ids above 2, and never sees event 1",
        ),
        suffers=("a polled outbox",),
        fixes=(
            "mark what was published, row by row (for update skip locked)",
            "read up to the oldest open transaction only (pg_snapshot_xmin); leaves open: a long transaction",
            "logical decoding: the log has the order of commits; leaves open: a slot that falls behind",
        ),
        source="replayed on PostgreSQL",
        related=("dual-write-gap",),
    ),
    Anomaly(
        slug="event-before-data",
        number=66,
        title="the event is faster than the data",
        summary="The invalidation is consumed before the new row can be seen: it was sent before the "
        "commit, or the replica lags. A reader then reloads the old row, and no other event will come.",
        steps=(
            "W sends the event for v2, which cannot be seen everywhere yet",
            "Q consumes it, and deletes the entry",
            "R misses, selects v1, and sets the entry to v1",
            "v2 becomes visible, and the entry stays v1",
        ),
        suffers=("event-driven invalidation", "several regions"),
        fixes=(VERSIONED, "send the event after the commit; leaves open: replicas that lag"),
        source="derived from the design; no primary source",
        related=("replica-lag-fill", "invalidate-before-commit", "dual-write-gap"),
    ),
    Anomaly(
        slug="multi-region-lag",
        number=67,
        title="a remote region lags",
        summary="A writer in a remote region writes to the master elsewhere, and deletes the entry at home. "
        "The next reader at home misses, and loads the old row from the local replica.",
        steps=(
            "W, in a remote region, updates the row on the master to v2",
            "W deletes the entry in its own region",
            "R, in the same region, selects v1 from the local replica, and sets the entry",
        ),
        suffers=("cache-aside in several regions",),
        fixes=(
            (
                "remote marker: set before the write, and while it is there reads go to the master; leaves "
                "open: markers that are lost"
            ),
            SESSION_VERSION,
            VERSIONED,
        ),
        source="Nishtala et al., Scaling Memcache at Facebook, NSDI 2013: remote marker; Bronson et al., "
        "TAO, USENIX ATC 2013",
        related=("replica-lag-fill", "event-before-data"),
    ),
    Anomaly(
        slug="two-connection-race",
        number=68,
        title="data and invalidation on two connections",
        summary="A client with a local copy asks on one connection and hears of invalidations on another. "
        "The invalidation overtakes the reply, finds nothing to drop, and then the old reply is stored.",
        steps=(
            "R sends GET on the data connection",
            "W changes the entry; the invalidation reaches R on the other connection",
            "the reply with v1 arrives, and R stores it in its local copy",
        ),
        suffers=("client-side caching",),
        fixes=(CLIENT_SIDE,),
        source="Redis documentation, client-side caching: avoiding race conditions",
        related=("stale-set", "disconnected-listener", "joined-stale-load", "swallowed-peer-invalidation"),
    ),
    Anomaly(
        slug="swallowed-peer-invalidation",
        number=69,
        title="a peer's invalidation taken for our own",
        summary="A client ignores the invalidations that its own writes cause. If a peer writes at the same "
        "moment, the server sends one message for both, and it is ignored as well.",
        steps=(
            "R sets the entry, and notes that the next invalidation is its own",
            "W sets the entry; both changes make one message",
            "R ignores it, and goes on serving its own value",
        ),
        suffers=("a local tier in front of a shared cache",),
        fixes=("let the server leave out one's own (NOLOOP), and ignore nothing", CLIENT_SIDE),
        source="seen with a Python library (cashews): 1 of 40 pairs of writers; mechanism inferred from its "
        "source",
        related=("dead-invalidation-channel", "two-connection-race"),
    ),
    Anomaly(
        slug="dead-invalidation-channel",
        number=70,
        title="the invalidation channel is silently dead",
        summary="The listener is up and healthy, and hears nothing: the protocol or the subscription is not "
        "the one that it expects. Every local copy lives until its ttl.",
        steps=(
            "R listens for invalidations, in a form in which they do not come",
            "W changes the entry; nothing arrives at R",
            "R is served its local v1, and all health checks are green",
        ),
        suffers=("a local tier in front of a shared cache",),
        fixes=(
            (
                "canary: write a key now and then, expect its invalidation in time, else turn the local "
                "tier off; leaves open: the time between two canaries"
            ),
            SHORT_TTL,
        ),
        source="replayed with cashews 7.6.0 on redis-py 8.1.0, which speaks RESP3 by default: 40 of 40 pairs",
        related=("disconnected-listener", "missed-notification"),
    ),
    Anomaly(
        slug="disconnected-listener",
        number=71,
        title="disconnected listener",
        summary="The connection that brings invalidations breaks. What was changed until it is back is "
        "never told, and the local copy goes on serving it.",
        steps=(
            "R's connection for invalidations breaks",
            "W changes the entry: nobody tells R",
            "R connects again, and serves its local v1",
        ),
        suffers=("a local tier in front of a shared cache",),
        fixes=(CLIENT_SIDE, SHORT_TTL),
        source="Redis documentation, client-side caching: what to do when the connection is lost",
        related=("missed-notification", "dead-invalidation-channel"),
    ),
    Anomaly(
        slug="namespace-rollover",
        number=72,
        title="two namespaces in one deployment",
        summary="A new release uses another format of keys. While both releases run, each of them "
        "invalidates only its own keys, and the entries of the other go stale.",
        steps=(
            "R, on the new release, fills the entry in the new namespace",
            "W, on the old release, updates the row and deletes the entry in the old namespace",
            "R is served v1 from the new one",
        ),
        suffers=("every deployment that changes the format of keys",),
        fixes=("invalidate both namespaces (for one ttl); leaves open: a rollback after that",),
        source="IdentityCache, README, caveats",
        related=("one-cache-invalidated",),
    ),
)
