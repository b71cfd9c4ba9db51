"""One core for all who take turns, and the old cores for the harness when it is done."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.pinning import one_core, stay_on_this_core


def test_harness_and_servers_share_a_core(chaos_servers: EmbeddedServers) -> None:
    """Inside the block; afterwards the harness has all its cores again, even if something went wrong."""
    before = os.sched_getaffinity(0)
    pids = (chaos_servers.cache.pid, chaos_servers.database.pid)
    with pytest.raises(ZeroDivisionError), one_core(chaos_servers):
        cores = os.sched_getaffinity(0)
        assert len(cores) == 1 and cores <= before
        assert [os.sched_getaffinity(pid) for pid in pids if pid is not None] == [cores, cores]
        stay_on_this_core(chaos_servers.cache.pid)
        stay_on_this_core(None)
        _ = 1 // 0
    assert os.sched_getaffinity(0) == before


def test_a_server_of_another_user_runs_where_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is not ours to say, which costs speed and nothing else; the harness itself is kept."""
    moved: list[int] = []

    def place(pid: int, cores: set[int]) -> None:
        if pid == 1:
            raise PermissionError(1, "Operation not permitted")
        moved.append(pid)

    theirs: Any = SimpleNamespace(cache=SimpleNamespace(pid=1), database=SimpleNamespace(pid=None))
    monkeypatch.setattr(os, "sched_setaffinity", place)
    with one_core(theirs):
        stay_on_this_core(1)
    assert moved == [0, 0]


@pytest.mark.parametrize(("worker", "turn"), [("gw0", 0), ("gw1", 1), ("gw7", 7)])
def test_parallel_workers_take_turns(monkeypatch: pytest.MonkeyPatch, worker: str, turn: int) -> None:
    """Each worker of pytest-xdist gets the core of its number, as far as there are cores."""
    cores = sorted(os.sched_getaffinity(0))
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    nobody: Any = SimpleNamespace(cache=SimpleNamespace(pid=None), database=SimpleNamespace(pid=None))
    with one_core(nobody):
        assert os.sched_getaffinity(0) == {cores[turn % len(cores)]}


def test_where_cores_cannot_be_chosen_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems than Linux have no such call."""
    monkeypatch.delattr(os, "sched_setaffinity")
    nobody: Any = SimpleNamespace()
    with one_core(nobody):
        stay_on_this_core(1)
