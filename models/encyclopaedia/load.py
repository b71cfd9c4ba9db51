"""Load: the cache is right, and the database has to carry what the cache was put there to spare it."""

from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.fixes import SINGLE_LOAD, VERSIONED, WARM_UP, XFETCH

__all__ = ["LOAD"]

_JITTER = "spread the ttls by chance, by a tenth for instance; leaves open: entries lost at one moment"
_BREAKER = (
    "a breaker and a growing pause before each retry; leaves open: the reads that are refused meanwhile"
)
_ADMISSION = "admission limit: only so many loads at a time, the others are refused or served stale"

LOAD: tuple[Anomaly, ...] = (
    Anomaly(
        slug="stampede",
        number=24,
        title="stampede",
        summary="A popular entry expires, and everybody who misses before the first fill loads the row. The "
        "database gets the same query as many times as there are readers.",
        steps=(
            "the entry of a popular key expires",
            "R, R2 and many others miss, one after the other",
            "each of them selects the row and sets the entry",
        ),
        suffers=("cache-aside", "read-through", "ttl only"),
        fixes=(SINGLE_LOAD, XFETCH),
        source="Vattani, Chierichetti, Lowenstein, Optimal Probabilistic Cache Stampede Prevention, VLDB "
        "2015",
        related=("avalanche", "penetration", "lock-convoy-collapse", "two-lock-holders"),
    ),
    Anomaly(
        slug="avalanche",
        number=25,
        title="avalanche",
        summary="Many entries were set at one moment with one ttl, by a warm-up for instance, so they expire "
        "together. Each is loaded only once, and the database still drowns.",
        steps=(
            "a warm-up sets many entries with the same ttl",
            "the ttl passes, and all of them expire at once",
            "readers of all keys miss, and each key is loaded",
        ),
        suffers=("ttl only", "eager warm-up"),
        fixes=(_JITTER, _ADMISSION),
        source="rockscache, README: anti-avalanche, with a random part in every ttl",
        related=("stampede", "metastable-cold-cache", "warm-up-zombie"),
    ),
    Anomaly(
        slug="penetration",
        number=26,
        title="penetration",
        summary="The row does not exist, so there is nothing to cache, and every read of it loads. Locks "
        "make it worse: waiters wait for an entry that never comes, and then all load.",
        steps=(
            "R misses in the cache, and selects no row",
            "R caches nothing",
            "R2 misses, selects no row, and so on, for as long as somebody asks",
        ),
        suffers=("cache-aside", "read-through", "lock-based loading"),
        fixes=(
            (
                "cache absence, briefly and by version; leaves open: keys made up by the million, which need a "
                "filter"
            ),
            (
                "refuse keys that cannot exist, by their form or a Bloom filter; leaves open: its false "
                "positives"
            ),
        ),
        source="Redis, guide to cache-aside: handle missing records explicitly",
        related=("stampede", "stale-negative-entry", "lock-convoy-collapse"),
    ),
    Anomaly(
        slug="lock-convoy-collapse",
        number=27,
        title="the waiters give up together",
        summary="Readers wait for the one that holds the loading lock. It is slower than the lock lives, or "
        "fails, and then all of those who waited load at once: a stampede, only later.",
        steps=(
            "R acquires the lock and loads; R2 and many others wait",
            "R takes longer than the lock lives, or fails",
            "each of the others gives up waiting, and loads for itself",
        ),
        suffers=("lock-based loading",),
        fixes=(
            SINGLE_LOAD,
            "after a bounded wait serve stale or fail, but do not load; leaves open: reads that fail",
        ),
        source="Redis, guide to cache-aside: tune the single-flight lock's ttl; replayed with its sample",
        related=("stampede", "penetration", "two-lock-holders"),
    ),
    Anomaly(
        slug="process-local-lock",
        number=28,
        title="a distributed lock that ends at the process",
        summary="The waiting happens on something inside the process, an event or a map of flights. Other "
        "processes find it missing and pass, so N processes make N loads or more.",
        steps=(
            "R acquires the lock, and waiters of its process wait for an event",
            "R2 in another process knows no such event, takes that for done, and loads",
            "so does every reader of every other process",
        ),
        suffers=("single flight in the process", "libraries that wait for their distributed lock in memory"),
        fixes=("wait on the cache: poll, publish and subscribe, or a blocking pop", SINGLE_LOAD),
        source="found in a Python library (aiocache 0.12.3): 4 processes with 25 readers each made 76 loads",
        related=("stampede", "joined-stale-load"),
    ),
    Anomaly(
        slug="refresh-never-lands",
        number=29,
        title="a refresh that never lands",
        summary="An entry is taken for expired although it is still there, and the refreshed value is set "
        "only if absent. The cache refuses it each time, so everybody reloads and nobody is served the new "
        "value.",
        steps=(
            "the entry v1 passes its logical expiry, and is still in the cache",
            "R takes it for a miss, and selects v2",
            "R sets the entry with NX: refused, because v1 is there",
        ),
        suffers=("stale-while-revalidate on top of add or NX",),
        fixes=("overwrite by compare-and-set, or with XX", VERSIONED),
        source="found in django-redis, HerdClient with get_or_set: 60 calls, 13 loads, 59 old values",
        related=("stampede", "early-refresh-resurrection"),
    ),
    Anomaly(
        slug="early-expiry-herd",
        number=30,
        title="early expiry that does not scale",
        summary="A reader refreshes when the remaining ttl is below a threshold times a random number. The "
        "busier the key, the more readers do so at once; and a key that is seldom read is not protected at "
        "all.",
        steps=(
            "the remaining ttl falls below the threshold",
            "of many reads in each moment a share decides to refresh",
            "until the first one has set the entry, all of these load",
        ),
        suffers=("probabilistic early refresh by a plain threshold",),
        fixes=(XFETCH, SINGLE_LOAD),
        source="Vattani, Chierichetti, Lowenstein, VLDB 2015; by simulation: 19 loads at once at 1,000 "
        "reads a second, 146 at 10,000, for a load of half a second",
        related=("stampede", "early-refresh-resurrection"),
    ),
    Anomaly(
        slug="error-feedback-loop",
        number=31,
        title="errors that breed load",
        summary="Clients that find an invalid value delete it and reload. When the database fails under "
        "that load, the errors look like invalid values too, so still more is deleted and loaded.",
        steps=(
            "an entry looks invalid to every client",
            "each client deletes it, and loads from the database",
            "the database is overloaded, and answers with errors",
            "an error counts as invalid: back to the second step",
        ),
        suffers=("caches that validate what they read, and delete what does not please",),
        fixes=("never delete because a load has failed", _BREAKER),
        source="the outage of Facebook on 23 September 2010, as its engineers described it",
        related=("metastable-cold-cache", "stampede"),
    ),
    Anomaly(
        slug="metastable-cold-cache",
        number=32,
        title="a cold cache that stays cold",
        summary="The cache is lost while the load is larger than the database can carry. Loads time out "
        "before they can fill, so the hit rate stays at nothing long after the cause has gone.",
        steps=(
            "the cache is lost, and all reads go to the database",
            "the database is overloaded; loads time out, and nothing is set",
            "the cache is back, empty, and the overload goes on",
        ),
        suffers=("every pattern whose reads load on a miss",),
        fixes=(_ADMISSION, "serve stale values while loads are refused", WARM_UP),
        source="Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021; Huang et al., OSDI "
        "2022",
        related=("avalanche", "error-feedback-loop", "cache-outage"),
    ),
)
