"""Small caches, in pairs: one with a bug that a single kind of fault brings to light, and one that is sound under it.

Each bug is one that somebody has shipped.  The sound one of a pair asks the servers the same things in the same
order as far as it can, so that one schedule suits both.
"""

import asyncio
import contextlib
import time
from typing import Any

import psycopg
import redis
import redis.asyncio

__all__ = [
    "Aborting",
    "Aside",
    "Assuming",
    "BlindRetry",
    "Breaker",
    "CacheFirst",
    "CarefulBreaker",
    "CheckedPipeline",
    "CountedFromLoad",
    "DatabaseFirst",
    "DeadlockIgnored",
    "DirtyKey",
    "DirtyKeyWithTtl",
    "DirtyValue",
    "Ephemeral",
    "FailOpenWhileLoading",
    "Fenced",
    "FencedLock",
    "GuardedRetry",
    "Hasty",
    "HastyThrough",
    "Insisting",
    "LaxGuard",
    "LeaseHeld",
    "OomIgnored",
    "OomInvalidates",
    "OwnerlessLock",
    "Patient",
    "PatientThrough",
    "Popped",
    "PoppedSafely",
    "PrimaryFill",
    "ReadOnlyIgnored",
    "ReadOnlyRetried",
    "ReplicaFill",
    "Retrying",
    "ScriptForgotten",
    "ScriptReloaded",
    "SerializationIgnored",
    "ServerTtl",
    "Shrugging",
    "StrictGuard",
    "TimeoutDropped",
    "TimeoutKept",
    "Tombstoned",
    "UncheckedPipeline",
    "Validated",
    "WallClockTtl",
]

_SELECT = "select value from records where key = %s"
_UPDATE = "update records set value = %s, version = version + 1 where key = %s"


class Aside:
    """Cache-aside without a time to live.  The bug: nothing but a second step keeps the cache right."""

    ttl: int | None = None

    def __init__(self, env: Any) -> None:
        self.url = env.database_url
        self.redis: Any = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(self.url, autocommit=True)

    def read(self, key: str) -> Any:
        value = self.redis.get(key)
        if value is None and (value := self.load(key)) is not None:
            self.fill(key, value)
        return value

    def write(self, key: str, value: str) -> None:
        self.store(key, value)
        self.invalidate(key)

    def work(self) -> None:
        while True:
            try:
                self.redis.blpop(["nothing to do"])
            except redis.RedisError:
                time.sleep(1)

    def load(self, key: str) -> Any:
        row = self.db.execute(_SELECT, (key,)).fetchone()
        return row and row[0]

    def store(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))

    def fill(self, key: str, value: str) -> None:
        self.redis.set(key, value, ex=self.ttl)

    def invalidate(self, key: str) -> None:
        self.redis.delete(key)


# ── sound under nearly everything ───────────────────────────────────────────────────────────────────────────


class Validated(Aside):
    """A hit counts only with the version that the database has now: no entry can be too old."""

    def read(self, key: str) -> Any:
        cached = self.redis.get(key)
        version = self.db.execute("select version from records where key = %s", (key,)).fetchone()
        if cached is not None and version is not None and cached.startswith(f"{version[0]}|"):
            return cached.partition("|")[2]
        row = self.db.execute("select version, value from records where key = %s", (key,)).fetchone()
        if row is None:
            return None
        self.redis.set(key, f"{row[0]}|{row[1]}")
        return row[1]


class Fenced(Aside):
    """Fills carry the version of their row; an invalidation leaves a floor that no older fill can pass."""

    _FILL = """
        local floor, held = redis.call('HGET', KEYS[1], 'floor'), redis.call('HGET', KEYS[1], 'version')
        if tonumber(ARGV[1]) < math.max(tonumber(floor or '0'), tonumber(held or '0')) then return 0 end
        return redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
    """
    _INVALIDATE = """
        redis.call('HDEL', KEYS[1], 'value', 'version')
        return redis.call('HSET', KEYS[1], 'floor', ARGV[1])
    """

    def read(self, key: str) -> Any:
        value = self.redis.hget(key, "value")
        if value is None:
            row = self.db.execute("select version, value from records where key = %s", (key,)).fetchone()
            assert row is not None
            value = row[1]
            self.redis.eval(self._FILL, 1, key, *row)
        return value

    def write(self, key: str, value: str) -> None:
        row = self.db.execute(f"{_UPDATE} returning version", (value, key)).fetchone()
        assert row is not None
        self.redis.eval(self._INVALIDATE, 1, key, row[0])


