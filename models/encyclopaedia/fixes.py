"""Fixes that several entries share: the hardened designs, each with what it leaves open."""

__all__ = [
    "CLIENT_SIDE",
    "CONDITIONAL",
    "DATABASE_FIRST",
    "FAIL_LOUDLY",
    "FENCE",
    "LEASE",
    "LOG",
    "ORDERED",
    "OUTBOX",
    "QUARANTINE",
    "READ_DATABASE",
    "SESSION_VERSION",
    "SHORT_TTL",
    "SINGLE_LOAD",
    "VALIDATED",
    "VERSIONED",
    "VERSION_GUARD",
    "WARM_UP",
    "XFETCH",
]

LEASE = (
    "lease: an invalidation voids the token without which a fill is refused; leaves open: fills from an old "
    "snapshot or a replica, a writer that dies before it invalidates, a cache that loses or restores tokens"
)
VERSIONED = (
    "versioned set with a tombstone: the cache refuses what is older than its newest known version; leaves "
    "open: a tombstone that ends before the slow fill, a writer that dies before it invalidates, a cache "
    "that loses it"
)
CONDITIONAL = (
    "native conditional set (SET … IFEQ): a fill replaces only the placeholder of its own load; leaves open: "
    "all that a lease does not help against, and readers have to take a placeholder for a miss"
)
FENCE = (
    "fenced lock: each holder gets a larger number, and what comes with a smaller one is refused; leaves "
    "open: a counter that a failover sets back, so take the number from a sequence of the database"
)
SINGLE_LOAD = (
    "single load with a second look: one flight in each process, an owner's lock among them, another GET "
    "after acquiring it, a bounded wait; leaves open: one more load when a lock expires, harmless with "
    "versioned sets"
)
XFETCH = (
    "XFetch: each read recomputes early with a chance that grows towards the expiry; leaves open: keys that "
    "are cold, deleted or evicted, where nobody can be early, and clocks that disagree"
)
ORDERED = (
    "ordered write-through: set only if the row's version is newer; leaves open: the window between commit "
    "and set"
)
QUARANTINE = (
    "quarantine: mark the key before the commit, and read marked keys from the database; leaves open: "
    "a transaction that outlives its mark, and a mark that a failover loses"
)
OUTBOX = (
    "transactional outbox: the invalidation is part of the commit, and a relay repeats it until it works; "
    "leaves open: the time until the relay has run, and an event that no consumer can handle"
)
LOG = (
    "write-behind log: value and change go into one durable stream, acknowledged after the commit; leaves "
    "open: the loss of the disk below the stream"
)
VERSION_GUARD = (
    "version guard in the flush (update … where version < new): an older change cannot win; leaves open: "
    "rows whose version starts anew after a delete"
)
CLIENT_SIDE = (
    "one connection for data and invalidations (or a placeholder while a reply is under way), a flush of "
    "the local copy on every disconnect, a heartbeat; leaves open: nothing but the time a message takes"
)
WARM_UP = (
    "versioned warm-up: load row and version, set only what is newer, limit the rate, spread the ttls; "
    "leaves open: deletes that the new copy did not hear of, so attach it to the invalidations first"
)
SESSION_VERSION = (
    "session version: the client carries the newest version it has seen, and goes to the database for "
    "anything older; leaves open: causality between clients"
)
VALIDATED = (
    "validated read: compare the entry's version with the row's on every read; leaves open: nothing, at the "
    "price of a round trip to the database for each read"
)
READ_DATABASE = "reads that must be fresh go to the database, or validate the version there"
SHORT_TTL = "a short time to live limits the damage, it does not prevent it"
FAIL_LOUDLY = (
    "report the failure, and repeat the invalidation until it works; leaves open: a writer that dies "
    "meanwhile"
)
DATABASE_FIRST = "set the entry after the commit; leaves open: the window between commit and set"
