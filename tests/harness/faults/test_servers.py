"""Faults of servers on real ones: kill and start, with what survives; failover; freeze and thaw.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import redis.asyncio

from cacheproof.models.decision import (
    Decision,
    Deliver,
    Failover,
    Fate,
    Freeze,
    Invoke,
    Kill,
    ServerName,
    Start,
    Survived,
    Thaw,
)
from cacheproof.models.schedule import Keeps
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE
NOTHING, EVERYTHING, SYNCED, SNAPSHOT = (
    Survived.NOTHING,
    Survived.EVERYTHING,
    Survived.SYNCED,
    Survived.SNAPSHOT,
)
KEY = "user:1"
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


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


# ── what survives ───────────────────────────────────────────────────────────────────────────────────────────

WRITTEN = "A read, A ..., B write, B .., A read, A ..., kill"
"""The cache went through four states: empty, v1, empty, v2."""


def start(*survived: Any) -> Start:
    return Start(CACHE, *survived)


@pytest.mark.parametrize(
    ("keeps", "by_itself", "possible", "impossible"),
    [
        (Keeps.NOTHING, None, [start(NOTHING)], [start(NOTHING, 1), start(EVERYTHING), start(SYNCED)]),
        (Keeps.REPLICA, None, [start(NOTHING)], [start(SNAPSHOT), start(EVERYTHING), start(SYNCED, 1)]),
        (
            Keeps.SNAPSHOTS,
            "snapshot",
            [start(SNAPSHOT), start(SNAPSHOT, 1), start(SNAPSHOT, 3)],
            [start(SNAPSHOT, 4), start(NOTHING), start(EVERYTHING), start(SYNCED)],
        ),
        (
            Keeps.EVERYSEC,
            "everything",
            [start(EVERYTHING), start(SYNCED), start(SYNCED, 3)],
            [start(SYNCED, 4), start(EVERYTHING, 1), start(NOTHING), start(SNAPSHOT)],
        ),
        (
            Keeps.ALWAYS,
            "everything",
            [start(EVERYTHING), start(SYNCED)],
            [start(SYNCED, 1), start(NOTHING), start(SNAPSHOT)],
        ),
    ],
)
def test_what_can_survive(
    stage_for: StageFor, keeps: Keeps, by_itself: str | None, possible: list[Start], impossible: list[Start]
) -> None:
    """What the cache keeps besides its memory, and no outcome that a server which keeps it could not have."""
    stage = stage_for(CacheAside)
    with stage.open(WRITTEN, keeps=keeps) as execution:
        assert [item for item in possible if not execution.is_enabled(item)] == []
        assert [item for item in impossible if execution.is_enabled(item)] == []
        execution.take(Start(CACHE))
        assert execution.recorder.history().faults[-1].detail == by_itself
        cached = execution.world.cache_clock.admin.call("GET", "user:1").value
    assert cached == (b"v2" if by_itself else None)


@pytest.mark.parametrize(
    ("behind", "detail", "cached"),
    [(0, "snapshot", "v2"), (1, "snapshot, 1 write behind", "nil"), (2, "snapshot, 2 writes behind", "v1")],
)
def test_how_far_a_snapshot_lies_back(stage_for: StageFor, behind: int, detail: str, cached: str) -> None:
    """By so many changes; what was not one (a read) does not count."""
    script = f"{WRITTEN}, start cache snapshot {behind}, A read, A ."
    lines = stage_for(CacheAside).lines(script, keeps=Keeps.SNAPSHOTS)
    assert f"A GET -> {cached}" in lines[lines.index(f"start cache {detail}") :]


def test_power_loss_takes_the_last_second_at_most(stage_for: StageFor) -> None:
    """An append-only file that is forced to the disk once a second: what is older is there."""
    script = "A read, A ..., advance 2, B write, B .., A read, A ..., advance 0.5, kill"
    with stage_for(CacheAside).open(script, keeps=Keeps.EVERYSEC) as execution:
        possible = [behind for behind in range(4) if execution.is_enabled(start(SYNCED, behind))]
    assert possible == [0, 1, 2]


def test_times_to_live_go_on_over_a_restart(stage_for: StageFor) -> None:
    """What is due meanwhile is gone, and what is not is due when it was."""
    stage = stage_for(CacheAside)
    lines = stage.lines("A read, A ..., advance 100, kill, start, advance 200", keeps=Keeps.EVERYSEC)
    assert lines[-3:] == ["start cache everything", "advance 200", "expire user:1"]
    lines = stage.lines("A read, A ..., kill, advance 301, start, A read, A .", keeps=Keeps.EVERYSEC)
    assert lines[-3:] == ["start cache everything", "A read", "A GET -> nil"]


@pytest.mark.parametrize(
    ("keeps", "script", "functions"),
    [
        (Keeps.EVERYSEC, "kill, start", True),
        (Keeps.SNAPSHOTS, "kill, start cache snapshot 1", True),
        (Keeps.NOTHING, "kill, start", False),
        (Keeps.REPLICA, "failover 1", True),
    ],
)
def test_functions_are_data_and_scripts_are_not(
    stage_for: StageFor, decisions: Callable[..., Any], keeps: Keeps, script: str, functions: bool
) -> None:
    """Whoever starts anew, or takes over, has the functions that were written, and knows no script."""
    library = "#!lua name=mine\nserver.register_function('one', function() return 1 end)"
    with stage_for(CacheAside).open("A read", keeps=keeps) as execution:
        admin = execution.world.cache_clock.admin
        admin.call("FUNCTION", "LOAD", library)
        sha = bytes(admin.call("SCRIPT", "LOAD", "return 1").value)
        for decision in (*decisions("A ..., B read, B ., B write, B .."), *decisions(script)):
            execution.take(decision)
        admin = execution.world.cache_clock.admin
        assert (not admin.call("FCALL", "one", 0).is_error) is functions
        assert admin.call("SCRIPT", "EXISTS", sha).value == (0,)


# ── failover ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failover_loses_the_last_writes(stage_for: StageFor) -> None:
    """The replica has what had been sent to it; connections break, and lead to it from then on."""
    stage = stage_for(CacheAside)
    script = "A read, A ..., B write, B .., A read, failover {}, A read, A ."
    assert stage.lines(script.format(1), keeps=Keeps.REPLICA)[-3:] == ["A read", "A GET -> v1", "A ok v1"]
    lines = stage.lines(script.format(0), keeps=Keeps.REPLICA)
    assert lines[-4] == "failover cache 0" and lines[-2:] == ["A read", "A GET -> nil"]
    assert lines[-3].startswith("A fail (ConnectionError: ")


def test_a_failover_takes_the_place_of_a_frozen_server(stage_for: StageFor) -> None:
    """What had been sent to the old one is lost with it; the new one answers."""
    script = "B read, B ..., freeze cache, B read, B ., failover 0, B read, B ."
    lines = stage_for(CacheAside).lines(script, keeps=Keeps.REPLICA)
    assert lines[-6:-4] == ["B GET waits", "failover cache 0"] and lines[-4].startswith("B fail (Connection")
    assert lines[-3:] == ["B read", "B GET -> v1", "B ok v1"]


def test_when_a_replica_can_take_over(stage_for: StageFor) -> None:
    """Only one that there is, from a server that is up, and at most as far behind as there were writes."""
    stage = stage_for(CacheAside)
    with stage.open("A read, A ...", keeps=Keeps.REPLICA) as execution:
        assert [behind for behind in range(4) if execution.is_enabled(Failover(behind))] == [0, 1]
    with stage.open("A read, A ...") as execution:
        assert not execution.is_enabled(Failover(0))
    with stage.open("kill", keeps=Keeps.REPLICA) as execution:
        assert not execution.is_enabled(Failover(0))


# ── frozen servers ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_server_works_in_the_order_in_which_it_was_asked(stage_for: StageFor) -> None:
    """Nothing is answered before, and nothing is lost."""
    stage = stage_for(CacheAside)
    assert stage.lines("A read, B read, freeze cache, B ., A ., thaw cache") == [
        "A read",
        "B read",
        "freeze cache",
        "B GET waits",
        "A GET waits",
        "thaw cache",
        "B GET -> nil at last",
        "A GET -> nil at last",
    ]


def test_a_frozen_server_does_what_a_dead_client_had_asked(stage_for: StageFor) -> None:
    """Its request lies in the server's socket: it is worked on when the server goes on, whoever has died."""
    lines = stage_for(CacheAside).lines("A read, A .., B write, freeze cache, A ., A crash, B ., thaw cache")
    assert lines[5:] == [
        "A SET waits",
        "A crash",
        "A info (the client crashed)",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "thaw cache",
        "A SET -> OK at last",
    ]


