"""Connections to the servers and their pools: what is waited for, what is kept, what is refused."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers.login import Login
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.wire import upstream as module
from cacheproof.chaos.wire.pgmessages import encode
from cacheproof.chaos.wire.pgpassword import md5_answer
from cacheproof.chaos.wire.upstream import (
    PgPool,
    PgUpstream,
    RedisPool,
    RedisUpstream,
    SessionRefused,
    Upstream,
)
from cacheproof.models.errors import EnvironmentFault

SESSION = {"user": "cacheproof", "database": "records"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Upstream, socket.socket]]:
    """A connection, and a server's end of it that does nothing by itself."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        ours = Upstream(Address(str(tmp_path / "s")))
        theirs = listener.accept()[0]
        with theirs:
            yield ours, theirs
        ours.close()


def test_nobody_answers_at_an_address_without_a_server(tmp_path: Path) -> None:
    """The environment is at fault, and the message names the address."""
    with pytest.raises(EnvironmentFault, match="no answer from the server at .*nowhere"):
        Upstream(Address(str(tmp_path / "nowhere")))


def test_waiting_for_bytes_has_a_limit_of_its_own(pair: tuple[Upstream, socket.socket]) -> None:
    """None while there are none; what has come is returned at once."""
    ours, theirs = pair
    assert ours.receive(0.0) is None
    assert not ours.readable(0.0)
    theirs.sendall(b"abc")
    assert ours.readable(0.0)
    assert ours.receive(0.0) == b"abc"


def test_a_server_that_has_gone_is_heard_to_the_end(pair: tuple[Upstream, socket.socket]) -> None:
    """Sending to it is no error; its last words come, and then the loss shows."""
    ours, theirs = pair
    theirs.sendall(b"last words")
    theirs.close()
    ours.send(b"request")
    assert ours.receive() == b"last words"
    with pytest.raises(ConnectionError, match="the server closed the connection"):
        ours.receive()


def test_a_server_that_talks_while_it_is_told_is_heard(pair: tuple[Upstream, socket.socket]) -> None:
    """Both directions carry 8 MiB; neither side reads before it has written all."""
    ours, theirs = pair
    size = 8 << 20
    heard = bytearray()

    def serve() -> None:
        theirs.sendall(b"s" * size)
        while len(heard) < size:
            heard.extend(theirs.recv(1 << 16))

    server = threading.Thread(target=serve)
    server.start()
    ours.send(b"c" * size)
    server.join()
    assert heard == b"c" * size
    said = b""
    while len(said) < size:
        said += ours.receive() or b""
    assert said == b"s" * size


def test_a_server_that_goes_while_it_is_told_is_no_error_yet(pair: tuple[Upstream, socket.socket]) -> None:
    """It shows when the answer is read."""
    ours, theirs = pair
    sending = threading.Thread(target=ours.send, args=(b"c" * (8 << 20),))
    sending.start()
    theirs.recv(10)
    theirs.close()
    sending.join()
    with pytest.raises(ConnectionError):
        ours.receive()


def test_a_server_that_takes_and_says_nothing_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the limit, in both directions."""
    monkeypatch.setattr(module, "HANG_LIMIT_S", 1.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        ours = Upstream(Address(str(tmp_path / "s")))
        theirs = listener.accept()[0]
        with theirs:
            with pytest.raises(EnvironmentFault, match="a server did not answer for 1 s"):
                ours.receive()
            with pytest.raises(EnvironmentFault, match=r"a server took none of [0-9]+ bytes for 1 s"):
                ours.send(b"c" * (8 << 20))
        ours.close()


def test_commands_sent_at_once_have_their_replies_in_order(network: Any) -> None:
    """One round trip; the number is the server's."""
    line = RedisUpstream(network.servers.cache.address, 3)
    replies = line.call_many([("SET", "a", 1), ("GET", "a"), ("CLIENT", "ID"), ("HGETALL", "b")])
    assert [reply.value for reply in replies[:3]] == [b"OK", b"1", line.id]
    assert replies[3].raw == b"%0\r\n"
    line.close()


def test_connections_to_the_cache_keep_keys_from_expiring(network: Any) -> None:
    """They are import sources, in both protocols."""
    for protocol in (2, 3):
        line = RedisUpstream(network.servers.cache.address, protocol)
        line.call("PSETEX", "a", 1, "v")
        line.call("DEBUG", "SLEEP", "0.005")
        assert line.call("GET", "a").value == b"v"
        line.close()


def test_the_pool_of_the_cache_keeps_what_comes_back(network: Any) -> None:
    """By protocol; what is discarded is closed."""
    pool = RedisPool(network.servers.cache)
    two, three = pool.acquire(2), pool.acquire(3)
    pool.release(two)
    pool.release(three)
    assert pool.acquire(3) is three and pool.acquire(2) is two
    pool.discard(two)
    assert two.fileno() == -1
    another = pool.acquire(2)
    assert another is not two
    pool.release(another)
    pool.release(three)
    pool.clear()
    assert (three.fileno(), another.fileno()) == (-1, -1)


def test_what_was_lent_before_a_clear_never_comes_back(network: Any) -> None:
    """Its server is gone, though another one has its address."""
    pool = RedisPool(network.servers.cache)
    lent = pool.acquire(2)
    pool.clear()
    pool.release(lent)
    assert lent.fileno() == -1
    following = pool.acquire(2)
    assert following is not lent
    following.close()


def test_a_session_knows_its_number_and_secret(network: Any) -> None:
    """Four bytes in protocol 3.0, 32 in 3.2."""
    for minor, size in ((0, 4), (2, 32)):
        session = PgUpstream(network.servers.database.address, SESSION, minor)
        assert len(session.secret) == size
        assert session.query("select pg_backend_pid()").rows == ((session.pid,),)
        session.close()


