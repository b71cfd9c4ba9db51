"""Faults of the network on real servers: partitions, and requests that arrive late.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis

from cacheproof.models.decision import (
    Arrive,
    Decision,
    Deliver,
    Fate,
    Heal,
    Invoke,
    Manner,
    Partition,
    ServerName,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
WRITE = ["B write v2", "B UPDATE -> UPDATE 1", "B commits v2", "B DEL -> 0", "B ok v2"]
RESET = (
    "(ConnectionError: Error while reading from 127.0.0.1:<cache port> : (104, 'Connection reset by peer'))"
)


class Piping:
    """A read sends three commands at once, over one connection."""

    def __init__(self, env: Any) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)

    def read(self, key: str) -> Any:
        pipe = self.redis.pipeline(transaction=False)
        pipe.rpush(key, "1").rpush(key, "2").lrange(key, 0, -1)
        return str(pipe.execute()[-1])

    def write(self, key: str, value: str) -> None: ...


# ── requests that arrive late ───────────────────────────────────────────────────────────────────────────────


def test_a_zombie_write(stage_for: StageFor) -> None:
    """A fill that its client has given up arrives after the invalidation that was to remove it."""
    lines = stage_for(CacheAside).lines("A read, A .., A delayed, B write, B .., A arrive, B read, B .")
    assert lines == [
        *COLD_READ[:3],
        "A SET waits delayed",
        f"A fail {RESET}",
        *WRITE,
        "A arrive cache SET",
        "A SET -> OK at last delayed",
        "B read",
        "B GET -> v1",
        "B ok v1",
    ]


def test_what_is_delayed_arrives_at_the_end_at_the_latest(stage_for: StageFor) -> None:
    """The epilogue lets nothing be under way when it reads; who has crashed meanwhile makes no difference."""
    lines = stage_for(CacheAside).lines("A read, A .., A delayed, A crash", epilogue=True)
    assert lines[4:9] == [
        f"A fail {RESET}",
        "A crash",
        "-- heal --",
        "A arrive cache SET",
        "A SET -> OK at last delayed",
    ]


def test_a_statement_arrives_without_the_commit(stage_for: StageFor, caches: ModuleType) -> None:
    """The rest of its transaction was never sent, so it is rolled back, and its lock is free again."""
    lines = stage_for(caches.Transactional).lines("A write, A delayed, A arrive, B write, B ..")
    assert lines[3:] == [
        "A arrive database UPDATE",
        "A UPDATE -> UPDATE 1 at last delayed",
        "B write v3",
        "B UPDATE -> UPDATE 1",
        "B COMMIT -> COMMIT",
        "B commits v3",
        "B ok v3",
    ]


def test_a_statement_that_arrives_may_have_to_wait(stage_for: StageFor, caches: ModuleType) -> None:
    """For a row that is locked; it goes on by itself, and nobody says that it did."""
    lines = stage_for(caches.Delegating).lines("A write, A delayed, B read, B ., A arrive, B .")
    assert lines[2].startswith("A info v2 (OperationalError: ")
    assert lines[3:] == [
        "B read",
        "B SELECT -> v1",
        "A arrive database UPDATE",
        "B COMMIT -> COMMIT",
        "somebody commits v2",
        "B ok",
    ]


def test_what_was_sent_behind_it_arrives_behind_it(stage_for: StageFor) -> None:
    """One connection is one stream of bytes: nothing overtakes, each command is a decision of its own."""
    stage = stage_for(Piping)
    lines = stage.lines("A read, A delayed, A arrive, A arrive, A arrive, B read, B ...")
    assert lines[3:] == [
        "A arrive cache RPUSH",
        "A RPUSH -> 1 at last delayed",
        "A arrive cache RPUSH",
        "A RPUSH -> 2 at last delayed",
        "A arrive cache LRANGE",
        "A LRANGE -> [1 2] at last delayed",
        "B read",
        "B RPUSH -> 3",
        "B RPUSH -> 4",
        "B LRANGE -> [1 2 1 2]",
        "B ok ['1', '2', '1', '2']",
    ]
    with stage.open("A read, A delayed, A arrive") as execution:
        assert execution.is_enabled(Arrive(0)) and not execution.is_enabled(Arrive(0, 1))


def test_a_server_that_dies_takes_the_zombies_with_it(stage_for: StageFor) -> None:
    """They were addressed to a connection of the old one."""
    with stage_for(CacheAside).open("A read, A .., A delayed, kill, start") as execution:
        assert not execution.is_enabled(Arrive(0))


def test_a_request_may_arrive_at_a_connection_that_is_no_more(stage_for: StageFor) -> None:
    """Its server has closed it meanwhile: nothing happens, and the run goes on."""
    with stage_for(CacheAside).open("A read, A ..., A read, A delayed") as execution:
        (link,) = execution.world.wire.detached
        execution.world.cache_clock.admin.call("CLIENT", "KILL", "ID", link.upstream.id)
        execution.take(Arrive(0))
        lines = stage_for(CacheAside).dialogue(execution.recorder.history())
        assert execution.world.wire.detached == []
    assert lines[-1].startswith("A GET -> error ") and lines[-1].endswith(" at last delayed")


def test_what_waits_for_an_event_is_not_delayed(stage_for: StageFor, caches: ModuleType) -> None:
    """A BRPOP that comes when nobody listens any more does nothing."""
    with stage_for(caches.Queueing).open("A read") as execution:
        assert not execution.is_enabled(Deliver(0, 0, Fate.DELAYED))


# ── partitions ──────────────────────────────────────────────────────────────────────────────────────────────


def test_one_client_is_refused(stage_for: StageFor) -> None:
    """Its connections break, and new ones are refused; others notice nothing, and in the end it connects again."""
    lines = stage_for(CacheAside).lines(
        "B read, B ..., B read, partition cache B, B read, A read, A ., heal cache B, B read, B ."
    )
    assert lines[5:] == [
        "B read",
        "B partition cache refuse",
        f"B fail {RESET}",
        "B read",
        "B fail (ConnectionError: Error 111 connecting to 127.0.0.1:<cache port>. Connection refused.)",
        "A read",
        "A GET -> v1",
        "A ok v1",
        "B heal cache",
        "B read",
        "B GET -> v1",
        "B ok v1",
    ]


@pytest.mark.parametrize("manner", ["silent", "requests"])
def test_requests_do_not_arrive(stage_for: StageFor, manner: str) -> None:
    """They wait on their way, and go on from there when the network works again."""
    stage = stage_for(CacheAside)
    script = f"A read, A ..., B read, partition cache B {manner}, A write, A .."
    with stage.open(script) as execution:
        assert execution.pending(1) == []
        execution.take(Heal(CACHE, 1))
        assert [item.verb for item in execution.pending(1)] == ["GET"]
    assert stage.lines(f"{script}, heal cache B, B .")[-3:] == ["A ok v2", "B heal cache", "B GET -> nil"]


def test_replies_do_not_arrive(stage_for: StageFor, caches: ModuleType) -> None:
    """The server has done it, others see it, and only the client does not know."""
    lines = stage_for(caches.Plain).lines(
        "B write, partition cache B replies, B ., A read, A ., heal cache B"
    )
    assert lines == [
        "B write v2",
        "B partition cache replies",
        "B SET waits",
        "A read",
        "A GET -> v2",
        "A ok v2",
        "B heal cache",
        "B SET -> OK at last",
        "B ok v2",
    ]


@pytest.mark.parametrize(("manner", "arrives"), [("requests", True), ("silent", False), ("replies", False)])
def test_what_waits_at_the_server_is_answered(
    stage_for: StageFor, caches: ModuleType, manner: str, arrives: bool
) -> None:
    """Whether that arrives is a matter of the direction; it does not get lost."""
    lines = stage_for(caches.Queueing).lines(
        f"A read, A ., partition cache A {manner}, B write, B ., heal cache A"
    )
    answered = ["A BRPOP -> [queue:user:1 v2] at last", "A ok v2"]
    assert lines[5:] == (
        ["B ok v2", *answered, "A heal cache"] if arrives else ["B ok v2", "A heal cache", *answered]
    )


def test_pushes_are_kept_back_as_well(stage_for: StageFor, caches: ModuleType) -> None:
    """A message to a subscriber comes when the network works again; nothing is asked of its client before."""
    script = "Q ., A write, A ., partition cache C silent, expire user:1, heal cache C, Q ."
    stage = stage_for(caches.Listening)
    with stage.open("Q ., A write, A ., partition cache C silent, expire user:1", workers=1) as execution:
        assert execution.pending(2) == []
    lines = stage.lines(script, workers=1)
    assert lines[-4:] == ["Q partition cache silent", "expire user:1", "Q heal cache", "Q RPUSH -> 1"]


def test_a_partition_of_everybody(stage_for: StageFor) -> None:
    """The server is down for all of them, and loses nothing; the epilogue heals it with one decision."""
    lines = stage_for(CacheAside).lines(
        "A read, A ..., B read, B ., partition cache silent, A read, B read", epilogue=True
    )
    assert lines[8:16] == [
        "partition cache silent",
        "A read",
        "B read",
        "-- heal --",
        "heal cache",
        "-- drain --",
        "A GET -> v1",
        "A ok v1",
    ]
    lines = stage_for(CacheAside).lines("A read, A ..., partition database A", epilogue=True)
    assert lines[5:8] == ["A partition database refuse", "-- heal --", "A heal database"]


def test_nobody_is_told_of_a_loss_while_nothing_comes_through(stage_for: StageFor) -> None:
    """A reset would have to cross the same network; an error of the server waits like any other reply."""
    with stage_for(CacheAside).open("A read, partition cache A replies") as execution:
        fates = {fate for fate in Fate if execution.is_enabled(Deliver(0, 0, fate, "loading"))}
    assert fates == {Fate.DELIVERED, Fate.REFUSED}


def test_a_refusal_waits_like_any_other_reply(stage_for: StageFor, caches: ModuleType) -> None:
    """And says, when it comes, that nothing was done."""
    lines = stage_for(caches.Plain).lines("B write, partition cache B replies, B refused oom, heal cache B")
    assert lines[2:4] == ["B SET waits refused", "B heal cache"]
    assert lines[4].endswith("at last refused") and lines[5].startswith("B fail v2 (OutOfMemoryError: ")


def test_a_client_dies_behind_a_partition(stage_for: StageFor, caches: ModuleType) -> None:
    """What it had committed is committed, what it had not is rolled back, and its reply reaches nobody."""
    stage = stage_for(caches.Transactional)
    lines = stage.lines(
        "A write, A ., partition database A replies, A ., A crash, heal database A, B read, B ."
    )
    assert lines[3:] == [
        "A COMMIT waits",
        "A commits v2",
        "A crash",
        "A info v2 (the client crashed)",
        "A heal database",
        "B read",
        "B SELECT -> v2",
        "B ok v2",
    ]
    lines = stage.lines("A write, partition database A replies, A ., A crash, B write, B ..")
    assert lines[-4:] == ["B UPDATE -> UPDATE 1", "B COMMIT -> COMMIT", "B commits v3", "B ok v3"]


def test_nobody_starts_behind_a_partition(stage_for: StageFor) -> None:
    """A client that would have to connect to a silent server waits for better times; a refusal it can hear."""
    for manner in Manner:
        with stage_for(CacheAside).open() as execution:
            execution.take(Partition(CACHE, 0, manner))
            assert execution.is_enabled(Invoke(0, "read", "user:1")) is (manner is Manner.REFUSE)
            assert execution.is_enabled(Invoke(1, "read", "user:1"))


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Partition(CACHE), Partition(DATABASE, 1)], [Partition(CACHE, 2), Heal(CACHE), Arrive(0)]),
        ("partition cache A", [Partition(CACHE, 1), Heal(CACHE, 0)], [Partition(CACHE), Heal(CACHE, 1)]),
        ("partition cache A", [Heal(CACHE), Partition(DATABASE)], [Heal(DATABASE), Partition(CACHE, 0)]),
        ("partition cache", [Heal(CACHE), Heal(CACHE, 1)], [Partition(CACHE, 1)]),
    ],
)
def test_when_the_network_can_fail(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """Once at a time between a client and a server; and only what has failed can be mended."""
    with stage_for(CacheAside).open(script) as execution:
        assert [item for item in possible if not execution.is_enabled(item)] == []
        assert [item for item in impossible if execution.is_enabled(item)] == []


def test_a_server_that_starts_stays_out_of_reach_of_whom_it_was(stage_for: StageFor) -> None:
    """A restart does not mend the network."""
    lines = stage_for(CacheAside).lines(
        "B read, B ..., partition cache B, kill, start, B read, A read, A ..."
    )
    assert "Connection refused" in lines[9] and lines[-1] == "A ok v1"
