"""Embedded servers for the tests beside, a Docker engine if one answers, and ways to see processes end."""

import importlib.util
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
import redis

from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.engine import Engine, connect_engine
from cacheproof.chaos.servers.images import BUILT
from cacheproof.chaos.servers.recipes import build_images
from cacheproof.models.errors import EnvironmentFault

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


@pytest.fixture(scope="session")
def docker() -> ModuleType:
    """The Docker engine that is none (see fakedocker.py).  Test folders are no packages: it is loaded by path."""
    name = "cacheproof_tests_chaos_servers_fakedocker"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fakedocker.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A real Docker engine; without one, whoever needs it is skipped, with the reason."""
    try:
        found = connect_engine()
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    yield found
    found.close()


@pytest.fixture(scope="session")
def images(engine: Engine) -> None:
    """Images to make containers of, built here if need be."""
    if not all(engine.image_names(repository) for repository in BUILT.values()):
        assert len(list(build_images(engine))) == len(BUILT)


@pytest.fixture(scope="session")
def containers(images: None) -> Iterator[ContainerServers]:
    """One pair for all tests that need no pair of their own; each starts what it needs running."""
    with ContainerServers() as running:
        yield running
