"""One pair of embedded servers for all tests of the wire, and a network in front of them for each test."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.external import ExternalServers


def _neighbour(name: str) -> ModuleType:
    """A module of this folder.  Test folders are no packages, so it is loaded from its path."""
    full_name = f"cacheproof_tests_chaos_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedServers]:
    """Both servers, for tests that leave them running and without their own tables."""
    with EmbeddedServers() as running:
        yield running


@pytest.fixture(scope="session")
def pg() -> ModuleType:
    """Readers of what PostgreSQL says (see network.py)."""
    return _neighbour("network")


@pytest.fixture
def network(embedded: EmbeddedServers) -> Iterator[Any]:
    """A wire in front of real servers, without any run (see network.py)."""
    found = _neighbour("network").Network(embedded)
    yield found
    found.close()


@pytest.fixture(scope="session")
def debian() -> Iterator[Any]:
    """Debian's redis-server and PostgreSQL, where they are installed (see debian.py)."""
    module = _neighbour("debian")
    programs = module.find_programs()
    if programs is None:
        pytest.skip("Debian's redis-server and postgresql are not installed")
    with module.DebianServers(programs) as servers:
        yield servers


@pytest.fixture(params=["valkey", "redis"])
def ungoverned(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A network whose cache has no import mode, or is not told to use it."""
    if request.param == "valkey":
        servers = request.getfixturevalue("embedded")
        found = _neighbour("network").Network(servers, import_mode=False)
        yield found
        found.close()
        return
    debian = request.getfixturevalue("debian")
    with ExternalServers(
        cache_url=debian.redis_url, database_url=debian.database_url, tell=lambda words: None
    ) as external:
        found = _neighbour("network").Network(external, import_mode=False)
        yield found
        found.close()
