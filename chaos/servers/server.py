"""What the harness asks of a server, wherever it comes from: an address, start, kill, pause, stop.

Rules
1.  An address is known before the first start and never changes: a client that reconnects after a kill finds
    the server where it was.
2.  `kill` is SIGKILL and returns when the server is gone.  `start` after it brings back what the server had
    promised to keep: every committed row of the database, nothing of the cache.
3.  `pause` takes the processor away and nothing else: connections stay open, what is sent to the server waits.
    A paused server is running, can be killed, and does not answer until `resume`.
4.  Everything but `restart` is idempotent.  After `stop` a server does not come back.
5.  One thread at a time may use a server.
"""

import socket
from dataclasses import dataclass
from typing import Protocol

from cacheproof.chaos.servers.login import TRUSTED, Login
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

__all__ = ["LONGEST_SOCKET_PATH", "Address", "Server"]

LONGEST_SOCKET_PATH = 107
"""Bytes that the path of a unix socket may have on Linux (`sun_path` holds 108 with its closing NUL)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: the path of a unix socket, or (host, port); and how to log in there.

    `socket.socket(address.family).connect(address.sockaddr)` connects.
    """

    sockaddr: str | tuple[str, int]
    login: Login = TRUSTED

    def __post_init__(self) -> None:
        """Raises EnvironmentFault if the path of a unix socket is longer than the kernel takes."""
        if isinstance(self.sockaddr, str) and len(self.sockaddr.encode()) > LONGEST_SOCKET_PATH:
            raise EnvironmentFault(
                f"socket path {self.sockaddr!r} is longer than {LONGEST_SOCKET_PATH} bytes; "
                "set TMPDIR to a shorter folder"
            )

    @property
    def family(self) -> socket.AddressFamily:
        if isinstance(self.sockaddr, str):
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.sockaddr[0] else socket.AF_INET

    def __str__(self) -> str:
        if isinstance(self.sockaddr, str):
            return self.sockaddr
        host, port = self.sockaddr
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Server(Protocol):
    """One of the two servers of a run.  Every method raises EnvironmentFault when the machine is at fault."""

    @property
    def name(self) -> ServerName: ...

    @property
    def address(self) -> Address: ...

    @property
    def pid(self) -> int | None:
        """The main process while the server runs; None if it does not, or is no process of this machine."""
        ...

    @property
    def running(self) -> bool:
        """Whether the main process is alive; false too when it ended by itself."""
        ...

    def start(self) -> None:
        """Returns when the server answers."""
        ...

    def kill(self) -> None:
        """SIGKILL to all its processes.  Returns when they are gone."""
        ...

    def pause(self) -> None:
        """Returns when no process of the server computes any more.  Nothing to do if it does not run."""
        ...

    def resume(self) -> None:
        """Undo `pause`: the server goes on where it was."""
        ...

    def restart(self) -> None:
        """Ask the server to end, and start it again.  Returns when it answers."""
        ...

    def stop(self) -> None:
        """End the server for good."""
        ...

    def describe(self) -> str:
        """One line for reports: product, version, where it runs, what survives a kill."""
        ...
