"""Cache-aside whose DEL runs inside the transaction, on real servers: what it joins, and what it breaks."""

from typing import Any

import pytest
import redis

from cacheproof.models.anomalies import classify
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.patterns.cache_aside_in_transaction import InvalidateInTransaction


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves it in the cache for `ttl` seconds; a hit asks the database nothing."""
    cache = opened(InvalidateInTransaction)
    assert cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(InvalidateInTransaction).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(InvalidateInTransaction, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_is_stored_and_invalidates_one_key(env: Any, opened: Any) -> None:
    """After a write the row is new, the key is gone, and the next read is fresh."""
    cache = opened(InvalidateInTransaction)
    cache.read("user:1")
    cache.read("user:2")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1"), env.cached("user:2")) == ("v2", None, "v1")
    assert cache.read("user:1") == "v2"


def test_a_delete_that_fails_takes_the_update_with_it(
    env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people like about it: without its invalidation the write does not happen."""
    cache = opened(InvalidateInTransaction)

    def fail(*_: Any) -> None:
        raise redis.ConnectionError("the cache is away")

    monkeypatch.setattr(cache.redis, "delete", fail)
    with pytest.raises(redis.ConnectionError):
        cache.write("user:1", "v2")
    assert env.stored("user:1") == "v1"


def test_a_read_between_delete_and_commit_puts_the_old_value_back(stage_for: Any) -> None:
    """Anomaly 3: the whole read lies between DEL and COMMIT, and sees what is committed: v1."""
    run = stage_for(InvalidateInTransaction).play("B write, B ..; A read, A ...; B .")
    found = ReadAfterWrite().check(run.history).findings
    assert [classify(item, run.history).slug for item in found] == ["invalidate-before-commit"]