def test_all_that_a_dead_client_had_sent_is_worked_on(stage_for: StageFor) -> None:
    """What lies behind a request in the same socket comes behind it, and nothing asks for a decision."""

    class Piping:
        def __init__(self, env: Any) -> None:
            self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)

        def read(self, key: str) -> Any:
            return self.redis.pipeline(transaction=False).rpush(key, "1").rpush(key, "2").execute()[-1]

        def write(self, key: str, value: str) -> None: ...

    lines = stage_for(Piping).lines("A read, A .., A read, freeze cache, A ., A crash, thaw cache")
    assert lines[4:] == [
        "A read",
        "freeze cache",
        "A RPUSH waits",
        "A crash",
        "A info (the client crashed)",
        "thaw cache",
        "A RPUSH -> 3 at last",
        "A RPUSH -> 4 at last",
    ]


def test_a_frozen_server_does_not_notice_a_death(stage_for: StageFor, caches: ModuleType) -> None:
    """The locks of a client that has died are held until the server goes on."""
    lines = stage_for(caches.Transactional).lines(
        "A write, A ., B read, B ., B write, freeze database, A crash, B ., thaw database"
    )
    assert lines[-5:] == [
        "A crash",
        "A info v2 (the client crashed)",
        "B UPDATE waits",
        "thaw database",
        "B UPDATE -> UPDATE 1 at last",
    ]


