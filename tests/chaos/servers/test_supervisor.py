"""The supervisor as a program: what it answers, and what it does when its input ends or it is killed."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cacheproof.chaos.servers.supervisor as program

Ended = Callable[[], bool]
Watch = Callable[[int], Ended]


class Talk:
    """A supervisor and a conversation with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, theirs = socket.socketpair()
        self.lock = os.open(folder, os.O_RDONLY)
        assert program.__file__
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", program.__file__, str(folder)],
                stdin=theirs.fileno(),
                stderr=subprocess.PIPE,
                pass_fds=(self.lock,),
                env={**os.environ, "SECRET": "of the harness"},
            )
        self.answers = self.ours.makefile("rb")

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        self.ours.sendall(json.dumps({"id": 7, "do": what, **details}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self.answers.readline())
        assert answer.pop("id") == 7
        return answer

    def spawn(self, *argv: str, name: str = "it", **details: Any) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "cwd": "/",
            "log": str(self.folder / "log"),
            "user": None,
            "farewell": 15,
            "locks": [],
        }
        return self.ask("spawn", name=name, argv=argv, **{**defaults, **details})

    def hang_up(self) -> None:
        self.answers.close()
        self.ours.close()

    def close(self) -> None:
        self.hang_up()
        _, errors = self.process.communicate()
        os.close(self.lock)
        assert errors == b""


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    folder = tmp_path / "folder"
    folder.mkdir()
    supervisor = Talk(folder)
    yield supervisor
    supervisor.close()


def _alive(pid: int) -> bool:
    """False once it has been waited for, not before."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_poll_tells_how_a_program_ended(talk: Talk, watch: Watch) -> None:
    """None while it runs, its exit code afterwards, also when asked twice; its output is in the log."""
    ended = watch(talk.spawn("/bin/sh", "-c", "echo said; exit 3")["pid"])
    assert ended()
    assert talk.ask("poll", name="it") == talk.ask("poll", name="it") == {"exit": 3}
    assert (talk.folder / "log").read_text() == "said\n"
    assert talk.spawn("/bin/sleep", "1000")["pid"]
    assert talk.ask("poll", name="it") == {"exit": None}


def test_kill_is_over_when_the_process_is_gone(talk: Talk) -> None:
    """When the answer is there, the process has been killed by signal 9 and waited for."""
    pid = talk.spawn("/bin/sleep", "1000")["pid"]
    assert talk.ask("kill", name="it") == {}
    assert not _alive(pid)
    assert talk.ask("poll", name="it") == {"exit": -9}
    assert talk.ask("kill", name="it") == talk.ask("kill", name="never spawned") == {}


def test_kill_reaches_descendants_in_sessions_of_their_own(talk: Talk) -> None:
    """PostgreSQL's processes each open a session, so that no signal to a group reaches them: all are killed."""
    log = talk.folder / "pids"
    lines = "setsid sleep 1000 & echo $! ; setsid sh -c 'sleep 1000 & echo $! ; wait' & wait"
    talk.spawn("/bin/sh", "-c", lines, log=str(log))
    pids = _lines(log, 2)
    assert all(map(_alive, pids))
    talk.ask("kill", name="it")
    assert not any(map(_alive, pids))


def test_kill_spares_other_programs(talk: Talk) -> None:
    """A program spawned beside the killed one runs on, although both are children of the supervisor."""
    other = talk.spawn("/bin/sleep", "1000", name="other")["pid"]
    talk.spawn("/bin/sleep", "1000")
    talk.ask("kill", name="it")
    assert _alive(other)
    assert talk.ask("poll", name="other") == {"exit": None}


def test_stop_says_farewell_first(talk: Talk) -> None:
    """A program that handles its farewell signal ends by itself, with its own exit code."""
    ready = talk.folder / "ready"
    talk.spawn(
        "/bin/sh",
        "-c",
        "trap 'exit 5' QUIT; echo 1; while :; do sleep 0.01; done",
        farewell=3,
        log=str(ready),
    )
    _lines(ready, 1)
    talk.ask("stop", name="it")
    assert talk.ask("poll", name="it") == {"exit": 5}


def test_pause_reaches_descendants(talk: Talk) -> None:
    """All of them are stopped when the answer is there, and go on after `resume`; a stranger is left alone."""
    log = talk.folder / "pids"
    other = talk.spawn("/bin/sleep", "1000", name="other")["pid"]
    lines = "setsid sleep 1000 & echo $! ; setsid sh -c 'sleep 1000 & echo $! ; wait' & wait"
    main = talk.spawn("/bin/sh", "-c", lines, log=str(log))["pid"]
    pids = [main, *_lines(log, 2)]
    for _ in range(2):
        assert talk.ask("pause", name="it") == {}
        assert {_state(pid) for pid in pids} == {"T"} and _state(other) != "T"
    for _ in range(2):
        assert talk.ask("resume", name="it") == {}
        assert "T" not in {_state(pid) for pid in pids}
    assert talk.ask("poll", name="it") == {"exit": None}


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_what_has_ended_is_not_paused(talk: Talk, watch: Watch) -> None:
    """A process id that is free again may be somebody else's."""
    assert watch(talk.spawn("/bin/true")["pid"])()
    assert talk.ask("pause", name="it") == talk.ask("resume", name="it") == {}
    assert "KeyError" in talk.ask("pause", name="never spawned")["error"]


