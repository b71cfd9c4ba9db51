"""One embedded server: a program under the supervisor, at an address, that answers or is to blame."""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from cacheproof.chaos.servers.folder import free_space
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.chaos.servers.server import Address
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault, HarnessError

__all__ = ["Process", "blame", "exit_of"]

_PAUSE_S = 0.0005
_LAST_LINES = 12
# The last is PostgreSQL's word for a write that was cut short.
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "Check free disk space")


class Process:
    """Implements `Server`.

    `answers` connects and tells whether the server is at work; it may raise what a socket raises while the
    server is not there yet.  `description` makes the line for reports.  `patience_s` is the time that a start
    may take.
    """

    def __init__(
        self,
        name: ServerName,
        program: Program,
        address: Address,
        lifeline: Lifeline,
        *,
        answers: Callable[[], bool],
        description: Callable[[], str],
        patience_s: float,
    ) -> None:
        self.name = name
        self.address = address
        self._program = program
        self._lifeline = lifeline
        self._answers = answers
        self._description = description
        self._patience_s = patience_s
        self._pid: int | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        if self._pid is None or self._lifeline.ended:
            return False
        if self._lifeline.exit_code(self._program.label) is not None:
            self._pid = None
        return self._pid is not None

    def start(self) -> None:
        """Raises EnvironmentFault, with the end of its log, if it ends or does not answer in time."""
        if not self.running:
            self.launch()
            self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the program without waiting for it to answer."""
        if self._stopped or self._lifeline.ended:
            raise HarnessError(f"{self._program.title} was stopped for good and does not start again")
        self._pid = self._lifeline.spawn(self._program)

    def kill(self) -> None:
        if self.running:
            self._lifeline.kill(self._program.label)
            self._pid = None

    def pause(self) -> None:
        if self.running:
            self._lifeline.pause(self._program.label)

    def resume(self) -> None:
        if self.running:
            self._lifeline.resume(self._program.label)

    def restart(self) -> None:
        if self.running:
            self._lifeline.stop(self._program.label)
            self._pid = None
        self.start()

    def stop(self) -> None:
        if self.running:
            self._lifeline.stop(self._program.label)
            self._pid = None
        self._stopped = True

    def describe(self) -> str:
        return self._line

    @cached_property
    def _line(self) -> str:
        return self._description()

    def wait_until_it_answers(self) -> None:
        """Return when the server is at work.  Raises EnvironmentFault as `start` does."""
        deadline = time.monotonic() + self._patience_s
        while not self._answers_now():
            code = self._lifeline.exit_code(self._program.label)
            if code is not None:
                self._pid = None
                raise blame(self._program, f"ended {exit_of(code)} instead of answering")
            if time.monotonic() > deadline:
                raise blame(self._program, f"does not answer within {self._patience_s:g} s at {self.address}")
            time.sleep(_PAUSE_S)

    def _answers_now(self) -> bool:
        try:
            return self._answers()
        except (ConnectionError, FileNotFoundError, BlockingIOError, TimeoutError):
            return False  # not there yet, or its queue is full
        except OSError as error:
            raise blame(self._program, f"cannot be reached at {self.address}: {error.strerror}") from None


def blame(program: Program, what: str) -> EnvironmentFault:
    """The fault of a program: what happened, the end of its log, and what to do about it."""
    log = _last_lines(program.log)
    if any(words in log for words in _DISK_FULL):
        todo = (
            f"the disk is full ({free_space(program.log.parent)}); make room, or set TMPDIR to another folder"
        )
    else:
        todo = f"see the end of its log ({free_space(program.log.parent)} in its folder)"
    return EnvironmentFault(f"{program.title} {what}; {todo}:\n{log or '(it wrote nothing)'}")


def exit_of(code: int) -> str:
    """Such as "with exit code 1" or "by signal 9"."""
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _last_lines(log: Path) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
