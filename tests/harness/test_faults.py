"""Faults on real servers: what a crash, a kill and an expiry do to clients and history.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.models.decision import (
    Deliver,
    Expire,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_a_crash_before_each_exchange(stage_for: StageFor, delivered: int) -> None:
    """What was delivered has happened, the rest never will; the operation is in doubt."""
    lines = stage_for(CacheAside).lines(f"A read, {'A .,' * delivered} A crash")
    assert lines == [*COLD_READ[: 1 + delivered], "A crash", "A info (the client crashed)"]


def test_a_crash_between_commit_and_invalidation(stage_for: StageFor) -> None:
    """The row is new, the cache is not: what a crash of a real process leaves behind."""
    lines = stage_for(CacheAside).lines("A read, A ..., B write, B ., B crash, A read, A .")
    assert lines[5:] == [
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B crash",
        "B info v2 (the client crashed)",
        "A read",
        "A GET -> v1",
        "A ok v1",
    ]


def test_a_crash_of_an_idle_client(stage_for: StageFor) -> None:
    """It interrupts nothing; a fault that overlaps no operation says so."""
    run = stage_for(CacheAside).play("A read, A ..., A crash, B read, B .")
    (crash,) = [event for event in run.history.faults if event.fault == "crash"]
    assert crash.overlapped == ()


def test_a_crash_rolls_back_what_was_not_committed(stage_for: StageFor, caches: ModuleType) -> None:
    """After the decision the server has let go of the row: the next writer does not wait."""
    lines = stage_for(caches.Transactional).lines("A write, A ., A crash, B write, B ..")
    assert lines[-4:] == ["B UPDATE -> UPDATE 1", "B COMMIT -> COMMIT", "B commits v3", "B ok v3"]
    assert "A commits v2" not in lines


def test_a_crash_of_the_holder_frees_who_waits(stage_for: StageFor, caches: ModuleType) -> None:
    """The waiting UPDATE goes on as soon as the crashed client's transaction is gone."""
    lines = stage_for(caches.Transactional).lines("A write, A ., B write, B ., A crash, B .")
    assert lines[3:] == [
        "B UPDATE waits",
        "A crash",
        "A info v2 (the client crashed)",
        "B UPDATE -> UPDATE 1 at last",
        "B COMMIT -> COMMIT",
        "B commits v3",
        "B ok v3",
    ]


def test_while_the_cache_is_down_clients_are_refused(stage_for: StageFor) -> None:
    """Known and new clients alike; nothing of the cache survives, and both connect again afterwards."""
    lines = stage_for(CacheAside).lines(
        "A read, A ..., kill, A read, B read, start, A read, A ..., B read, B ."
    )
    assert lines[5:] == [
        "kill cache",
        "A read",
        lines[7],
        "B read",
        lines[9],
        "start cache",
        *COLD_READ,
        "B read",
        "B GET -> v1",
        "B ok v1",
    ]
    assert all("fail" in line and "refused" in line for line in (lines[7], lines[9]))


def test_a_dying_cache_resets_what_waits_for_it(stage_for: StageFor, caches: ModuleType) -> None:
    """An operation in the middle of an exchange with the cache fails at once; a BRPOP is one, too."""
    lines = stage_for(CacheAside).lines("A write, A ., kill, start")
    assert lines[3] == "kill cache" and lines[4].startswith("A info v2 (ConnectionError: ")
    lines = stage_for(caches.Queueing).lines("A read, A ., kill, start, B write, B .")
    assert lines[2] == "kill cache" and lines[3].startswith("A fail (ConnectionError: ")
    assert lines[-3:] == ["B write v2", "B LPUSH -> 1", "B ok v2"]


def test_a_key_expires_by_decision(stage_for: StageFor) -> None:
    """The next read misses."""
    lines = stage_for(CacheAside).lines("A read, A ..., expire user:1, A read, A ...")
    assert lines == [*COLD_READ, "expire user:1", *COLD_READ]


def test_only_keys_with_a_ttl_can_expire(stage_for: StageFor, caches: ModuleType) -> None:
    """A key without one stays, as it would in reality."""
    with stage_for(CacheAside).open("A read, A ..") as execution:
        assert not execution.is_enabled(Expire("user:1"))
        execution.take(Deliver(0))
        assert execution.is_enabled(Expire("user:1"))
    with stage_for(caches.Queueing).open("A write, A .") as execution:
        assert not execution.is_enabled(Expire("queue:user:1"))


def test_subscribers_hear_of_an_expiry(stage_for: StageFor, caches: ModuleType) -> None:
    """`expired` is published by the decision and by the clock alike, and delivered with it."""
    stage = stage_for(caches.Listening)
    stage.world.reset(stage.schedule("").scenario)
    stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
    try:
        lines = stage.lines("Q ., A write, A ., expire user:1, Q ., A write, A ., advance 10, Q .", workers=1)
    finally:
        stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "")
    assert lines[2:] == [
        "A write v2",
        "A SET -> OK",
        "A ok v2",
        "expire user:1",
        "Q RPUSH -> 1",
        "A write v3",
        "A SET -> OK",
        "A ok v3",
        "advance 10",
        "expire user:1",
        "Q RPUSH -> 2",
    ]
