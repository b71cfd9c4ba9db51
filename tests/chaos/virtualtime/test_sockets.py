"""chaos.virtualtime.sockets: time-outs are remembered and never fire; non-blocking sockets stay so."""

import socket
import ssl
import threading
import time
from typing import Any

SECOND = 10**9


def outwait_a_timeout() -> list[Any]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.001)

    def send_later() -> None:
        for _ in range(100):  # enough wake-ups for the time-out to be over in real time as well
            time.sleep(0.05)
        theirs.sendall(b"late")

    thread = threading.Thread(target=send_later)
    thread.start()
    received = ours.recv(4).decode()
    thread.join()
    with ours, theirs:
        return [received, ours.gettimeout(), ours.timeout, ours.getblocking()]


def test_timeouts_never_fire(run: Any) -> None:
    """A socket with a time-out of a millisecond waits five virtual seconds, and still tells its time-out."""
    outcome = run(outwait_a_timeout)
    assert outcome.value == ["late", 0.001, 0.001, True]
    assert outcome.at_ns == 5 * SECOND


def _receive(connection: socket.socket) -> str:
    try:
        return connection.recv(1).decode()
    except BlockingIOError:
        return "would block"


def change_modes() -> list[Any]:
    ours, theirs = socket.socketpair()
    found: list[Any] = []
    with ours, theirs:
        ours.settimeout(2)
        ours.settimeout(0)
        found += [ours.gettimeout(), _receive(ours)]
        ours.settimeout(2)
        ours.setblocking(False)
        found += [ours.gettimeout(), _receive(ours)]
        ours.settimeout(2)
        with ours.dup() as copy:
            found += [ours.gettimeout(), copy.gettimeout(), copy.getblocking()]
        ours.settimeout(None)
        found += [ours.gettimeout()]
        ours.settimeout(2)
        ours.setblocking(True)
        found += [ours.gettimeout()]
        try:
            ours.settimeout(-1)
        except ValueError:
            found += ["refused", ours.gettimeout()]
    return found


def test_modes(run: Any) -> None:
    """Zero, None and setblocking mean what they always meant, and forget a time-out from before."""
    expected = [0.0, "would block", 0.0, "would block", 2.0, 2.0, True, None, None, "refused", None]
    assert run(change_modes).value == expected


def use_defaults() -> list[Any]:
    socket.setdefaulttimeout(3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as plain:
            found = [socket.getdefaulttimeout(), server.gettimeout(), plain.gettimeout()]
        with socket.create_connection(server.getsockname(), timeout=0.001) as connection:
            accepted, _ = server.accept()
            accepted.close()
            found += [connection.gettimeout(), connection.getblocking()]
    socket.setdefaulttimeout(None)
    with socket.socket() as fresh:
        return [*found, socket.getdefaulttimeout(), fresh.gettimeout()]


def test_defaults(run: Any) -> None:
    """A default time-out, and one given to create_connection, are remembered as well."""
    assert run(use_defaults).value == [3.0, 3.0, 3.0, 0.001, True, None, None]


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH:@SECLEVEL=0")  # anonymous, so that no certificate is needed
    return context


def talk_tls() -> list[Any]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.001)
    said: list[str] = []

    def serve() -> None:
        time.sleep(2)
        with _context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(theirs, server_side=True) as server:
            said.append(server.recv(5).decode())
            time.sleep(2)
            server.sendall(b"world")

    thread = threading.Thread(target=serve)
    thread.start()
    with _context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(ours) as client:
        client.sendall(b"hello")
        found = [client.recv(5).decode(), client.gettimeout()]
    thread.join()
    return [*said, *found]


def test_tls(run: Any) -> None:
    """A TLS socket with a time-out waits through handshake and reply, and keeps its time-out."""
    outcome = run(talk_tls)
    assert outcome.value == ["hello", "world", 0.001]
    assert outcome.at_ns == 4 * SECOND


def time_out_for_real() -> list[Any]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.001)
        try:
            ours.recv(1)
        except TimeoutError:
            return ["timed out", ours.gettimeout()]
    return []


def test_outside_a_run(run: Any) -> None:
    """In a process that never attached, time-outs fire."""
    assert run(time_out_for_real, attached=False).value == ["timed out", 0.001]
