"""Has a client settled?  Real processes that wait, compute, sleep, and leave bytes unread, asked 200 times."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from cacheproof.chaos import settling
from cacheproof.chaos.settling import ProcessWatch, SocketTable, unread
from cacheproof.models.errors import EnvironmentFault

TIMES = 200
PATIENCE_S = 10.0

# What every client has: a control line, a TCP connection, and the words "ready" and "done" on the line.
PROLOGUE = """
import os, socket, sys, threading, time
line = socket.socket(fileno=int(sys.argv[1]))
tcp = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
def tell(word):
    line.send(word)
"""


class Client:
    """A process that runs a script; `line` and `tcp` are our ends of what it has."""

    def __init__(self, script: str) -> None:
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            command = [sys.executable, "-I", "-c", PROLOGUE + script, str(theirs.fileno())]
            self.process = subprocess.Popen(
                [*command, str(listener.getsockname()[1])], pass_fds=[theirs.fileno()]
            )
            theirs.close()
            self.tcp = listener.accept()[0]
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line.settimeout(PATIENCE_S)
        self.ends = self.tcp.getpeername(), self.tcp.getsockname()
        self.watch = ProcessWatch(self.process.pid)
        self.sent = self.received = 0

    def hears(self, word: bytes) -> None:
        """The next word of the client is this one."""
        assert self.line.recv(100) == word

    def send(self, data: bytes) -> None:
        self.tcp.sendall(data)
        self.sent += len(data)

    def quiet(self, table: SocketTable) -> bool:
        return table.quiet(*self.ends, sent=self.sent, received=self.received)

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.watch.close()
        self.line.close()
        self.tcp.close()


@pytest.fixture
def start() -> Iterator[Callable[[str], Client]]:
    """Starts clients, and ends them with the test."""
    clients: list[Client] = []

    def begin(script: str) -> Client:
        clients.append(Client(script))
        return clients[-1]

    yield begin
    for client in clients:
        client.close()


@pytest.fixture
def table() -> Iterator[SocketTable]:
    """The kernel's table of sockets."""
    found = SocketTable()
    yield found
    found.close()


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it never happened"
        os.sched_yield()


WAITING = {
    "reading a socket": "tell(b'ready'); tcp.recv(1)",
    "reading its line": "tell(b'ready'); line.recv(1)",
    "sleeping": "tell(b'ready'); time.sleep(1000)",
    "waiting for a lock": "lock = threading.Lock(); lock.acquire(); tell(b'ready'); lock.acquire()",
    "three threads that wait": """
for _ in range(2):
    threading.Thread(target=tcp.recv, args=(1,), daemon=True).start()
tell(b'ready'); time.sleep(1000)
""",
}


@pytest.mark.parametrize("script", WAITING.values(), ids=WAITING)
def test_a_client_that_waits_is_blocked_and_stays_so(script: str, start: Callable[[str], Client]) -> None:
    """Whatever it waits for; once it is, no answer says otherwise."""
    client = start(script)
    client.hears(b"ready")
    until(client.watch.asleep)
    until(lambda: len({str(client.watch.asleep()) for _ in range(20)}) == 1)
    assert len({str(client.watch.asleep()) for _ in range(TIMES)} - {"None"}) == 1


COMPUTING = {
    "one thread": "tell(b'ready')\nwhile True: pass",
    "one of three threads": """
for _ in range(2):
    threading.Thread(target=tcp.recv, args=(1,), daemon=True).start()
tell(b'ready')
while True: pass
""",
    "two threads that take turns": """
def compute():
    while True: pass
threading.Thread(target=compute, daemon=True).start()
tell(b'ready')
compute()
""",
    "a thread behind one that waits": """
def compute():
    tell(b'ready')
    while True: pass
threading.Thread(target=compute, daemon=True).start()
tcp.recv(1)
""",
}


@pytest.mark.parametrize("script", COMPUTING.values(), ids=COMPUTING)
def test_a_client_that_computes_is_not_blocked(script: str, start: Callable[[str], Client]) -> None:
    """Not once, whichever of its threads it is."""
    client = start(script)
    client.hears(b"ready")
    assert not any(client.watch.asleep() for _ in range(TIMES))


@pytest.mark.parametrize("threads", [0, 2])
def test_a_client_that_was_told_something_has_not_settled_until_it_is_done(
    threads: int, start: Callable[[str], Client], table: SocketTable
) -> None:
    """It reads a number, computes for a moment, and only then says that it is done: 200 times, no false answer."""
    client = start(f"""
for _ in range({threads}):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
tell(b'ready')
while True:
    size = int.from_bytes(tcp.recv(4), 'big')
    sum(range(size))
    tcp.sendall(b'done')
""")
    client.hears(b"ready")
    client.tcp.setblocking(False)
    for number in range(TIMES):
        client.send((number * 97 % 20_000).to_bytes(4, "big"))
        while not settled(client, table):
            os.sched_yield()
            read_all(client)
        assert client.received == 4 * (number + 1)


