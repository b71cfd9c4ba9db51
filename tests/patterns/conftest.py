"""What the tests of the patterns share: real servers, an empty cache, and two records with the value v1.

No test waits for a moment to come: a worker is stopped by a change that it cannot read, which it meets after
everything that was queued before.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.postgres import DATABASE, USER
from cacheproof.harness.world import World as Scheduled


class World(SimpleNamespace):
    """Addresses as a cache gets them, and a look at both servers past every cache."""

    redis_url: str
    database_url: str
    client: str
    redis: redis.Redis
    db: psycopg.Connection

    def cached(self, key: str) -> Any:
        return self.redis.get(key)

    def stored(self, key: str) -> Any:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row and row[0]

    def store(self, key: str, value: str) -> None:
        """Change a record behind the back of the cache, so that a hit shows."""
        self.db.execute("update records set value = %s where key = %s", (value, key))


@pytest.fixture(scope="session")
def servers() -> Iterator[SimpleNamespace]:
    with EmbeddedServers() as running:
        folder, _, port = str(running.database.address).rpartition("/.s.PGSQL.")
        yield SimpleNamespace(
            redis_url=f"unix://{running.cache.address}",
            database_url=f"postgresql://{USER}@/{DATABASE}?host={folder}&port={port}",
        )


@pytest.fixture
def env(servers: SimpleNamespace) -> Iterator[World]:
    with (
        redis.Redis.from_url(servers.redis_url, decode_responses=True) as cache,
        psycopg.connect(servers.database_url, autocommit=True) as db,
    ):
        cache.flushall()
        db.execute("drop table if exists records")
        db.execute("create table records (key text primary key, value text, version bigint)")
        db.execute("insert into records values ('user:1', 'v1', 0), ('user:2', 'v1', 0)")
        yield World(**vars(servers), client="A", redis=cache, db=db)


@pytest.fixture
def opened(env: World) -> Iterator[Callable[..., Any]]:
    """Makes instances of a cache, as clients would, and closes their connections after the test."""
    made: list[Any] = []

    def make(kind: Callable[..., Any], **options: Any) -> Any:
        made.append(kind(env, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.db.close()
        getattr(cache, "records", cache).redis.close()


@pytest.fixture
def at_work(env: World) -> Callable[[Any], AbstractContextManager[Future[Any]]]:
    """`with at_work(worker) as ended:` runs it in a thread, and ends it if the block did not.

    A worker that should have stopped and did not loses both of its connections, so that the test fails
    instead of hanging.
    """

    @contextmanager
    def run(worker: Any) -> Iterator[Future[Any]]:
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(worker.work)
            try:
                yield ended
            finally:
                if not ended.done():
                    others = "pid <> pg_backend_pid() and backend_type = 'client backend'"
                    env.db.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}")
                    env.redis.client_kill_filter(_type="normal", skipme=True)

    return run


@pytest.fixture(scope="module")
def stage_for(chaos_servers: EmbeddedServers) -> Iterator[Callable[[Any], Any]]:
    """`stage_for(Cache)` plays scripts, as the tests of the harness do; the last stage stays open."""
    name = "cacheproof_tests_harness_conftest"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "harness" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    stages: dict[Any, Any] = {}

    def enter(cache: Any) -> Any:
        if cache not in stages:
            leave()
            stages[cache] = sys.modules[name].Stage(Scheduled(cache, chaos_servers))
        return stages[cache]

    def leave() -> None:
        while stages:
            stages.popitem()[1].world.close()

    yield enter
    leave()
