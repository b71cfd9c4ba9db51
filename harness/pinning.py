"""One core for everything that takes turns: the harness, its clients and both servers.

Waking a process on another core costs more than the work it is woken for (1.3 to 1.7 times measured).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cacheproof.chaos.servers.servers import Servers

__all__ = ["one_core", "stay_on_this_core"]


@contextmanager
def one_core(servers: Servers, turn: int | None = None) -> Iterator[None]:
    """Keep the harness, its clients and both servers on one core: the one whose turn it is.

    Parallel test workers get a core each.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker.isdigit():
        turn = int(worker)
    elif turn is None:
        turn = os.getpid()  # two harnesses at a time rarely meet on one core
    core = sorted(allowed)[turn % len(allowed)]
    pids = [pid for pid in (0, servers.cache.pid, servers.database.pid) if pid is not None]
    try:
        for pid in pids:
            _keep(pid, {core})
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def stay_on_this_core(pid: int | None) -> None:
    """Let a server that was started anew run where the harness runs."""
    if pid is not None and hasattr(os, "sched_setaffinity"):
        _keep(pid, os.sched_getaffinity(0))


def _keep(pid: int, cores: set[int]) -> None:
    """Where that is not ours to say (a server that runs as another user), it runs where it likes, and slower."""
    with suppress(PermissionError):
        os.sched_setaffinity(pid, cores)
