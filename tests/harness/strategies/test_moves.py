"""Moves: what a strategy can do next, and which faults each condition allows."""

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis

from cacheproof.harness.strategies.moves import (
    KEEPS,
    Move,
    begin,
    begins,
    begun_badly,
    deliveries,
    faults,
    is_free,
    is_sensible,
    mending,
    take,
    wakes,
)
from cacheproof.models.contract import Condition
from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Deliver,
    Expire,
    Failover,
    Fate,
    Freeze,
    Heal,
    Invoke,
    Kill,
    Replicate,
    Restart,
    Resume,
    ServerName,
    Start,
    Survived,
    Thaw,
    decision_to_dict,
)
from cacheproof.models.schedule import Keeps
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
ALL_AT_ONCE = (Kill(ServerName.CACHE), Start(ServerName.CACHE))
LOST = [(Deliver(0, 0, Fate.REQUEST_LOST),), (Deliver(0, 0, Fate.REPLY_LOST),)]
PAUSES = [(Advance(100.0),)]


@pytest.mark.parametrize(
    ("condition", "script", "expected"),
    [
        (Condition.QUIET, "A read", []),
        (Condition.CONCURRENT, "A read, B write", []),
        (Condition.EXPIRY, "", []),
        (Condition.EXPIRY, "A read", PAUSES),
        (Condition.EXPIRY, "A read, A ...", [(Expire("user:1"),)]),
        (Condition.EXPIRY, "A read, A ..., A write", [(Expire("user:1"),), *PAUSES]),
        (Condition.APP_CRASH, "", []),
        (Condition.APP_CRASH, "A read, B write", [(Crash(0),), (Crash(1),)]),
        (Condition.APP_CRASH, "A read, A crash", []),
        (Condition.CACHE_CRASH, "", []),
        (Condition.CACHE_CRASH, "A read", [ALL_AT_ONCE]),
        (Condition.LOST_MESSAGES, "", []),
        (Condition.LOST_MESSAGES, "A read", LOST),
    ],
)
def test_the_faults_of_a_condition(
    stage_for: StageFor, condition: Condition, script: str, expected: list[Move]
) -> None:
    """Only its own, only what can happen now, in a fixed order."""
    with stage_for(CacheAside).open(script) as execution:
        assert faults(execution, condition) == expected


def named(execution: Any, condition: Condition) -> list[str]:
    """The faults that are possible now, as short words."""
    return [", ".join(_word(decision) for decision in move) for move in faults(execution, condition)]


def _word(decision: Any) -> str:
    given = decision_to_dict(decision)
    return " ".join([given.pop("do"), *(str(value) for name, value in given.items() if name != "pick")])


REFUSED_SET = ["busy", "loading", "moved", "oom", "readonly"]
REFUSED_UPDATE = ["deadlock", "statement-timeout"]
TWICE = "A read, A ..., B write, B .., B read, B ..."
DOWN = ["partition cache", "partition cache silent"]


def refused(errors: list[str]) -> list[str]:
    return [f"deliver 0 refused {error}" for error in errors]


