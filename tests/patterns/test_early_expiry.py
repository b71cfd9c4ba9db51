"""Early expiry by the simple rule: the rule itself, one operation at a time, and what a renewal can do."""

import random
from typing import Any

import pytest

from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight
from cacheproof.patterns.early_expiry import EarlyExpiry, is_due


@pytest.mark.parametrize(
    ("remaining_s", "chance", "due"),
    [(10.0, 0.999, False), (9.0, 0.95, True), (9.0, 0.9, False), (0.1, 0.02, True), (0.1, 0.0, False)],
)
def test_the_rule(remaining_s: float, chance: float, due: bool) -> None:
    """With a threshold of 10 s an entry is due if it lives shorter than that part of it."""
    assert is_due(remaining_s, 10.0, chance) is due


def test_the_chance_to_renew_grows_to_one() -> None:
    """At the threshold nobody renews; half way half of the readers do; at the end everybody."""
    chance = random.Random(1)
    shares = [sum(is_due(left, 10.0, chance.random()) for _ in range(2_000)) / 2_000 for left in (10, 5, 0)]
    assert shares == [0, pytest.approx(0.5, abs=0.03), pytest.approx(1, abs=0.01)]


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(EarlyExpiry).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 110 <= env.redis.ttl("user:1") <= 120


@pytest.mark.parametrize("left_s", [119, None])
def test_a_hit_that_lives_long_is_returned(env: Any, opened: Any, left_s: int | None) -> None:
    """Beyond the threshold, or without a ttl, the database is asked nothing."""
    cache = opened(EarlyExpiry, ttl=left_s)
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v1"
    assert env.redis.ttl("user:1") == (left_s or -1)


def test_a_hit_that_is_about_to_expire_is_renewed(env: Any, opened: Any) -> None:
    """With a few milliseconds left of a large threshold, a hit is loaded again and lives anew."""
    cache = opened(EarlyExpiry, threshold=1e9)
    env.redis.set("user:1", "old", ex=30)
    assert cache.read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert env.redis.ttl("user:1") > 30


def test_a_write_is_stored_and_invalidates_one_key(env: Any, opened: Any) -> None:
    """After a write the row is new, the key is gone, and the next read is fresh."""
    cache = opened(EarlyExpiry)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
    assert cache.read("user:1") == "v2"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(EarlyExpiry).read("nobody") is None
    assert env.redis.exists("nobody") == 0


class Eager(EarlyExpiry):
    """With 20 of 120 s left, five hits in six are renewed; a fresh one never."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, threshold=115)


def test_a_renewal_brings_an_old_value_back(stage_for: Any) -> None:
    """The key is warm, A renews it, and stores what it loaded before B's write (13)."""
    run = stage_for(Eager).play("A read, A ...; advance 100; A read, A ..; B write, B ..; A .")
    assert stage_for(Eager).dialogue(run.history)[5:] == [
        "advance 100",
        "A read",
        "A GET; PTTL -> [v1 20000]",
        "A SELECT -> v1",
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B DEL -> 1",
        "B ok v2",
        "A SET -> OK",
        "A ok v1",
    ]
    assert ReadAfterWrite().check(run.history).findings


def test_two_readers_miss_together(stage_for: Any) -> None:
    """Nothing is renewed that is not there: a cold key is loaded by everybody (24)."""
    run = stage_for(EarlyExpiry).play("A read, A .; B read, B .; A ..; B ..")
    assert [finding.found for finding in SingleFlight().check(run.history).findings] == [2]
