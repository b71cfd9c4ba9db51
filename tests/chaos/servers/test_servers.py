"""Pairs of servers, whoever starts them, answer to one interface."""

import socket
from typing import Any

import pytest

from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.servers import Servers
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import HarnessError


def expect_a_pair(servers: Servers, cache_has_import_mode: bool) -> None:
    """Both are there under their names, answer, and nothing is missing that a search needs."""
    for server, name in ((servers.cache, ServerName.CACHE), (servers.database, ServerName.DATABASE)):
        server.start()
        assert server.name is name and server.running
        with socket.socket(server.address.family) as line:
            line.connect(server.address.sockaddr)
    assert servers.folder.is_dir()
    assert len(servers.lifeline_fds) == 1
    features = servers.features
    assert features.control and features.superuser and features.again
    assert features.import_mode is cache_has_import_mode


def test_embedded_servers(servers: EmbeddedServers) -> None:
    """Valkey has the import mode."""
    expect_a_pair(servers, cache_has_import_mode=True)


def test_containers(containers: ContainerServers) -> None:
    """Whether the cache has the import mode is asked of it, whatever the image is called."""
    expect_a_pair(containers, cache_has_import_mode="Valkey" in containers.cache.describe())


@pytest.mark.parametrize("kind", [EmbeddedServers, ContainerServers])
@pytest.mark.parametrize("what", ["cache", "database", "features", "folder"])
def test_nothing_runs_before_the_start(kind: type[Any], what: str) -> None:
    """What is asked of servers that do not run is our fault; stopping them is none."""
    pair: Servers = kind()
    with pytest.raises(HarnessError, match="not running; start them first, or use `with`"):
        getattr(pair, what)
    assert pair.lifeline_fds == ()
    pair.stop()


@pytest.mark.parametrize("kind", [EmbeddedServers, ContainerServers])
def test_another_pair_is_one_of_the_same_kind(kind: type[Any]) -> None:
    """It is not started yet, and asks nothing of the first."""
    first: Servers = kind(patience_s=7.0)
    second = first.another()
    assert type(second) is kind and second is not first
    assert second.lifeline_fds == ()