def test_a_refused_session_says_why(network: Any) -> None:
    """In words for people, and in the server's own bytes for the client."""
    with pytest.raises(SessionRefused, match='role "nobody" does not exist$') as caught:
        PgUpstream(network.servers.database.address, {"user": "nobody", "database": "records"})
    assert b"VFATAL\0C28000\0" in caught.value.raw


def test_a_password_is_not_to_be_had(tmp_path: Path) -> None:
    """A server that asks for one is a mistake in its set-up, said at once."""

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as line:
            line.recv(1000)
            line.sendall(b"R\0\0\0\x08\0\0\0\x03")
            line.recv(1000)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with pytest.raises(EnvironmentFault, match="asks for a password"):
            PgUpstream(Address(str(tmp_path / "s")), SESSION)
        server.join()


def test_a_failing_statement_of_our_own_is_named(network: Any) -> None:
    """`query` is for the director, whose statements do not fail."""
    with pytest.raises(EnvironmentFault, match="'select nonsense'.*42703"):
        network.direct.query("select nonsense")


def test_sessions_are_cleaned_all_at_once_and_the_broken_ones_closed(network: Any) -> None:
    """One is clean, one was ended by the server, one is inside a failed transaction."""
    pool = PgPool(network.servers.database, SESSION)
    good, ended, stuck = pool.acquire(), pool.acquire(), pool.acquire()
    good.query("set work_mem = '65kB'")
    stuck.query("begin")
    stuck.finish(stuck.begin("nonsense"))
    network.direct.query(f"select pg_terminate_backend({ended.pid}, 5000)")
    for session in (good, ended, stuck):
        pool.release(session)
    pool.clean()
    assert (ended.fileno(), stuck.fileno()) == (-1, -1)
    again = pool.acquire()
    assert again is good
    assert again.query("select current_setting('work_mem')").rows != (("65kB",),)
    again.close()


def test_the_greeting_is_that_of_a_session_which_is_kept(network: Any) -> None:
    """Asked once, and the session that it took is the first to be lent."""
    pool = PgPool(network.servers.database, SESSION, 2)
    greeting = pool.greeting()
    assert (greeting[0].tag, greeting[-1].tag) == (b"R", b"Z")
    session = pool.acquire()
    assert session.greeting is greeting
    assert pool.greeting() is greeting
    pool.release(session)
    pool.clear()
    assert session.fileno() == -1


# -- logging in --------------------------------------------------------------------------------------------------


def authentication(kind: int, rest: bytes = b"") -> bytes:
    return encode(b"R", kind.to_bytes(4, "big") + rest)


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Any]:
    """`asking(*said)`: a database that says these, one after each message; the address, and what it heard."""
    heard: list[bytes] = []
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve(*said: bytes) -> Any:
            def run() -> None:
                with listener.accept()[0] as line:
                    for one in said:
                        heard.append(line.recv(1000))
                        line.sendall(one)
                    line.recv(1000)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return Address(str(tmp_path / "s"), Login("app", "pencil", "test")), heard

        yield serve
        for thread in threads:
            thread.join()


LET_IN = authentication(0) + encode(b"K", bytes(8)) + encode(b"Z", b"I")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (authentication(3), b"pencil\0"),
        (authentication(5, b"salt"), md5_answer("app", "pencil", b"salt") + b"\0"),
    ],
)
def test_passwords_in_clear_and_hashed(asking: Any, asked: bytes, answer: bytes) -> None:
    """The server's names in the start-up packet, the password when it is asked for, and clients see none of it."""
    address, heard = asking(asked, LET_IN)
    session = PgUpstream(address, SESSION)
    session.close()
    assert b"user\0app\0database\0test\0" in heard[0]
    assert heard[1] == encode(b"p", answer)
    assert b"".join(message.raw for message in session.greeting) == LET_IN


def test_a_server_that_does_not_prove_itself(asking: Any) -> None:
    """SCRAM goes both ways."""
    address, heard = asking(
        authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"), authentication(12, b"v=AAAA")
    )
    with pytest.raises(EnvironmentFault, match=r"a way that is not supported \(12\)"):
        PgUpstream(address, SESSION)
    assert heard[1][:1] == b"p" and heard[1][5:].startswith(b"SCRAM-SHA-256\0")


@pytest.mark.parametrize(
    "asked", [authentication(7), authentication(10, b"OAUTHBEARER\0\0"), authentication(11, b"r=x")]
)
def test_other_ways_to_log_in_are_not_supported(asking: Any, asked: bytes) -> None:
    """GSSAPI, other mechanisms, answers to nothing: who must do what."""
    address, _ = asking(asked)
    with pytest.raises(
        EnvironmentFault, match="let it take a password .scram-sha-256 or md5., or trust this machine"
    ):
        PgUpstream(address, SESSION)


def test_a_cache_that_refuses_a_connection_says_why(network: Any) -> None:
    """A password that it did not ask for, say."""
    address = Address(network.servers.cache.address.sockaddr, Login(password="pencil"))
    with pytest.raises(
        EnvironmentFault, match="the cache refused a connection: .*AUTH.* called without any password"
    ):
        RedisUpstream(address, 2)


def test_connections_without_import_mode_are_ordinary_ones(network: Any) -> None:
    """A key that real time has expired is gone for them; the pool makes such where it is told to."""
    pool = RedisPool(network.servers.cache, import_source=False)
    line = pool.acquire(2)
    line.call("PSETEX", "a", 1, "v")
    network.admin.call("DEBUG", "SLEEP", "0.005")
    network.admin.call("CONFIG", "SET", "import-mode", "no")
    assert line.call("GET", "a").value is None
    network.admin.call("CONFIG", "SET", "import-mode", "yes")
    pool.discard(line)
