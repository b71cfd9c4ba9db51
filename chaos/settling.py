"""Has a client settled?  Asked of the kernel, never guessed from a timer (Linux).

A client has settled when all of these hold at once:

1. every thread of it sleeps in the kernel, and none has run while the rest was asked: looked at before and after;
2. every byte that it was sent has reached its side of the connection.  By then whoever waits there has been
   woken, which is why 1 is looked at again; bytes that nobody waits for (a message, while the client is busy with
   the one before) may lie there for as long as they like;
3. every byte that it sent has arrived here, and the end of a connection that it closed;
4. no attempt of it to connect is on its way: neither to be refused, nor to be heard of here.  The loopback
   interface takes a moment for either when the machine is busy, and a client that connects may sleep meanwhile.

2 to 4 are asked of the kernel's socket table by netlink (sock_diag, 5 µs a socket, no privileges), 4 only if
somebody on this machine has begun to connect of whom nothing has been heard (a count of the kernel, 10 µs); a
pair of unix sockets says the same by SIOCOUTQ.  Whoever asks has drained its own sockets first, and asks again
when anything came in meanwhile.
"""

import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Collection
from functools import lru_cache

from cacheproof.models.errors import EnvironmentFault

__all__ = ["ProcessWatch", "SocketTable", "unread"]

_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLM_F_DUMP = 0x300
_NLMSG_DONE = 3
_ESTABLISHED = 1
_BEING_MADE = 1 << 2 | 1 << 3  # SYN_SENT and SYN_RECV
_INET_DIAG_INFO = 2
_NETLINK_SOCK_DIAG = 4
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_SOCKET_ID = struct.Struct("!HH16s16sI")
_ATTRIBUTE = struct.Struct("=HH")
# Of struct tcp_info: bytes_received at 128, notsent_bytes at 144, bytes_sent at 200 and bytes_retrans at 208.
# What was sent includes retransmissions, and on a loaded machine the loopback has some.
_COUNTS = struct.Struct("=128xQ8xI52xQQ")
_PORTS = struct.Struct("!HH")
_ACTIVE_OPENS = 5  # among the words of the second line of /proc/net/snmp that begins with "Tcp:"
_NO_SIZE = bytes(4)
_LOOPBACK = socket.inet_aton("127.0.0.1") + b"\0" * 12


