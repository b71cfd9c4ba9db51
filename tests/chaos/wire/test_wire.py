"""The wire: ports, links and their ends."""

import contextlib
import re
import socket
import struct
from typing import Any

import pytest

from cacheproof.chaos.wire.pgmessages import query
from cacheproof.models.decision import Manner, ServerName
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


def test_what_a_client_has_left_behind_is_let_go_when_it_goes_on(network: Any) -> None:
    """Set-up that nobody waits for any more is answered to nobody, and its connection is over."""
    client = network.redis()
    network.wire.cut(0, ServerName.CACHE, Manner.SILENT)
    client.send(b"CLIENT INFO\r\n")
    client.socket.close()
    network.until(lambda: not client.link.connected)
    assert network.links() == [client.link]
    network.wire.mend(0, ServerName.CACHE)
    network.wire.go_on(client.link)
    assert (network.links(), client.link.upstream) == ([], None)


def test_closing_leaves_nothing_open(network: Any) -> None:
    """Ports refuse, connections are closed."""
    client = network.redis()
    port = network.port(ServerName.CACHE)
    network.wire.close()
    assert not client.is_open()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


# ── partitions and frozen servers ───────────────────────────────────────────────────────────────────────────


def refused(network: Any, process: int = 0) -> bool:
    """Whether a new connection of the client to the cache is refused."""
    try:
        socket.create_connection(("127.0.0.1", network.port(ServerName.CACHE, process))).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_client_is_refused_while_others_are_not(network: Any) -> None:
    """Its port for this one server closes, and opens again at the same number."""
    port = network.port(ServerName.CACHE)
    assert not refused(network, 1) and port in network.wire.ports()
    network.wire.cut(0, ServerName.CACHE, Manner.REFUSE)
    assert refused(network) and not refused(network, 1)
    assert port in network.wire.ports()
    assert network.wire.is_cut(0, ServerName.CACHE) is Manner.REFUSE
    assert network.wire.is_cut(1, ServerName.CACHE) is None
    assert dict(network.wire.cuts()) == {(0, ServerName.CACHE): Manner.REFUSE}
    network.wire.mend(0, ServerName.CACHE)
    assert not refused(network) and network.port(ServerName.CACHE) == port
    network.wire.mend(0, ServerName.CACHE)  # nothing is left to mend


def test_a_partition_and_a_server_that_is_down_open_a_port_together(network: Any) -> None:
    """It is closed for as long as one of the two is there, whichever ends first."""
    for process in (0, 1):
        network.port(ServerName.CACHE, process)
    network.wire.cut(0, ServerName.CACHE, Manner.REFUSE)
    network.wire.refuse(ServerName.CACHE)
    network.wire.admit(ServerName.CACHE)
    assert refused(network, 0) and not refused(network, 1)
    network.wire.refuse(ServerName.CACHE)
    network.wire.mend(0, ServerName.CACHE)
    assert refused(network, 0)
    network.wire.admit(ServerName.CACHE)
    assert not refused(network, 0)


@pytest.mark.parametrize(
    ("manner", "arrives", "answers"),
    [(Manner.SILENT, False, False), (Manner.REQUESTS, False, True), (Manner.REPLIES, True, False)],
)
def test_what_passes_in_which_direction(network: Any, manner: Manner, arrives: bool, answers: bool) -> None:
    """Requests that do not arrive are not pending; set-up is not answered; nothing is lost."""
    client, other = network.redis(), network.redis(process=1)
    network.wire.cut(0, ServerName.CACHE, manner)
    assert network.wire.is_mute(0) and not network.wire.is_mute(1)
    client.ask("CLIENT GETNAME", "GET a")
    other.ask("GET b")
    assert client.replies() == [] and network.words(1) == ["GET b"]
    assert (client.link.mute, client.link.deaf, client.link.hushed) == (True, not arrives, not answers)
    network.wire.mend(0, ServerName.CACHE)
    network.wire.go_on(client.link)
    assert client.replies() == [None] and network.words() == ["GET a"]


def test_requests_behind_set_up_that_is_not_answered_wait(network: Any) -> None:
    """Whatever is next on a connection that falls silent stays next."""
    client = network.redis()
    client.ask("GET a")
    network.wire.cut(0, ServerName.CACHE, Manner.REPLIES)
    assert network.words() == ["GET a"]
    assert network.redis().link.deaf is False  # a new one is as mute as the old
    assert all(link.mute for link in network.links())