def test_a_waiting_statement_of_the_dead_goes_on(stage_for: StageFor, caches: ModuleType) -> None:
    """It was at the server before the freeze, waits for a row there, and nobody can call it back."""
    lines = stage_for(caches.Delegating).lines(
        "A read, A ., B write, B ., freeze database, B crash, thaw database, A .", epilogue=True
    )
    assert lines[3:9] == [
        "B UPDATE waits",
        "freeze database",
        "B crash",
        "B info v2 (the client crashed)",
        "thaw database",
        "A COMMIT -> COMMIT",
    ]
    assert lines[9] == "somebody commits v2"


def test_a_frozen_server_answers_nobody_who_waits(stage_for: StageFor, caches: ModuleType) -> None:
    """Even if what it was waited for is free by now: its holder has lost the connection."""

    class Mixed(caches.Transactional):  # type: ignore[misc, name-defined]
        def read(self, key: str) -> Any:
            return self.redis.get(key)

    lines = stage_for(Mixed).lines(
        "A write, A ., B write, B ., freeze database, partition database A, A read, A ., thaw database"
    )
    assert lines[4:6] == ["freeze database", "A partition database refuse"]
    assert lines[6].startswith("A info v2 (OperationalError: ")
    assert lines[7:] == ["A read", "A GET -> nil", "A ok", "thaw database", "B UPDATE -> UPDATE 1 at last"]


def test_a_frozen_server_gives_nothing_up(stage_for: StageFor, caches: ModuleType) -> None:
    """The time-out of a blocking command is the server's to keep: it is late, as the server is."""
    lines = stage_for(caches.Queueing).lines("A read, A ., freeze cache, advance 6, thaw cache")
    assert lines[2:] == ["freeze cache", "advance 6", "thaw cache", "A BRPOP -> nil at last", "A ok"]


