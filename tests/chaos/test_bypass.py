"""Connections around the wire: what is seen from inside, what from outside, and what does not count."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproof.chaos.bypass import connections_around


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def test_a_tcp_connection_is_around_unless_its_port_is_on_the_wire(listener: socket.socket) -> None:
    """The address of the other end is named; with its port among those of the wire there is nothing to say."""
    port = port_of(listener)
    with socket.create_connection(("127.0.0.1", port)):
        assert f"127.0.0.1:{port}" in connections_around(os.getpid(), ())
        assert f"127.0.0.1:{port}" not in connections_around(os.getpid(), (port,))
    assert f"127.0.0.1:{port}" not in connections_around(os.getpid(), ())


def test_a_unix_socket_is_around_by_its_path(tmp_path: Path) -> None:
    """A stream to a path is named by the path; the listener itself and a pair of sockets are not."""
    path = str(tmp_path / "somebody")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        one, other = socket.socketpair()
        with one, other:
            before = connections_around(os.getpid(), ())
            client.connect(path)
            with server.accept()[0]:
                assert set(connections_around(os.getpid(), ())) - set(before) == {path}


def test_a_mapped_address_is_loopback(listener: socket.socket) -> None:
    """A socket of IPv6 that leads to 127.0.0.1 is on the wire like any other."""
    port = port_of(listener)
    try:
        client = socket.socket(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with client:
        client.connect(("::ffff:127.0.0.1", port))
        mine = [item for item in connections_around(os.getpid(), ()) if item.endswith(f":{port}")]
        assert mine and not set(mine) & set(connections_around(os.getpid(), (port,)))


def test_a_process_that_is_gone_has_no_connections() -> None:
    """Nobody is there to be asked, which is no error."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert connections_around(process.pid, ()) == []


_WATCHED = """
import asyncio, socket, sys
from cacheproof.chaos.bypass import watch_connects
port, path = int(sys.argv[1]), sys.argv[2]
found = watch_connects([port])
socket.create_connection(("127.0.0.1", port)).close()
socket.create_connection(("localhost", port)).close()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
for family, address in ((socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET6, ("::1", 1)), (socket.AF_UNIX, path)):
    for _ in range(2):
        with socket.socket(family) as client:
            client.connect_ex(address)
async def talk():
    await asyncio.open_connection("127.0.0.1", 2)
try:
    asyncio.run(talk())
except OSError:
    pass
print(found)
"""


def test_every_connect_of_a_python_socket_is_heard(listener: socket.socket, tmp_path: Path) -> None:
    """Short ones, refused ones and those of asyncio, each address once; datagrams and the wire's ports not."""
    port, path = port_of(listener), str(tmp_path / "nobody")
    program = [sys.executable, "-W", "ignore", "-c", _WATCHED, str(port), path]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert told.strip() == repr(["127.0.0.1:1", "[::1]:1", path, "127.0.0.1:2"])
