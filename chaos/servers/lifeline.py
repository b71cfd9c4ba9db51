"""The harness's end of the supervisor: start it, ask it, and be missed by it.

The socket is the lifeline.  When its last copy is closed, the supervisor ends the servers and removes their
folder.  So a forked child that goes on living must close the descriptor (`Lifeline.fd`), or it keeps the
servers of a dead harness alive; a program that is executed does not inherit it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacheproof.chaos.servers.folder import Folder, remove_folder
from cacheproof.chaos.servers.user import server_user
from cacheproof.models.errors import EnvironmentFault, HarnessError

__all__ = ["Lifeline", "Program"]

_PROGRAM = Path(__file__).with_name("supervisor.py")
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Program:
    """What the supervisor starts.

    `label` names it in requests, `title` in messages.  `farewell` is the signal that asks it to end at once.
    `locks` are files that it removes when it ends by itself and that have to go when it is killed.
    """

    label: str
    title: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    farewell: signal.Signals
    locks: tuple[Path, ...] = ()


class Lifeline:
    """A running supervisor.  Every method raises EnvironmentFault when it does not answer."""

    def __init__(self, folder: Folder) -> None:
        """Takes over the lock of `folder`."""
        self._folder = folder.path
        self._asked = 0
        self.ended = False
        self._unread = b""
        ours, theirs = socket.socketpair()
        # A bare number: a socket object in a forked child would close the number again, whatever it means by then.
        self.fd = ours.detach()
        try:
            self._process = _start_supervisor(folder, theirs.fileno())
        except OSError as error:
            os.close(self.fd)
            raise EnvironmentFault(f"no process can be started: {error}; free memory or processes") from None
        finally:
            theirs.close()
            os.close(folder.lock_fd)

    def spawn(self, program: Program) -> int:
        """Start a program; returns its process id."""
        answer = self._ask(
            "spawn",
            name=program.label,
            argv=program.argv,
            cwd=str(program.cwd),
            log=str(program.log),
            user=server_user(),
            farewell=int(program.farewell),
            locks=[str(path) for path in program.locks],
        )
        if "error" in answer:
            raise EnvironmentFault(
                f"{program.title} cannot be started: {answer['error']}; "
                "can this user run the program and, if it is root, change to another user?"
            )
        pid: int = answer["pid"]
        return pid

    def exit_code(self, label: str) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        code: int | None = self._ask("poll", name=label)["exit"]
        return code

    def kill(self, label: str) -> None:
        """SIGKILL; returns when all its processes are gone."""
        self._ask("kill", name=label)

    def pause(self, label: str) -> None:
        """SIGSTOP to all its processes; returns when none of them computes."""
        self._ask("pause", name=label)

    def resume(self, label: str) -> None:
        self._ask("resume", name=label)

    def stop(self, label: str) -> None:
        """End it gently; returns when all its processes are gone."""
        self._ask("stop", name=label)

    def end(self) -> None:
        """End all programs, remove the folder, end the supervisor.  Does not fail."""
        try:
            self._ask("end")
        except EnvironmentFault:
            self._process.kill()  # the kernel ends the servers with it
        self.abandon()
        self._process.wait()
        remove_folder(self._folder)

    def abandon(self) -> None:
        """For a forked child: let go, without a word to the supervisor."""
        if not self.ended:
            self.ended = True
            with contextlib.suppress(OSError):  # the child closed the number itself, as asked
                os.close(self.fd)

    def _ask(self, what: str, **details: Any) -> dict[str, Any]:
        self._asked += 1
        request = json.dumps({"id": self._asked, "do": what, **details}).encode() + b"\n"
        try:
            os.write(self.fd, request)
            answer = self._answer()
        except (BrokenPipeError, ConnectionResetError):
            raise self._gone() from None
        if what != "spawn" and "error" in answer:
            raise HarnessError(f"supervisor failed at {what!r}: {answer['error']}")
        return answer

    def _answer(self) -> dict[str, Any]:
        """The answer to the latest request; an earlier one may be left over from an interrupted call."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            line = self._line(deadline)
            answer: dict[str, Any] = json.loads(line)
            if answer["id"] == self._asked:
                return answer

    def _line(self, deadline: float) -> bytes:
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        while b"\n" not in self._unread:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise EnvironmentFault(
                    f"supervisor of the servers (process {self._process.pid}) did not answer for "
                    f"{_PATIENCE_S:.0f} s; is it stopped, or the machine overloaded?"
                )
            data = os.read(self.fd, 65536)
            if not data:
                raise self._gone()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _gone(self) -> EnvironmentFault:
        return EnvironmentFault(
            f"supervisor of the servers (process {self._process.pid}) is gone, and the servers with it; "
            "was it killed?"
        )


def _start_supervisor(folder: Folder, theirs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PROGRAM), str(folder.path)],
        cwd="/",
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        pass_fds=(folder.lock_fd,),
        start_new_session=True,
    )
