"""Both embedded servers: they answer, and nothing of them outlives the harness, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
import redis

from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.models.errors import EnvironmentFault, HarnessError

Ended = Callable[[], bool]
Watch = Callable[[int], Ended]

HARNESS = """
import sys
from pathlib import Path
from cacheproof.chaos.servers.embedded import EmbeddedServers
with EmbeddedServers(within=Path(sys.argv[1])) as servers:
    print(servers.cache.pid, servers.database.pid, servers.folder, flush=True)
    if sys.stdin.readline() == "raise\\n":
        raise ValueError("planted")
"""


@dataclass
class Harness:
    """A harness in a process of its own, and functions that tell whether its processes have ended."""

    process: subprocess.Popen[str]
    folder: Path
    supervisor: int
    ended: list[Ended]

    def assert_nothing_is_left(self) -> None:
        assert all(end() for end in self.ended)
        assert not self.folder.exists()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def _harness(within: Path, watch: Watch, *, prefix: tuple[str, ...] = ()) -> Iterator[Harness]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HARNESS, str(within)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout and process.stderr
        words = process.stdout.readline().split()
        assert len(words) == 3, process.stderr.read()
        pids = [int(word) for word in words[:2]]
        supervisor = _parent_of(pids[0])
        yield Harness(process, Path(words[2]), supervisor, [watch(pid) for pid in (*pids, supervisor)])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def harness(open_folder: Path, watch: Watch) -> Iterator[Harness]:
    with _harness(open_folder, watch) as running:
        yield running


def test_both_servers_answer() -> None:
    """Inside the context both servers answer at addresses inside the folder; outside the folder is gone."""
    with EmbeddedServers() as servers:
        folder = servers.folder
        cache, database = str(servers.cache.address), str(servers.database.address)
        assert folder.name.startswith("cacheproof-")
        assert Path(cache).is_relative_to(folder) and Path(database).is_relative_to(folder)
        with redis.Redis(unix_socket_path=cache) as connection:
            assert connection.ping()
        host = str(Path(database).parent)
        with closing(psycopg.connect(host=host, user="cacheproof", dbname="records")) as records:
            assert records.execute("select current_database(), current_user").fetchone() == (
                "records",
                "cacheproof",
            )
        servers.start()
        assert servers.folder == folder
    assert not folder.exists()
    servers.stop()


def test_nothing_runs_outside_the_context() -> None:
    """Before start and after stop there are no servers to ask for, and nothing for a child to close."""
    servers = EmbeddedServers()
    assert servers.lifeline_fds == ()
    with pytest.raises(HarnessError, match="not running; start them first"):
        _ = servers.cache


def test_killed_harness_leaves_nothing(harness: Harness) -> None:
    """After SIGKILL of the harness's whole process group no server runs and the folder is gone."""
    os.killpg(harness.process.pid, signal.SIGKILL)
    harness.assert_nothing_is_left()


def test_interrupted_harness_leaves_nothing(harness: Harness) -> None:
    """After Ctrl-C, which goes to the whole process group, likewise."""
    os.killpg(harness.process.pid, signal.SIGINT)
    harness.assert_nothing_is_left()
    assert harness.process.wait(10) != 0


def test_failed_harness_leaves_nothing(harness: Harness) -> None:
    """After an exception inside the context likewise."""
    harness.process.communicate("raise\n", timeout=10)
    assert harness.process.returncode == 1
    harness.assert_nothing_is_left()


def test_harness_and_supervisor_killed(harness: Harness, open_folder: Path) -> None:
    """With the supervisor killed as well no server runs, and the next start sweeps the folder."""
    os.kill(harness.supervisor, signal.SIGKILL)
    harness.process.kill()
    assert all(end() for end in harness.ended)
    assert harness.folder.exists()
    with EmbeddedServers(within=open_folder) as servers:
        assert list(open_folder.glob("cacheproof-*")) == [servers.folder]


def test_killed_while_it_starts(open_folder: Path, watch: Watch) -> None:
    """SIGKILL while initdb is at work: it ends too, and the folder goes."""
    process = subprocess.Popen([sys.executable, "-c", HARNESS, str(open_folder)], start_new_session=True)
    while not (found := list(open_folder.glob("cacheproof-*/database/data/PG_VERSION"))):
        assert process.poll() is None
    initdb = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/comm")
        if _is_initdb_in(path, open_folder)
    )
    ended = [watch(initdb), watch(_parent_of(initdb))]
    process.kill()
    process.wait()
    assert all(end() for end in ended)
    assert not found[0].parents[2].exists()


def _is_initdb_in(comm: Path, folder: Path) -> bool:
    try:
        return comm.read_text() == "initdb\n" and str(folder) in (comm.parent / "cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_forked_child_does_not_end_the_servers(servers: EmbeddedServers) -> None:
    """In a forked child `stop` lets go of the lifeline, no more: the parent's servers run on."""
    servers.start()
    servers.cache.start()
    servers.database.start()
    child = os.fork()
    if child == 0:
        before = servers.lifeline_fds
        servers.stop()
        os._exit(0 if before and servers.lifeline_fds == () else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert servers.cache.running and servers.database.running
    assert len(servers.lifeline_fds) == 1


def test_ordinary_user(open_folder: Path, watch: Watch) -> None:
    """Without root, servers run as the user itself, and nothing is left when the harness is killed."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # An ordinary user but for one thing: it may read an interpreter that lies below root's home.
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv, which drops root, is not installed")
        read = "dac_read_search"
        prefix = (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps=+{read}")
        prefix = (*prefix, f"--ambient-caps=+{read}")
        open_folder.chmod(0o777)
    with _harness(open_folder, watch, prefix=prefix) as harness:
        owners = {path.stat().st_uid for path in (harness.folder, *harness.folder.iterdir())}
        harness.process.kill()
        harness.assert_nothing_is_left()
    assert len(owners) == 1 and 0 not in owners


def test_failed_start_can_be_repeated(open_folder: Path) -> None:
    """After a start that failed nothing is left, and the same object starts once the cause is gone."""
    postgres, initdb = open_folder / "postgres", open_folder / "initdb"
    real = find_binaries()
    servers = EmbeddedServers(binaries=replace(real, initdb=initdb), within=open_folder)
    for program in (initdb, postgres):
        program.symlink_to("/bin/false")
    with pytest.raises(EnvironmentFault, match="initdb"):
        servers.start()
    assert not list(open_folder.glob("cacheproof-*"))
    for program in (initdb, postgres):
        program.unlink()
        program.symlink_to(real.initdb.with_name(program.name))
    with servers:
        assert servers.cache.running and servers.database.running


def test_supervisor_that_cannot_be_started(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started, the folder goes again."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EnvironmentFault, match="no process can be started"):
        EmbeddedServers(within=open_folder).start()
    assert not list(open_folder.iterdir())