def settled(client: Client, table: SocketTable) -> bool:
    """As the director asks: asleep all the while."""
    asleep = client.watch.asleep()
    return asleep is not None and client.quiet(table) and client.watch.asleep() == asleep


def read_all(client: Client) -> None:
    """Read what has come, as the director does before it asks again."""
    try:
        client.received += len(client.tcp.recv(1000))
    except BlockingIOError:
        return


def test_bytes_that_nobody_waits_for_make_no_client_unquiet(
    start: Callable[[str], Client], table: SocketTable
) -> None:
    """They have arrived, and it sleeps on: it waits for something else."""
    client = start("tell(b'ready'); line.recv(1); tcp.recv(1000); tell(b'read'); line.recv(1)")
    client.hears(b"ready")
    until(client.watch.asleep)
    client.send(b"unread")
    until(lambda: client.quiet(table))
    assert all(client.watch.asleep() and client.quiet(table) for _ in range(TIMES))
    client.line.send(b"x")
    client.hears(b"read")


def test_bytes_that_have_not_arrived_make_a_client_unquiet(
    start: Callable[[str], Client], table: SocketTable
) -> None:
    """What its full buffers cannot take is still on its way."""
    client = start("tell(b'ready'); line.recv(1)")
    client.hears(b"ready")
    client.tcp.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.sent += client.tcp.send(b"x" * 100_000)
    until(client.watch.asleep)
    assert not any(client.quiet(table) for _ in range(TIMES))


def test_bytes_that_have_not_been_read_here_make_a_client_unquiet(
    start: Callable[[str], Client], table: SocketTable
) -> None:
    """What it sent, and what its full buffers still hold, has to arrive first."""
    client = start("tell(b'ready'); tcp.sendall(b'x' * 20_000_000); tell(b'sent'); line.recv(1)")
    client.hears(b"ready")
    until(client.watch.asleep)
    assert not any(client.quiet(table) for _ in range(TIMES))
    while client.received < 20_000_000:
        client.received += len(client.tcp.recv(1 << 20))
    client.hears(b"sent")
    assert [client.quiet(table) for _ in range(TIMES)] == [True] * TIMES


def test_a_connection_that_is_closed_is_not_quiet(start: Callable[[str], Client], table: SocketTable) -> None:
    """In order or with a reset: its end is still to be heard of here.  Nor is one that never was."""
    for ending in (
        "",
        "tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0])); ",
    ):
        client = start(ending + "tell(b'ready'); line.recv(1); tcp.close(); tell(b'closed'); line.recv(1)")
        client.hears(b"ready")
        until(lambda client=client: client.quiet(table))
        client.line.send(b"x")
        client.hears(b"closed")
        assert not client.quiet(table)
    assert not table.quiet(("127.0.0.1", 1), ("127.0.0.1", 2), sent=0, received=0)


def test_a_process_that_is_gone_is_blocked(start: Callable[[str], Client]) -> None:
    """As a zombie, and when nobody remembers it; with one thread and with several."""
    for script in (
        "tell(b'ready')",
        "threading.Thread(target=line.recv, args=(1,)).start(); tell(b'ready'); os._exit(0)",
    ):
        client = start(script)
        client.hears(b"ready")
        until(client.watch.asleep)
        client.process.wait()
        assert client.watch.asleep()


def test_a_stopped_process_is_not_blocked(start: Callable[[str], Client]) -> None:
    """Somebody stopped it, and it would go on: that is no settling."""
    client = start("tell(b'ready'); line.recv(1)")
    client.hears(b"ready")
    until(client.watch.asleep)
    client.process.send_signal(signal.SIGSTOP)
    until(lambda: not client.watch.asleep())
    client.process.send_signal(signal.SIGCONT)
    until(client.watch.asleep)


def test_packets_on_a_line_are_unread_until_they_are_read() -> None:
    """As the kernel counts them, at the end that wrote."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert unread(ours.fileno()) == 0
        ours.send(b"one")
        ours.send(b"two")
        assert unread(ours.fileno()) > 0
        theirs.recv(10)
        assert unread(ours.fileno()) > 0
        theirs.recv(10)
        assert unread(ours.fileno()) == 0


def test_threads_that_ran_between_two_looks_are_not_blocked(start: Callable[[str], Client]) -> None:
    """Asleep both times, but not all the time: one of them ran, or one more is there."""
    client = start(WAITING["three threads that wait"])
    client.hears(b"ready")
    until(client.watch.asleep)
    one, ran, two = ("1", "S", b"5 0 7"), ("1", "S", b"6 0 8"), ("2", "S", b"1 0 1")
    for looks, expected in (([[one], [one]], True), ([[one], [ran]], False), ([[one], [one, two]], False)):
        client.watch._threads = lambda looks=looks: looks.pop(0)
        assert (client.watch.asleep() is not None) is expected


@pytest.mark.parametrize("threads", [0, 2])
def test_a_client_that_ran_in_between_says_something_else(
    threads: int, start: Callable[[str], Client]
) -> None:
    """Asleep before and after, and yet it has answered: whoever asks twice sees that."""
    client = start(f"""
