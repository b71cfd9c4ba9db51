"""Both servers in containers: they answer, and nothing of them outlives the harness, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.chaos.servers import containers as module
from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.engine import Engine, Kind, PortInUse
from cacheproof.chaos.servers.inquiry import Product
from cacheproof.chaos.servers.owner import Owner, this_process
from cacheproof.chaos.servers.reaper import OWNER, PAIR
from cacheproof.chaos.servers.services import SERVICES
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

Watch = Callable[[int], Callable[[], bool]]
PATIENCE_S = 30.0

HARNESS = """
import sys
from pathlib import Path
from cacheproof.chaos.servers.containers import ContainerServers
with ContainerServers(within=Path(sys.argv[1])) as servers:
    print(servers._name, servers.folder, servers._watcher._process.pid, flush=True)
    if sys.stdin.readline() == "raise\\n":
        raise ValueError("planted")
"""

SEARCH = """
import sys
from cacheproof import CACHE_ASIDE, verify
from cacheproof.patterns.cache_aside import CacheAside
verify(CacheAside, CACHE_ASIDE(), profile="thorough", backend="docker", jobs=int(sys.argv[1]),
       progress=lambda what, runs: print(runs, flush=True))
"""


# -- at an engine that is none -----------------------------------------------------------------------------


@pytest.fixture
def api(docker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine with both images, whose servers answer at once and have no import mode."""
    fake = docker.FakeApi()
    fake.images_here |= {"redis:7": [], "postgres:16": ["PG_MAJOR=16"]}
    services = {
        name: replace(service, answers=lambda _: not fake.dies, product=lambda _: Product("Fake", "1"))
        for name, service in SERVICES.items()
    }
    for name in ("CACHEPROOF_CACHE_IMAGE", "CACHEPROOF_DATABASE_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "SERVICES", services)
    monkeypatch.setattr(module, "connect_engine", lambda: Engine(fake, "fake"))
    monkeypatch.setattr(module, "has_import_mode", lambda _: False)
    return fake


def is_empty(api: Any) -> bool:
    return not any(api.made.values())


def test_what_is_made_is_labelled_and_goes(api: Any, open_folder: Path) -> None:
    """Two containers, two volumes and a network with owner and pair; none is left, and no folder."""
    with ContainerServers(within=open_folder) as servers:
        assert [len(things) for things in api.made.values()] == [2, 1, 2]
        labels = [thing["Labels"] for things in api.made.values() for thing in things.values()]
        assert {label[OWNER] for label in labels} == {str(this_process())}
        assert len({label[PAIR] for label in labels}) == 1
        assert servers.features.import_mode is False and servers.features.control
        images = {one["Image"] for one in api.made["container"].values()}
        assert images == {"redis:7", "postgres:16"}
        assert list(open_folder.iterdir()) == [servers.folder]
        before = servers.cache
        servers.start()
        assert servers.cache is before
    assert is_empty(api) and list(open_folder.iterdir()) == [] and api.closed
    servers.stop()


def test_after_stop_everything_begins_anew(api: Any, open_folder: Path) -> None:
    """With other ports and another name."""
    servers = ContainerServers(within=open_folder)
    servers.start()
    first = (servers.cache.address, servers.folder)
    servers.stop()
    with servers:
        assert first[1] != servers.folder and servers.cache.running


def test_images_are_chosen_by_option_or_environment(
    api: Any, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a second pair has the same."""
    api.images_here |= {"redis:8": [], "postgres:17": []}
    monkeypatch.setenv("CACHEPROOF_DATABASE_IMAGE", "postgres:17")
    first = ContainerServers(cache_image="redis:8", within=open_folder)
    with first, first.another() as second:
        assert second is not first
        images = sorted(one["Image"] for one in api.made["container"].values())
        assert images == ["postgres:17", "postgres:17", "redis:8", "redis:8"]


def test_what_a_killed_harness_left_goes_first(api: Any, open_folder: Path) -> None:
    """And only that."""
    me = this_process()
    engine = Engine(api, "fake")
    engine.create_volume("left", {OWNER: str(replace(me, started=me.started - 1)), PAIR: "p"})
    engine.create_volume("somebodys", {OWNER: str(replace(me, machine="other")), PAIR: "q"})
    with ContainerServers(within=open_folder):
        assert "left" not in api.made["volume"]
    assert list(api.made["volume"]) == ["somebodys"]


def test_mending(api: Any, open_folder: Path) -> None:
    """What has ended is started again; if its container is gone, everything is made anew."""
    with ContainerServers(within=open_folder) as servers:
        cache, database = servers.cache, servers.database
        api.made["container"][cache.id]["Running"] = False
        servers.mend()
        assert servers.cache is cache and cache.running
        del api.made["container"][database.id]
        servers.mend()
        assert servers.database is not database and servers.database.running
        assert [len(things) for things in api.made.values()] == [2, 1, 2]
    assert is_empty(api)


def test_an_image_that_cannot_be_had(api: Any, open_folder: Path) -> None:
    """Nothing has been made by then."""
    del api.images_here["postgres:16"]
    with pytest.raises(
        EnvironmentFault, match="image 'postgres:16' is missing.*run: cacheproof images build"
    ):
        ContainerServers(within=open_folder).start()
    assert is_empty(api) and list(open_folder.iterdir()) == [] and api.closed


def test_a_server_that_dies_at_once(api: Any, open_folder: Path) -> None:
    """Its log is shown, and everything is removed."""
    api.dies = True
    with pytest.raises(
        EnvironmentFault, match="ended with exit code 1 instead of answering; see the end of its log"
    ):
        ContainerServers(within=open_folder).start()
    assert is_empty(api) and list(open_folder.iterdir()) == []


def test_a_port_that_somebody_else_got_first(api: Any, open_folder: Path, docker: ModuleType) -> None:
    """Another one is tried: nobody knows the address yet.  Thrice in vain is a fault."""
    taken = docker.refused("Bind for 127.0.0.1:1 failed: port is already allocated")
    api.errors["start"] = [taken, taken]
    with ContainerServers(within=open_folder):
        assert [len(things) for things in api.made.values()] == [2, 1, 2]
    api.errors["start"] = [taken] * 3
    with pytest.raises(PortInUse):
        ContainerServers(within=open_folder).start()
    assert is_empty(api) and list(open_folder.iterdir()) == []


def test_an_engine_that_goes_away_at_the_end(api: Any, open_folder: Path) -> None:
    """A fault by itself; beside an error that is on its way, a note to that one.  The folder goes in any case."""
    with (
        pytest.raises(EnvironmentFault, match="no Docker engine answers"),
        ContainerServers(within=open_folder),
    ):
        api.errors["list container"] = [OSError(104, "reset")]
    with pytest.raises(ZeroDivisionError) as caught, ContainerServers(within=open_folder):
        api.errors["list container"] = [OSError(104, "reset")]
        _ = 1 // 0
    assert "no Docker engine answers" in caught.value.__notes__[0]
    assert list(open_folder.iterdir()) == []


def test_a_start_that_is_interrupted(api: Any, open_folder: Path) -> None:
    """Ctrl-C in the middle leaves nothing, and an engine that is gone by then does not hide it."""
    api.errors["create_container"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        ContainerServers(within=open_folder).start()
    assert is_empty(api) and list(open_folder.iterdir()) == []
    api.errors["create_container"] = [KeyboardInterrupt()]
    api.errors["list network"] = [None, OSError(104, "reset")]
    with pytest.raises(KeyboardInterrupt):
        ContainerServers(within=open_folder).start()


def test_without_a_folder(api: Any, open_folder: Path) -> None:
    """A disk that takes none is a fault before anything is made."""
    with pytest.raises(EnvironmentFault, match="no folder for servers can be made"):
        ContainerServers(within=open_folder / "none").start()
    assert is_empty(api)


def test_where_no_watcher_can_be_started(
    api: Any, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would clean up after us then: a fault, and no folder."""

    def refuse(*_: Any) -> None:
        raise EnvironmentFault("no process can be started")

    monkeypatch.setattr(module, "Watcher", refuse)
    with pytest.raises(EnvironmentFault, match="no process can be started"):
        ContainerServers(within=open_folder).start()
    assert is_empty(api) and list(open_folder.iterdir()) == []


def test_a_forked_child_only_lets_go(api: Any, open_folder: Path) -> None:
    """`stop` in it removes nothing, and does not end the watcher."""
    with ContainerServers(within=open_folder) as servers:
        (fd,) = servers.lifeline_fds
        child = os.fork()
        if child == 0:
            servers.stop()
            try:
                os.fstat(fd)
            except OSError:
                os._exit(0 if api.made["container"] and servers.lifeline_fds == () else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert servers.cache.running and servers.folder.is_dir()
        assert servers._watcher is not None and servers._watcher._process.poll() is None


# -- at a real one -----------------------------------------------------------------------------------------


def test_both_servers_answer(containers: ContainerServers) -> None:
    """On ports of 127.0.0.1, under the names that the embedded servers have."""
    containers.mend()
    host, port = containers.cache.address.sockaddr
    with redis.Redis(str(host), int(port)) as line:
        assert line.ping()
    host, port = containers.database.address.sockaddr
    options: dict[str, Any] = {"host": host, "port": port, "user": "cacheproof", "dbname": "records"}
    with closing(psycopg.connect(**options)) as records:
        row = records.execute("select current_database(), current_user, current_setting('fsync')").fetchone()
        assert row == ("records", "cacheproof", "off")


def everything(engine: Engine) -> set[str]:
    """Containers, networks and volumes with our label."""
    return {f"{kind} {name}" for kind in Kind for name in engine.labelled(kind, OWNER)}


@contextmanager
def harness(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A harness in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def running(engine: Engine, images: None, open_folder: Path, watch: Watch) -> Iterator[Any]:
    """A harness with its pair, folder and watcher, and what was at the engine before."""
    before = everything(engine)
    with harness(HARNESS, str(open_folder)) as process:
        assert process.stdout and process.stderr
        words = process.stdout.readline().split()
        assert len(words) == 3, process.stderr.read()
        found = SimpleNamespace(process=process, pair=words[0], folder=Path(words[1]), watcher=int(words[2]))
        found.watcher_ended = watch(found.watcher)
        found.of_pair = [*engine.labelled(Kind.CONTAINER, f"{PAIR}={found.pair}")]
        assert len(found.of_pair) == 2 and len(everything(engine) - before) == 5
        found.is_nothing_left = lambda: everything(engine) == before and not found.folder.exists()
        yield found


def test_a_killed_harness_leaves_nothing(running: Any) -> None:
    """After SIGKILL of its process group the watcher removes everything, and ends."""
    os.killpg(running.process.pid, signal.SIGKILL)
    assert running.watcher_ended()
    assert running.is_nothing_left()


def test_an_interrupted_harness_leaves_nothing(running: Any) -> None:
    """After Ctrl-C, which goes to the whole process group."""
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.process.wait(30) != 0
    assert running.watcher_ended() and running.is_nothing_left()


def test_a_failed_harness_leaves_nothing(running: Any) -> None:
    """After an exception inside the context."""
    running.process.communicate("raise\n", timeout=30)
    assert running.process.returncode == 1
    assert running.watcher_ended() and running.is_nothing_left()


def test_harness_and_watcher_killed(running: Any, open_folder: Path) -> None:
    """With the watcher killed as well all is there still; the next start removes it, and what it makes itself."""
    os.kill(running.watcher, signal.SIGKILL)
    running.process.kill()
    running.process.wait()
    assert running.watcher_ended() and running.folder.exists() and not running.is_nothing_left()
    with ContainerServers(within=open_folder) as servers:
        assert list(open_folder.glob("cacheproof-*")) == [servers.folder]
    assert running.is_nothing_left()


def test_a_harness_that_runs_is_left_alone(running: Any, engine: Engine, open_folder: Path) -> None:
    """Another start beside it removes nothing of it."""
    with ContainerServers(within=open_folder):
        assert list(engine.labelled(Kind.CONTAINER, f"{PAIR}={running.pair}")) == running.of_pair
    assert running.folder.exists()
    running.process.communicate("\n", timeout=30)
    assert running.process.returncode == 0 and running.is_nothing_left()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_search_that_is_killed(engine: Engine, images: None, open_folder: Path, jobs: str) -> None:
    """SIGKILL to a search with everything that it started, its watchers too: the next start leaves nothing."""
    before = everything(engine)
    with harness(SEARCH, jobs) as process:
        assert process.stdout
        while (line := process.stdout.readline()) and int(line) < 20:
            continue
        assert process.poll() is None
        give_up = time.monotonic() + PATIENCE_S
        while len(left := everything(engine) - before) < 5 * int(
            jobs
        ):  # the second half may still be starting
            assert time.monotonic() < give_up
        assert len(left) == 5 * int(jobs)
        for watcher in watchers_of(engine):
            os.kill(watcher, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        expect_ended(engine)
    with ContainerServers(within=open_folder):
        assert not everything(engine) & left
    assert everything(engine) == before


def owners(engine: Engine) -> set[Owner]:
    """All owners, but us."""
    labels = [label for kind in Kind for label in engine.labelled(kind, OWNER).values()]
    return {owner for label in labels if (owner := Owner.parse(label)) is not None} - {this_process()}


def watchers_of(engine: Engine) -> list[int]:
    """The watchers of all owners but ours: their children which are that program."""
    found = []
    pids = {owner.pid for owner in owners(engine)}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if "cacheproof.chaos.servers.watcher" in words and parent in pids:
            found.append(int(entry.name))
    return found


def expect_ended(engine: Engine) -> None:
    """Return when every owner but us has ended: the kernel kills the other half of a search with the first."""
    me = this_process()
    for owner in owners(engine):
        while not owner.is_gone(me):
            continue


def test_nothing_is_running_before_the_start() -> None:
    """Asked too early."""
    with pytest.raises(HarnessError, match="containers are not running; start them first, or use `with`"):
        _ = ContainerServers().cache
    assert ServerName.CACHE in SERVICES
