"""A link: what passes, what is held, and what the client sees when the network breaks."""

import os
import threading
from typing import Any

import pytest

from cacheproof.chaos.wire.pgmessages import query
from cacheproof.models.decision import Manner, ServerName
from cacheproof.models.errors import EnvironmentFault


def test_an_exchange_is_held_until_it_is_delivered(network: Any) -> None:
    """Nothing reaches the server and nothing the client before the decision; afterwards both have it."""
    client = network.redis()
    assert client.say("SET a 1") == []
    assert network.admin.call("EXISTS", "a").value == 0
    assert network.words() == ["SET a 1"]
    assert network.deliver() == "OK"
    assert client.replies() == ["OK"]
    assert network.admin.call("GET", "a").value == b"1"
    assert network.pending() == []


def test_requests_of_a_connection_keep_their_order(network: Any) -> None:
    """Each command of a pipeline is its own exchange, and only the first can be delivered."""
    client = network.redis()
    client.ask("SET a 1", "GET a", "DEL a", "GET a")
    heard = []
    for words in ("SET a 1", "GET a", "DEL a", "GET a"):
        assert network.words() == [words]
        network.deliver()
        heard += client.replies()
    assert heard == ["OK", "1", 1, None]


def test_what_passes_waits_for_what_is_held_in_front_of_it(network: Any) -> None:
    """Set-up behind a held exchange is answered in its turn, in one go with what it follows."""
    client = network.redis()
    assert client.say("GET a", "CLIENT SETNAME x", "CLIENT GETNAME", "GET b") == []
    network.deliver()
    assert client.replies() == [None, "OK", "x"]
    assert network.words() == ["GET b"]


def test_a_lost_request_never_happens_and_is_seen_as_a_reset(network: Any) -> None:
    """The server's side is clean: it serves the next connection."""
    client = network.redis()
    client.call("GET", "b")
    number = client.link.upstream.id
    client.ask("SET a 1")
    network.wire.reset(client.link)
    assert client.is_reset()
    assert network.admin.call("EXISTS", "a").value == 0
    assert network.links() == []
    other = network.redis()
    other.call("GET", "a")
    assert other.link.upstream.id == number


def test_a_lost_reply_has_happened_and_is_seen_as_a_reset(network: Any) -> None:
    """The server executed the request, and the client hears nothing of it."""
    client = network.redis()
    client.ask("SET a 1")
    network.execute(network.pending()[0])
    network.wire.reset(client.link)
    assert client.is_reset()
    assert network.admin.call("GET", "a").value == b"1"


def test_a_client_that_leaves_has_still_sent_what_it_sent(network: Any) -> None:
    """Requests in flight survive the end of their connection, and can be delivered to nobody."""
    client = network.redis()
    client.ask("SET a 1", "SET b 2")
    client.socket.close()
    network.until(lambda: not client.link.connected)
    assert network.deliver() == "OK"
    assert network.deliver() == "OK"
    assert network.links() == []
    assert network.admin.call("MGET", "a", "b").value == (b"1", b"2")


def test_pending_exchanges_have_a_canonical_order(network: Any) -> None:
    """By server, then words, then connection: never by arrival."""
    late, early = network.redis(), network.redis()
    database = network.postgres()
    database.send(query("select 1"))
    late.ask("GET b")
    early.ask("GET a")
    network.redis().ask("GET a")
    assert network.words() == ["GET a", "GET a", "GET b", "select 1"]
    assert [pending.link.number for pending in network.pending()[:2]] == [1, 3]


def test_a_value_of_16_mib_goes_through_to_a_client_that_reads_slowly(network: Any) -> None:
    """Nothing is cut, and nobody waits for ever, though no buffer between them holds so much."""
    value = os.urandom(1 << 20) * 16
    client = network.redis()
    setting = threading.Thread(
        target=lambda: client.socket.sendall(
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%b\r\n" % (len(value), value)
        )
    )
    setting.start()
    network.until(lambda: network.pending())
    setting.join()
    assert network.deliver() == "OK"
    client.hear()
    client.socket.sendall(b"GET a\r\n")
    network.until(lambda: network.pending())
    heard = bytearray()

    def listen() -> None:
        while len(heard) < len(value) + 13:
            heard.extend(client.socket.recv(10_000))

    listening = threading.Thread(target=listen)
    listening.start()
    network.deliver()
    listening.join()
    assert bytes(heard) == b"$%d\r\n%b\r\n" % (len(value), value)


def test_a_client_that_is_gone_loses_what_is_sent_to_it(network: Any) -> None:
    """As in a network: no error for the sender."""
    client = network.redis()
    client.ask("GET a")
    client.socket.close()
    assert network.deliver() is None
    client.link.send(b"+more\r\n")


def test_a_client_that_never_reads_is_the_harness_s_fault(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's time-out ends the wait, and the message says who did not read."""
    client = network.redis()
    broken = type("Stuck", (), {"sendall": lambda self, data: (_ for _ in ()).throw(BlockingIOError())})()
    real, client.link._client = client.link._client, broken
    with pytest.raises(EnvironmentFault, match="client 0 did not read a reply of 3 bytes"):
        client.link.send(b"abc")
    client.link._client = real


@pytest.mark.parametrize("manner", [Manner.SILENT, Manner.REQUESTS, Manner.REPLIES, None])
def test_a_fault_keeps_back_what_is_next(network: Any, manner: Manner | None) -> None:
    """A partition or a frozen server (None): every request without a reply, until it is over; nothing else."""
    client, idle, other = network.redis(), network.redis(), network.redis(process=1)
    for each in (client, other):
        each.ask("GET a")
    assert not any(link.held_back for link in network.wire.all_links())
    _fail(network, manner)
    held = [link for link in network.wire.all_links() if link.held_back]
    assert held == ([client.link, other.link] if manner is None else [client.link])
    assert network.wire.is_held_back(client.link.line)
    assert not network.wire.is_held_back(idle.link.line)
    _mend(network, manner)
    assert not any(link.held_back for link in network.wire.all_links())
    assert not network.wire.is_held_back(client.link.line)


def _fail(network: Any, manner: Manner | None) -> None:
    if manner is None:
        network.wire.freeze(ServerName.CACHE)
    else:
        network.wire.cut(0, ServerName.CACHE, manner)
    assert network.wire.is_held_up


def _mend(network: Any, manner: Manner | None) -> None:
    if manner is None:
        network.wire.thaw(ServerName.CACHE)
    else:
        network.wire.mend(0, ServerName.CACHE)
    assert not network.wire.is_held_up


def test_a_fault_keeps_back_set_up_and_what_is_parked(network: Any) -> None:
    """But not an exchange that its server keeps waiting: it would wait without the fault as well."""
    greeting, waiting = network.redis(), network.redis()
    waiting.ask("BLPOP a 0")
    waiting.link.head.delivered = True
    network.wire.freeze(ServerName.CACHE)
    greeting.ask("HELLO 3")
    assert (greeting.link.held_back, waiting.link.held_back) == (True, False)
    waiting.link.head.parked = True
    assert waiting.link.held_back


def test_a_line_is_what_the_client_calls_its_connection(network: Any) -> None:
    """The port at the far end and its own."""
    client = network.redis()
    line = client.socket.getpeername()[1] << 16 | client.socket.getsockname()[1]
    assert client.link.line == line
