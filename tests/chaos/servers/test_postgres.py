"""Embedded PostgreSQL, seen through psycopg."""

import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cacheproof.chaos.servers import postgres
from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.server import Address
from cacheproof.models.errors import EnvironmentFault

Connect = Callable[[], psycopg.Connection]
Script = Callable[[str, str], Path]


def test_acknowledged_rows_survive_kills(servers: EmbeddedServers, connect: Connect) -> None:
    """Of 200 acknowledged inserts, with a kill after each 50, none is lost; one not committed is."""
    with closing(connect()) as connection:
        connection.execute("create table kept (n int primary key)")
    for start in range(0, 200, 50):
        with closing(connect()) as connection:
            for n in range(start, start + 50):
                connection.execute("insert into kept values (%s)", (n,))
            connection.execute("begin")
            connection.execute("insert into kept values (%s)", (1000 + start,))
            servers.database.kill()
        servers.database.start()
    with closing(connect()) as connection:
        rows = connection.execute("select n from kept order by n").fetchall()
    assert [n for (n,) in rows] == list(range(200))


def test_kill_leaves_no_process(servers: EmbeddedServers, connect: Connect) -> None:
    """When `kill` returns, all processes of the server are gone: backends, writers, the postmaster."""
    with closing(connect()) as connection, closing(connect()):
        pids = [pid for (pid,) in connection.execute("select pid from pg_stat_activity")]
        servers.database.kill()
    assert len(pids) >= 4
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_kill_leaves_no_shared_memory(servers: EmbeddedServers) -> None:
    """The System V segment of a killed server is gone, and so are its lock files."""
    servers.database.start()
    place = servers.folder / "database"
    segment = (place / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert segment in _segments()
    servers.database.kill()
    assert segment not in _segments()
    assert not (place / "data" / "postmaster.pid").exists()
    assert not list(place.glob(".s.PGSQL.*.lock"))


def _segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_settings(connect: Connect) -> None:
    """What reports, determinism and cost rest on, as the server sees it."""
    wanted = {
        "autovacuum": "off",
        "deadlock_timeout": "1ms",
        "fsync": "off",
        "full_page_writes": "off",
        "jit": "off",
        "listen_addresses": "",
        "max_connections": "200",
        "max_parallel_workers_per_gather": "0",
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "unix_socket_permissions": "0700",
    }
    with closing(connect()) as connection:
        found = {
            name: connection.execute(f"show {name}").fetchone() for name in wanted if name != "lc_collate"
        }
        collation = connection.execute(
            "select datcollate from pg_database where datname = 'records'"
        ).fetchone()
    assert {**found, "lc_collate": collation} == {name: (value,) for name, value in wanted.items()}


def test_readiness_probe_leaves_no_connection(servers: EmbeddedServers, connect: Connect) -> None:
    """When `start` returns, the first connection is the only one that the server knows."""
    servers.database.kill()
    servers.database.start()
    with closing(connect()) as connection:
        clients = connection.execute(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        )
        assert clients.fetchone() == (1,)


def test_describe(servers: EmbeddedServers) -> None:
    """One line: product, version, and what a kill and a power loss would cost."""
    assert re.fullmatch(
        r"PostgreSQL 18\.\d+, embedded, synchronous_commit=on, fsync=off, full_page_writes=off: "
        r"a kill loses nothing, power loss would",
        servers.database.describe(),
    )


def test_initdb_on_a_full_disk(script: Script, open_folder: Path) -> None:
    """The fault names initdb, its exit code, the full disk and the space that is left."""
    initdb = script("initdb", "echo 'could not write to file: No space left on device'; exit 1")
    servers = EmbeddedServers(binaries=replace(find_binaries(), initdb=initdb), within=open_folder)
    with pytest.raises(EnvironmentFault, match=r"initdb .*exit code 1; the disk is full \(\d+ MB free\)"):
        servers.start()


def test_initdb_that_hangs(script: Script, open_folder: Path) -> None:
    """initdb has the same patience as a server."""
    binaries = replace(find_binaries(), initdb=script("initdb", "exec sleep 1000"))
    with pytest.raises(EnvironmentFault, match="initdb .* is not done after 0.3 s"):
        EmbeddedServers(binaries=binaries, within=open_folder, patience_s=0.3).start()


def test_refusal_is_a_fault(servers: EmbeddedServers) -> None:
    """An error of the server other than "starting up" is told with its text and SQLSTATE."""
    servers.database.start()
    with pytest.raises(EnvironmentFault, match="'database \"postgres\" does not exist' .3D000."):
        postgres.name_database(servers.database.address)


def test_server_that_went_away(open_folder: Path) -> None:
    """Nobody at the address is a fault, not an OSError."""
    with pytest.raises(EnvironmentFault, match="went away"):
        postgres.name_database(Address(str(open_folder / "nobody")))