def test_a_request_to_a_frozen_server_that_its_client_gives_up_arrives(stage_for: StageFor) -> None:
    """The client has closed its connection; what it had sent is in the server's hands all the same."""

    class Hurried:
        def __init__(self, env: Any) -> None:
            self.redis = redis.asyncio.Redis.from_url(env.redis_url, decode_responses=True)

        async def read(self, key: str) -> Any:
            return await self.redis.get(key)

        async def write(self, key: str, value: str) -> None:
            async with asyncio.timeout(1):
                await self.redis.set(key, value)

    lines = stage_for(Hurried).lines(
        "A read, A ., A write, freeze cache, A ., advance 1, thaw cache, B read, B ."
    )
    assert lines[3:] == [
        "A write v2",
        "freeze cache",
        "A SET waits",
        "advance 1",
        "A info v2 (TimeoutError)",
        "thaw cache",
        "A SET -> OK at last",
        "B read",
        "B GET -> v2",
        "B ok v2",
    ]


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Freeze(CACHE), Freeze(DATABASE)], [Thaw(CACHE), Thaw(DATABASE)]),
        (
            "A read, freeze cache",
            [Thaw(CACHE), Kill(CACHE), Deliver(0)],
            [Freeze(CACHE), Invoke(1, "read", KEY)],
        ),
        (
            "A read, freeze cache",
            [Freeze(DATABASE)],
            [Deliver(0, 0, fate) for fate in Fate if fate != "delivered"],
        ),
        ("kill", [Freeze(DATABASE)], [Freeze(CACHE)]),
        ("freeze cache, kill", [Start(CACHE)], [Thaw(CACHE)]),
    ],
)
def test_when_a_server_can_freeze(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """While it runs, and once; then it tells nobody anything, and nobody new is let in.  A new one is not frozen."""
    with stage_for(CacheAside).open(script) as execution:
        assert [item for item in possible if not execution.is_enabled(item)] == []
        assert [item for item in impossible if execution.is_enabled(item)] == []


def test_a_request_to_a_server_that_dies_frozen_is_lost(stage_for: StageFor, caches: ModuleType) -> None:
    """It had not been worked on."""
    lines = stage_for(caches.Plain).lines("A write, freeze cache, A ., kill, start, B read, B .")
    assert lines[4].startswith("A info v2 (ConnectionError: ")
    assert lines[5:] == ["start cache", "B read", "B GET -> nil", "B ok"]


# ── the database ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_database_crash_loses_nothing_that_was_committed(stage_for: StageFor, caches: ModuleType) -> None:
    """And keeps nothing that was not: neither an open transaction nor a statement that waits for one."""
    lines = stage_for(caches.Transactional).lines(
        "A write, A .., A write, A ., B write, B ., kill database, start database", epilogue=True
    )
    assert lines[3:5] == ["A commits v2", "A ok v2"]
    assert [line.partition(" (")[0] for line in lines[8:13]] == [
        "B UPDATE waits",
        "kill database",
        "A info v3",
        "B info v4",
        "start database",
    ]
    assert lines[-2:] == ["A SELECT -> v2", "A ok v2"]


def test_while_the_database_is_down_clients_are_refused(stage_for: StageFor) -> None:
    """A hit needs no database; the epilogue starts it."""
    lines = stage_for(CacheAside).lines("A read, A ..., kill database, A read, A ., A write", epilogue=True)
    assert lines[6:9] == ["A read", "A GET -> v1", "A ok v1"]
    assert lines[9] == "A write v2" and lines[10].startswith("A fail v2 (OperationalError: ")
    assert lines[11:13] == ["-- heal --", "start database"]


def test_where_servers_cannot_be_controlled_none_is_killed(
    stage_for: StageFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are somebody else's; what is made by the network alone remains possible."""
    stage = stage_for(CacheAside)
    without = replace(stage.world.servers.features, control=False)
    monkeypatch.setattr(type(stage.world.servers), "features", property(lambda self: without))
    with stage.open("A read") as execution:
        assert not any(execution.is_enabled(Kill(server)) for server in ServerName)
        assert all(execution.is_enabled(Freeze(server)) for server in ServerName)
