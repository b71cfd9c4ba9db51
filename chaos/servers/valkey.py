"""Embedded Valkey: in memory only, on a unix socket, with nothing in it that acts by the clock of its own accord.

Of the 40 ms that a start takes, Valkey sleeps 30 while it measures the processor's clock.
"""

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from cacheproof.chaos.servers.binaries import version_of
from cacheproof.chaos.servers.folder import Folder
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.chaos.servers.process import Process
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.servers.standby import Standby
from cacheproof.models.decision import ServerName

__all__ = ["SETTINGS", "pings", "valkey"]

_PROBE_S = 1.0

SETTINGS: Mapping[str, str] = {
    "port": "0",  # no TCP
    "save": "",
    "appendonly": "no",
    "notify-keyspace-events": "KEA",  # the director and caches that listen depend on all of them
    "enable-debug-command": "local",  # for the director
    "latency-tracking": "no",
    "slowlog-log-slower-than": "-1",
    "io-threads": "1",
    "maxclients": "1000",
    "tcp-keepalive": "0",
    "timeout": "0",
    "always-show-logo": "no",
}


def valkey(binary: Path, folder: Folder, lifeline: Lifeline, *, patience_s: float) -> Standby:
    """A Valkey server, not yet started.  It forgets everything when it ends."""
    place = folder.sub_folder("cache")
    address = Address(str(place / "socket"))

    def make(number: int) -> Process:
        return _one(binary, place, folder, lifeline, number, patience_s)

    return Standby(address, make)


def _one(
    binary: Path, place: Path, folder: Folder, lifeline: Lifeline, number: int, patience_s: float
) -> Process:
    address = Address(str(place / f"socket-{number}"))
    settings = {**SETTINGS, "unixsocket": str(address), "dir": str(place)}
    options = (word for name, value in settings.items() for word in (f"--{name}", value))
    program = Program(
        label=f"{ServerName.CACHE}-{number}",
        title="Valkey",
        argv=(str(binary), *options),
        cwd=place,
        log=folder.path / "cache.log",
        farewell=signal.SIGKILL,  # it has nothing to save
    )
    return Process(
        ServerName.CACHE,
        program,
        address,
        lifeline,
        answers=lambda: pings(address),
        description=lambda: f"Valkey {version_of(binary)}, embedded, no persistence",
        patience_s=patience_s,
    )


def pings(address: Address) -> bool:
    """Whether a cache is at work there.  Raises what a socket raises while there is none."""
    with socket.socket(address.family) as connection:
        connection.settimeout(_PROBE_S)
        connection.connect(address.sockaddr)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
