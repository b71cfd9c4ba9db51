"""The watcher: what it does when the harness says goodbye, and when it does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cacheproof.chaos.servers import watcher as module
from cacheproof.chaos.servers.folder import Folder, make_folder
from cacheproof.chaos.servers.watcher import Watcher, main
from cacheproof.models.errors import EnvironmentFault

Watch = Callable[[int], Callable[[], bool]]


@pytest.fixture
def folder(open_folder: Path) -> Iterator[Folder]:
    yield make_folder(open_folder)


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine anywhere, also for programs that are started: nothing can be removed, and nothing is."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:1")


@pytest.mark.usefixtures("nobody_listens")
def test_a_harness_that_says_goodbye(folder: Folder) -> None:
    """The watcher ends at once, and the folder is gone; a second goodbye is none."""
    watcher = Watcher("pair", folder)
    assert folder.path.is_dir() and os.get_inheritable(watcher.fd) is False
    watcher.end()
    watcher.end()
    assert not folder.path.exists()
    assert watcher._process.returncode == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(watcher.fd)


@pytest.mark.usefixtures("nobody_listens")
def test_a_killed_watcher_is_no_trouble(folder: Folder) -> None:
    """The folder goes all the same."""
    watcher = Watcher("pair", folder)
    watcher._process.kill()
    watcher._process.wait()
    watcher.end()
    assert not folder.path.exists()


@pytest.mark.usefixtures("nobody_listens")
def test_a_watcher_that_does_not_end(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed after a while."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    watcher = Watcher("pair", folder)
    watcher._process.send_signal(signal.SIGSTOP)
    watcher.end()
    assert watcher._process.returncode == -signal.SIGKILL
    assert not folder.path.exists()


@pytest.mark.usefixtures("nobody_listens")
def test_polite_signals_go_unheard_and_silence_is_heard(folder: Folder, watch: Watch) -> None:
    """Ctrl-C concerns the harness; when the last copy of the line is closed, the watcher works, and ends."""
    watcher = Watcher("pair", folder)
    ended = watch(watcher._process.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        _wait_until_ignored(watcher._process.pid, number)
        os.kill(watcher._process.pid, number)
    assert watcher._process.poll() is None
    watcher._process.send_signal(signal.SIGKILL)
    assert ended()
    watcher.end()


def _wait_until_ignored(pid: int, number: int) -> None:
    """The program is under way; until it has come so far, a signal would end it."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
        if int(ignored, 16) >> (number - 1) & 1:
            return


def test_where_no_process_can_be_started(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault, and no descriptor is left open."""
    before = len(os.listdir("/proc/self/fd"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(EnvironmentFault, match="no process can be started: .*; free memory or processes"):
        Watcher("pair", folder)
    assert len(os.listdir("/proc/self/fd")) == before - 1  # the lock of the folder


# -- the program -------------------------------------------------------------------------------------------


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, docker: ModuleType, tmp_path: Path) -> Any:
    """`main` in this process: `says` is what the harness says, `removals` what each pass finds to remove."""
    found = SimpleNamespace(says=[b""], removals=[], folder=tmp_path / "folder", naps=0)
    found.folder.mkdir()

    def remove(_: Any, pair: str) -> list[str]:
        assert pair == "pair"
        outcome = found.removals.pop(0) if found.removals else []
        if isinstance(outcome, Exception):
            raise outcome
        return list(outcome)

    def nap(_: float) -> None:
        found.naps += 1

    def read(*_: int) -> bytes:
        said = found.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return bytes(said)

    def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", read)
            patch.setattr(signal, "signal", lambda *_: None)
            patch.setattr("time.sleep", nap)
            patch.setattr("cacheproof.chaos.servers.engine.connect_engine", docker.FakeApi)
            patch.setattr("cacheproof.chaos.servers.reaper.remove_pair", remove)
            main("pair", str(found.folder))

    found.run = run
    return found


def test_after_a_goodbye_nothing_is_removed_but_the_folder(program: Any) -> None:
    """Also if it comes in parts."""
    program.says = [b"do", b"ne", b""]
    program.removals = [["never asked for"]]
    program.run()
    assert program.removals and not program.folder.exists()


@pytest.mark.parametrize("end", [b"", ConnectionResetError()])
def test_after_silence_everything_is_removed(program: Any, end: Any) -> None:
    """Until two passes in a row find nothing: the engine may still work for the dead harness."""
    program.says = [end, b""]
    program.removals = [["container a"], [], ["network b"]]
    program.run()
    assert program.removals == [] and program.naps == 4
    assert not program.folder.exists()


def test_an_engine_that_does_not_comply_is_asked_again(program: Any) -> None:
    """And at last the rest is left to the next start."""
    program.removals = [EnvironmentFault("busy"), ["container a"]]
    program.run()
    assert program.removals == []
    program.says, program.removals = [b""], [EnvironmentFault("gone")] * 100
    program.run()
    assert 0 < len(program.removals) < 100


def test_the_program_is_the_module(folder: Folder, nobody_listens: None) -> None:
    """Run as it is run by the harness, from elsewhere, it finds itself."""
    known = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    run = [sys.executable, "-m", "cacheproof.chaos.servers.watcher", "pair", str(folder.path)]
    ran = subprocess.run(
        run, check=False, cwd="/", env={"PYTHONPATH": known}, input=b"done", capture_output=True
    )
    os.close(folder.lock_fd)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert not folder.path.exists()