# ── an invalidation that fails ──────────────────────────────────────────────────────────────────────────────


class Shrugging(Aside):
    """The cache is only a cache: whatever goes wrong with it must not fail a write."""

    def invalidate(self, key: str) -> None:
        with contextlib.suppress(redis.RedisError):
            self.redis.delete(key)


class Insisting(Aside):
    """Tries again, and if nothing helps the write is not acknowledged."""

    def invalidate(self, key: str) -> None:
        for _ in range(2):
            try:
                self.redis.delete(key)
                return
            except redis.RedisError:
                time.sleep(0)
        self.redis.delete(key)


class FailOpenWhileLoading(Aside):
    """A server that is just starting holds nothing yet, so there is nothing to invalidate."""

    def invalidate(self, key: str) -> None:
        with contextlib.suppress(redis.BusyLoadingError):
            self.redis.delete(key)


class UncheckedPipeline(Aside):
    """Commands in a batch, whose errors are returned, not raised: nobody looks."""

    def invalidate(self, key: str) -> None:
        self.batch(key)

    def batch(self, key: str) -> list[Any]:
        batch = self.redis.pipeline(transaction=False)
        batch.delete(key)
        found: list[Any] = batch.execute(raise_on_error=False)
        return found


class CheckedPipeline(UncheckedPipeline):
    """Looks at what the batch returned, and sends it again."""

    def invalidate(self, key: str) -> None:
        while any(isinstance(item, Exception) for item in self.batch(key)):
            time.sleep(0.1)


class ScriptForgotten(Aside):
    """The script is loaded once, at the start; if it fails, the entry is gone anyway."""

    _SCRIPT = "return redis.call('DEL', KEYS[1])"

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.sha = self.redis.script_load(self._SCRIPT)

    def invalidate(self, key: str) -> None:
        with contextlib.suppress(redis.exceptions.NoScriptError):
            self.redis.evalsha(self.sha, 1, key)


class ScriptReloaded(ScriptForgotten):
    """Sends the script itself when the server does not know it any more."""

    def invalidate(self, key: str) -> None:
        try:
            self.redis.evalsha(self.sha, 1, key)
        except redis.exceptions.NoScriptError:
            self.redis.eval(self._SCRIPT, 1, key)


# ── write-through whose second half fails ───────────────────────────────────────────────────────────────────


class _Through(Aside):
    def write(self, key: str, value: str) -> None:
        self.store(key, value)
        self.fill(key, value)


class OomIgnored(_Through):
    """No memory for a new value: then it is not cached.  The old one still is."""

    def fill(self, key: str, value: str) -> None:
        with contextlib.suppress(redis.exceptions.OutOfMemoryError):
            super().fill(key, value)


class OomInvalidates(_Through):
    """What cannot be replaced is removed, for which there is always memory."""

    def fill(self, key: str, value: str) -> None:
        try:
            super().fill(key, value)
        except redis.exceptions.OutOfMemoryError:
            self.redis.delete(key)


class ReadOnlyIgnored(_Through):
    """A replica is read-only, it hears of the value from its primary.  Only that it is none any more."""

    def fill(self, key: str, value: str) -> None:
        with contextlib.suppress(redis.exceptions.ReadOnlyError):
            super().fill(key, value)


class ReadOnlyRetried(_Through):
    """Connects again, to whoever is the primary by now."""

    def fill(self, key: str, value: str) -> None:
        try:
            super().fill(key, value)
        except redis.exceptions.ReadOnlyError:
            self.redis.connection_pool.disconnect()
            super().fill(key, value)


