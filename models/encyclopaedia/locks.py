"""Locks: what is lent for a time only is used for longer, or given back by somebody else."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import FENCE, SINGLE_LOAD, VERSIONED

__all__ = ["LOCKS"]

_OWNER = (
    "owner token, and a release that compares it in the server (script, DELEX IFEQ, DELIFEQ); leaves open: "
    "two holders after an expiry"
)
_DATABASE_LOCK = "lock in the database (advisory lock) when it matters; leaves open: its price"

LOCKS: tuple[Anomaly, ...] = (
    Anomaly(
        slug="two-lock-holders",
        number=33,
        title="two holders of one lock",
        summary="The lock expires while its holder is still at work, and the next one acquires it. Both "
        "believe that they are alone.",
        steps=(
            "R acquires the lock for 5 seconds",
            "R's load takes 6 seconds",
            "the lock expires, and R2 acquires it",
            "R and R2 load, and write, at the same time",
        ),
        suffers=("lock-based loading", "every lock with a ttl"),
        fixes=(
            FENCE,
            "renew the lock while at work; leaves open: a pause of the one that should renew it",
            "treat the lock as a hint that saves work, and make the work itself safe by versions",
        ),
        source="Kleppmann, How to do distributed locking, 2016, and the answer by Sanfilippo",
        related=("foreign-release", "unfenced-late-write", "stampede", "lock-lost-on-failover"),
    ),
    Anomaly(
        slug="foreign-release",
        number=34,
        title="release of somebody else's lock",
        summary="A holder whose lock has expired deletes it when it is done: by then it is the lock of the "
        "next one. A third acquires it, while the second is still at work.",
        steps=(
            "R acquires the lock, which expires while R is at work",
            "R2 acquires the lock",
            "R is done, and deletes the lock, which is R2's",
            "R3 acquires the lock, while R2 is at work",
        ),
        suffers=("lock-based loading that releases with a plain DEL",),
        fixes=(_OWNER, FENCE),
        source="Redis documentation, distributed locks: just to delete is not safe",
        related=("two-lock-holders", "orphan-lock"),
    ),
    Anomaly(
        slug="orphan-lock",
        number=35,
        title="orphan lock",
        summary="The holder dies, or leaves by an exception, without a release. Everybody else waits until "
        "the lock expires, and for ever if it has no ttl.",
        steps=(
            "R acquires the lock",
            "R crashes, or its load raises and nothing releases the lock",
            "R2 and the others wait for a release that never comes",
        ),
        suffers=("lock-based loading", "locks without a ttl"),
        fixes=(
            (
                "always a ttl, and a release by the owner in finally; leaves open: a wait of one ttl after a "
                "crash"
            ),
            SINGLE_LOAD,
        ),
        source="dogpile.cache, issue 261; replayed: with its default the lock of a killed process never "
        "expires",
        related=("two-lock-holders", "hangs", "lock-convoy-collapse", "success-reported-as-failure"),
    ),
    Anomaly(
        slug="lock-lost-on-failover",
        number=36,
        title="lock lost in a failover",
        summary="The master that granted the lock dies before it has replicated it. The replica knows "
        "nothing of it, and grants it again.",
        steps=(
            "R acquires the lock on the master",
            "the master dies before the lock has reached the replica",
            "the replica is promoted, and R2 acquires the lock there",
        ),
        suffers=("lock-based loading on a replicated cache",),
        fixes=(FENCE, _DATABASE_LOCK),
        source="Redis documentation, distributed locks: safety violation",
        related=("two-lock-holders", "failover-rollback", "fence-not-increasing"),
    ),
    Anomaly(
        slug="success-reported-as-failure",
        number=37,
        title="success reported as failure",
        summary="The load takes longer than the lock lives. The value is stored, and then the release fails, "
        "because the lock is not ours any more, and the caller gets an error instead of its value.",
        steps=(
            "R acquires the lock, loads, and sets the entry",
            "the lock has expired meanwhile",
            "R releases it, is told that it is not the owner, and raises",
        ),
        suffers=("lock-based loading",),
        fixes=("a lock that is lost at its release is a warning, not an error", SINGLE_LOAD),
        source="dogpile.cache: LockNotOwnedError after the value has been stored; replayed",
        related=("two-lock-holders", "lock-convoy-collapse"),
    ),
    Anomaly(
        slug="unfenced-late-write",
        number=38,
        title="late write of a former holder",
        summary="A holder pauses, its lock expires, and the next holder stores a newer value. Then the "
        "first one goes on where it stopped, and sets the old value over the new one.",
        steps=(
            "R acquires the lock, selects v1, and pauses",
            "the lock expires; R2 acquires it, stores v2, and releases it",
            "R wakes up, and sets the entry to v1",
        ),
        suffers=("lock-based loading",),
        fixes=(FENCE, VERSIONED),
        source="Kleppmann, How to do distributed locking, 2016: fencing tokens",
        related=("two-lock-holders", "stale-set"),
    ),
)
