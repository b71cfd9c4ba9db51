"""The wire: ports, links and their ends."""

import contextlib
import re
import socket
import struct
from typing import Any

import pytest

from cacheproof.chaos.wire.pgmessages import query
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

RESET = struct.pack("ii", 1, 0)


def test_each_client_has_its_own_ports_and_keeps_them(network: Any) -> None:
    """A connection says whose it is by where it arrives."""
    assert network.wire.addresses(0) == network.wire.addresses(0)
    assert set(network.wire.addresses(0)).isdisjoint(network.wire.addresses(1))
    assert re.fullmatch(r"redis://127\.0\.0\.1:\d+/0", network.url(ServerName.CACHE))
    assert re.fullmatch(
        r"postgresql://cacheproof@127\.0\.0\.1:\d+/records\?.*", network.url(ServerName.DATABASE)
    )
    first, second = network.redis(), network.redis(process=1)
    assert (first.link.process, second.link.process) == (0, 1)
    second.ask("GET a")
    assert network.words(0) == [] and network.words(1) == ["GET a"]


def test_a_server_that_is_down_refuses_and_has_the_same_ports_later(network: Any) -> None:
    """Only its own ports close."""
    client = network.redis()
    port = network.port(ServerName.CACHE)
    network.wire.refuse(ServerName.CACHE)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    network.postgres()
    network.wire.admit(ServerName.CACHE)
    network.wire.admit(ServerName.CACHE)
    assert network.port(ServerName.CACHE) == port
    assert network.redis().call("GET", "a") is None
    assert client.call("GET", "a") is None


def test_a_port_that_is_taken_is_the_environment_s_fault(network: Any) -> None:
    """Somebody else listens where we did."""
    port = network.port(ServerName.CACHE)
    network.wire.refuse(ServerName.CACHE)
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(EnvironmentFault, match=f"cannot listen on 127.0.0.1:{port}"),
    ):
        network.wire.admit(ServerName.CACHE)


def test_port_numbers_are_put_into_words(network: Any) -> None:
    """An error that a client saw reads the same in every replay."""
    cache, database = network.port(ServerName.CACHE), network.port(ServerName.DATABASE)
    text = f"connecting to 127.0.0.1:{cache} and {database}, not {cache}9"
    assert (
        network.wire.without_ports(text)
        == f"connecting to 127.0.0.1:<cache port> and <database port>, not {cache}9"
    )


@pytest.mark.parametrize("garbage", [b"*1\r\n:1\r\n", b"SET 'k\r\n"])
def test_what_is_not_the_protocol_is_noted_and_ends_the_connection(network: Any, garbage: bytes) -> None:
    """Whose it was, and what; nobody waits, and what was held in front of it is gone with it."""
    client = network.redis()
    client.ask("GET a")
    client.send(garbage)
    assert not client.is_open()
    assert network.links() == []
    (note,) = network.wire.broken
    assert note.startswith("client 0 sent the cache what is not its protocol")
    assert network.redis(process=1).call("GET", "a") is None


def test_garbage_while_the_server_is_busy_leaves_the_busy_session_named(network: Any) -> None:
    """Its statement goes on without a client."""
    client = network.postgres()
    client.send(query("select pg_sleep(0)"))
    pending = network.pending()[0]
    pending.link.transmit(pending)
    pending.delivered = True
    pid = client.link.upstream.pid
    client.send(b"!!!!!!")
    assert network.wire.abandoned == [pid]
    assert not client.is_open()


def test_a_connection_that_is_reset_before_it_is_accepted_is_no_link(network: Any) -> None:
    """Nor does it harm the next one."""
    port = network.port(ServerName.CACHE)
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.close()
    client = network.redis()
    assert client.call("GET", "a") is None
    network.until(lambda: [link.peer for link in network.links()] == [client.name])


def test_a_run_begins_with_an_empty_wire(network: Any) -> None:
    """After `end` there are no links, clients see their connections close, and numbers start over."""
    client = network.redis()
    client.ask("GET a", "GET b")
    network.wire.broken.append("something")
    network.wire.end()
    assert not client.is_open()
    network.wire.begin(("c",))
    assert (network.links(), network.wire.broken) == ([], [])
    following = network.redis()
    following.ask("GET c")
    assert following.link.number == 0
    assert network.pending()[0].keys == ("c",)


def test_an_exchange_that_waits_at_the_server_is_no_choice_any_more(network: Any) -> None:
    """It is waiting, in order of client; its answer is a later event."""
    late, early = network.redis(process=1), network.redis()
    for client in (late, early):
        client.ask("BLPOP a 0")
        pending = client.link.head
        pending.link.transmit(pending)
        pending.delivered = True
    assert [pending.link.process for pending in network.wire.waiting()] == [0, 1]
    assert network.pending(0) == network.pending(1) == []
    assert list(network.wire.all_links()) == [early.link, late.link]


def test_a_session_that_is_lost_while_something_passes_ends_the_link(network: Any) -> None:
    """The server closed its end long ago; the client hears it at its next word, and other links go on."""
    client, other = network.redis(), network.redis()
    client.say("CLIENT INFO")
    network.admin.call("CLIENT", "KILL", "ID", client.link.upstream.id)
    client.socket.sendall(b"CLIENT INFO\r\n")
    network.until(lambda: not client.link.connected)
    assert not client.is_open()
    client = network.redis()
    client.say("CLIENT INFO")
    client.ask("GET a", "CLIENT INFO")
    pending = client.link.head
    answer = network.execute(pending)
    network.admin.call("CLIENT", "KILL", "ID", client.link.upstream.id)
    client.link.send(answer.raw)
    network.wire.finish(pending)
    assert client.replies() == [None]
    with contextlib.suppress(ConnectionResetError):
        assert client.socket.recv(1) == b""
    assert other.call("GET", "a") is None


def test_closing_leaves_nothing_open(network: Any) -> None:
    """Ports refuse, connections are closed."""
    client = network.redis()
    port = network.port(ServerName.CACHE)
    network.wire.close()
    assert not client.is_open()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