class SocketTable:
    """The kernel's view of TCP sockets on the loopback interface."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise EnvironmentFault(
                f"settling needs the Linux kernel's tables, and this is {sys.platform!r}; run in a Linux "
                "container or virtual machine"
            )
        self._line = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )
        self._line.bind((0, 0))
        self._counts = os.open("/proc/net/snmp", os.O_RDONLY | os.O_CLOEXEC)
        self._asked = 0
        self._elsewhere = -1

    def quiet(self, theirs: tuple[str, int], ours: tuple[str, int], *, sent: int, received: int) -> bool:
        """True if the client's socket `theirs` has received `sent` bytes and sent no more than `received`.

        One that has been closed there is not quiet: its end, or its reset, has yet to arrive here.
        """
        answer = self._ask(theirs[1], ours[1])
        if answer is None or answer[0] != _ESTABLISHED:
            return False
        got, waiting, gone, again = _COUNTS.unpack_from(answer[1])
        return bool(got >= sent and gone - again + waiting <= received)

    def connecting(self, ports: Collection[int], heard: int) -> bool:
        """True if an attempt to connect to one of these ports of this machine has been neither answered nor heard of.

        `heard` is how many connections have been accepted there so far.  As long as it keeps up with what the
        kernel counts, nothing has to be looked for.
        """
        self._asked = self._begun()
        return self._asked - heard != self._elsewhere and self._being_made(ports)

    def all_heard(self, heard: int) -> None:
        """What had begun when `connecting` was asked last has been heard of, or it was not for these ports."""
        self._elsewhere = self._asked - heard

    def _begun(self) -> int:
        """How many connections this machine has begun to make."""
        text = os.pread(self._counts, 4096, 0)
        return int(text[text.rindex(b"Tcp: ") :].split(None, _ACTIVE_OPENS + 1)[_ACTIVE_OPENS])

    def _being_made(self, ports: Collection[int]) -> bool:
        self._line.send(_ATTEMPTS)
        found = done = False
        while not done:
            answer, at = self._line.recv(1 << 16), 0
            while at + _HEADER.size <= len(answer) and not done:
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                done = kind != _SOCK_DIAG_BY_FAMILY
                if not done:
                    found = found or not set(_PORTS.unpack_from(answer, at + 20)).isdisjoint(ports)
                at += (length + 3) & ~3
        return found

    def _ask(self, port: int, peer_port: int) -> tuple[int, bytes] | None:
        """The state and the `struct tcp_info` of a socket; None if it is no more.

        It is taken under the lock of the socket: between packets, never within one.
        """
        self._line.send(_question(port, peer_port))
        answer = self._line.recv(8192)
        if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
            return None
        at = 16 + 72
        while at + 4 <= len(answer):
            length, kind = _ATTRIBUTE.unpack_from(answer, at)
            if kind == _INET_DIAG_INFO:
                return answer[17], answer[at + 4 : at + length]
            at += (length + 3) & ~3
        return None

    def close(self) -> None:
        self._line.close()
        os.close(self._counts)


@lru_cache(maxsize=64)
def _question(port: int, peer_port: int) -> bytes:
    """The netlink message that asks for one socket; asked again each time its client may have settled."""
    identity = _SOCKET_ID.pack(port, peer_port, _LOOPBACK, _LOOPBACK, 0) + b"\xff" * 8
    body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, 0xFFFFFFFF)
    size = _HEADER.size + len(body) + len(identity)
    return _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body + identity


_ATTEMPTS = (
    _HEADER.pack(
        _HEADER.size + _REQUEST.size + _SOCKET_ID.size + 8,
        _SOCK_DIAG_BY_FAMILY,
        _NLM_F_REQUEST | _NLM_F_DUMP,
        1,
        0,
    )
    + _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _BEING_MADE)
    + bytes(_SOCKET_ID.size + 8)
)
"""The netlink message that asks for all connections that are being made, at either end: 0.1 to 0.6 ms."""


def unread(fd: int) -> int:
    """How many bytes written to a unix socket its other end has not read yet (0: none)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, _NO_SIZE), sys.byteorder)


_GONE = object()


class ProcessWatch:
    """The threads of one client process, as the kernel sees them."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._ran = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def asleep(self) -> object | None:
        """None unless every thread sleeps in the kernel; else what differs from one answer to the next if any ran.

        A process that is gone sleeps as well.
        """
        ran = self._runs()
        state, threads = self._main()
        if state in "ZX":
            return _GONE
        if threads == 1:
            return ran if state == "S" and self._runs() == ran else None
        first = self._threads()
        return first if all(item[1] == "S" for item in first) and first == self._threads() else None

    def stopped(self) -> bool:
        """True if every thread has been stopped by a signal.  A process that is gone runs no more either."""
        state, _ = self._main()
        return state in "ZX" or all(item[1] == "T" for item in self._threads())

    def _runs(self) -> bytes:
        """How long and how often the first thread has run."""
        try:
            return os.pread(self._ran, 100, 0)
        except ProcessLookupError:
            return b""

    def _main(self) -> tuple[str, int]:
        try:
            text = os.pread(self._stat, 1024, 0)
        except ProcessLookupError:
            return "X", 0
        fields = text[text.rindex(b")") + 2 :].split(None, 18)
        return chr(fields[0][0]), int(fields[17])

    def _threads(self) -> list[tuple[str, str, bytes]]:
        """(thread, state, how often it ran) of each thread."""
        found = []
        base = f"/proc/{self.pid}/task"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for name in sorted(os.listdir(base)):
                with open(f"{base}/{name}/schedstat", "rb") as file:
                    ran = file.read()
                with open(f"{base}/{name}/stat", "rb") as file:
                    text = file.read()
                found.append((name, chr(text[text.rindex(b")") + 2]), ran))
        return found

    def close(self) -> None:
        os.close(self._stat)
        os.close(self._ran)