def test_a_paused_program_hears_its_farewell(talk: Talk) -> None:
    """It is resumed first, and ends by itself."""
    ready = talk.folder / "ready"
    lines = "trap 'exit 5' QUIT; echo 1; while :; do sleep 0.01; done"
    talk.spawn("/bin/sh", "-c", lines, farewell=3, log=str(ready))
    _lines(ready, 1)
    talk.ask("pause", name="it")
    talk.ask("stop", name="it")
    assert talk.ask("poll", name="it") == {"exit": 5}


def test_killed_program_leaves_no_lock_and_no_shared_memory(talk: Talk) -> None:
    """The System V segment named in line 7 of a postmaster.pid is removed, and so is each lock file."""
    libc = ctypes.CDLL(None)
    segment = libc.shmget(0, 64, 0o600 | 0o1000)
    long, short = talk.folder / "postmaster.pid", talk.folder / "socket.lock"
    long.write_text(f"1\n/data\n0\n5432\n/run\n\n   123456    {segment}\nready\n")
    short.write_text("1\n/data\n")
    talk.spawn("/bin/sleep", "1000", locks=[str(long), str(short), str(talk.folder / "missing")])
    talk.ask("kill", name="it")
    assert not long.exists() and not short.exists()
    assert libc.shmctl(segment, 0, None) == -1


def test_what_cannot_be_started_is_told(talk: Talk) -> None:
    """A missing program is an answer, and the supervisor goes on."""
    assert "No such file" in talk.spawn("/no/such/program")["error"]
    assert "unknown request" in talk.ask("dance")["error"]
    assert "pid" in talk.spawn("/bin/true")


def test_end_of_input_ends_everything(talk: Talk, watch: Watch) -> None:
    """When the harness is gone, the programs end, the folder goes, the supervisor ends: without a word."""
    ended = [watch(talk.spawn("/bin/sleep", "1000", name=name)["pid"]) for name in ("a", "b")]
    ended.append(watch(talk.process.pid))
    talk.hang_up()
    assert all(end() for end in ended)
    assert not talk.folder.exists()


def test_end_answers_when_all_is_gone(talk: Talk) -> None:
    """`end` is answered after the folder is gone."""
    pid = talk.spawn("/bin/sleep", "1000")["pid"]
    assert talk.ask("end") == {}
    assert not _alive(pid) and not talk.folder.exists()
    assert talk.process.wait(10) == 0


def test_polite_signals_go_unheard(talk: Talk) -> None:
    """SIGTERM, SIGINT and SIGHUP concern the harness: the supervisor answers on, and programs hear them."""
    talk.ask("poll", name=_spawned(talk))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        talk.process.send_signal(number)
    assert talk.ask("poll", name="it") == {"exit": None}
    os.kill(talk.spawn("/bin/sleep", "1000", name="second")["pid"], signal.SIGTERM)
    talk.ask("stop", name="second")
    assert talk.ask("poll", name="second") == {"exit": -15}


def test_killed_supervisor_takes_programs_along(talk: Talk, watch: Watch) -> None:
    """After SIGKILL of the supervisor the kernel sends each program its farewell."""
    ended = watch(talk.spawn("/bin/sleep", "1000")["pid"])
    talk.process.kill()
    assert ended()


def test_programs_hold_nothing_of_the_supervisor(talk: Talk) -> None:
    """A program has three descriptors (the shell lists them through a fourth), neither the lifeline nor the lock, and a plain environment."""
    log = talk.folder / "out"
    talk.spawn(
        "/bin/sh",
        "-c",
        "set -- /proc/$$/fd/*; echo $(($# - 1)); echo $PATH; env | grep -c SECRET; echo $$",
        log=str(log),
    )
    words = _words(log, 4)
    assert words[0] == "3"
    assert words[2] == "0"


def test_programs_can_run_as_another_user(talk: Talk) -> None:
    """With a user, the program runs as it, without the groups of root."""
    if os.geteuid() != 0:
        assert "error" in talk.spawn("/bin/true", user=65534)
        return
    log = talk.folder / "who"
    talk.spawn("/bin/sh", "-c", "id -u; id -G; echo end", user=65534, log=str(log))
    assert _words(log, 3) == ["65534", "65534", "end"]


def _spawned(talk: Talk) -> str:
    talk.spawn("/bin/sleep", "1000")
    return "it"


def _words(log: Path, count: int) -> list[str]:
    """The words of a log, once it holds as many."""
    deadline = time.monotonic() + 10
    while len(words := log.read_text().split()) < count:
        assert time.monotonic() < deadline, words
        os.sched_yield()
    return words


def _lines(log: Path, count: int) -> list[int]:
    return [int(word) for word in _words(log, count)]
