"""Embedded PostgreSQL: a fresh cluster on a unix socket, which a kill costs nothing that it acknowledged.

Rules
1.  What is acknowledged has been handed to the operating system (synchronous_commit=on): it survives SIGKILL.
    It has not been forced to disk (fsync=off, full_page_writes=off): it would not survive a power loss.
2.  Nothing acts by the clock of its own accord: no autovacuum, no checkpoints, no background writing worth
    the name, one process a connection.
3.  Only the user of the folder gets to the socket, so connections are trusted.
"""

import signal
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cacheproof.chaos.servers.binaries import Binaries, version_of
from cacheproof.chaos.servers.folder import Folder
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.chaos.servers.process import Process
from cacheproof.chaos.servers.server import Address
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

__all__ = ["DATABASE", "PORT", "SETTINGS", "USER", "greets", "initdb", "name_database", "postgres"]

USER = "cacheproof"
DATABASE = "records"
PORT = 5432
"""Only a part of the socket's name: nothing listens on a port."""

_PROBE_S = 10.0
_PROTOCOL_3_0 = 196608
_CANNOT_CONNECT_NOW = "57P03"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    # What survives: see rule 1.
    "synchronous_commit": "on",
    "fsync": "off",
    "full_page_writes": "off",
    # Determinism: see rule 2.
    "autovacuum": "off",
    "deadlock_timeout": "1ms",
    "checkpoint_timeout": "1d",
    "bgwriter_lru_maxpages": "0",
    "bgwriter_delay": "10s",
    "wal_writer_delay": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Cost of a start and of a statement.
    "max_connections": "200",  # a cache that leaks them is told so, with words, far below
    "shared_buffers": "16MB",
    "huge_pages": "off",
    "dynamic_shared_memory_type": "mmap",  # files in the data folder, which go with it
    "io_method": "sync",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_workers": "0",
    "max_worker_processes": "0",
    "max_logical_replication_workers": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "update_process_title": "off",
    # The log holds what concerns the server, not the errors of statements.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}


def initdb(binaries: Binaries, folder: Folder) -> Program:
    """The program that makes a new cluster in `folder`, for `postgres` to run on."""
    place = folder.sub_folder("database")
    options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-data-checksums")
    quick = ("--no-sync", "--no-instructions")
    return Program(
        label="initdb",
        title="initdb (of PostgreSQL)",
        argv=(str(binaries.initdb), "-D", str(place / "data"), "-U", USER, *options, *quick),
        cwd=place,
        log=folder.path / "initdb.log",
        farewell=signal.SIGKILL,
        locks=(place / "data" / "postmaster.pid",),  # of the server that initdb runs for a moment
    )


def postgres(binaries: Binaries, folder: Folder, lifeline: Lifeline, *, patience_s: float) -> Process:
    """A PostgreSQL server on the cluster in `folder`, not yet started."""
    place = folder.path / "database"
    data, address = place / "data", Address(str(place / f".s.PGSQL.{PORT}"))
    settings = {**SETTINGS, "unix_socket_directories": str(place)}
    options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    program = Program(
        label=ServerName.DATABASE,
        title="PostgreSQL",
        argv=(str(binaries.postgres), "-D", str(data), *options),
        cwd=place,
        log=folder.path / "database.log",
        farewell=signal.SIGQUIT,  # "immediate shutdown": all processes end, shared memory is freed
        locks=(data / "postmaster.pid", Path(f"{address}.lock")),
    )
    return Process(
        ServerName.DATABASE,
        program,
        address,
        lifeline,
        answers=lambda: greets(address),
        description=lambda: _describe(binaries),
        patience_s=patience_s,
    )


def name_database(address: Address) -> None:
    """Give the one database of a new cluster its name; renaming takes 1 ms, creating one copies 7 MB."""
    try:
        _converse(address, f"ALTER DATABASE postgres RENAME TO {DATABASE}")
    except OSError as error:
        raise EnvironmentFault(f"PostgreSQL went away after its start: {error}; was it killed?") from None


def _describe(binaries: Binaries) -> str:
    what_survives = ("synchronous_commit", "fsync", "full_page_writes")
    settings = ", ".join(f"{name}={SETTINGS[name]}" for name in what_survives)
    version = version_of(binaries.postgres)
    return f"PostgreSQL {version}, embedded, {settings}: a kill loses nothing, power loss would"


def greets(address: Address, database: str = "template1") -> bool:
    """Whether a database is at work there.  Raises what a socket raises while there is none."""
    try:
        _converse(address, database=database)
    except _StartingUp:
        return False
    return True


class _StartingUp(Exception):
    """The server is there, and recovers from a crash."""


def _converse(address: Address, sql: str | None = None, *, database: str = "template1") -> None:
    """Connect, run a statement, disconnect; returns when the server has forgotten the connection.

    The PostgreSQL frontend/backend protocol, version 3.0, as far as a trusted superuser needs it.
    """
    parameters = f"user\0{USER}\0database\0{database}\0\0".encode()
    with socket.socket(address.family) as connection:
        connection.settimeout(_PROBE_S)
        connection.connect(address.sockaddr)
        connection.sendall(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3_0) + parameters)
        with connection.makefile("rb") as stream:
            _read_until_ready(stream)
            if sql is not None:
                query = sql.encode() + b"\0"
                connection.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query)
                _read_until_ready(stream)
            connection.sendall(b"X" + struct.pack("!i", 4))
            stream.read()


def _read_until_ready(stream: BinaryIO) -> None:
    for kind, body in _messages(stream):
        if kind == b"E":
            raise _error(body)
        if kind == b"Z":
            return


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        header = stream.read(5)
        if len(header) < 5:
            raise ConnectionResetError("PostgreSQL closed the connection")
        yield header[:1], stream.read(struct.unpack("!i", header[1:])[0] - 4)


def _error(body: bytes) -> Exception:
    fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
    if fields.get(b"C") == _CANNOT_CONNECT_NOW:
        return _StartingUp()
    return EnvironmentFault(f"PostgreSQL refused to work: {fields.get(b'M')!r} ({fields.get(b'C')})")
