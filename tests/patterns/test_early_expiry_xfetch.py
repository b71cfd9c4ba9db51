"""XFetch: the rule itself, versioned fills one at a time, and the schedules that the simple rule fails."""

import random
from math import e, inf
from typing import Any

import pytest

from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight
from cacheproof.patterns.early_expiry_xfetch import TOMBSTONE_S, XFetch, is_due


@pytest.mark.parametrize(
    ("now_s", "delta_s", "beta", "chance", "due"),
    [
        (100.0, 0.0, 1.0, 0.5, True),  # it has expired
        (99.0, 0.0, 1.0, 1e-9, False),  # loading takes no time: never early
        (99.0, 1.0, 1.0, 0.36, True),  # -ln(0.36) is a little more than 1
        (99.0, 1.0, 1.0, 0.37, False),
        (99.0, 0.5, 2.0, 0.36, True),  # beta makes loads look longer
        (99.0, 1.0, 1.0, 1.0, False),
    ],
)
def test_the_rule(now_s: float, delta_s: float, beta: float, chance: float, due: bool) -> None:
    """An entry that expires at 100 is due if a random number of loads would last until then."""
    assert is_due(now_s, 100.0, delta_s, beta, chance) is due


def test_one_load_before_the_end_one_reader_in_e_renews() -> None:
    """The share of readers who renew falls exponentially with the loads that are left."""
    chance = random.Random(1)
    renewed = sum(is_due(99.0, 100.0, 1.0, 1.0, 1.0 - chance.random()) for _ in range(5_000))
    assert renewed / 5_000 == pytest.approx(1 / e, abs=0.02)


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves value, version, the time it took, and when it ends."""
    assert opened(XFetch).read("user:1") == "v1"
    entry = env.redis.hgetall("user:1")
    assert (entry["value"], entry["version"]) == ("v1", "0")
    assert 0 < float(entry["delta"]) < 10 < float(entry["expiry"])
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all, also over a tombstone, and no hit is ever due."""
    cache = opened(XFetch, ttl=None)
    cache.write("user:1", "v2")
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v2"
    assert float(env.redis.hget("user:1", "expiry")) == inf
    assert env.redis.ttl("user:1") == -1


def test_a_hit_asks_the_database_nothing(opened: Any) -> None:
    """A read of a warm key that is not due returns what is cached."""
    cache = opened(XFetch)
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_hit_that_is_due_is_renewed(env: Any, opened: Any) -> None:
    """An entry that took longer to load than it lives is loaded again."""
    cache = opened(XFetch)
    cache.read("user:1")
    env.redis.hset("user:1", mapping={"delta": "1e9", "value": "old"})
    assert cache.read("user:1") == "v1"
    assert env.redis.hget("user:1", "value") == "v1"


def test_a_write_leaves_a_tombstone_with_its_version(env: Any, opened: Any) -> None:
    """After a write the value is gone, its version stays for a while, and the next read is fresh."""
    cache = opened(XFetch)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert env.redis.hgetall("user:1") == {"version": "1"}
    assert TOMBSTONE_S - 10 <= env.redis.ttl("user:1") <= TOMBSTONE_S
    assert (env.stored("user:1"), cache.read("user:1")) == ("v2", "v2")


def test_an_old_invalidation_leaves_a_newer_entry_alone(env: Any, opened: Any) -> None:
    """A reader had cached version 2 when the invalidation of version 1 arrives: it does nothing."""
    cache = opened(XFetch)
    env.redis.hset("user:1", mapping={"version": 2, "value": "v3", "delta": 0, "expiry": "inf"})
    cache.write("user:1", "v2")
    assert env.redis.hget("user:1", "value") == "v3"


def test_a_record_that_does_not_exist_is_neither_cached_nor_written(env: Any, opened: Any) -> None:
    """A key without a row leaves nothing behind."""
    cache = opened(XFetch)
    cache.write("nobody", "v1")
    assert cache.read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_renewal_of_an_old_version_is_refused(stage_for: Any) -> None:
    """The key is warm and due, A loads it again, B writes: what A brings is older than the tombstone."""
    script = "A read, A .., advance 100, A .; advance 299; A read, A ..; B write, B ..; A ."
    run = stage_for(XFetch).play(script)
    assert stage_for(XFetch).dialogue(run.history)[-5:] == [
        "B commits v2",
        "B EVAL -> 1",
        "B ok v2",
        "A EVAL -> 0",
        "A ok v1",
    ]
    assert ReadAfterWrite().check(run.history).findings == ()


def test_a_tombstone_that_is_lost_lets_an_old_version_in(stage_for: Any) -> None:
    """Its residual weakness (47): it expires, or is evicted, under a slow reader."""
    run = stage_for(XFetch).play("A read, A ..; B write, B ..; expire user:1; A .")
    assert ReadAfterWrite().check(run.history).findings


def test_two_readers_miss_together(stage_for: Any) -> None:
    """Nothing is renewed that is not there: a cold key is loaded by everybody (24)."""
    run = stage_for(XFetch).play("A read, A .; B read, B .; A ..; B ..")
    assert [finding.found for finding in SingleFlight().check(run.history).findings] == [2]
