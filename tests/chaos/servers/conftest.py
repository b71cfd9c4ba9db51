"""Embedded servers for the tests beside, and ways to see processes end without sleeping."""

import os
import select
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers

Ended = Callable[[], bool]


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """One pair for all tests that need no pair of their own; each starts what it needs running."""
    with EmbeddedServers() as running:
        yield running


@pytest.fixture
def cache(servers: EmbeddedServers) -> Iterator[redis.Redis]:
    """A connection that is made at the first command, and made anew after a kill."""
    servers.cache.start()
    with redis.Redis(unix_socket_path=str(servers.cache.address), decode_responses=True) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def connect(servers: EmbeddedServers) -> Callable[[], psycopg.Connection]:
    """Opens a connection to the database; the caller closes it."""
    servers.database.start()
    host = str(Path(str(servers.database.address)).parent)

    def open_connection() -> psycopg.Connection:
        return psycopg.connect(host=host, user="cacheproof", dbname="records", autocommit=True)

    return open_connection


@pytest.fixture
def watch() -> Iterator[Callable[[int], Ended]]:
    """`watch(pid)` returns a function that waits up to 10 s and tells whether the process has ended."""
    descriptors = []

    def start(pid: int) -> Ended:
        descriptors.append(os.pidfd_open(pid))
        waiting = select.poll()
        waiting.register(descriptors[-1], select.POLLIN)
        return lambda: bool(waiting.poll(10_000))

    yield start
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A short folder that every user may enter, as `tmp_path` is not."""
    path = Path(tempfile.mkdtemp(prefix="servers-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def script(open_folder: Path) -> Callable[[str, str], Path]:
    """`script(name, lines)` makes a shell script that every user may run."""

    def make(name: str, lines: str) -> Path:
        path = open_folder / name
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return path

    return make
