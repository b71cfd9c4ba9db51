"""chaos.virtualtime.sockets: time-outs are virtual, and count only while a fault keeps something back."""

import socket
import ssl
import threading
import time
from typing import Any

from cacheproof.chaos.clock import ELSEWHERE
from cacheproof.chaos.virtualtime import sockets

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


def test_without_a_fault_no_timeout_fires(run: Any) -> None:
    """A socket with a time-out of a millisecond waits five virtual seconds, and still tells its time-out."""
    outcome = run(outwait_a_timeout)
    assert outcome.value == ["late", 0.001, 0.001, True]
    assert outcome.at_ns == 5 * SECOND


def _when(call: Any) -> list[Any]:
    """What a call at a socket came to, and after how many virtual seconds."""
    began = time.monotonic_ns()
    try:
        found = [call()]
    except TimeoutError as error:
        found = [*error.args]
    return [*found, (time.monotonic_ns() - began) / SECOND]


def wait_in_every_way() -> list[Any]:
    ours, theirs = socket.socketpair()
    room = bytearray(4)
    with ours, theirs:
        ours.settimeout(0.25)
        calls: list[Any] = [
            lambda: ours.recv(4),
            lambda: ours.recv(4, socket.MSG_PEEK),
            lambda: ours.recv_into(room),
            lambda: ours.recv_into(room, 2),
            lambda: ours.recv_into(room, 2, socket.MSG_PEEK),
            lambda: ours.recv_into(room, nbytes=2, flags=socket.MSG_PEEK),
            lambda: ours.recvfrom(4),
            lambda: ours.recvfrom_into(room),
            lambda: ours.recvfrom_into(room, 4, 0),
            lambda: ours.recvmsg(4),
            lambda: ours.recvmsg(4, 16, 0),
            lambda: ours.recvmsg_into([room]),
            lambda: ours.makefile("rb").read(4),
        ]
        return [_when(call) for call in calls]


def test_while_something_is_held_back_every_way_of_receiving_times_out(run: Any) -> None:
    """With the error of a real socket, after its time-out to the nanosecond, and not a moment of real time."""
    outcome = run(wait_in_every_way, held_back=True)
    assert outcome.value == [["timed out", 0.25]] * 13
    assert outcome.wakes_ns == [number * SECOND // 4 for number in range(1, 14)]


def receive_in_every_way() -> list[Any]:
    ours, theirs = socket.socketpair()
    room = bytearray(4)
    with ours, theirs:
        ours.settimeout(0.25)
        theirs.sendall(b"0123456789abcdefghij")
        found: list[Any] = [ours.recv(2, socket.MSG_PEEK), ours.recv(2), ours.recv_into(room, 2), bytes(room)]
        found += [ours.recv_into(room, nbytes=1, flags=socket.MSG_PEEK), ours.recvfrom_into(room, 2)[0]]
        found += [bytes(room), ours.recvfrom(2)[0], ours.recvmsg(2)[0], ours.recvmsg_into([room])[0]]
        theirs.close()
        return [item.decode() if isinstance(item, bytes) else item for item in [*found, *_rest(ours)]]


def _rest(connection: socket.socket) -> list[bytes]:
    found = [connection.recv(3)]
    while found[-1]:
        found.append(connection.recv(3))
    return found


def test_what_has_come_is_received_at_once(run: Any) -> None:
    """With the arguments that were given, in every way of receiving; and so is the end of the connection."""
    outcome = run(receive_in_every_way, held_back=True)
    assert outcome.value == ["01", "01", 2, "23\0\0", 1, 2, "45\0\0", "67", "89", 4, "efg", "hij", ""]
    assert outcome.wakes_ns == []


def wait_and_be_answered() -> list[Any]:
    ours, theirs = socket.socketpair()
    ours.settimeout(3)

    def answer() -> None:
        time.sleep(1)
        theirs.sendall(b"one")
        time.sleep(2)
        theirs.sendall(b"two")

    thread = threading.Thread(target=answer)
    thread.start()
    found = [_when(lambda: ours.recv(3).decode()) for _ in range(3)]
    thread.join()
    with ours, theirs:
        return found


def test_each_wait_has_its_own_time(run: Any) -> None:
    """A reply in time ends a wait; the next one has all its time again."""
    assert run(wait_and_be_answered, held_back=True).value == [["one", 1.0], ["two", 2.0], ["timed out", 3.0]]


def race_for_one_reply() -> list[Any]:
    ours, theirs = socket.socketpair()
    ours.settimeout(2)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(_when(lambda: ours.recv(1).decode())))]
    threads.append(threading.Thread(target=lambda: found.append(_when(lambda: ours.recv(1).decode()))))
    for thread in threads:
        thread.start()
    time.sleep(1)
    theirs.sendall(b"x")
    for thread in threads:
        thread.join()
    with ours, theirs:
        return sorted(found)


def test_of_two_threads_one_gets_the_reply_and_the_other_times_out(run: Any) -> None:
    """Whoever comes too late for the data waits on for what is left of its time."""
    assert run(race_for_one_reply, held_back=True).value == [["timed out", 2.0], ["x", 1.0]]


def name_lines() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socketpair()[0] as unix:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as plain, socket.socket() as lonely:
            named = sockets._line(plain) == port << 16 | plain.getsockname()[1]
            return [named, sockets._line(unix), sockets._line(lonely)]


def test_a_connection_is_named_by_its_ports(run: Any) -> None:
    """As the wire names it; what is no connection over TCP is elsewhere."""
    assert run(name_lines).value == [True, ELSEWHERE, ELSEWHERE]


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