for _ in range({threads}):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
tell(b'ready')
while True:
    tcp.recv(1)
    tell(b'read')
""")
    client.hears(b"ready")
    until(client.watch.asleep)
    for _ in range(TIMES):
        until(lambda: client.watch.asleep() is not None)
        before = client.watch.asleep()
        client.tcp.sendall(b"x")
        client.hears(b"read")
        until(lambda: client.watch.asleep() is not None)
        assert client.watch.asleep() != before


def test_who_has_not_begun_to_connect_is_not_looked_for(
    table: SocketTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole table is gone through only while somebody has begun to connect of whom nothing was heard."""
    looked = []
    monkeypatch.setattr(table, "_being_made", lambda ports: looked.append(ports))

    def looks(begun: int, heard: int) -> bool:
        monkeypatch.setattr(table, "_begun", lambda: begun)
        looked.clear()
        assert not table.connecting({1}, heard)
        return looked == [{1}]

    assert looks(5, 2) and looks(5, 2)  # nobody has said yet that those three are not ours
    table.all_heard(2)
    assert not looks(5, 2) and not looks(7, 4)  # two more were begun, and both were heard of
    assert looks(8, 4)
    table.all_heard(4)
    assert not looks(8, 4) and looks(9, 4)


def test_connections_that_are_begun_are_counted(table: SocketTable) -> None:
    """One more for each, whoever makes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = table._begun()
        for _ in range(3):
            socket.create_connection(listener.getsockname()).close()
        assert table._begun() >= before + 3


@pytest.mark.parametrize("way", ["socket.create_connection(to)", "connect_at_leisure(to)"])
def test_a_connection_that_was_begun_is_heard_of_before_its_maker_has_settled(
    way: str, start: Callable[[str], Client], table: SocketTable
) -> None:
    """Whether it sleeps in connect or elsewhere: once it has settled, whoever listens has the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        client = start(f"""
import select
to = ("127.0.0.1", {port})
def connect_at_leisure(to):
    made = socket.socket()
    made.setblocking(False)
    made.connect_ex(to)
    select.select([], [made], [])
    made.setblocking(True)
    return made
tell(b'ready')
while True:
    tcp.recv(1)
    made = {way}
    made.recv(1)
    made.close()
""")
        client.hears(b"ready")
        until(client.watch.asleep)
        for _ in range(TIMES):
            client.send(b"x")
            until(lambda: connected(client, table, port))
            line, _ = listener.accept()
            line.close()


def connected(client: Client, table: SocketTable, port: int) -> bool:
    """Settled, and with no connection on its way."""
    asleep = client.watch.asleep()
    quiet = asleep is not None and client.quiet(table) and not table.connecting({port}, 0)
    return quiet and client.watch.asleep() == asleep


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such table elsewhere, and guessing would give false verdicts."""
    monkeypatch.setattr(settling.sys, "platform", "darwin")
    with pytest.raises(EnvironmentFault, match="Linux kernel's tables, and this is 'darwin'"):
        SocketTable()


def test_a_process_is_stopped_when_all_its_threads_are(start: Callable[[str], Client]) -> None:
    """Not before the signal, and not after it goes on; 200 times, with threads that compute."""
    client = start("""
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
tell(b'ready')
while True: pass
""")
    client.hears(b"ready")
    for _ in range(TIMES):
        assert not client.watch.stopped()
        client.process.send_signal(signal.SIGSTOP)
        until(client.watch.stopped)
        assert client.watch.stopped() and not client.watch.asleep()
        client.process.send_signal(signal.SIGCONT)
        until(lambda: not client.watch.stopped())


def test_a_process_that_is_gone_runs_no_more(start: Callable[[str], Client]) -> None:
    """Whoever waits for it to stop need not wait."""
    client = start("tell(b'ready'); line.recv(1)")
    client.hears(b"ready")
    client.process.kill()
    client.process.wait()
    assert client.watch.stopped()


@pytest.fixture
def elsewhere() -> Iterator[SocketTable]:
    """The same table, asked about other ports."""
    found = SocketTable()
    yield found
    found.close()


def test_a_connection_that_is_refused_has_been_answered(table: SocketTable, elsewhere: SocketTable) -> None:
    """An attempt that nobody answers is under way for as long as that; one to another port is none of it."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        lines = []
        try:
            while not table.connecting({port}, 0):  # until the queue of the listener is full
                lines.append(socket.socket())
                lines[-1].setblocking(False)
                assert lines[-1].connect_ex(("127.0.0.1", port)) and len(lines) < 100
            assert all(table.connecting({port}, 0) for _ in range(TIMES))
            assert not elsewhere.connecting({1}, 0)
        finally:
            for line in lines:
                line.close()
    until(lambda: not table.connecting({port}, 0))
