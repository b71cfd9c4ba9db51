"""What one embedded server does when it is started, killed and stopped, or fails."""

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.server import Server
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

Script = Callable[[str, str], Path]
Ended = Callable[[], bool]
Watch = Callable[[int], Ended]


@pytest.fixture(params=list(ServerName))
def server(request: pytest.FixtureRequest, servers: EmbeddedServers) -> Server:
    chosen = {server.name: server for server in (servers.cache, servers.database)}[request.param]
    chosen.start()
    return chosen


def test_start_and_kill_are_idempotent(server: Server) -> None:
    """A second start keeps the process, a second kill does nothing; pid and running tell which holds."""
    pid, address = server.pid, server.address
    server.start()
    assert (server.running, server.pid) == (True, pid)
    server.kill()
    server.kill()
    assert (server.running, server.pid) == (False, None)
    server.start()
    assert server.running and server.pid not in (None, pid)
    assert server.address == address


def test_killed_server_refuses_connections_at_once(server: Server) -> None:
    """When `kill` returns, the process is gone, not dying."""
    pid = server.pid
    assert pid is not None
    server.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_server_that_died_by_itself(server: Server, watch: Watch) -> None:
    """A server that something else killed is not running, and starts again."""
    pid = server.pid
    assert pid is not None
    ended = watch(pid)
    os.kill(pid, signal.SIGKILL)
    assert ended()
    assert not server.running and server.pid is None
    server.start()
    assert server.running


def states(pid: int) -> set[str]:
    """How a process and its children are, in the kernel's letters."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    stats = (Path(f"/proc/{one}/stat").read_text() for one in (pid, *children))
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def test_pause_and_resume(server: Server) -> None:
    """No process of a paused server computes, all of a resumed one may; twice is once.  It counts as running."""
    pid = server.pid
    assert pid is not None
    server.resume()
    for _ in range(2):
        server.pause()
    assert states(pid) == {"T"} and server.running
    for _ in range(2):
        server.resume()
    assert "T" not in states(pid)


def test_a_paused_server_answers_when_it_is_resumed(server: Server) -> None:
    """Connections stay open, and what was asked meanwhile is answered afterwards."""
    asks, answer = {
        ServerName.CACHE: (b"PING\r\n", b"+"),
        ServerName.DATABASE: (bytes((0, 0, 0, 8, 4, 210, 22, 47)), b"N"),  # an SSLRequest: no
    }[server.name]
    with socket.socket(server.address.family) as line:
        line.connect(server.address.sockaddr)
        server.pause()
        line.sendall(asks)
        line.settimeout(0.1)
        with pytest.raises(TimeoutError):
            line.recv(1)
        server.resume()
        line.settimeout(10)
        assert line.recv(1) == answer


def test_a_paused_server_can_be_killed(server: Server) -> None:
    """And comes back unpaused; what does not run cannot be paused, which is no error."""
    server.pause()
    server.kill()
    assert not server.running
    server.pause()
    server.resume()
    server.start()
    assert server.pid is not None and "T" not in states(server.pid)


def test_restart_is_another_process_at_the_same_address(server: Server) -> None:
    """From a pause as well, and also if it did not run."""
    pid, address = server.pid, server.address
    server.restart()
    assert server.running and server.pid not in (None, pid) and server.address == address
    server.pause()
    server.restart()
    assert server.pid is not None and "T" not in states(server.pid)
    server.kill()
    server.restart()
    assert server.running


def test_stop_is_for_good() -> None:
    """A stopped server stays stopped, while its neighbour runs; stopping again is fine, before and after."""
    with EmbeddedServers() as servers:
        cache, database = servers.cache, servers.database
        cache.stop()
        cache.stop()
        assert not cache.running and database.running
        with pytest.raises(HarnessError, match="Valkey was stopped for good"):
            cache.start()
    assert not database.running
    database.stop()
    database.kill()
    with pytest.raises(HarnessError, match="PostgreSQL was stopped for good"):
        database.start()


def _fault_with(valkey: Path, within: Path) -> str:
    """The fault of a start with another program in place of Valkey."""
    servers = EmbeddedServers(binaries=replace(find_binaries(), valkey=valkey), within=within, patience_s=0.3)
    with pytest.raises(EnvironmentFault) as caught:
        servers.start()
    assert not list(within.glob("cacheproof-*"))
    return str(caught.value)


def test_server_that_ends_at_once(script: Script, open_folder: Path) -> None:
    """The fault tells how it ended and shows the end of its log, whose folder is gone."""
    fault = _fault_with(script("valkey", "seq 1 40; echo wrong option >&2; exit 3"), open_folder)
    assert fault.startswith("Valkey ended with exit code 3 instead of answering; see the end of its log")
    assert fault.endswith("39\n40\nwrong option")
    assert "\n20\n" not in fault


def test_server_that_is_killed_at_once(script: Script, open_folder: Path) -> None:
    """A signal is told apart from an exit code, and an empty log is said to be empty."""
    fault = _fault_with(script("valkey", "kill -9 $$"), open_folder)
    assert "ended by signal 9" in fault and "(it wrote nothing)" in fault


def test_server_that_does_not_answer(script: Script, open_folder: Path) -> None:
    """After its patience the start fails, and the process is gone with the folder."""
    fault = _fault_with(script("valkey", "echo $$; exec sleep 1000"), open_folder)
    assert "does not answer within 0.3 s at" in fault
    with pytest.raises(ProcessLookupError):
        os.kill(int(fault.splitlines()[-1]), 0)


@pytest.mark.parametrize(
    "words", ["No space left on device", "Disk quota exceeded", "HINT:  Check free disk space."]
)
def test_full_disk(words: str, script: Script, open_folder: Path) -> None:
    """A full disk is named as the cause, with the space that is left."""
    fault = _fault_with(script("valkey", f"echo cannot write: {words}; exit 1"), open_folder)
    assert "the disk is full (" in fault and "MB free); make room, or set TMPDIR" in fault


def test_server_that_cannot_be_reached(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the connection that waiting does not cure is a fault at once."""
    database = servers.database

    def refuse() -> bool:
        raise PermissionError(13, "Permission denied")

    database.kill()
    with monkeypatch.context() as patch:
        patch.setattr(database, "_answers", refuse)
        with pytest.raises(EnvironmentFault, match="PostgreSQL cannot be reached at .*: Permission denied"):
            database.start()
    database.kill()
    database.start()
