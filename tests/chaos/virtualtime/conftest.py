"""A small director, and `run(scenario)`: call a function of a test file in a client process of its own.

A scenario is a function at the top of a test file whose result is plain JSON.  The director waits until every
thread of the client is blocked, takes what was announced, moves the clock to the next deadline and wakes one
sleeper; so what a scenario says about time is exact.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.clock import RunClock, Sleeper, receive_sleeper

HERE = Path(__file__).parent
PATIENCE_S = 30.0


@dataclass
class Outcome:
    """What a scenario returned, when it did so in virtual time, and at which times somebody was woken."""

    value: Any
    at_ns: int
    wakes_ns: list[int] = field(default_factory=list)
    sleepers: list[str] = field(default_factory=list)


class Director:
    def __init__(
        self, clock: RunClock, pid: int, registrar: socket.socket, result: socket.socket, held_back: bool
    ) -> None:
        self.clock, self.pid, self.registrar, self.result = clock, pid, registrar, result
        self.held_back = held_back
        self.sleepers: list[Sleeper] = []
        self.outcome = Outcome(None, 0)

    def conduct(self) -> Outcome:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            before = activity(self.pid)
            if before is not None and before == activity(self.pid):
                self.wake_next()
            if (answer := self.answer()) is not None:
                assert answer["error"] is None, answer["error"]
                self.meet_sleepers()
                self.outcome.value, self.outcome.at_ns = answer["value"], self.clock.now_ns
                return self.outcome
            os.sched_yield()
        raise AssertionError(f"the client neither ended nor slept; asleep: {self.sleepers}")

    def meet_sleepers(self) -> None:
        while (sleeper := receive_sleeper(self.registrar)) is not None:
            self.sleepers.append(sleeper)
            self.outcome.sleepers.append(sleeper.name)

    def wake_next(self) -> None:
        self.meet_sleepers()
        for sleeper in self.sleepers:
            sleeper.receive()
        asleep = [
            (s.deadline_ns, at)
            for at, s in enumerate(self.sleepers)
            if s.deadline_ns is not None and (self.held_back or not s.line)
        ]
        if asleep:
            deadline_ns, at = min(asleep)
            self.clock.set_ns(max(deadline_ns, self.clock.now_ns))
            self.outcome.wakes_ns.append(self.clock.now_ns)
            self.sleepers[at].wake()

    def answer(self) -> dict[str, Any] | None:
        try:
            packet = self.result.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        assert packet, "the client died without an answer"
        return json.loads(packet)  # type: ignore[no-any-return]  # the zygote sends nothing else

    def close(self) -> None:
        for sleeper in self.sleepers:
            sleeper.close()


def activity(pid: int) -> list[tuple[str, str]] | None:
    """What the threads of a process and its children have run so far; None if one runs now, or has ended."""
    found: list[tuple[str, str]] = []
    try:
        for task in sorted(os.listdir(f"/proc/{pid}/task")):
            folder = Path(f"/proc/{pid}/task/{task}")
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "S":
                return None
            found.append((task, (folder / "schedstat").read_text()))
            for child in (folder / "children").read_text().split():
                if (of_child := activity(int(child))) is None:
                    return None
                found += of_child
    except (FileNotFoundError, ProcessLookupError):
        return None
    return found


class Zygote:
    def __init__(self) -> None:
        self.clock = RunClock.create()
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = sorted(str(file) for file in HERE.glob("test_*.py"))
        fds = (self.clock.fd, theirs.fileno())
        command = [sys.executable, "-W", "error", str(HERE / "zygote.py"), *map(str, fds), *files]
        with theirs:
            self.process = subprocess.Popen(command, pass_fds=fds)

    def run(
        self, scenario: Callable[..., Any], *arguments: Any, attached: bool = True, held_back: bool = False
    ) -> Outcome:
        """What came of a scenario; the time-outs of its sockets count if something is `held_back` from them."""
        self.clock.set_ns(0)
        file, name = scenario.__code__.co_filename, scenario.__name__
        request = {"file": file, "name": name, "arguments": arguments, "attached": attached}
        registrar, clients_registrar = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        result, clients_result = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with registrar, result:
            with clients_registrar, clients_result:
                fds = [clients_registrar.fileno(), clients_result.fileno()]
                socket.send_fds(self.line, [json.dumps(request).encode()], fds)
            pid = json.loads(result.recv(65536))["pid"]
            director = Director(self.clock, pid, registrar, result, held_back)
            try:
                return director.conduct()
            finally:
                director.close()
                end(pid)

    def close(self) -> None:
        self.line.close()
        self.process.wait()
        self.clock.close()


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def run(zygote: Zygote) -> Callable[..., Outcome]:
    return zygote.run
