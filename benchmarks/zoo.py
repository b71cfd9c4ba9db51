"""The bug zoo: what people do to a sound pattern, each time in a few words.

A bug is a page of patterns/, a text in it, and what stands there instead; the guarantee that it must break,
the condition under which it does, the name of the anomaly, and the smallest schedule that shows it. How it
is planted says planting.py. That every bug is caught in its schedule, and that the page as it is passes the
same one, is tested in tests/chaos/test_zoo.py; how soon the search finds it by itself, measured by
detection.py.

Rule 1. A small change: what a review lets pass, not what no one would write.
Rule 2. The page keeps the guarantee under the condition; so it is the change that breaks it.
Rule 3. A change that nothing can notice is no bug, and is not here.

Some that are not here by rule 3: an entry of the write-behind log that keeps its ttl, or a miss that does
not look into the log. Each guards against what the other lets through, so it takes both, or an eviction.
Nor a renewal that makes an entry permanent, for the entry itself says when it is due; nor a wait for a lock
without end, for the lock has one; nor a fill of the log that does not look for an entry, since every write
takes the lease.
"""

from planting import Bug

from cacheproof.models.contract import Condition

__all__ = ["ZOO"]

ZOO: tuple[Bug, ...] = (
    # -- cache-aside, read-through
    Bug(
        name="invalidation-forgotten",
        what="a second way to write, and nobody thought of the cache",
        page="cache_aside:CacheAside",
        old="""\
        self.redis.delete(key)
""",
        new="",
        breaks="CA4",
        condition=Condition.QUIET,
        anomaly="no-invalidation",
        script="A read, A ..., A write, A .",
    ),
    Bug(
        name="wrong-key-deleted",
        what="the entry is filled under one name and deleted under another",
        page="cache_aside:CacheAside",
        old="self.redis.delete(key)",
        new='self.redis.delete(f"record:{key}")',
        breaks="CA4",
        condition=Condition.QUIET,
        anomaly="stale-read",
        script="A read, A ..., A write, A ..",
    ),
    Bug(
        name="ttl-forgotten",
        what="without its ttl, nothing heals a stale entry",
        page="cache_aside:CacheAside",
        old="self.redis.set(key, value, ex=self.ttl)",
        new="self.redis.set(key, value)",
        breaks="CA2",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="ttl-in-milliseconds",
        what="the configuration says milliseconds, EX takes seconds",
        page="read_through:ReadThrough",
        old="self.redis.set(key, value, ex=self.ttl)",
        new="self.redis.set(key, value, ex=self.ttl and self.ttl * 1000)",
        breaks="CA2",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="key-without-id",
        what="all records of a table share one entry",
        page="cache_aside:CacheAside",
        old="""\
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        value = self._load(key)
        if value is not None:
            self.redis.set(key, value\
""",
        new="""\
        table = key.partition(":")[0]
        cached = self.redis.get(table)
        if cached is not None:
            return str(cached)
        value = self._load(key)
        if value is not None:
            self.redis.set(table, value\
""",
        breaks="CA1",
        condition=Condition.CONCURRENT,
        anomaly="fabricated-value",
        script="",
        keys=2,
    ),
    Bug(
        name="autocommit-forgotten",
        what="the driver opens a transaction that nobody commits",
        page="cache_aside:CacheAside",
        old="psycopg.connect(env.database_url, autocommit=True)",
        new="psycopg.connect(env.database_url)",
        breaks="CA5",
        condition=Condition.QUIET,
        anomaly="lost-write",
        script="A write, A ..",
    ),
    Bug(
        name="rollback-swallowed",
        what="an UPDATE that failed is logged, and the write acknowledged",
        page="cache_aside:CacheAside",
        old="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
""",
        new="""\
        try:
            self.db.execute("update records set value = %s where key = %s", (value, key))
        except psycopg.Error:
            pass
""",
        breaks="CA5",
        condition=Condition.LOST_MESSAGES,
        anomaly="lost-write",
        script="A read, A ., A lost, A write, A .",
        keys=2,
    ),
    Bug(
        name="invalidated-if-loaded",
        what="a read-through layer that invalidates only what this process has loaded itself",
        page="read_through:ReadThrough",
        old="""\
        self.redis.delete(key)
""",
        new="""\
        if key in self.__dict__.setdefault("loaded", set()):
            self.redis.delete(key)
""",
        breaks="CA4",
        condition=Condition.QUIET,
        anomaly="no-invalidation",
        script="A read, A ..., A write, A .",
    ),
    Bug(
        name="ttl-only-for-ever",
        what="relying on the ttl, and then the ttl is lost in a refactoring",
        page="cache_aside_ttl_only:NoInvalidation",
        old="ex=self.ttl",
        new="ex=None",
        breaks="CA2",
        condition=Condition.QUIET,
        anomaly="no-invalidation",
        script="A read, A ..., A write, A .",
    ),
    Bug(
        name="timeout-left-out",
        what="tolerant of a cache that refuses, but not of one that is silent",
        page="cache_aside_tolerant:CacheAsideTolerant",
        old="""\
            socket_timeout=PATIENCE_S,
""",
        new="""\
            socket_timeout=None,
""",
        breaks="CA6",
        condition=Condition.CACHE_DOWN,
        anomaly="slow",
        script="A read, A ..., partition cache silent, A read, advance 10",
        keys=2,
    ),
    Bug(
        name="miss-by-exception-forgotten",
        what="the DEL is guarded against an outage, the GET is not",
        page="cache_aside_tolerant:CacheAsideTolerant",
        old="""\
        with suppress(redis.RedisError):
            cached = self.redis.get(key)
            if cached is not None:
                return str(cached)
""",
        new="""\
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
""",
        breaks="CA6",
        condition=Condition.CACHE_DOWN,
        anomaly="cache-outage",
        script="partition cache, A read",
    ),
    # -- leases
    Bug(
        name="lease-not-voided",
        what="the write deletes the entry, but not the lease",
        page="cache_aside_lease:CacheAsideLease",
        old='self.redis.delete(key, f"lease:{key}")',
        new="self.redis.delete(key)",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A ..., B write, B .., A .",
    ),
    Bug(
        name="lease-not-checked",
        what="the fill does not look whether its lease is still there",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
""",
        new="",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A ..., B write, B .., A .",
    ),
    Bug(
        name="lease-without-token",
        what="the fill asks whether there is a lease, not whose",
        page="cache_aside_lease:CacheAsideLease",
        old="if redis.call('GET', KEYS[2]) ~= ARGV[1] then",
        new="if redis.call('EXISTS', KEYS[2]) == 0 then",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="unfenced-late-write",
        script="A read, A ..., B write, B .., B read, B .., A ., B ..",
        clients=3,
    ),
    Bug(
        name="lease-after-the-load",
        what="the lease is taken when the value is there, not before it is loaded",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
            if self.redis.set(f"lease:{key}", token, nx=True, px=LEASE_MS):
                return self._fill(key, token)
""",
        new="""\
            value = self._load(key)
            if value is not None and self.redis.set(f"lease:{key}", token, nx=True, px=LEASE_MS):
                self.redis.eval(FILL, 2, key, f"lease:{key}", token, value, self.ttl or "")
                return value
""",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A ..",
    ),
    Bug(
        name="delete-before-update",
        what="the entry is deleted before the UPDATE",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key, f"lease:{key}")
""",
        new="""\
        self.redis.delete(key, f"lease:{key}")
        self.db.execute("update records set value = %s where key = %s", (value, key))
""",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="pre-delete-race",
        script="A write, A ., B read, B ...., A .",
    ),
    Bug(
        name="delete-before-commit",
        what="the whole write is put into a transaction, the DEL included",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key, f"lease:{key}")
""",
        new="""\
        with self.db.transaction():
            self.db.execute("update records set value = %s where key = %s", (value, key))
            self.redis.delete(key, f"lease:{key}")
""",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="invalidate-before-commit",
        script="A write, A .., B read, B ...., A .",
    ),
    Bug(
        name="invalidated-only-if-cached",
        what="the write looks first whether there is anything to delete",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
        self.redis.delete(key, f"lease:{key}")
""",
        new="""\
        if self.redis.exists(key):
            self.redis.delete(key, f"lease:{key}")
""",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="stale-read",
        script="A read, A ..., B write, B .., A .",
    ),
    Bug(
        name="invalidation-error-swallowed",
        what="the cache is only a cache: its errors must not fail a write",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
        self.redis.delete(key, f"lease:{key}")
""",
        new="""\
        try:
            self.redis.delete(key, f"lease:{key}")
        except redis.RedisError:
            pass
""",
        breaks="H1b",
        condition=Condition.LOST_MESSAGES,
        anomaly="lost-invalidation",
        script="A read, A ...., A write, A ., A lost",
    ),
    Bug(
        name="fill-from-a-snapshot",
        what="the request runs in one transaction with one snapshot, and the load in it",
        page="cache_aside_lease:CacheAsideLease",
        old="""\
    def read(self, key: str) -> str | None:
        token\
""",
        new="""\
    def read(self, key: str) -> str | None:
        with self.db.transaction():
            self.db.execute("set transaction isolation level repeatable read")
            self.db.execute("select count(*) from records")
            return self._read(key)

    def _read(self, key: str) -> str | None:
        token\
""",
        breaks="H1b",
        condition=Condition.CONCURRENT,
        anomaly="old-snapshot-fill",
        script="A read, A .., B write, B .., A ....",
    ),
    # -- versions
    Bug(
        name="version-not-bumped",
        what="one of many UPDATEs forgets to count the version up",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="value = %s, version = version + 1 where",
        new="value = %s where",
        breaks="H2b",
        condition=Condition.QUIET,
        anomaly="stale-read",
        script="A read, A ..., A write, A ..",
    ),
    Bug(
        name="set-if-absent",
        what="NX in place of a comparison of versions",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="""\
local known = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
local offered = tonumber(ARGV[1])
if offered < known then return 0 end
if offered == known and redis.call\
""",
        new="if redis.call",
        breaks="H2b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="tombstone-missing",
        what="an invalidation deletes the entry, and with it the version to compare with",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="""\
redis.call('HDEL', KEYS[1], 'value')
redis.call('HSET', KEYS[1], 'version', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
""",
        new="""\
redis.call('DEL', KEYS[1])
""",
        breaks="H2b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="tombstone-of-no-length",
        what="the tombstone's ttl comes from a setting whose default is 0",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="tombstone: int = 60",
        new="tombstone: int = 0",
        breaks="H2b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="off-by-one-version",
        what="a fill that is one version behind is taken for new enough",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="if offered < known then return 0 end",
        new="if offered < known - 1 then return 0 end",
        breaks="H2b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="version-of-another-statement",
        what="the version is read after the value, in a statement of its own",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="""\
        value, version = row
""",
        new="""\
        value = row[0]
        (version,) = self.db.execute("select version from records where key = %s", (key,)).fetchone() or (0,)
""",
        breaks="H2b",
        condition=Condition.CONCURRENT,
        anomaly="stale-read",
        script="A read, A .., B write, B .., A ..",
    ),
    Bug(
        name="late-version-swallowed",
        what="a failed invalidation is left to the ttl",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="""\
            self.redis.eval(INVALIDATE, 1, key, row[0], self.tombstone)
""",
        new="""\
            try:
                self.redis.eval(INVALIDATE, 1, key, row[0], self.tombstone)
            except redis.RedisError:
                pass
""",
        breaks="H2b",
        condition=Condition.LOST_MESSAGES,
        anomaly="lost-invalidation",
        script="A read, A ..., A write, A ., A lost",
    ),
    Bug(
        name="fill-without-script",
        what="the fill is written as HSET once more, for speed",
        page="cache_aside_versioned:CacheAsideVersioned",
        old="""\
        self.redis.eval(FILL, 1, key, version, value, "" if self.ttl is None else self.ttl)
""",
        new="""\
        self.redis.hset(key, mapping={"version": version, "value": value})
""",
        breaks="H2b",
        condition=Condition.DELAYED_MESSAGES,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="validated-by-another-statement",
        what="the version that is cached with a value was read after it",
        page="cache_aside_validated:CacheAsideValidated",
        old="""\
        version, value = row
""",
        new="""\
        value = row[1]
        (version,) = self.db.execute("select version from records where key = %s", (key,)).fetchone() or row
""",
        breaks="H15b",
        condition=Condition.CONCURRENT,
        anomaly="stale-read",
        script="A read, A .., B write, B ., A ..",
    ),
    Bug(
        name="hit-not-validated",
        what="a hit is returned without asking whether it is still right",
        page="cache_aside_validated:CacheAsideValidated",
        old="        row = self.db.execute(IF_ANOTHER",
        new="""\
        if cached is not None:
            return cached
        row = self.db.execute(IF_ANOTHER\
""",
        breaks="H15b",
        condition=Condition.QUIET,
        anomaly="no-invalidation",
        script="A read, A ..., A write, A .",
    ),
    # -- quarantine
    Bug(
        name="quarantine-too-late",
        what="the quarantine begins after the UPDATE",
        page="cache_aside_quarantine:CacheAsideQuarantine",
        old="""\
        self._run(QUARANTINE, key, token, self.quarantine)
        self.db.execute("update records set value = %s where key = %s", (value, key))
""",
        new="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self._run(QUARANTINE, key, token, self.quarantine)
""",
        breaks="H9g",
        condition=Condition.CONCURRENT,
        anomaly="commit-window",
        script="A read, A ...., B write, B ., A read, A ., B ..",
        keys=2,
    ),
    Bug(
        name="quarantine-not-looked-at",
        what="a lease is given in quarantine as well",
        page="cache_aside_quarantine:CacheAsideQuarantine",
        old="""\
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
""",
        new="",
        breaks="H9g",
        condition=Condition.CONCURRENT,
        anomaly="late-invalidation",
        script="A write, A ..., A write, A ., B read, B ...., A ., B read, B ., A .",
        clients=3,
    ),
    Bug(
        name="lease-outlives-quarantine",
        what="the quarantine deletes the entry, and leaves the lease of a load under way",
        page="cache_aside_quarantine:CacheAsideQuarantine",
        old="""\
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SADD'\
""",
        new="""\
redis.call('DEL', KEYS[1])
redis.call('SADD'\
""",
        breaks="H9a",
        condition=Condition.CONCURRENT,
        anomaly="non-linearizable",
        script="A write, A ..., B read, B ..., A write, A .., C read, C ..., B ., B read, B ., A .",
        clients=3,
    ),
    Bug(
        name="quarantine-of-another-ended",
        what="the first writer to finish ends the quarantine of all",
        page="cache_aside_quarantine:CacheAsideQuarantine",
        old="redis.call('SREM', KEYS[3], ARGV[1])",
        new="redis.call('DEL', KEYS[3])",
        breaks="H9g",
        condition=Condition.CONCURRENT,
        anomaly="late-invalidation",
        script="A write, A ., B write, B ..., B read, B ...., A ., B read, B ., A .",
    ),
    # -- protection from stampedes
    Bug(
        name="no-second-look",
        what="who gets the lock loads, although somebody has filled meanwhile",
        page="stampede_lock:StampedeLock",
        old="""\
            if (cached := self._cached(key)) is None:
""",
        new="""\
            if cached is None:
""",
        breaks="H6a",
        condition=Condition.CONCURRENT,
        anomaly="stampede",
        script="A read, A ., B read, B ...., A ...",
    ),
    Bug(
        name="lock-without-owner",
        what="every holder has the same token",
        page="stampede_lock:StampedeLock",
        old="owner = uuid.uuid4().hex",
        new='owner = "locked"',
        breaks="H5a",
        condition=Condition.CONCURRENT,
        anomaly="unfenced-late-write",
        script="A read, A ...., B write, B .., B read, B .., A ., B ..",
        clients=3,
    ),
    Bug(
        name="lock-outlives-the-write",
        what="a write leaves the lock of a load under way alone",
        page="stampede_lock:StampedeLock",
        old="self.redis.delete(key, _lock(key))",
        new="self.redis.delete(key)",
        breaks="H5a",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A ...., B write, B .., A .",
    ),
    Bug(
        name="fill-not-fenced",
        what="the fill does not look whether the lock is still its own",
        page="stampede_lock:StampedeLock",
        old="""\
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3]\
""",
        new="if ARGV[3]",
        breaks="H5a",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A ...., B write, B .., A .",
    ),
    Bug(
        name="lock-forgotten",
        what="the lock is asked for, and nobody looks at the answer",
        page="stampede_lock:StampedeLock",
        old="return owner if self.redis.set(_lock(key), owner, nx=True, px=int(LOCK_S * 1000)) else None",
        new="""\
self.redis.set(_lock(key), owner, nx=True, px=int(LOCK_S * 1000))
        return owner\
""",
        breaks="H6a",
        condition=Condition.CONCURRENT,
        anomaly="lock-convoy-collapse",
        script="A read, A ...., B read, B ....., A .",
    ),
    Bug(
        name="fill-loses-ttl",
        what="the script that fills forgets the ttl",
        page="stampede_lock:StampedeLock",
        old="redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3])",
        new="redis.call('set', KEYS[1], ARGV[2])",
        breaks="CA2",
        condition=Condition.APP_CRASH,
        anomaly="crash-before-invalidation",
        script="A read, A ....., A write, A ., A crash",
    ),
    Bug(
        name="early-refresh-unversioned",
        what="a renewal overwrites whatever is there",
        page="early_expiry_xfetch:XFetch",
        old="""\
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
""",
        new="",
        breaks="H7b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="early-refresh-without-tombstone",
        what="an invalidation deletes, and a renewal under way brings the old value back",
        page="early_expiry_xfetch:XFetch",
        old="""\
redis.call('hset', KEYS[1], 'version', ARGV[1])
return redis.call('expire', KEYS[1], ARGV[2])
""",
        new="""\
return 1
""",
        breaks="H7b",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="version-from-the-clock",
        what="the version is the time of the writer, in seconds",
        page="early_expiry_xfetch:XFetch",
        old="""\
            "update records set value = %s, version = version + 1 where key = %s returning version",
            (value, key),
""",
        new="""\
            "update records set value = %s, version = %s where key = %s returning version",
            (value, int(time.time()), key),
""",
        breaks="H7b",
        condition=Condition.QUIET,
        anomaly="stale-read",
        script="A write, A .., A read, A ..., A write, A ..",
    ),
    # -- write-through
    Bug(
        name="set-before-update",
        what="the cache is told before the database",
        page="write_through:WriteThrough",
        old="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.set(key, value, ex=self.ttl)  # even if another write came between
""",
        new="""\
        self.redis.set(key, value, ex=self.ttl)
        self.db.execute("update records set value = %s where key = %s", (value, key))
""",
        breaks="WT4",
        condition=Condition.CONCURRENT,
        anomaly="dirty-write-through",
        script="A write, A ., B read, B ., A .",
    ),
    Bug(
        name="set-before-commit",
        what="the whole write is put into a transaction, the SET included",
        page="write_through:WriteThrough",
        old="""\
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.set(key, value, ex=self.ttl)  # even if another write came between
""",
        new="""\
        with self.db.transaction():
            self.db.execute("update records set value = %s where key = %s", (value, key))
            self.redis.set(key, value, ex=self.ttl)
""",
        breaks="WT4",
        condition=Condition.CONCURRENT,
        anomaly="dirty-write-through",
        script="A write, A .., B read, B ., A .",
    ),
    Bug(
        name="written-value-for-ever",
        what="reads fill with a ttl, writes do not",
        page="write_through:WriteThrough",
        old="self.redis.set(key, value, ex=self.ttl)  # even if another write came between",
        new="self.redis.set(key, value)",
        breaks="WT5",
        condition=Condition.CONCURRENT,
        anomaly="write-through-reorder",
        script="A write, A ., B write, B .., A .",
    ),
    Bug(
        name="set-not-compared",
        what="a script that sets, whatever is there",
        page="write_through_ordered:OrderedWriteThrough",
        old="""\
if cached and tonumber(cached) >= tonumber(ARGV[1]) then
    return 0
end
""",
        new="",
        breaks="WT1",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="set-only-if-absent",
        what="NX in place of a comparison: the entry of yesterday stays",
        page="write_through_ordered:OrderedWriteThrough",
        old="if cached and tonumber(cached) >= tonumber(ARGV[1]) then",
        new="if cached then",
        breaks="WT1",
        condition=Condition.QUIET,
        anomaly="version-inversion",
        script="A read, A ..., A write, A ..",
    ),
    Bug(
        name="version-asked-afterwards",
        what="the version is selected after the UPDATE, not returned by it",
        page="write_through_ordered:OrderedWriteThrough",
        old="""\
            "update records set value = %s, version = version + 1 where key = %s returning version",
            (value, key),
        ).fetchone()
""",
        new="""\
            "update records set value = %s, version = version + 1 where key = %s", (value, key)
        )
        row = self.db.execute("select version from records where key = %s", (key,)).fetchone()
""",
        breaks="WT1",
        condition=Condition.CONCURRENT,
        anomaly="version-inversion",
        script="A write, A ., B write, B ., A .., B ..",
    ),
    Bug(
        name="fill-not-compared",
        what="writes compare versions, fills do not",
        page="write_through_ordered:OrderedWriteThrough",
        old="""\
        self._set_if_newer(key, version, value)
        return str(value)\
""",
        new="""\
        self.redis.hset(key, mapping={"version": version, "value": value})
        return str(value)\
""",
        breaks="WT1",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B .., A .",
    ),
    Bug(
        name="set-error-swallowed",
        what="a SET that failed is best effort, and the write acknowledged",
        page="write_through_ordered:OrderedWriteThrough",
        old="""\
            self._set_if_newer(key, row[0], value)
""",
        new="""\
            try:
                self._set_if_newer(key, row[0], value)
            except redis.RedisError:
                pass
""",
        breaks="WT1",
        condition=Condition.LOST_MESSAGES,
        anomaly="lost-invalidation",
        script="A read, A ..., A write, A ., A lost",
    ),
    # -- write-behind
    Bug(
        name="acknowledged-before-commit",
        what="the change is acknowledged, then stored",
        page="write_behind_stream:WriteBehindStream",
        old="""\
                self.db.execute("update records set value = %s where key = %s", values)
                self.redis.xack(STREAM, GROUP, number)
""",
        new="""\
                self.redis.xack(STREAM, GROUP, number)
                self.db.execute("update records set value = %s where key = %s", values)
""",
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="pop-then-crash",
        script="A write, A ., Q ...., Q crash",
    ),
    Bug(
        name="pending-not-taken-over",
        what="the worker reads new entries only, after a restart too",
        page="write_behind_stream:WriteBehindStream",
        old='position = "0"',
        new='position = ">"',
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="lost-write",
        script="Q .., A write, A ., Q crash",
    ),
    Bug(
        name="acknowledged-by-delivery",
        what="NOACK: what is delivered counts as done",
        page="write_behind_stream:WriteBehindStream",
        old="count=100, block=0",
        new="count=100, block=0, noack=True",
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="lost-write",
        script="Q ..., A write, A ., Q crash",
    ),
    Bug(
        name="group-from-now-on",
        what="the group begins with what comes after it",
        page="write_behind_stream:WriteBehindStream",
        old='id="0", mkstream=True)  # 0: from the first entry on',
        new='id="$", mkstream=True)',
        breaks="WB2",
        condition=Condition.CONCURRENT,
        anomaly="lost-write",
        script="A write, A .",
    ),
    Bug(
        name="fill-over-unstored",
        what="a slow reader's fill replaces a value that is not yet stored",
        page="write_behind_stream:WriteBehindStream",
        old="nx=True, ex=self.ttl",
        new="ex=self.ttl",
        breaks="WB6",
        condition=Condition.CONCURRENT,
        anomaly="stale-read",
        script="A read, A .., B write, B ., A .",
    ),
    Bug(
        name="dirty-entry-with-ttl",
        what="what is not stored yet may expire",
        page="write_behind_stream:WriteBehindStream",
        old="both.set(key, value)",
        new="both.set(key, value, ex=self.ttl)",
        breaks="WB6",
        condition=Condition.EXPIRY,
        anomaly="dirty-eviction",
        script="A write, A ., expire user:1, A read, A ...",
    ),
    Bug(
        name="two-commands",
        what="SET and XADD are sent one after the other",
        page="write_behind_stream:WriteBehindStream",
        old="""\
        with self.redis.pipeline(transaction=True) as both:
            both.set(key, value)
            both.xadd(STREAM, {"key": key, "value": value})
            both.execute()
""",
        new="""\
        self.redis.set(key, value)
        self.redis.xadd(STREAM, {"key": key, "value": value})
""",
        breaks="WB4",
        condition=Condition.APP_CRASH,
        anomaly="divergence",
        script="A write, A ., A crash",
    ),
    Bug(
        name="stream-trimmed",
        what="the stream is kept short, stored or not",
        page="write_behind_stream:WriteBehindStream",
        old='both.xadd(STREAM, {"key": key, "value": value})',
        new='both.xadd(STREAM, {"key": key, "value": value}, maxlen=1, approximate=False)',
        breaks="WB2",
        condition=Condition.CONCURRENT,
        anomaly="lost-write",
        script="A write @user:2, A ., A write, A .",
        keys=2,
    ),
    Bug(
        name="store-error-swallowed",
        what="an UPDATE that failed is skipped, so that the worker goes on",
        page="write_behind_stream:WriteBehindStream",
        old="""\
                self.db.execute("update records set value = %s where key = %s", values)
""",
        new="""\
                try:
                    self.db.execute("update records set value = %s where key = %s", values)
                except psycopg.Error:
                    self.db = psycopg.connect(self.db.info.dsn, autocommit=True)
""",
        breaks="WB2",
        condition=Condition.LOST_MESSAGES,
        anomaly="lost-write",
        script="A write, A ., Q ..., Q lost",
    ),
    Bug(
        name="popped-not-moved",
        what="RPOP in place of a move: what is in the worker's hands is nowhere else",
        page="write_behind_list_reliable:WriteBehindListReliable",
        old='self.redis.blmove(QUEUE, self.mine, 0, "RIGHT", "LEFT")',
        new='(self.redis.brpop([QUEUE], 0) or [""])[1]',
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="pop-then-crash",
        script="Q .., A write, A ., Q crash",
    ),
    Bug(
        name="removed-before-commit",
        what="the change leaves the worker's list, then it is stored",
        page="write_behind_list_reliable:WriteBehindListReliable",
        old="""\
                self.db.execute("update records set value = %s where key = %s", (value, key))
                self.redis.lrem(self.mine, -1, change)  # only now that it is committed
""",
        new="""\
                self.redis.lrem(self.mine, -1, change)
                self.db.execute("update records set value = %s where key = %s", (value, key))
""",
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="lost-write",
        script="A write, A ., Q ..., Q crash",
    ),
    Bug(
        name="own-list-not-looked-at",
        what="a worker that is started anew does not look what it was at",
        page="write_behind_list_reliable:WriteBehindListReliable",
        old="self.redis.lindex(self.mine, -1)",
        new="None",
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="lost-write",
        script="A write, A ., Q ., Q crash",
    ),
    Bug(
        name="stack-for-a-queue",
        what="LIFO: pushed and taken at the same end",
        page="write_behind_list_reliable:WriteBehindListReliable",
        old='"RIGHT", "LEFT"',
        new='"LEFT", "LEFT"',
        breaks="WB3",
        condition=Condition.CONCURRENT,
        anomaly="flush-reorder",
        script="A write, A ., A write, A .",
    ),
    Bug(
        name="log-fill-without-lease",
        what="a fill that does not look whether somebody has written since the miss",
        page="write_behind_log:WriteBehindLog",
        old="redis.call('GET', KEYS[2]) ~= ARGV[1] or ",
        new="",
        breaks="WB6",
        condition=Condition.EXPIRY,
        anomaly="stale-read",
        script="A read, A ..., B write, B ., Q ....., expire write-behind:entry:user:1, A .",
    ),
    Bug(
        name="lease-survives-a-write",
        what="a write leaves the lease of a reader alone: the entry is guard enough, until it expires",
        page="write_behind_log:WriteBehindLog",
        old="""\
            all_of_it.delete(_lease(key))
""",
        new="",
        breaks="WB6",
        condition=Condition.EXPIRY,
        anomaly="lost-tombstone",
        script="A read, A ..., B write, B ., Q ....., expire write-behind:entry:user:1, A .",
    ),
    Bug(
        name="store-unguarded",
        what="the database takes a change whatever its version",
        page="write_behind_log:WriteBehindLog",
        old="""\

where records.version < excluded.version
""",
        new="""\

""",
        breaks="WB3",
        condition=Condition.CONCURRENT,
        anomaly="flush-reorder",
        script="D ..., A write, A ., A write, A .",
        workers=2,
    ),
    Bug(
        name="log-pending-forgotten",
        what="the worker of the log reads new entries only",
        page="write_behind_log:WriteBehindLog",
        old="""\
    def work(self) -> NoReturn:
        position = "0"
""",
        new="""\
    def work(self) -> NoReturn:
        position = ">"
""",
        breaks="WB2",
        condition=Condition.APP_CRASH,
        anomaly="lost-write",
        script="Q ..., A write, A ., Q crash",
    ),
    # -- events and outbox
    Bug(
        name="event-acknowledged-first",
        what="the event is acknowledged, then the entry deleted",
        page="invalidation_events_pending:PendingFirst",
        old="""\
                self.redis.delete(event["key"])
                self.redis.xack(STREAM, GROUP, number)
""",
        new="""\
                self.redis.xack(STREAM, GROUP, number)
                self.redis.delete(event["key"])
""",
        breaks="EV2",
        condition=Condition.APP_CRASH,
        anomaly="late-invalidation",
        script="A write, A .., Q ...., Q crash",
    ),
    Bug(
        name="events-from-now-on",
        what="the group begins with what comes after it",
        page="invalidation_events_pending:PendingFirst",
        old='id="0", mkstream=True)  # 0: from the first event on',
        new='id="$", mkstream=True)',
        breaks="EV2",
        condition=Condition.CONCURRENT,
        anomaly="late-invalidation",
        script="A write, A ..",
    ),
    Bug(
        name="outbox-outside-transaction",
        what="record and event are committed one after the other",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
        with self.db.transaction():
""",
        new="""\
        if self.db.autocommit:
""",
        breaks="EV1",
        condition=Condition.APP_CRASH,
        anomaly="dual-write-gap",
        script="A read, A ..., A write, A ., A crash",
    ),
    Bug(
        name="relay-behind-last-id",
        what="the relay asks for ids behind the last one it saw",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
        rows = self.db.execute("select id, key, version from outbox order by id limit 100").fetchall()
""",
        new="""\
        last = self.__dict__.get("last", 0)
        behind = "select id, key, version from outbox where id > %s order by id limit 100"
        rows = self.db.execute(behind, (last,)).fetchall()
        self.last = max([last, *(row[0] for row in rows)])
""",
        breaks="EV1",
        condition=Condition.CONCURRENT,
        anomaly="late-invalidation",
        script="A read, A ..., A write, A .., B write @user:2, B ..., Q ........, A .",
        keys=2,
    ),
    Bug(
        name="relay-deletes-first",
        what="the relay takes a row out of the outbox, then sends it",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
            self.redis.xadd(STREAM, {"key": key, "version": version})
            self.db.execute("delete from outbox where id = %s", (number,))
""",
        new="""\
            self.db.execute("delete from outbox where id = %s", (number,))
            self.redis.xadd(STREAM, {"key": key, "version": version})
""",
        breaks="EV1",
        condition=Condition.APP_CRASH,
        anomaly="late-invalidation",
        script="A read, A ..., B write, B ..., Q ...., Q crash",
    ),
    Bug(
        name="consumer-acknowledges-first",
        what="the event is acknowledged, then the entry invalidated",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
            self.redis.eval(INVALIDATE, 1, event["key"], event["version"], FLOOR_S)
            self.redis.xack(STREAM, GROUP, number)
""",
        new="""\
            self.redis.xack(STREAM, GROUP, number)
            self.redis.eval(INVALIDATE, 1, event["key"], event["version"], FLOOR_S)
""",
        breaks="EV2",
        condition=Condition.APP_CRASH,
        anomaly="late-invalidation",
        script="A read, A ..., B write, B ..., Q ......., Q crash",
    ),
    Bug(
        name="consumer-forgets-pending",
        what="what an earlier life was given is left lying",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
        self._consume("0")  # what an earlier life was given and did not finish
""",
        new="",
        breaks="EV2",
        condition=Condition.APP_CRASH,
        anomaly="late-invalidation",
        script="A read, A ..., B write, B ..., Q ....., Q crash",
    ),
    Bug(
        name="floor-deleted",
        what="an invalidation deletes the entry together with its floor",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
redis.call('HDEL', KEYS[1], 'value')
redis.call('HSET', KEYS[1], 'version', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
""",
        new="""\
redis.call('DEL', KEYS[1])
""",
        breaks="H10a",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B ..., Q ........, A .",
    ),
    Bug(
        name="fill-below-the-floor",
        what="a fill does not look at the floor",
        page="invalidation_outbox:OutboxInvalidation",
        old="""\
if heard_of > tonumber(ARGV[1]) then
    return 0
end
""",
        new="",
        breaks="H10a",
        condition=Condition.CONCURRENT,
        anomaly="stale-set",
        script="A read, A .., B write, B ..., Q ........, A .",
    ),
)
"""Every bug, page by page."""