class CacheFirst:
    """A value is put into the cache, then into the database; if the cache does not answer, into neither."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.asyncio.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    async def read(self, key: str) -> Any:
        value = await self.redis.get(key)
        if value is None:
            row = self.db.execute(_SELECT, (key,)).fetchone()
            value = row and row[0]
        return value

    async def write(self, key: str, value: str) -> None:
        await self.cache(key, value)  # raises, and nothing has happened
        self.db.execute(_UPDATE, (value, key))

    async def cache(self, key: str, value: str) -> None:
        async with asyncio.timeout(1):
            await self.redis.set(key, value)


class DatabaseFirst(CacheFirst):
    """What is in the cache has been committed, however the rest ends."""

    async def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))
        await self.cache(key, value)


# ── time-outs ───────────────────────────────────────────────────────────────────────────────────────────────


class Hasty(CacheFirst):
    """An invalidation may take a second; then the cache is down, and nobody reads from it."""

    async def read(self, key: str) -> Any:
        value = await super().read(key)
        await self.redis.set(key, value, nx=True)
        return value

    async def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))
        try:
            async with asyncio.timeout(1):
                await self.update(key, value)
        except TimeoutError:
            pass

    async def update(self, key: str, value: str) -> None:
        await self.redis.delete(key)


class Patient(Hasty):
    """However long it takes: a write that is acknowledged has reached the cache."""

    async def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))
        await self.update(key, value)


class HastyThrough(Hasty):
    """The same with the new value in place of an invalidation."""

    async def update(self, key: str, value: str) -> None:
        await self.redis.set(key, value)


class PatientThrough(Patient):
    """The same with the new value in place of an invalidation."""

    async def update(self, key: str, value: str) -> None:
        await self.redis.set(key, value)


class Breaker(CacheFirst):
    """After a time-out the cache is left alone for a while, by reads and by writes."""

    open_until = 0.0

    async def read(self, key: str) -> Any:
        value = await self.guarded(self.redis.get(key))
        if value is None:
            row = self.db.execute(_SELECT, (key,)).fetchone()
            value = row and row[0]
            await self.guarded(self.redis.set(key, value))
        return value

    async def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))
        await self.guarded(self.redis.delete(key))

    async def guarded(self, asked: Any) -> Any:
        if time.monotonic() < self.open_until:
            asked.close()
            return None
        try:
            async with asyncio.timeout(1):
                return await asked
        except TimeoutError:
            self.open_until = time.monotonic() + 30
            return None


class CarefulBreaker(Breaker):
    """Reads may do without the cache, invalidations may not."""

    async def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))
        await self.redis.delete(key)


# ── a read replica ──────────────────────────────────────────────────────────────────────────────────────────


class ReplicaFill(Aside):
    """Loads from the read replica, to spare the database; what was loaded is cached, however old."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.replica = psycopg.connect(env.replica_url, autocommit=True)

    def load(self, key: str) -> Any:
        row = self.replica.execute(_SELECT, (key,)).fetchone()
        return row and row[0]


class PrimaryFill(ReplicaFill):
    """Fills the cache only with what the database itself says."""

    def load(self, key: str) -> Any:
        super().load(key)
        return Aside.load(self, key)


# ── locks, leases and tombstones ────────────────────────────────────────────────────────────────────────────


class OwnerlessLock(Aside):
    """Whoever loads or writes holds a lock of five seconds, which nobody checks again."""

    def read(self, key: str) -> Any:
        value = self.redis.get(key)
        if value is None:
            self.lock(key)
            value = self.load(key)
            self.fill(key, value)
            self.unlock(key)
        return value

    def write(self, key: str, value: str) -> None:
        self.lock(key)
        super().write(key, value)
        self.unlock(key)

    def lock(self, key: str) -> None:
        self.token = str(time.time())
        while not self.redis.set(f"lock:{key}", self.token, nx=True, ex=5):
            time.sleep(0.05)

    def unlock(self, key: str) -> None:
        self.redis.delete(f"lock:{key}")


class FencedLock(OwnerlessLock):
    """Fills and unlocks only while the lock is its own."""

    _IF_MINE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call(unpack(ARGV, 2)) end"

    def fill(self, key: str, value: str) -> None:
        self.redis.eval(self._IF_MINE, 1, f"lock:{key}", self.token, "SET", key, value)

    def unlock(self, key: str) -> None:
        self.redis.eval(self._IF_MINE, 1, f"lock:{key}", self.token, "DEL", f"lock:{key}")


