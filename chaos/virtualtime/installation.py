"""`install` and `attach`: the two steps by which a process comes to live by the run's clock."""

import importlib

from cacheproof.chaos.clock import RunClock
from cacheproof.chaos.virtualtime.clocks import install_clocks
from cacheproof.chaos.virtualtime.loops import install_loops
from cacheproof.chaos.virtualtime.membership import RUN, Registrar
from cacheproof.chaos.virtualtime.sockets import install_sockets
from cacheproof.chaos.virtualtime.waits import install_waits
from cacheproof.models.errors import HarnessError

__all__ = ["KEEP_REAL_TIME", "attach", "go_by_clock_of", "install", "prepare"]

KEEP_REAL_TIME = ("multiprocessing.connection", "multiprocessing.popen_fork", "selectors", "subprocess")
"""Modules of the standard library that wait for other processes, which live in real time."""

_installed_clock: RunClock | None = None


def install(clock: RunClock, registrar: Registrar | None = None) -> None:
    """Change this process, once, so that it and what it forks can live by `clock`.

    Until `attach`, or at once if `registrar` is given, nothing follows the clock yet.  Whatever a client
    uses should be imported before, where the cost (tens of milliseconds) is paid for all clients; what is
    imported later works as well.  Raises HarnessError if called twice.
    """
    global _installed_clock
    if _installed_clock is not None:
        raise HarnessError("virtual time is installed in this process already; call attach in each client")
    _installed_clock = clock
    install_clocks([importlib.import_module(name) for name in KEEP_REAL_TIME])
    install_waits()
    install_loops()
    install_sockets()
    if registrar is not None:
        attach(registrar)


def attach(registrar: Registrar) -> None:
    """Make this process, a client just forked, live by the installed clock.

    `registrar` is a SOCK_SEQPACKET socket whose other end the director gives to `receive_sleeper`.
    Raises HarnessError if `install` was not called before.
    """
    if _installed_clock is None:
        raise HarnessError("virtual time is not installed; call install(clock) in the zygote first")
    RUN.join(_installed_clock, registrar)


def go_by_clock_of(client: int) -> None:
    """From now on the wall clock of this process is that of the client of this number."""
    RUN.client = client


def prepare() -> None:
    """Open the calling thread's sleep channel now, not when it first sleeps.

    So it is there in every run of this process, and before those of other threads: who wakes first of those
    who sleep equally long never depends on the runs before.
    """
    RUN.channel()