@pytest.mark.parametrize(
    ("condition", "script", "keeps", "expected"),
    [
        (Condition.EVICTION, "", Keeps.NOTHING, []),
        (Condition.EVICTION, "A read, A ...", Keeps.NOTHING, ["evict user:1", "flush", "flush scripts"]),
        (Condition.EVICTION, "A read, A ..., kill", Keeps.NOTHING, []),
        (Condition.APP_PAUSE, "A read, B read, B ...", Keeps.NOTHING, ["pause 0"]),
        (Condition.APP_PAUSE, "A read, A pause", Keeps.NOTHING, ["advance 100.0"]),
        (Condition.CLOCK_SKEW, "", Keeps.NOTHING, []),
        (Condition.CLOCK_SKEW, "B read", Keeps.NOTHING, ["skew 1 3600.0", "skew 1 -3600.0"]),
        (Condition.CACHE_RESTART, "", Keeps.SNAPSHOTS, []),
        (
            Condition.CACHE_RESTART,
            "A read, A ...",
            Keeps.SNAPSHOTS,
            [f"kill cache, start cache snapshot{behind}" for behind in ("", " 1")],
        ),
        (
            Condition.POWER_LOSS,
            TWICE,
            Keeps.EVERYSEC,
            [f"kill cache, start cache synced{behind}" for behind in ("", " 1", " 2")],
        ),
        (Condition.FAILOVER, "A read, A ...", Keeps.NOTHING, []),
        (Condition.FAILOVER, "A read, A ...", Keeps.REPLICA, ["failover 0", "failover"]),
        (Condition.CACHE_DOWN, "", Keeps.NOTHING, []),
        (Condition.CACHE_DOWN, "A read", Keeps.NOTHING, [*DOWN, "freeze cache"]),
        (Condition.CACHE_DOWN, "A read, freeze cache", Keeps.NOTHING, DOWN),
        (Condition.PARTITION, "A read, A ...", Keeps.NOTHING, []),
        (
            Condition.PARTITION,
            "A read, partition database A",
            Keeps.NOTHING,
            ["partition cache 0", "partition cache 0 silent", "partition cache 0 replies"],
        ),
        (Condition.DELAYED_MESSAGES, "", Keeps.NOTHING, []),
        (Condition.DELAYED_MESSAGES, "A read", Keeps.NOTHING, ["deliver 0 delayed"]),
        (Condition.SERVER_ERRORS, "A read", Keeps.NOTHING, refused(REFUSED_SET[:3])),
        (Condition.SERVER_ERRORS, "A read, A ..", Keeps.NOTHING, refused(REFUSED_SET)),
        (Condition.SERVER_ERRORS, "A write", Keeps.NOTHING, refused(REFUSED_UPDATE)),
        (Condition.DATABASE_CRASH, "", Keeps.NOTHING, []),
        (Condition.DATABASE_CRASH, "A read", Keeps.NOTHING, ["kill database, start database"]),
        (Condition.REPLICA_LAG, "", Keeps.NOTHING, []),
        (Condition.REPLICA_LAG, "A read", Keeps.NOTHING, ["lag"]),
        (Condition.REPLICA_LAG, "A read, lag", Keeps.NOTHING, []),
    ],
)
def test_the_moves_of_the_other_conditions(
    stage_for: StageFor, condition: Condition, script: str, keeps: Keeps, expected: list[str]
) -> None:
    """Where something is about to happen; nothing that could not, and nothing twice."""
    with stage_for(CacheAside).open(script, keeps=keeps) as execution:
        assert named(execution, condition) == expected


@pytest.mark.parametrize(
    ("condition", "script", "ends"),
    [
        (Condition.APP_PAUSE, "A read, A pause", [Resume(0)]),
        (Condition.DELAYED_MESSAGES, "A read, A delayed, B read", [Arrive(0)]),
        (Condition.PARTITION, "A read, partition cache A", [Heal(ServerName.CACHE)]),
        (Condition.CACHE_DOWN, "A read, freeze cache, A .", [Thaw(ServerName.CACHE), Advance(5.0)]),
        (Condition.REPLICA_LAG, "A read, lag", [Replicate()]),
        (Condition.APP_CRASH, "A read, A pause, partition cache", []),
        (Condition.PARTITION, "A read", []),
    ],
)
def test_what_ends_a_fault_costs_nothing(
    stage_for: StageFor, condition: Condition, script: str, ends: list[Any]
) -> None:
    """It is offered as long as the fault is there, under the conditions whose faults go on."""
    with stage_for(CacheAside).open(script) as execution:
        assert mending(execution, condition) == [(end,) for end in ends]


def test_an_operation_begins_on_a_client_that_is_free(stage_for: StageFor) -> None:
    """One that is idle, runs, and would not have to connect to somebody who does not answer."""
    with stage_for(CacheAside).open(
        "A read, A ..., B read, B pause, C read, C crash", clients=4
    ) as execution:
        assert [is_free(execution, client) for client in range(4)] == [True, False, False, True]
        execution.take(Freeze(ServerName.CACHE))
        assert [is_free(execution, client) for client in range(4)] == [True, False, False, False]


def test_what_a_cache_keeps_suits_its_condition(stage_for: StageFor) -> None:
    """With it, each of these conditions has faults that are possible; with nothing kept, they are not."""
    for condition, keeps in KEEPS.items():
        for kept in (keeps, Keeps.NOTHING):
            with stage_for(CacheAside).open("A read, A ...", keeps=kept) as execution:
                done = []
                for move in faults(execution, condition)[:1]:
                    take(execution, move)
                    done = execution.taken[-len(move) :]
                assert (done in [list(move) for move in faults_of(condition)]) is (kept is keeps)


