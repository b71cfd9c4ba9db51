"""The world of runs: every run begins as the first one did, and nothing outlives its world."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def pids_of(world: World) -> dict[str, int]:
    """The processes that are kept, by client."""
    return {name: process.pid for (_, name), process in world._idle.items()}


@pytest.mark.parametrize(
    "left", ["A read, A ...", "A read, A ..., advance 1000", "kill", "A write, A .", "A read, A crash"]
)
def test_every_run_begins_anew(stage_for: StageFor, left: str) -> None:
    """Whatever the last one left: an empty cache that is up, the initial records, and the time 0."""
    stage = stage_for(CacheAside)
    with stage.open(left):
        pass
    assert stage.lines("A read, A ...") == [
        "A read",
        "A GET -> nil",
        "A SELECT -> v1",
        "A SET -> OK",
        "A ok v1",
    ]
    assert stage.play("A read").history.events[0].at_s == 0.0


def test_a_transaction_that_was_left_open_blocks_nobody(stage_for: StageFor, caches: ModuleType) -> None:
    """Its lock is gone when the next run begins."""
    stage = stage_for(caches.Transactional)
    with stage.open("A write, A ."):
        pass
    assert stage.lines("B write, B ..")[-1] == "B ok v2"


def test_scripts_and_functions_are_forgotten(stage_for: StageFor) -> None:
    """A cache that loads a script finds it missing in the next run, as on a new server."""
    stage = stage_for(CacheAside)
    with stage.open() as execution:
        admin = execution.world.cache_clock.admin
        sha = bytes(admin.call("SCRIPT", "LOAD", "return 1").value)
        assert admin.call("SCRIPT", "EXISTS", sha).value == (1,)
    with stage.open() as execution:
        assert execution.world.cache_clock.admin.call("SCRIPT", "EXISTS", sha).value == (0,)


def test_processes_are_kept_and_used_again(stage_for: StageFor) -> None:
    """Forking one anew costs more than a short run; only whoever compares histories wants new ones."""
    stage = stage_for(CacheAside)
    stage.play("A read, B read")
    first = pids_of(stage.world)
    stage.play("A read, B read")
    assert pids_of(stage.world) == first and set(first) == {"A", "B"}
    stage.runner.replay(stage.schedule("A read, B read"), anew=True)
    assert set(pids_of(stage.world).values()).isdisjoint(first.values())
    assert not any(map(alive, first.values()))


def test_a_process_with_something_left_is_not_used_again(stage_for: StageFor) -> None:
    """An open file, or a thread: what is left of a run would be seen by the next one."""

    class Keeping:
        kept: list[Any] = []  # noqa: RUF012 - this is the fault

        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> None:
            self.kept.append(open(os.devnull))  # noqa: SIM115 - and so is this

        def write(self, key: str, value: str) -> None: ...

    stage = stage_for(Keeping)
    pids = []
    for _ in range(2):
        stage.play("A read", probes_s=())
        pids.append(pids_of(stage.world)["A"])
    assert pids[0] != pids[1] and not alive(pids[0])


def test_reuse_can_be_switched_off(stage_for: StageFor) -> None:
    """Then no process outlives its run."""
    stage = stage_for(CacheAside)
    stage.world.end_idle()
    stage.world.reuse_processes = False
    try:
        stage.play("A read, B read")
        assert pids_of(stage.world) == {}
    finally:
        stage.world.reuse_processes = True


def test_nothing_outlives_a_world(chaos_servers: EmbeddedServers) -> None:
    """Its clients and its ports are gone; the servers are whoever's they were."""
    with World(CacheAside, chaos_servers) as world:
        run = Runner(world).drive(Scenario(), lambda execution: None)
        assert run.problem is None
        (client,) = pids_of(world).values()
        assert alive(client)
    assert not alive(client)
    assert chaos_servers.cache.running and chaos_servers.database.running


def test_descriptors_are_given_back(chaos_servers: EmbeddedServers) -> None:
    """A world that is closed leaves no open file behind."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with World(CacheAside, chaos_servers) as world:
        Runner(world).drive(Scenario(), lambda execution: None)
    before = descriptors()
    for _ in range(2):
        with World(CacheAside, chaos_servers) as world:
            Runner(world).drive(Scenario(), lambda execution: None)
    assert descriptors() == before


def test_the_ports_of_every_client_are_there_from_the_start(stage_for: StageFor) -> None:
    """Also those of a client that is started while the cache is down: it is refused like the others."""
    with stage_for(CacheAside).open("kill, C read", clients=3) as execution:
        said = stage_for(CacheAside).dialogue(execution.recorder.history())
    assert said[-1].startswith("C fail (ConnectionError: ") and "refused" in said[-1]


def test_a_session_that_waits_for_itself_is_told_apart(stage_for: StageFor, caches: ModuleType) -> None:
    """Who only waits for another one is not deadlocked."""
    with stage_for(caches.Transactional).open("A write, A ., B write, B .") as execution:
        world = execution.world
        (waiting,) = [world.session_pid(item.link.upstream) for item in world.wire.waiting()]
        assert world.blocked_by_lock(waiting) and not world.deadlocked(waiting)


@pytest.mark.parametrize(
    "left",
    [
        *(
            "kill database",
            "A read, freeze cache",
            "A read, partition cache silent",
            "A read, A .., A delayed",
        ),
        *("A read, A pause", "A skew 60", "lag, B write, B .", "A write, A ., kill database, start database"),
    ],
)
def test_every_run_begins_anew_after_any_fault(stage_for: StageFor, left: str) -> None:
    """Both servers run and answer everybody, clocks agree, nothing is late and nobody lags."""
    stage = stage_for(CacheAside)
    with stage.open(left):
        pass
    lines = stage.lines("A read, A ..., B write, B .., B read, B ...")
    assert [line for line in lines if " ok" in line] == ["A ok v1", "B ok v2", "B ok v2"]
    assert stage.world.records.behind is None and stage.world.clock.skew_ns(0) == 0


def test_a_database_that_was_killed_comes_back_with_its_rows(stage_for: StageFor) -> None:
    """At the same address; the director's own sessions are new ones."""
    with stage_for(CacheAside).open("A write, A .") as execution:
        world = execution.world
        before = (world.watcher, world.servers.database.address)
        world.kill_database()
        assert not world.database_is_up() and not world.servers.database.running
        world.start_database()
        assert world.database_is_up() and world.watcher is not before[0]
        assert world.servers.database.address == before[1]
        assert world.watcher.query("select value from records").rows == (("v2",),)
