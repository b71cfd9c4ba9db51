"""The catalogue: every pattern that has a page here, with the contract that it is held to.

This file is no pattern itself.  It says for each page its name, its section, the class, the function that
makes its contract, and whether it is a recipe, as guides teach it, or a hardened design.  What runs through
all of them (`cacheproof matrix`, the truth table, the advice) goes by this list.

To add a page, append a row to PAGES, anywhere in its section:

    Page("leases", Section.CACHE_ASIDE, "leases:Leases", "LEASES", Kind.HARDENED)    (Kind is models.page.Kind)

A class takes one argument, the environment.  A variant that needs another one is a class of its own in the
same file, with a row of its own; so is the same class with another ttl, say `ttl_s=None`, which the contract
is made with.  `options` are further arguments of `verify`: {"clients": 3}, {"keys": 2}.
"""

from cacheproof.models.page import Kind, Page, Section

__all__ = ["PAGES"]

PAGES: tuple[Page, ...] = (
    Page("cache-aside", Section.CACHE_ASIDE, "cache_aside:CacheAside", "CACHE_ASIDE"),
    Page("cache-aside-async", Section.CACHE_ASIDE, "cache_aside_async:CacheAsideAsync", "CACHE_ASIDE_ASYNC"),
    Page(
        "cache-aside-delete-first",
        Section.CACHE_ASIDE,
        "cache_aside_delete_first:DeleteFirst",
        "CACHE_ASIDE_DELETE_FIRST",
    ),
    Page(
        "cache-aside-ttl-only",
        Section.CACHE_ASIDE,
        "cache_aside_ttl_only:NoInvalidation",
        "CACHE_ASIDE_TTL_ONLY",
    ),
    Page(
        "cache-aside-costs",
        Section.CACHE_ASIDE,
        "cache_aside_costs:CacheAsideAtCost",
        "CACHE_ASIDE_COSTS",
    ),
    Page(
        "cache-aside-tolerant",
        Section.CACHE_ASIDE,
        "cache_aside_tolerant:CacheAsideTolerant",
        "CACHE_ASIDE_TOLERANT",
    ),
    Page(
        "cache-aside-double-delete",
        Section.CACHE_ASIDE,
        "cache_aside_double_delete:DoubleDelete",
        "CACHE_ASIDE_DOUBLE_DELETE",
    ),
    Page(
        "cache-aside-in-transaction",
        Section.CACHE_ASIDE,
        "cache_aside_in_transaction:InvalidateInTransaction",
        "CACHE_ASIDE_IN_TRANSACTION",
    ),
    Page(
        "cache-aside-versioned",
        Section.CACHE_ASIDE,
        "cache_aside_versioned:CacheAsideVersioned",
        "CACHE_ASIDE_VERSIONED",
        Kind.HARDENED,
    ),
    Page(
        "cache-aside-lease",
        Section.CACHE_ASIDE,
        "cache_aside_lease:CacheAsideLease",
        "CACHE_ASIDE_LEASE",
        Kind.HARDENED,
    ),
    Page(
        "cache-aside-validated",
        Section.CACHE_ASIDE,
        "cache_aside_validated:CacheAsideValidated",
        "CACHE_ASIDE_VALIDATED",
        Kind.HARDENED,
    ),
    Page(
        "cache-aside-quarantine",
        Section.CACHE_ASIDE,
        "cache_aside_quarantine:CacheAsideQuarantine",
        "CACHE_ASIDE_QUARANTINE",
        Kind.HARDENED,
    ),
    Page(
        "stampede-mutex",
        Section.STAMPEDE,
        "stampede_mutex:StampedeMutex",
        "STAMPEDE_MUTEX",
    ),
    Page(
        "stampede-mutex-loads",
        Section.STAMPEDE,
        "stampede_mutex:StampedeMutex",
        "STAMPEDE_MUTEX_LOADS",
    ),
    Page(
        "stampede-mutex-lock",
        Section.STAMPEDE,
        "stampede_mutex:StampedeMutex",
        "STAMPEDE_MUTEX_LOCK",
    ),
    Page(
        "stampede-lock",
        Section.STAMPEDE,
        "stampede_lock:StampedeLock",
        "STAMPEDE_LOCK",
        Kind.HARDENED,
    ),
    Page(
        "stampede-lock-loads",
        Section.STAMPEDE,
        "stampede_lock:StampedeLock",
        "STAMPEDE_LOCK_LOADS",
        Kind.HARDENED,
    ),
    Page(
        "early-expiry",
        Section.STAMPEDE,
        "early_expiry:EarlyExpiry",
        "EARLY_EXPIRY",
        ttl_s=120,
    ),
    Page(
        "early-expiry-loads",
        Section.STAMPEDE,
        "early_expiry:EarlyExpiry",
        "EARLY_EXPIRY_LOADS",
        ttl_s=120,
    ),
    Page(
        "early-expiry-xfetch",
        Section.STAMPEDE,
        "early_expiry_xfetch:XFetch",
        "EARLY_EXPIRY_XFETCH",
        Kind.HARDENED,
    ),
    Page(
        "early-expiry-xfetch-loads",
        Section.STAMPEDE,
        "early_expiry_xfetch:XFetch",
        "EARLY_EXPIRY_XFETCH_LOADS",
        Kind.HARDENED,
    ),
    Page("read-through", Section.READ_THROUGH, "read_through:ReadThrough", "READ_THROUGH"),
    Page("write-through", Section.WRITE_THROUGH, "write_through:WriteThrough", "WRITE_THROUGH"),
    Page(
        "write-through-best-effort",
        Section.WRITE_THROUGH,
        "write_through_best_effort:BestEffort",
        "WRITE_THROUGH_BEST_EFFORT",
    ),
    Page(
        "write-through-cache-first",
        Section.WRITE_THROUGH,
        "write_through_cache_first:CacheFirst",
        "WRITE_THROUGH_CACHE_FIRST",
    ),
    Page(
        "write-through-in-transaction",
        Section.WRITE_THROUGH,
        "write_through_in_transaction:InTransaction",
        "WRITE_THROUGH_IN_TRANSACTION",
    ),
    Page(
        "write-through-ordered",
        Section.WRITE_THROUGH,
        "write_through_ordered:OrderedWriteThrough",
        "WRITE_THROUGH_ORDERED",
        Kind.HARDENED,
    ),
    Page("write-behind-list", Section.WRITE_BEHIND, "write_behind_list:WriteBehindList", "WRITE_BEHIND_LIST"),
    Page(
        "write-behind-stream",
        Section.WRITE_BEHIND,
        "write_behind_stream:WriteBehindStream",
        "WRITE_BEHIND_STREAM",
    ),
    Page(
        "write-behind-list-reliable",
        Section.WRITE_BEHIND,
        "write_behind_list_reliable:WriteBehindListReliable",
        "WRITE_BEHIND_LIST_RELIABLE",
    ),
    Page(
        "write-behind-workers",
        Section.WRITE_BEHIND,
        "write_behind_workers:WriteBehindWorkers",
        "WRITE_BEHIND_WORKERS",
    ),
    Page(
        "write-behind-dirty-set",
        Section.WRITE_BEHIND,
        "write_behind_dirty_set:WriteBehindDirtySet",
        "WRITE_BEHIND_DIRTY_SET",
    ),
    Page(
        "write-behind-notifications",
        Section.WRITE_BEHIND,
        "write_behind_notifications:WriteBehindNotifications",
        "WRITE_BEHIND_NOTIFICATIONS",
    ),
    Page(
        "write-behind-counters",
        Section.WRITE_BEHIND,
        "write_behind_counters:WriteBehindCounters",
        "WRITE_BEHIND_COUNTERS",
        ttl_s=None,
    ),
    Page(
        "write-behind-counters-watermark",
        Section.WRITE_BEHIND,
        "write_behind_counters_watermark:WriteBehindCountersWatermark",
        "WRITE_BEHIND_COUNTERS_WATERMARK",
        Kind.HARDENED,
        ttl_s=None,
    ),
    Page(
        "write-behind-log",
        Section.WRITE_BEHIND,
        "write_behind_log:WriteBehindLog",
        "WRITE_BEHIND_LOG",
        Kind.HARDENED,
    ),
    Page(
        "invalidation-events",
        Section.INVALIDATION,
        "invalidation_events:EventInvalidation",
        "INVALIDATION_EVENTS",
    ),
    Page(
        "invalidation-events-pending",
        Section.INVALIDATION,
        "invalidation_events_pending:PendingFirst",
        "INVALIDATION_EVENTS_PENDING",
    ),
    Page(
        "invalidation-outbox",
        Section.INVALIDATION,
        "invalidation_outbox:OutboxInvalidation",
        "INVALIDATION_OUTBOX",
        Kind.HARDENED,
    ),
    Page("warm-up-eager", Section.WARM_UP, "warm_up_eager:WarmUpEager", "WARM_UP_EAGER"),
    Page(
        "warm-up-versioned",
        Section.WARM_UP,
        "warm_up_versioned:WarmUpVersioned",
        "WARM_UP_VERSIONED",
        Kind.HARDENED,
    ),
)
"""Every page, section by section."""
