"""Decisions on real servers: what each one does, as clients and history see it.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.harness.proof import difference
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)
from cacheproof.models.errors import CacheError, ReplayMismatch
from cacheproof.models.event import Faulted
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
TWO_KEYS = ("user:1", "user:2")


# -- exchanges and their fates -----------------------------------------------------------------------------


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


# -- crashes -----------------------------------------------------------------------------------------------


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


HOLDER_THEN_WAITER = "A read, A ., B write, B ., B crash{how}, A ."
UNTIL_THE_CRASH = [
    "A read",
    "A SELECT -> v1",
    "B write v2",
    "B UPDATE waits",
    "B crash",
    "B info v2 (the client crashed)",
    "A COMMIT -> COMMIT",
]


def test_a_waiting_statement_is_cancelled_with_its_client(stage_for: StageFor, caches: ModuleType) -> None:
    """in_flight=cancelled: the row keeps its value when the lock is freed."""
    lines = stage_for(caches.Delegating).lines(HOLDER_THEN_WAITER.format(how=""))
    assert lines == [*UNTIL_THE_CRASH, "A ok"]


def test_a_waiting_statement_outlives_its_client(stage_for: StageFor, caches: ModuleType) -> None:
    """in_flight=runs: the UPDATE of the dead client commits once the holder has committed."""
    lines = stage_for(caches.Delegating).lines(HOLDER_THEN_WAITER.format(how=" runs"))
    assert lines == [*UNTIL_THE_CRASH, "somebody commits v2", "A ok"]


def test_a_restart_is_a_new_process(stage_for: StageFor) -> None:
    """The crashed client is down, refuses operations, and works again after its restart."""
    with stage_for(CacheAside).open("A read, A .., A crash") as execution:
        assert execution.is_down(0) and not execution.is_enabled(Invoke(0, "read", "user:1"))
        execution.take(Restart(0))
        assert not execution.is_down(0) and execution.is_enabled(Invoke(0, "read", "user:1"))
    lines = stage_for(CacheAside).lines("A read, A .., A crash, A restart, A read, A ...")
    assert lines[-5:] == COLD_READ


def test_a_worker_is_restarted_into_its_loop(stage_for: StageFor, caches: ModuleType) -> None:
    """What it had not taken from the queue is taken by its successor."""
    script = "A write, Q crash, A ., Q restart, Q .."
    assert stage_for(caches.Queueing).lines(script, workers=1) == [
        "Q work",
        "A write v2",
        "Q crash",
        "Q info (the client crashed)",
        "A LPUSH -> 1",
        "A ok v2",
        "Q restart",
        "Q work",
        "Q BRPOP -> [queue:user:1 v2]",
        "Q UPDATE -> UPDATE 1",
        "Q commits v2",
    ]


# -- the cache server --------------------------------------------------------------------------------------


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


# -- expiry and time ---------------------------------------------------------------------------------------


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


def test_a_ttl_runs_out_in_virtual_time(stage_for: StageFor) -> None:
    """300 seconds are over after 299 and 2, and not before; no real second passes."""
    script = "A read, A ..., advance 299, A read, A ., advance 2, A read, A ..."
    assert stage_for(CacheAside).lines(script) == [
        *COLD_READ,
        "advance 299",
        "A read",
        "A GET -> v1",
        "A ok v1",
        "advance 2",
        "expire user:1",
        *COLD_READ,
    ]


def test_a_key_expires_at_its_own_time(stage_for: StageFor) -> None:
    """While 400 seconds pass, the key goes at 300: the history says when."""
    run = stage_for(CacheAside).play("A read, A ..., advance 400")
    (expired,) = [event for event in run.history.faults if event.fault == "expire"]
    assert expired.at_s == pytest.approx(300)


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


def test_sleepers_wake_in_order(stage_for: StageFor, caches: ModuleType) -> None:
    """B sleeps one second, A two: after 1.5 seconds only B has asked."""
    with stage_for(caches.Sleepy).open("A read, B read @user:2", keys=TWO_KEYS) as execution:
        assert (execution.wake_ns_of(0), execution.next_wake_ns()) == (2 * 10**9, 10**9)
        execution.take(Advance(1.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (0, 1)
        execution.take(Advance(0.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (1, 1)


def test_a_blocking_command_ends_in_virtual_time(stage_for: StageFor, caches: ModuleType) -> None:
    """BRPOP with a time-out of 5 gives up after 5 virtual seconds, with nothing."""
    assert stage_for(caches.Queueing).lines("A read, A ., advance 4, advance 1") == [
        "A read",
        "A BRPOP waits",
        "advance 4",
        "advance 1",
        "A BRPOP -> nil at last",
        "A ok",
    ]


def test_a_blocking_command_is_served_by_another_client(stage_for: StageFor, caches: ModuleType) -> None:
    """Who waited first is served first, whatever its number."""
    script = "B read, B ., A read, A ., C write, C ., C write, C ."
    lines = stage_for(caches.Queueing).lines(script, clients=3)
    assert [line for line in lines if " ok v" in line] == ["C ok v2", "B ok v2", "C ok v3", "A ok v3"]


def test_a_crashed_client_takes_nothing_from_a_queue(stage_for: StageFor, caches: ModuleType) -> None:
    """Its BRPOP dies with it: the element is there for the next one."""
    lines = stage_for(caches.Queueing).lines("A read, A ., A crash, B write, B ., B read, B .")
    assert lines[-2:] == ["B BRPOP -> [queue:user:1 v2]", "B ok v2"]


# -- row locks ---------------------------------------------------------------------------------------------


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


# -- what is possible when ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Invoke(0, "read", "user:1")], [Invoke(0, "read", "user:9"), Invoke(2, "read", "user:1")]),
        ("", [Kill(ServerName.CACHE)], [Start(ServerName.CACHE), Kill(ServerName.DATABASE)]),
        ("", [Advance(1.0)], [Advance(0.0), Crash(0), Restart(0), Deliver(0), Expire("user:1")]),
        ("A read", [Deliver(0), Crash(0)], [Deliver(0, 1), Deliver(1), Invoke(0, "write", "user:1")]),
        ("A read, A crash", [Restart(0)], [Crash(0), Deliver(0), Invoke(0, "read", "user:1")]),
        ("A read, A ...", [Expire("user:1"), Crash(0)], [Expire("user:2"), Deliver(0)]),
        ("kill", [Start(ServerName.CACHE)], [Kill(ServerName.CACHE), Expire("user:1")]),
    ],
)
def test_what_is_enabled(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """Every decision says whether its turn has come; one that is not enabled is a ReplayMismatch."""
    with stage_for(CacheAside).open(script) as execution:
        before = len(execution.recorder.events)
        assert [item for item in possible if not execution.is_enabled(item)] == []
        for decision in impossible:
            assert not execution.is_enabled(decision)
            with pytest.raises(ReplayMismatch, match="is not possible at this point"):
                execution.take(decision)
        assert len(execution.recorder.events) == before


def test_the_schedule_is_what_was_taken(stage_for: StageFor, decisions: Callable[..., Any]) -> None:
    """Exactly the decisions, in order: no step of the epilogue."""
    stage = stage_for(CacheAside)
    run = stage.play("A read, A .., B write, B .")
    assert run.schedule.decisions == decisions("A read, A .., B write, B .")


def test_values_are_numbered_by_the_run(stage_for: StageFor) -> None:
    """Two records start as v1 and v2; writes get v3 and v4 whoever writes."""
    lines = stage_for(CacheAside).lines("B write @user:2, B .., A write, A ..", keys=TWO_KEYS)
    assert [line for line in lines if "commits" in line] == ["B commits v3 @user:2", "A commits v4"]


def test_a_cache_that_cannot_be_constructed_is_the_users(stage_for: StageFor) -> None:
    """It raises at once, with the error of the constructor."""

    class Broken:
        def __init__(self, env: Any) -> None:
            raise ValueError("no such setting")

    expected = pytest.raises(CacheError, match="cannot be constructed: ValueError: no such setting, on A")
    with expected, stage_for(Broken).open("A read"):
        pass


def test_a_fault_names_the_operations_that_it_met(stage_for: StageFor) -> None:
    """`overlapped` are the clients with an open operation at that moment."""
    run = stage_for(CacheAside).play("A read, B write, kill, start")  # A fails, B waits for the database
    overlapped = {event.fault: event.overlapped for event in run.history.events if isinstance(event, Faulted)}
    assert overlapped == {"kill": (0, 1), "start": (1,)}