def faults_of(condition: Condition) -> list[Move]:
    """The first fault of each condition that is about what a cache keeps."""
    killed = Kill(ServerName.CACHE)
    return {
        Condition.CACHE_RESTART: [(killed, Start(ServerName.CACHE, Survived.SNAPSHOT))],
        Condition.POWER_LOSS: [(killed, Start(ServerName.CACHE, Survived.SYNCED))],
        Condition.FAILOVER: [(Failover(0),)],
    }[condition]


def test_every_condition_has_its_faults() -> None:
    """A condition that is added has to say which moves make it."""
    from cacheproof.harness.strategies import moves

    assert set(moves._MOVES) == {condition for condition in Condition if condition.faults}


def test_a_worker_can_crash_and_come_back(stage_for: StageFor, caches: ModuleType) -> None:
    """A worker is restarted by a move, a client is not: nobody waits for it."""
    stage = stage_for(caches.Queueing)
    with stage.open("A read, A crash", workers=1) as execution:
        assert faults(execution, Condition.APP_CRASH) == [(Crash(2),)]
        take(execution, (Crash(2),))
        assert faults(execution, Condition.APP_CRASH) == [(Restart(2),)]


def test_a_client_that_only_waits_is_not_crashed(stage_for: StageFor, caches: ModuleType) -> None:
    """A crash is a move where something is about to be sent; a worker that waits for work has nothing."""
    with stage_for(caches.Queueing).open("Q .", workers=1) as execution:
        assert faults(execution, Condition.APP_CRASH) == []


def test_deliveries_come_in_order_of_client_and_pick(stage_for: StageFor, caches: ModuleType) -> None:
    """One for each pending exchange."""
    with stage_for(caches.Threaded).open("B read, A write") as execution:
        assert deliveries(execution) == [(Deliver(0),), (Deliver(1, 0),), (Deliver(1, 1),)]


LOCKING = {"operations": ("acquire", "release")}


def test_clients_begin_what_their_scenario_says(stage_for: StageFor) -> None:
    """Each operation on each key, in the order in which they are listed; then those that take no key."""
    scenario = {"operations": ("warm_up", "increment", "read"), "numbers": True}
    with stage_for(CacheAside).open(**scenario) as execution:
        assert [move[0] for move in begins(execution, 1, ("user:1", "user:2"))] == [
            Invoke(1, "increment", "user:1"),
            Invoke(1, "read", "user:1"),
            Invoke(1, "increment", "user:2"),
            Invoke(1, "read", "user:2"),
            Invoke(1, "warm_up"),
        ]


def test_who_holds_a_lock_releases_it(stage_for: StageFor, caches: ModuleType) -> None:
    """And acquires no other meanwhile; who holds none has none to release."""
    keys = ("user:1", "user:2")
    with stage_for(caches.Locked).open("A acquire, A .", keys=keys, **LOCKING) as execution:
        calls = [[move[0] for move in begins(execution, client, keys)] for client in (0, 1)]
        assert calls == [[Invoke(0, "release", "user:1")], [Invoke(1, "acquire", key) for key in keys]]
        sensible = [is_sensible(execution, client, f) for client in (0, 1) for f in ("acquire", "release")]
        assert sensible == [False, True, True, False] and is_sensible(execution, 0, "read")


@pytest.mark.parametrize(
    ("condition", "fates"),
    [
        (Condition.LOST_MESSAGES, [Fate.REQUEST_LOST, Fate.REPLY_LOST]),
        (Condition.DELAYED_MESSAGES, [Fate.DELAYED]),
        (Condition.APP_CRASH, []),
        (Condition.CONCURRENT, []),
    ],
)
def test_a_first_exchange_may_be_lost_as_well(
    stage_for: StageFor, condition: Condition, fates: list[Fate]
) -> None:
    """In whatever way its condition is about; but where clients only read and write, it never was."""
    starts: list[Move] = [(Deliver(1),), (Invoke(0, "increment", "user:1"), Deliver(0))]
    with stage_for(CacheAside).open(operations=("increment",), numbers=True) as execution:
        expected = [(Invoke(0, "increment", "user:1"), Deliver(0, 0, fate)) for fate in fates]
        assert begun_badly(execution, condition, starts) == expected
    with stage_for(CacheAside).open() as execution:
        assert begun_badly(execution, condition, starts) == []


