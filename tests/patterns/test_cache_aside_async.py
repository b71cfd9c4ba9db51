"""Cache-aside on asyncio on real servers: alone, and with several tasks on one instance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from cacheproof.patterns.cache_aside import CACHE_ASIDE
from cacheproof.patterns.cache_aside_async import CACHE_ASIDE_ASYNC, CacheAsideAsync


def run(env: Any, scenario: Callable[[CacheAsideAsync], Awaitable[Any]], **options: Any) -> Any:
    """The result of `scenario` with a cache of its own, in an event loop of its own."""

    async def body() -> Any:
        cache = CacheAsideAsync(env, **options)
        try:
            return await scenario(cache)
        finally:
            await cache.redis.aclose()
            if cache.db is not None:
                await cache.db.close()

    return asyncio.run(body())


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert run(env, lambda cache: cache.read("user:1")) == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_opens_no_connection_to_the_database(env: Any) -> None:
    """A read of a warm key returns what is cached; the database is connected to on first use only."""
    env.redis.set("user:1", "cached")

    async def scenario(cache: CacheAsideAsync) -> tuple[str | None, bool]:
        return await cache.read("user:1"), cache.db is None

    assert run(env, scenario) == ("cached", True)


def test_a_record_that_does_not_exist_is_not_cached(env: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert run(env, lambda cache: cache.read("nobody")) is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    run(env, lambda cache: cache.read("user:1"), ttl=None)
    assert env.redis.ttl("user:1") == -1


def test_a_write_is_stored_and_invalidates_one_key(env: Any) -> None:
    """After a write the row is new, the key is gone, other keys are untouched, and the next read is fresh."""

    async def scenario(cache: CacheAsideAsync) -> str | None:
        await cache.read("user:1")
        await cache.read("user:2")
        await cache.write("user:1", "v2")
        assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
        assert (env.stored("user:2"), env.cached("user:2")) == ("v1", "v1")
        return await cache.read("user:1")

    assert run(env, scenario) == "v2"


def test_tasks_that_start_together_share_one_connection(env: Any) -> None:
    """Ten first reads at once open one connection to the database, not ten."""

    env.database_url += "&application_name=ten-tasks"

    async def scenario(cache: CacheAsideAsync) -> tuple[list[str | None], int]:
        values = await asyncio.gather(*(cache.read("user:1") for _ in range(10)))
        own = "select count(*) from pg_stat_activity where application_name = 'ten-tasks'"
        return values, env.db.execute(own).fetchone()[0]

    assert run(env, scenario) == (["v1"] * 10, 1)


def test_an_error_reaches_the_caller(env: Any) -> None:
    """Nothing is caught: a write on a broken connection raises, and the cache keeps its entry."""

    async def scenario(cache: CacheAsideAsync) -> None:
        await cache.read("user:1")
        assert cache.db is not None
        await cache.db.close()
        await cache.write("user:1", "v2")

    with pytest.raises(psycopg.OperationalError):
        run(env, scenario)
    assert env.cached("user:1") == "v1"


@pytest.mark.parametrize("ttl_s", [300, None])
def test_asyncio_changes_no_guarantee(ttl_s: float | None) -> None:
    """The contract is that of plain cache-aside, id by id."""
    assert CACHE_ASIDE_ASYNC(ttl_s).guarantees == CACHE_ASIDE(ttl_s).guarantees
