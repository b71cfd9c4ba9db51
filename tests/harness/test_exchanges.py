"""Exchanges: what a released request meets, and what waits for whom.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

import asyncio
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis.asyncio

from cacheproof.harness.proof import difference
from cacheproof.models.decision import Arrive, Deliver, Heal, ServerName
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
TWO_KEYS = ("user:1", "user:2")


def test_one_decision_delivers_one_exchange(stage_for: StageFor) -> None:
    """A client goes on to its next request and no further."""
    stage = stage_for(CacheAside)
    with stage.open("A read") as execution:
        assert [item.request for item in execution.pending(0)] == [("GET", "user:1")]
        execution.take(Deliver(0))
        assert [item.verb for item in execution.pending(0)] == ["SELECT"]
        assert stage.dialogue(execution.recorder.history()) == COLD_READ[:2]


def test_operations_interleave_as_decided(stage_for: StageFor) -> None:
    """The stale set: a read that is interrupted by a whole write fills the cache with what was."""
    assert stage_for(CacheAside).lines("A read, A .., B write, B .., A .", epilogue=True) == [
        *COLD_READ[:3],
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B DEL -> 0",
        "B ok v2",
        *COLD_READ[3:],
        "-- heal --",
        "-- drain --",
        "-- quiesce --",
        "-- final-reads --",
        "A read",
        "A GET -> v1",
        "A ok v1",
    ]


def test_a_lost_request_never_reaches_the_server(stage_for: StageFor) -> None:
    """The client sees a reset, the row stays, and the write certainly failed: nothing was delivered."""
    stage = stage_for(CacheAside)
    run = stage.play("B write, B lost, A read, A ...")
    assert stage.dialogue(run.history)[:2] == ["B write v2", "B UPDATE lost"]
    assert stage.dialogue(run.history)[3:] == COLD_READ
    failed = run.history.operations[0]
    assert (failed.outcome.value, failed.value) == ("fail", "v2")
    assert failed.error is not None and failed.error.startswith("OperationalError: ")


def test_who_waited_for_the_locks_of_a_client_whose_commit_was_lost_goes_on(
    stage_for: StageFor, caches: ModuleType
) -> None:
    """The session ends with its connection, is rolled back, and frees the row at once."""
    lines = stage_for(caches.Transactional).lines("A write, A .; B write, B .; A lost; B .")
    assert lines[4] == "A COMMIT lost"
    assert lines[6:] == ["B UPDATE -> UPDATE 1 at last", "B COMMIT -> COMMIT", "B commits v3", "B ok v3"]


def test_a_lost_reply_leaves_the_client_in_doubt(stage_for: StageFor) -> None:
    """The server executed it, the client sees a reset: the write may have happened, and it has."""
    stage = stage_for(CacheAside)
    run = stage.play("B write, B reply-lost, A read, A ...")
    assert stage.dialogue(run.history)[:3] == [
        "B write v2",
        "B UPDATE -> UPDATE 1 reply-lost",
        "B commits v2",
    ]
    assert run.history.operations[0].outcome.value == "info"
    assert run.history.operations[1].value == "v2"


def test_a_lost_exchange_with_the_cache_breaks_that_connection_only(stage_for: StageFor) -> None:
    """After a lost SET the read fails, and the next one connects anew."""
    lines = stage_for(CacheAside).lines("A read, A .., A lost, A read, A ...")
    assert lines[3:] == ["A SET lost", lines[4], *COLD_READ]
    assert lines[4].startswith("A fail (ConnectionError: ")


def test_several_exchanges_of_one_client_are_pending_at_once(stage_for: StageFor, caches: ModuleType) -> None:
    """asyncio.gather of four GETs: four pending exchanges in canonical order, and any may go first."""
    stage = stage_for(caches.Gathering)
    for _ in range(5):
        with stage.open("A read") as execution:
            asked = [item.request for item in execution.pending(0)]
            assert asked == [("GET", f"user:1:{part}") for part in range(4)]
            execution.take(Deliver(0, 2))
            assert [item.request[1] for item in execution.pending(0)] == ["user:1:0", "user:1:1", "user:1:3"]


def test_the_pick_decides_who_sees_what(stage_for: StageFor, caches: ModuleType) -> None:
    """A write between the deliveries of one gather is seen by those that come after it."""
    stage = stage_for(caches.Gathering)
    before = stage.play("A read, A .1, B write, B ., A ...").history
    after = stage.play("A read, A .0, B write, B ., A ...").history
    assert before.operations[0].value == "None None None None"
    assert after.operations[0].value == "None v2 None None"


def test_two_threads_of_one_operation(stage_for: StageFor, caches: ModuleType) -> None:
    """Each thread has an exchange pending, cache before database, and either may go first."""
    stage = stage_for(caches.Threaded)
    with stage.open("A read") as execution:
        assert [item.verb for item in execution.pending(0)] == ["GET", "SELECT"]
    assert stage.lines("A read, A .1, A .") == [
        "A read",
        "A SELECT -> v1",
        "A GET -> nil",
        "A ok None ('v1',)",
    ]
    assert stage.lines("A read, A ..") == ["A read", "A GET -> nil", "A SELECT -> v1", "A ok None ('v1',)"]


def test_a_blocking_command_is_served_by_another_client(stage_for: StageFor, caches: ModuleType) -> None:
    """Who waited first is served first, whatever its number."""
    script = "B read, B ., A read, A ., C write, C ., C write, C ."
    lines = stage_for(caches.Queueing).lines(script, clients=3)
    assert [line for line in lines if " ok v" in line] == ["C ok v2", "B ok v2", "C ok v3", "A ok v3"]


def test_a_row_lock_does_not_stall_the_run(stage_for: StageFor, caches: ModuleType) -> None:
    """The second UPDATE waits, and its reply comes with the COMMIT of the first."""
    assert stage_for(caches.Transactional).lines("A write, A ., B write, B ., A ., B .") == [
        "A write v2",
        "A UPDATE -> UPDATE 1",
        "B write v3",
        "B UPDATE waits",
        "A COMMIT -> COMMIT",
        "A commits v2",
        "A ok v2",
        "B UPDATE -> UPDATE 1 at last",
        "B COMMIT -> COMMIT",
        "B commits v3",
        "B ok v3",
    ]


def test_waiters_for_a_row_are_served_in_order(stage_for: StageFor, caches: ModuleType) -> None:
    """First in, first out: C asked before B."""
    script = "A write, A ., C write, C ., B write, B ., A ., C ., B ."
    lines = stage_for(caches.Transactional).lines(script, clients=3)
    assert [line for line in lines if "at last" in line or "commits" in line] == [
        "A commits v2",
        "C UPDATE -> UPDATE 1 at last",
        "C commits v3",
        "B UPDATE -> UPDATE 1 at last",
        "B commits v4",
    ]


@pytest.mark.parametrize(
    ("last", "script"),
    [
        ("B", "A write, A ., B write @user:2, B ., A ., B ., A ., B ."),
        ("A", "A write, A ., B write @user:2, B ., B ., A ., B ., A ."),
    ],
)
def test_of_a_deadlock_the_last_to_wait_is_the_victim(
    stage_for: StageFor, caches: ModuleType, last: str, script: str
) -> None:
    """Two rows in opposite order: no hang, always the same victim, and the same words about it."""
    stage = stage_for(caches.Crosswise)
    runs = [stage.play(script, keys=TWO_KEYS) for _ in range(4)]
    lines = stage.dialogue(runs[0].history)
    assert f"{last} UPDATE -> error 40P01 deadlock detected" in lines
    (told,) = [line for line in lines if "DeadlockDetected" in line]
    assert told.startswith(f"{last} info")
    assert "Process #1 waits for ShareLock on transaction #2; blocked by process #3" in told
    assert [difference([runs[0], run]) for run in runs[1:] if run.history != runs[0].history] == []


CONNECTED = "A write, A ., B write, B ."


def test_a_request_that_its_client_has_given_up_arrives_after_the_heal(
    stage_for: StageFor, caches: ModuleType
) -> None:
    """Not before; then when it is decided, though its client has long gone on: the operation was in doubt."""
    stage = stage_for(caches.Impatient)
    script = f"{CONNECTED}, A write, partition cache A silent, advance 1, B write, B ."
    with stage.open(script) as execution:
        assert not execution.is_enabled(Arrive(0))
        execution.take(Heal(ServerName.CACHE, 0))
        assert execution.is_enabled(Arrive(0)) and execution.pending(0) == []
    lines = stage.lines(f"{script}, heal cache A, A read, A ., A arrive, B read, B .")
    assert lines[7:] == [
        "A partition cache silent",
        "A SET waits",
        "advance 1",
        "A info v4 (TimeoutError: Timeout reading from socket)",
        "B write v5",
        "B SET -> OK",
        "B ok v5",
        "A heal cache",
        "A read",
        "A GET -> v5",
        "A ok v5",
        "A arrive cache SET",
        "A SET -> OK at last delayed",
        "B read",
        "B GET -> v4",
        "B ok v4",
    ]


def test_what_is_still_under_way_arrives_in_the_epilogue(stage_for: StageFor, caches: ModuleType) -> None:
    """Before anything is read, and nobody who has lost a connection is asked to read."""
    script = f"{CONNECTED}, A write, partition cache A silent, advance 1"
    assert stage_for(caches.Impatient).lines(script, epilogue=True)[-10:] == [
        "-- heal --",
        "A heal cache",
        "A arrive cache SET",
        "A SET -> OK at last delayed",
        "-- drain --",
        "-- quiesce --",
        "-- final-reads --",
        "B read",
        "B GET -> v4",
        "B ok v4",
    ]


def test_a_reply_that_nobody_waits_for_any_more_is_noted(stage_for: StageFor, caches: ModuleType) -> None:
    """Its server has long done what it was asked, and it comes to nobody: the connection is over."""
    script = f"{CONNECTED}, partition cache A replies, A write, A ., advance 1, B read, B ., heal cache"
    stage = stage_for(caches.Impatient)
    with stage.open(script) as execution:
        assert stage.dialogue(execution.recorder.history())[-5:] == [
            "B read",
            "B GET -> v4",
            "B ok v4",
            "heal cache",
            "A SET -> OK at last",
        ]
        assert [link.server for link in execution.world.wire.links(0)] == [ServerName.DATABASE]
        assert not execution.is_enabled(Arrive(0))


def test_what_waits_is_told_once(stage_for: StageFor, caches: ModuleType) -> None:
    """Before time passes; when it gets its reply, that comes at last."""
    lines = stage_for(caches.Impatient).lines(
        f"{CONNECTED}, A read, partition cache A silent, advance 0.1, advance 0.05, heal cache, A ."
    )
    assert lines[6:] == [
        "A read",
        "A partition cache silent",
        "A GET waits",
        "advance 0.1",
        "advance 0.05",
        "heal cache",
        "A GET -> v3 at last",
        "A ok v3",
    ]


@pytest.mark.parametrize(
    ("fate", "told"), [("lost", "A GET lost"), ("refused busy", r"A GET -> error BUSY .* at last refused")]
)
def test_what_has_waited_may_meet_any_fate(
    stage_for: StageFor, caches: ModuleType, fate: str, told: str
) -> None:
    """Once the network works again."""
    script = f"{CONNECTED}, A read, partition cache A silent, advance 0.1, heal cache, A {fate}"
    lines = stage_for(caches.Impatient).lines(script)
    assert re.fullmatch(told, lines[-2]) and lines[-1].startswith("A fail")


def test_what_has_waited_and_then_reaches_a_server_that_is_stopped_waits_on(
    stage_for: StageFor, caches: ModuleType
) -> None:
    """That it waits is on record already."""
    lines = stage_for(caches.Impatient).lines(
        f"{CONNECTED}, A read, freeze cache, advance 0.1, A ., advance 0.05, thaw cache"
    )
    assert lines[7:] == [
        "freeze cache",
        "A GET waits",
        "advance 0.1",
        "advance 0.05",
        "thaw cache",
        "A GET -> v3 at last",
        "A ok v3",
    ]


def test_who_waits_for_a_decision_as_well_is_told_of_that_alone(
    stage_for: StageFor, caches: ModuleType
) -> None:
    """So nobody takes it for waiting for the fault to end."""
    lines = stage_for(caches.Threaded).lines("A write, A ., A read, partition cache A silent, advance 0.1")
    assert lines[-3:] == ["A partition cache silent", "A SELECT waits", "advance 0.1"]


def test_a_request_that_is_given_up_without_a_fault_may_still_happen(stage_for: StageFor) -> None:
    """A client that left before its request was delivered cannot know: it is in doubt."""

    class Hasty:
        def __init__(self, env: Any) -> None:
            self.redis = redis.asyncio.Redis.from_url(env.redis_url, decode_responses=True)

        async def read(self, key: str) -> Any:
            return await self.redis.get(key)

        async def write(self, key: str, value: str) -> None:
            async with asyncio.timeout(1):
                await self.redis.set(key, value)

    lines = stage_for(Hasty).lines("A write, advance 2, A ., B read, B .")
    assert lines == [
        "A write v2",
        "advance 2",
        "A info v2 (TimeoutError)",
        "A SET -> OK",
        "B read",
        "B GET -> v2",
        "B ok v2",
    ]
