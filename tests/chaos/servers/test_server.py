"""Addresses of servers, and the limit of unix socket paths."""

import socket
from pathlib import Path

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.server import LONGEST_SOCKET_PATH, Address, Server
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault


@pytest.mark.parametrize(
    ("sockaddr", "family", "text"),
    [
        ("/tmp/s", socket.AF_UNIX, "/tmp/s"),
        (("127.0.0.1", 6379), socket.AF_INET, "127.0.0.1:6379"),
        (("::1", 6379), socket.AF_INET6, "[::1]:6379"),
    ],
)
def test_address_knows_its_family(
    sockaddr: str | tuple[str, int], family: socket.AddressFamily, text: str
) -> None:
    """A path is a unix socket, a host with a colon IPv6, any other host IPv4."""
    address = Address(sockaddr)
    assert (address.family, str(address), address.sockaddr) == (family, text, sockaddr)


def test_longest_socket_path_is_the_kernels(open_folder: Path) -> None:
    """A path of 107 bytes can be bound and is an address; with one byte more it is neither."""
    longest = str(open_folder / "x").ljust(LONGEST_SOCKET_PATH, "x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(Address(longest).sockaddr)
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(OSError, match="too long"):
        listener.bind(longest + "x")
    with pytest.raises(EnvironmentFault, match="longer than 107 bytes; set TMPDIR"):
        Address(longest + "x")


def test_path_is_measured_in_bytes() -> None:
    """54 letters of two bytes each are too long, though 54 characters are few."""
    with pytest.raises(EnvironmentFault):
        Address("é" * 54)


def test_embedded_servers_are_servers(servers: EmbeddedServers) -> None:
    """Both carry the name that decisions use, run, and can be connected to at their address."""
    pair: dict[ServerName, Server] = {server.name: server for server in (servers.cache, servers.database)}
    assert set(pair) == set(ServerName)
    for server in pair.values():
        assert server.running
        with socket.socket(server.address.family) as connection:
            connection.connect(server.address.sockaddr)
