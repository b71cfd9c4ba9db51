"""Two halves of a search side by side: each in a process, on a core, and with servers, of its own.

A run uses one core, since all that takes part in it takes turns; the other core of the machine is for the
other conditions.  Nothing is shared but the folder of failures, so each half is exactly the search that it
would be alone.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from cacheproof.models.contract import Condition
from cacheproof.models.errors import CacheproofError, HarnessError
from cacheproof.models.report import Report

__all__ = ["can_halve", "halves", "side_by_side"]

_PR_SET_PDEATHSIG = 1
_LIGHT = frozenset({Condition.QUIET, Condition.CONCURRENT})
_HEAVY = frozenset(
    {
        *(Condition.CACHE_CRASH, Condition.CACHE_RESTART, Condition.POWER_LOSS, Condition.DATABASE_CRASH),
        *(Condition.PARTITION, Condition.SERVER_ERRORS),
    }
)


def _weight(condition: Condition) -> int:
    """Roughly how long the search under a condition takes: less without faults, more with many, or restarts."""
    return 2 if condition in _LIGHT else 5 if condition in _HEAVY else 4


def can_halve() -> bool:
    """Whether there is a second core, and this process may be forked (it runs no other threads)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    alone = threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    return cores > 1 and alone and "PYTEST_XDIST_WORKER" not in os.environ


def halves(conditions: Sequence[Condition]) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """The conditions in two parts of about the same weight; `concurrent`, if there, is in the first."""
    first: list[Condition] = [item for item in conditions if item is Condition.CONCURRENT]
    second: list[Condition] = []
    rest = [item for item in conditions if item is not Condition.CONCURRENT]
    for item in sorted(rest, key=lambda item: -_weight(item)):
        lighter = min((first, second), key=lambda half: sum(map(_weight, half)))
        lighter.append(item)
    return _in_order(first, conditions), _in_order(second, conditions)


def _in_order(half: Sequence[Condition], conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    return tuple(item for item in conditions if item in half)


def side_by_side(here: Callable[[], Report], there: Callable[[], Report]) -> tuple[Report, Report]:
    """Run `there` in a forked process while `here` runs; both reports.

    What `there` raises on purpose is raised here.  Whatever happens here, nothing goes on there.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        first = here()
        try:
            second: Report | CacheproofError = ours.recv()
        except EOFError:
            raise HarnessError("the other half of the search ended without a word") from None
        if isinstance(second, CacheproofError):
            raise second
        return first, second
    finally:
        ours.close()
        process.kill()
        process.join()


def _serve(there: Callable[[], Report], line: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    outcome: Report | CacheproofError
    try:
        outcome = there()
    except CacheproofError as error:
        outcome = error
    line.send(outcome)
    line.close()
