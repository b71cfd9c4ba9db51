"""Tasks side by side: each worker a forked process on a core of its own, with what it needs made once.

    parent     hands out the next task to whoever is free, and yields results as they come
    worker     `make()` is entered once, then called with one task after the other

Rule 1. A worker that dies is an error that names its task; what others have done is not lost.
Rule 2. Whatever happens in the parent, an interruption too, nothing goes on in the workers.  They are ended with
        SIGKILL; servers of ours end by themselves when whoever started them is gone.
"""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from cacheproof.models.errors import CacheproofError, EnvironmentFault, HarnessError

__all__ = ["Act", "Done", "Tell", "run_tasks"]

_PR_SET_PDEATHSIG = 1

Tell = Callable[[str], None]
"""Is told, in words, what is being done."""

Act = Callable[[int, Tell], Any]
"""Does the task of this number and returns its result, which can be sent to another process."""


@dataclass(frozen=True, slots=True)
class Done:
    """A task is over: with a result, or with an error, in words."""

    task: int
    result: Any = None
    error: str | None = None


def run_tasks(
    tasks: Sequence[int], make: Callable[[], AbstractContextManager[Act]], *, jobs: int, tell: Tell
) -> Generator[Done, None, None]:
    """Do all tasks, at most `jobs` of them at a time; yields each as it is done.

    With one job everything happens here.  Raises HarnessError if a worker ends without a word, and
    EnvironmentFault if `make()` cannot be entered.
    """
    if jobs == 1 or len(tasks) < 2:
        with make() as act:
            for task in tasks:
                yield _do(act, task, tell)
        return
    workers = [_Worker(make, number) for number in range(min(jobs, len(tasks)))]
    waiting = list(tasks)
    try:
        for worker in workers:
            worker.give(waiting.pop(0))
        while busy := {worker.line: worker for worker in workers if worker.task is not None}:
            for line in wait(list(busy)):
                worker = busy[line]  # type: ignore[index]  # `wait` types what it returns more widely
                message = worker.hear()
                if isinstance(message, str):
                    tell(message)
                    continue
                worker.task = None
                if waiting:
                    worker.give(waiting.pop(0))
                yield message
    finally:
        for worker in workers:
            worker.end()


def _do(act: Act, task: int, tell: Tell) -> Done:
    try:
        return Done(task, act(task, tell))
    except CacheproofError as error:
        return Done(task, error=str(error))
    except Exception as error:  # the other tasks may still be done
        return Done(task, error=f"{error!r} came where nothing should; please report it")


class _Worker:
    """A forked process, as its parent sees it."""

    def __init__(self, make: Callable[[], AbstractContextManager[Act]], number: int) -> None:
        context = multiprocessing.get_context("fork")
        self.line, theirs = context.Pipe()
        self.task: int | None = None
        self._process = context.Process(target=_serve, args=(make, number, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, task: int) -> None:
        self.task = task
        try:
            self.line.send(task)
        except OSError:  # it is gone already; why, its last word says
            return

    def hear(self) -> str | Done:
        """What it is doing, or what it has done."""
        try:
            message: str | Done | EnvironmentFault = self.line.recv()
        except (EOFError, ConnectionError):
            raise HarnessError(f"the worker that did task {self.task} ended without a word") from None
        if isinstance(message, EnvironmentFault):
            raise message
        return message

    def end(self) -> None:
        self.line.close()
        self._process.kill()
        self._process.join()


def _serve(make: Callable[[], AbstractContextManager[Act]], number: int, line: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, _leave_it_to_the_parent)
    _take_core(number)
    try:
        with make() as act:
            while True:
                line.send(_do(act, line.recv(), line.send))
    except CacheproofError as error:  # from making it: nothing can be done here
        line.send(EnvironmentFault(str(error)))
    except (EOFError, ConnectionError):
        return  # the parent needs nothing more


def _leave_it_to_the_parent(number: int, frame: object) -> None:
    """Ctrl-C reaches everybody at the terminal; who writes down what is done is the parent."""


def _take_core(number: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