def test_a_frozen_server_is_frozen_for_everybody(network: Any) -> None:
    """Its links answer nothing, the other server's do."""
    one, two, session = network.redis(), network.redis(process=1), network.postgres()
    network.wire.freeze(ServerName.CACHE)
    assert network.wire.is_frozen(ServerName.CACHE) and not network.wire.is_frozen(ServerName.DATABASE)
    assert network.wire.is_mute(0) and network.wire.is_mute(7)
    assert (one.link.mute, two.link.mute, session.link.mute) == (True, True, False)
    assert one.say("PING", "CLIENT GETNAME") == []
    network.wire.thaw(ServerName.CACHE)
    assert not (one.link.mute or one.link.hushed) and network.words() == ["PING"]


def test_a_partition_outlasts_a_thaw(network: Any) -> None:
    """Both have to end before anything passes."""
    client = network.redis()
    network.wire.freeze(ServerName.CACHE)
    network.wire.cut(0, ServerName.CACHE, Manner.SILENT)
    network.wire.thaw(ServerName.CACHE)
    assert client.link.mute
    network.wire.mend(0, ServerName.CACHE)
    assert not client.link.mute


def test_pushes_are_not_passed_on_to_whom_nothing_reaches(network: Any) -> None:
    """They lie at the server, and come when the network works again."""
    listener, other = network.redis(), network.redis(process=1)
    listener.call("SUBSCRIBE", "news")
    network.wire.cut(0, ServerName.CACHE, Manner.SILENT)
    other.call("PUBLISH", "news", "one")
    assert not network.wire.overhear() and listener.replies() == []
    network.wire.mend(0, ServerName.CACHE)
    assert network.wire.overhear()
    assert listener.replies() == [["message", "news", "one"]]


# ── links that have lost their clients ──────────────────────────────────────────────────────────────────────


def test_a_detached_link_is_the_server_s_alone(network: Any) -> None:
    """The client sees a reset, its session goes on: nobody hears of an end before it is let go."""
    client = network.postgres()
    client.run(query("begin; select 1"))
    link, pid = client.link, client.link.upstream.pid
    network.wire.detach(link)
    assert client.is_reset() and network.links() == [] and network.wire.detached == [link]
    assert network.wire.dropped == []
    network.wire.let_go(link)
    assert network.wire.detached == [] and network.wire.dropped == [pid]


def test_a_detached_link_is_in_no_partition(network: Any) -> None:
    """What keeps a client from its server does not keep the server from its work."""
    client = network.redis()
    network.wire.cut(0, ServerName.CACHE, Manner.SILENT)
    network.wire.detach(client.link)
    assert not (client.link.mute or client.link.deaf or client.link.hushed)


def test_what_lies_behind_a_request_without_a_client_is_passed_by(network: Any) -> None:
    """What needs no decision is carried out up to the next that does; the answers reach nobody."""
    client = network.redis()
    client.ask("SET a 1", "CLIENT GETNAME", "GET a")
    pending, link = network.pending()[0], client.link
    network.wire.detach(link)
    network.execute(pending)
    network.wire.pass_by(pending)
    assert link.head is not None and link.head.request == ("GET", "a")
    network.wire.let_go(link)
    assert list(link.queue) == []


def test_a_detached_link_whose_server_has_gone_has_nothing_more_to_do(network: Any) -> None:
    """What could be passed by is dropped."""
    client = network.redis()
    client.ask("SET a 1", "SELECT 1", "GET a")
    pending, link = network.pending()[0], client.link
    network.wire.detach(link)
    network.execute(pending)
    network.admin.call("CLIENT", "KILL", "ID", link.upstream.id)
    network.wire.pass_by(pending)
    assert list(link.queue) == []


def test_a_run_ends_for_detached_links_as_well(network: Any) -> None:
    """With its partitions and frozen servers."""
    client = network.redis()
    client.call("GET", "a")
    network.port(ServerName.CACHE, 1)
    network.wire.cut(1, ServerName.CACHE, Manner.REFUSE)
    network.wire.detach(client.link)
    network.wire.freeze(ServerName.DATABASE)
    network.wire.end()
    assert network.wire.detached == [] and dict(network.wire.cuts()) == {}
    assert not network.wire.is_frozen(ServerName.DATABASE) and client.link.upstream is None
    assert not refused(network, 1)


def test_going_on_with_a_server_that_has_gone_ends_the_connection(network: Any) -> None:
    """The set-up that was held up cannot be passed on any more."""
    client = network.redis()
    client.call("GET", "a")
    network.wire.freeze(ServerName.CACHE)
    client.ask("SELECT 1")
    network.admin.call("CLIENT", "KILL", "ID", client.link.upstream.id)
    network.wire.thaw(ServerName.CACHE)
    network.wire.go_on(client.link)
    assert not client.is_open() and network.links() == []
