"""Caches made for the tests, each with one trait.  None of them is a pattern, and few are a good idea."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import redis
import redis.asyncio
from psycopg_pool import ConnectionPool
from redis.backoff import ConstantBackoff
from redis.retry import Retry

__all__ = [
    "Counting",
    "Crosswise",
    "Delegating",
    "Endless",
    "Gathering",
    "Impatient",
    "ImpatientAsync",
    "Listening",
    "Locked",
    "Obliging",
    "Patient",
    "Plain",
    "Pooled",
    "Queueing",
    "Resigned",
    "Sleepy",
    "Stuck",
    "Tally",
    "Threaded",
    "Transactional",
]

_SELECT = "select value from records where key = %s"
_UPDATE = "update records set value = %s where key = %s"


class Plain:
    """Both connections, and a cache that is nothing but a key in Redis."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)

    def read(self, key: str) -> Any:
        return self.redis.get(key)

    def write(self, key: str, value: str) -> None:
        self.redis.set(key, value, ex=10)


class Transactional(Plain):
    """Reads and writes the database only; a write is a transaction of its own: UPDATE, COMMIT."""

    def read(self, key: str) -> Any:
        row = self.db.execute(_SELECT, (key,)).fetchone()
        return row and row[0]

    def write(self, key: str, value: str) -> None:
        with self.db.transaction():
            self.db.execute(_UPDATE, (value, key))


class Crosswise(Transactional):
    """A write updates both rows, its own first: two writers can wait for each other."""

    def write(self, key: str, value: str) -> None:
        with self.db.transaction():
            for row in sorted(("user:1", "user:2"), reverse=key == "user:2"):
                self.db.execute(_UPDATE, (value, row))


class Delegating(Transactional):
    """A write holds the row in a transaction if its key is read first, else it is a plain UPDATE."""

    def read(self, key: str) -> Any:
        with self.db.transaction():
            self.db.execute(f"{_SELECT} for update", (key,))
        return None

    def write(self, key: str, value: str) -> None:
        self.db.execute(_UPDATE, (value, key))


class Obliging:
    """Has every operation, returns what tells of its arguments, and asks no server."""

    def __init__(self, env: Any) -> None: ...

    def read_many(self, keys: Any) -> Any:
        return {keys[1]: "tuple", keys[0]: type(keys).__name__}

    def write_many(self, pairs: Any) -> Any:
        assert pairs == list(dict(pairs).items())
        return object()

    def increment(self, key: str, by: int) -> str:
        return f"({type(key).__name__}, {type(by).__name__})"

    def delete(self, key: str) -> int:
        return 1

    def acquire(self, key: str) -> int:
        return 7

    def release(self, key: str) -> int:
        return 1

    def warm_up(self) -> str:
        return "done"


class Tally(Transactional):
    """Counts in the database, without a cache."""

    def increment(self, key: str, by: int) -> int:
        update = "update records set value = value::bigint + %s where key = %s returning value::bigint"
        row: Any = self.db.execute(update, (by, key)).fetchone()
        return int(row[0])

    def write(self, key: str, value: Any) -> None:
        self.db.execute(_UPDATE, (value, key))


class Locked(Plain):
    """A lock that is a key of Redis: whoever is refused goes away, and whoever releases does not look."""

    def acquire(self, key: str) -> bool | None:
        taken: Any = self.redis.set(f"lock:{key}", "x", nx=True, ex=10)
        return taken

    def release(self, key: str) -> int:
        deleted: Any = self.redis.delete(f"lock:{key}")
        return int(deleted)


class Patient(Locked):
    """The same, but whoever is refused asks again every twentieth of a second, for as long as it takes."""

    def acquire(self, key: str) -> bool:
        while not self.redis.set(f"lock:{key}", "x", nx=True):
            time.sleep(0.05)
        return True


class Queueing(Plain):
    """A read takes the next value of a queue, and waits five seconds for it at most."""

    def read(self, key: str) -> Any:
        found: Any = self.redis.brpop([f"queue:{key}"], timeout=5)
        return found and found[1]

    def write(self, key: str, value: str) -> None:
        self.redis.lpush(f"queue:{key}", value)

    def work(self) -> None:
        while True:
            found: Any = self.redis.brpop([f"queue:{key}" for key in ("user:1", "user:2")])
            self.db.execute(_UPDATE, (found[1], found[0].removeprefix("queue:")))


class Sleepy(Plain):
    """A read sleeps first: two seconds for user:1, one for any other key."""

    def read(self, key: str) -> Any:
        time.sleep(2 if key == "user:1" else 1)
        return super().read(key)


class Listening(Plain):
    """A worker writes down the keys of which it hears that they have expired."""

    def work(self) -> None:
        with self.redis.pubsub() as heard:
            heard.subscribe("__keyevent@0__:expired")
            for message in heard.listen():
                if message["type"] == "message":
                    self.redis.rpush("heard", message["data"])


class Impatient(Plain):
    """Waits a fifth of a second for the cache, no longer."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=0.2)


class Resigned(Plain):
    """Tries three times, waiting a fifth of a second each time and a tenth in between, then reads the row."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.redis = redis.Redis.from_url(
            env.redis_url,
            decode_responses=True,
            socket_timeout=0.2,
            retry=Retry(ConstantBackoff(0.1), 2),
        )

    def read(self, key: str) -> Any:
        try:
            return self.redis.get(key)
        except redis.TimeoutError:
            row = self.db.execute(_SELECT, (key,)).fetchone()
            return row and row[0]


class ImpatientAsync:
    """Waits a fifth of a second for the cache, in an event loop."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.asyncio.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=0.2)

    async def read(self, key: str) -> Any:
        return await self.redis.get(key)

    async def write(self, key: str, value: str) -> None:
        await self.redis.set(key, value, ex=10)


class Gathering:
    """A read asks four keys at once, over four connections."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.asyncio.Redis.from_url(env.redis_url, decode_responses=True)

    async def read(self, key: str) -> str:
        found = await asyncio.gather(*(self.redis.get(f"{key}:{part}") for part in (3, 1, 2, 0)))
        return " ".join(str(item) for item in found)

    async def write(self, key: str, value: str) -> None:
        await self.redis.set(f"{key}:1", value)


class Threaded(Plain):
    """A read asks both servers at once, in two threads."""

    def read(self, key: str) -> str:
        with ThreadPoolExecutor(2) as pool:
            cached = pool.submit(self.redis.get, key)
            stored = pool.submit(lambda: self.db.execute(_SELECT, (key,)).fetchone())
            return f"{cached.result()} {stored.result()}"


class Pooled:
    """The database over a pool with threads of its own."""

    def __init__(self, env: Any) -> None:
        self.pool = ConnectionPool(
            env.database_url, min_size=2, max_size=4, open=True, kwargs={"autocommit": True}
        )
        self.pool.wait()

    def read(self, key: str) -> Any:
        with self.pool.connection() as db:
            row = db.execute(_SELECT, (key,)).fetchone()
        return row and row[0]

    def write(self, key: str, value: str) -> None:
        with self.pool.connection() as db:
            db.execute(_UPDATE, (value, key))


class Stuck(Plain):
    """A read waits for a lock that nobody will release."""

    def read(self, key: str) -> Any:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


class Endless(Plain):
    """A write asks again and again, without an end."""

    def write(self, key: str, value: str) -> None:
        while True:
            self.redis.get(key)


class Counting(Plain):
    """Remembers outside its instance how often it was asked: no two runs of a process are the same."""

    asked = 0

    def read(self, key: str) -> Any:
        Counting.asked += 1
        return self.redis.get(f"{key}:{Counting.asked}")