def test_an_operation_begins_with_its_first_exchange(stage_for: StageFor) -> None:
    """The latest possible invocation: nothing happens between it and the first delivery."""
    with stage_for(CacheAside).open() as execution:
        take(execution, begin(execution, 1, "read", "user:1"))
        assert execution.taken == [Invoke(1, "read", "user:1"), Deliver(1)]


def test_of_a_move_only_what_is_enabled_is_taken(stage_for: StageFor) -> None:
    """An operation that returns without asking anybody has nothing to deliver."""

    class Silent:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> None: ...

        def write(self, key: str, value: str) -> None: ...

    with stage_for(Silent).open() as execution:
        take(execution, begin(execution, 0, "read", "user:1"))
        assert execution.taken == [Invoke(0, "read", "user:1")]


CONNECTED = "A write, A ., B write, B ."
SILENT = f"{CONNECTED}, A write, partition cache A silent"


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        (CONNECTED, []),
        (f"{CONNECTED}, A write, B write, B .", []),
        (f"{CONNECTED}, partition cache A silent", []),
        (SILENT, [0.2]),
        (f"{CONNECTED}, A write, freeze cache, A .", [0.2]),
        (f"{SILENT}, advance 0.15", [0.05]),
        (f"{SILENT}, advance 1", []),
        (f"{SILENT}, heal cache A", []),
    ],
)
def test_time_passes_until_somebody_gives_up(
    stage_for: StageFor, caches: ModuleType, script: str, seconds: list[float]
) -> None:
    """To the moment itself, while a fault keeps something back from an operation, and at no other time."""
    with stage_for(caches.Impatient).open(script) as execution:
        moves = mending(execution, Condition.PARTITION)
        assert [move.seconds for (move,) in moves if isinstance(move, Advance)] == seconds
        assert mending(execution, Condition.CONCURRENT) == []


def test_who_never_gives_up_waits_for_long(stage_for: StageFor) -> None:
    """Without a time-out, a client is seen to wait; once is enough."""

    class Patient:
        def __init__(self, env: Any) -> None:
            self.redis = redis.Redis.from_url(env.redis_url, socket_timeout=None)

        def read(self, key: str) -> Any:
            return self.redis.get(key)

        def write(self, key: str, value: str) -> None:
            self.redis.set(key, value)

    with stage_for(Patient).open(SILENT) as execution:
        assert (Advance(100.0),) in mending(execution, Condition.PARTITION)
        take(execution, (Advance(100.0),))
        assert mending(execution, Condition.PARTITION) == [(Heal(ServerName.CACHE),)]


def test_a_time_that_is_over_already_is_over_at_once(stage_for: StageFor, caches: ModuleType) -> None:
    """The fault came after the client had waited for longer than it would: the least of time is enough."""
    script = f"{CONNECTED}, A write, advance 1, partition cache A silent"
    with stage_for(caches.Impatient).open(script) as execution:
        (move,) = [move for move in mending(execution, Condition.PARTITION) if isinstance(move[0], Advance)]
        take(execution, move)
        assert execution.operation(0) is None


class Polling(CacheAside):
    """Its worker looks every second."""

    def work(self) -> None:
        while True:
            self.redis.rpop("changes")
            time.sleep(1)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        ("Q .", []),
        ("Q ., A read", [(Advance(1.0),)]),
        ("Q ., A read, A ...", [(Advance(1.0),)]),
        ("Q ., A read, advance 0.25", []),
        ("Q ., A read, advance 0.25, A .", [(Advance(0.75),)]),
        ("Q ., A read, advance 1", []),
        ("Q ., A read, advance 1, Q .", []),
        ("A read", []),
        ("Q ., A read, Q crash", []),
    ],
)
def test_a_worker_that_sleeps_wakes_once_a_client_has_done_something(
    stage_for: StageFor, script: str, expected: list[Move]
) -> None:
    """Not over and over: between two wakings a client has taken a step.  One that waits for a server does not sleep."""
    with stage_for(Polling).open(script, workers=1) as execution:
        assert wakes(execution) == expected


def test_a_client_that_sleeps_is_left_alone(stage_for: StageFor, caches: ModuleType) -> None:
    """Nor is a worker woken that waits for an element."""
    with stage_for(caches.Queueing).open("Q ., A read", workers=1) as execution:
        assert wakes(execution) == []
