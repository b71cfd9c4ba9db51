"""What servers say of themselves, and what says nothing of itself."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest

from cacheproof.chaos.servers.binaries import find_binaries, version_of
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.inquiry import Product, ask_cache, ask_database, has_import_mode
from cacheproof.chaos.servers.server import Address
from cacheproof.models.errors import EnvironmentFault

Says = Callable[[bytes], Address]


@pytest.fixture
def says() -> Iterator[Says]:
    """`says(info)` is a server that answers INFO so, CONFIG GET with nothing, and CLIENT ID with 7."""
    with ExitStack() as opened:

        def make(info: bytes) -> Address:
            listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = Thread(target=_serve, args=(listener, info))
            thread.start()
            opened.callback(thread.join, 10)
            return Address(listener.getsockname())

        yield make


def _serve(listener: socket.socket, info: bytes) -> None:
    line, _ = listener.accept()
    with line:
        while data := line.recv(1000):
            if b"ID" in data:
                line.sendall(b":7\r\n")
            if b"INFO" in data:
                line.sendall(b"$%d\r\n%s\r\n" % (len(info), info))
            if b"CONFIG" in data:
                line.sendall(b"*0\r\n")


def test_embedded_servers_say_what_their_binaries_say(servers: EmbeddedServers) -> None:
    """Product and version; Valkey's import mode is there."""
    servers.mend()
    binaries = find_binaries()
    assert ask_cache(servers.cache.address) == Product("Valkey", version_of(binaries.valkey))
    assert has_import_mode(servers.cache.address)
    database = ask_database(servers.database.address, user="cacheproof", database="records")
    assert str(database) == f"PostgreSQL {version_of(binaries.postgres)}"


def test_redis_is_told_from_valkey(says: Says) -> None:
    """Valkey also says which Redis it stands in for."""
    assert str(ask_cache(says(b"# Server\r\nredis_version:7.4.2\r\nos:Linux\r\n"))) == "Redis 7.4.2"
    both = b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n"
    assert ask_cache(says(both)) == Product("Valkey", "8.1.0")


def test_something_else(says: Says) -> None:
    """Whoever speaks the protocol and is neither."""
    with pytest.raises(EnvironmentFault, match="does not say that it is Redis or Valkey; is it another one?"):
        ask_cache(says(b"# Server\r\nproduct:other\r\n"))


def test_without_import_mode(says: Says) -> None:
    """A server that does not know the setting has nothing to say about it."""
    assert not has_import_mode(says(b""))


def test_a_session_that_is_refused(servers: EmbeddedServers) -> None:
    """A database that there is not."""
    servers.database.start()
    with pytest.raises(EnvironmentFault, match='database "nowhere" does not exist'):
        ask_database(servers.database.address, user="cacheproof", database="nowhere")