class Tombstoned(Aside):
    """A reader fills unless it finds a tombstone: nothing is taken for proof that nothing has happened."""

    _FILL = "if redis.call('EXISTS', KEYS[2]) == 0 then return redis.call('SET', KEYS[1], ARGV[1]) end"

    def fill(self, key: str, value: str) -> None:
        self.redis.eval(self._FILL, 2, key, f"grave:{key}", value)

    def invalidate(self, key: str) -> None:
        both = self.redis.pipeline()
        both.set(f"grave:{key}", "", ex=10)
        both.delete(key)
        both.execute()


class LeaseHeld(Aside):
    """A reader fills only if the lease that it was given is still there: a lost lease is a lost fill."""

    _LOOK = """
        local value = redis.call('GET', KEYS[1])
        if not value then redis.call('SET', KEYS[2], ARGV[1], 'EX', 10) end
        return value
    """
    _FILL = "if redis.call('GET', KEYS[2]) == ARGV[1] then return redis.call('SET', KEYS[1], ARGV[2]) end"

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.name = env.client

    def read(self, key: str) -> Any:
        value = self.redis.eval(self._LOOK, 2, key, f"lease:{key}", self.name)
        if value is None:
            value = self.load(key)
            self.redis.eval(self._FILL, 2, key, f"lease:{key}", self.name, value)
        return value

    def invalidate(self, key: str) -> None:
        self.redis.delete(key, f"lease:{key}")


class LaxGuard(Aside):
    """A reader looks for a tombstone first; if the cache cannot say, there is none."""

    def fill(self, key: str, value: str) -> None:
        if not self.buried(key):
            self.redis.set(key, value)

    def buried(self, key: str) -> bool:
        try:
            return bool(self.redis.exists(f"grave:{key}"))
        except redis.ResponseError:
            return False

    def invalidate(self, key: str) -> None:
        both = self.redis.pipeline()
        both.set(f"grave:{key}", "", ex=10)
        both.delete(key)
        both.execute()


class StrictGuard(LaxGuard):
    """If the cache cannot say, nothing is filled."""

    def buried(self, key: str) -> bool:
        try:
            return bool(self.redis.exists(f"grave:{key}"))
        except redis.ResponseError:
            return True


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────


class WallClockTtl(Aside):
    """Entries say until when they are good, by the clock of whoever wrote them.  Nothing else ends them."""

    def read(self, key: str) -> Any:
        until, _, value = (self.redis.get(key) or "0|").partition("|")
        if time.time() < float(until):
            return value
        value = self.load(key)
        self.redis.set(key, f"{time.time() + 10}|{value}")
        return value

    def invalidate(self, key: str) -> None:
        """Nobody tells the cache; its entries do not live long."""


class ServerTtl(WallClockTtl):
    """One clock for all: the server's."""

    def read(self, key: str) -> Any:
        value = self.redis.get(key)
        if value is None:
            value = self.load(key)
            self.redis.set(key, value, ex=10)
        return value


class Ephemeral(WallClockTtl):
    """Entries live ten seconds from when they were filled, not from when they were loaded."""

    def read(self, key: str) -> Any:
        return Aside.read(self, key)

    def fill(self, key: str, value: str) -> None:
        self.redis.set(key, value, ex=10)


class CountedFromLoad(Ephemeral):
    """Entries live ten seconds from when they were loaded."""

    def load(self, key: str) -> Any:
        self.loaded_ms = round(time.time() * 1000)
        return super().load(key)

    def fill(self, key: str, value: str) -> None:
        self.redis.set(key, value, pxat=self.loaded_ms + 10_000)


# ── write-behind ────────────────────────────────────────────────────────────────────────────────────────────


class Popped(Aside):
    """A write is queued in the cache; a worker pops it, and then stores it."""

    def read(self, key: str) -> Any:
        return self.redis.get(key) or self.load(key)

    def write(self, key: str, value: str) -> None:
        both = self.redis.pipeline()
        both.set(key, value)
        both.lpush("queue", f"{key} {value}")
        both.execute()

    def work(self) -> None:
        while True:
            try:
                self.step()
            except (redis.RedisError, psycopg.Error):
                time.sleep(1)

    def step(self) -> None:
        self.flush(self.redis.brpop(["queue"])[1])

    def flush(self, change: str) -> None:
        key, value = change.split()
        self.store(key, value)


class PoppedSafely(Popped):
    """What was taken is kept in a second list until it is stored."""

    def step(self) -> None:
        while (change := self.redis.lindex("doing", -1)) is not None:
            self.flush(change)
            self.redis.lrem("doing", -1, change)
        self.redis.blmove("queue", "doing", 0)


class TimeoutDropped(Popped):
    """A statement that takes too long is given up, with what it was to store."""

    def flush(self, change: str) -> None:
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            super().flush(change)


class TimeoutKept(Popped):
    """What could not be stored is stored later."""

    def flush(self, change: str) -> None:
        try:
            super().flush(change)
        except psycopg.errors.QueryCanceled:
            self.redis.rpush("queue", change)


class DirtyKey(Aside):
    """A write leaves its value in the cache alone, and a note that it has to be stored."""

    def write(self, key: str, value: str) -> None:
        both = self.redis.pipeline()
        both.set(key, value, ex=self.ttl)
        both.sadd("dirty", key)
        both.execute()

    def work(self) -> None:
        while True:
            for key in sorted(self.redis.smembers("dirty")):
                value = self.redis.get(key)
                if value is not None:
                    self.store(key, value)
                self.redis.srem("dirty", key)
            time.sleep(1)


class DirtyKeyWithTtl(DirtyKey):
    """The same, and no entry lives for ever."""

    ttl = 300


class DirtyValue(DirtyKey):
    """The note holds the value as well."""

    ttl = 300

    def write(self, key: str, value: str) -> None:
        both = self.redis.pipeline()
        both.set(key, value, ex=self.ttl)
        both.hset("dirty", key, value)
        both.execute()

    def work(self) -> None:
        while True:
            for key, value in sorted(self.redis.hgetall("dirty").items()):
                self.store(key, value)
                self.redis.hdel("dirty", key)
            time.sleep(1)


# ── the database says no, or nothing ────────────────────────────────────────────────────────────────────────


class _InTransaction(Aside):
    def store(self, key: str, value: str) -> None:
        with self.db.transaction():
            self.db.execute("set transaction isolation level repeatable read")
            super().store(key, value)


class SerializationIgnored(_InTransaction):
    """Somebody else has just written the row: then it is up to date."""

    def store(self, key: str, value: str) -> None:
        with contextlib.suppress(psycopg.errors.SerializationFailure):
            super().store(key, value)


class DeadlockIgnored(_InTransaction):
    """Somebody else writes the row at the same time: it does not matter who wins."""

    def store(self, key: str, value: str) -> None:
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            super().store(key, value)


class Retrying(_InTransaction):
    """A transaction that was rolled back is tried again."""

    def store(self, key: str, value: str) -> None:
        try:
            super().store(key, value)
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            super().store(key, value)


class Assuming(_InTransaction):
    """The connection broke at the COMMIT: by then everything had been said."""

    def store(self, key: str, value: str) -> None:
        with contextlib.suppress(psycopg.OperationalError):
            super().store(key, value)


class Aborting(_InTransaction):
    """Nobody knows whether it was committed, and so the caller is told."""


class BlindRetry(Aside):
    """A write whose connection broke is sent again, over a new one; the first may be on its way still."""

    guard = ""

    def store(self, key: str, value: str) -> None:
        row = self.db.execute("select version from records where key = %s", (key,)).fetchone()
        assert row is not None
        try:
            self.db.execute(_UPDATE + self.guard.format(row[0]), (value, key))
        except psycopg.OperationalError:
            self.db = psycopg.connect(self.url, autocommit=True)
            self.db.execute(_UPDATE + self.guard.format(row[0]), (value, key))


class GuardedRetry(BlindRetry):
    """Both are for one version of the row, so only one of them can have an effect."""

    guard = " and version = {}"
