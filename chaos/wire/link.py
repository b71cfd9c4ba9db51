"""A link: one connection of a client, and what is to happen to each request on it.

Requests are taken strictly in order.  Each is one of three things:

    answered   connection set-up, which the wire answers itself from what the server once said
    passed     goes to the server at once: it changes nothing that anybody else could see
    held       becomes a pending exchange, which a decision releases

The link parses and keeps the books; it reads from the client when its reactor says so, and talks to the
server only when it is told to deliver.  What a protocol has of its own is in redislink.py and pglink.py.
"""

import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cacheproof.chaos.wire.upstream import Upstream
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.refusal import Refusal

__all__ = ["Answer", "Link", "Pending", "Request"]

_CHUNK = 1 << 16  # bytes read at once; of more, malloc asks the kernel anew each time: +30 µs an exchange
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close sends a reset


@dataclass(eq=False, slots=True)
class Request:
    """What is next on a link and needs no decision.

    `answer` gives what the wire itself says to it, when its turn has come; without one it is passed on.
    """

    raw: bytes
    answer: Callable[[], bytes] | None = None
    payload: Any = None


@dataclass(eq=False, slots=True)
class Pending:
    """An exchange that waits for a decision (`delivered` is False) or for the server (True).

    `request` is the request in words, `keys` the scenario's keys in it.  `blocks_s` is its own time-out if
    the server may keep it waiting for an event (0: for ever), else None.  `may_write` is False only if it
    surely changes no row.  `payload` is the parsed request, for the link alone.  `parked` is True for one that
    is delivered and stuck on its way: the request before a frozen server, or the reply in a partition.  `told` is
    True once it has been recorded that it waits.
    """

    link: "Link"
    verb: str
    request: tuple[str, ...]
    keys: tuple[str, ...]
    raw: bytes
    may_write: bool
    blocks_s: float | None = None
    payload: Any = None
    delivered: bool = False
    parked: bool = False
    told: bool = False

    @property
    def order(self) -> tuple[str, tuple[str, ...], int]:
        """Where it stands among the pending exchanges of a client: by server, words, link."""
        return (self.link.server.value, self.request, self.link.number)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to an exchange: the bytes for the client, and the same as a JSON value."""

    raw: bytes
    reply: Any
    failed: bool = False


class Link(ABC):
    """One connection from a client to one server, through the wire.

    `connected` is True while the client holds its end.  `sent` and `received` count bytes on the client's
    side.  `closing` is True once the server has said its
    last word, or would close the connection now.  `listening` is True while the server may say something
    unasked.  While `mute`, nothing is answered or passed on; while `deaf`, nothing even arrives; while `hushed`,
    what the server says stays where it is.
    """

    server: ServerName

    def __init__(self, client: socket.socket, process: int, number: int, keys: tuple[str, ...]) -> None:
        self.process = process
        self.number = number
        self.keys = keys
        self.connected = True
        self.sent = 0
        self.received = 0
        self.closing = False
        self.listening = False
        self.mute = False
        self.deaf = False
        self.hushed = False
        self.queue: deque[Request | Pending] = deque()
        self.upstream: Upstream | None = None
        self._client: socket.socket | None = client
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 10, 0))
        self.peer: tuple[str, int] = client.getpeername()
        self.here: tuple[str, int] = client.getsockname()

    def fileno(self) -> int:
        return -1 if self._client is None else self._client.fileno()

    @property
    def head(self) -> Pending | None:
        """The exchange at the head of the queue, if one waits there."""
        first = self.queue[0] if self.queue else None
        return first if isinstance(first, Pending) else None

    @property
    def line(self) -> int:
        """The connection, as the client tells the director of it (`cacheproof.chaos.clock.Sleeper`)."""
        return self.here[1] << 16 | self.peer[1]

    @property
    def held_back(self) -> bool:
        """Whether a fault keeps the reply to what is next from coming, whatever is decided meanwhile.

        Not so for an exchange that its server keeps waiting, for a lock or an element.
        """
        if not self.mute or not self.queue:
            return False
        head = self.head
        return head is None or head.parked or not head.delivered

    # -- the client's side -------------------------------------------------------------------------------

    def receive(self) -> bool:
        """Take what the client has sent.  False when it has closed or reset its end.

        Raises FramingError for what is not the protocol, and ConnectionError as `advance` does.
        """
        assert self._client is not None
        try:
            data = self._client.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            return False
        self.received += len(data)
        self.feed(data)
        self.advance()
        return True

    def send(self, data: bytes) -> None:
        """Send to the client; what it can no longer take is dropped, as a network would."""
        if self._client is None or not data:
            return
        try:
            self._client.sendall(data)
        except BlockingIOError:
            raise EnvironmentFault(
                f"client {self.process} did not read a reply of {len(data)} bytes for 10 s; is it stopped?"
            ) from None
        except ConnectionError:
            return
        self.sent += len(data)

    def advance(self) -> None:
        """Answer and pass on what needs no decision, up to the first exchange that does.

        Raises ConnectionError if the server has closed the connection on which something was to be passed on.
        """
        while (
            self.queue
            and not self.closing
            and not self.mute
            and isinstance(request := self.queue[0], Request)
        ):
            self.queue.popleft()
            self.send(request.answer() if request.answer is not None else self.forward(request))

    def drop_client(self, *, reset: bool) -> None:
        """Close the client's end: with a reset, as a broken network does, or in order."""
        if self._client is None:
            return
        if reset:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._client.close()
        self._client = None
        self.connected = False

    # -- what a protocol brings --------------------------------------------------------------------------

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Parse what the client sent and append it to the queue.  Raises FramingError."""

    @abstractmethod
    def forward(self, request: Request) -> bytes:
        """Send a request that passes to the server and return the reply."""

    @abstractmethod
    def transmit(self, pending: Pending) -> None:
        """Send an exchange to the server."""

    @abstractmethod
    def collect(self, pending: Pending, wait_s: float | None) -> Answer | None:
        """The whole answer to a transmitted exchange, or None if it is not complete within `wait_s`."""

    @abstractmethod
    def can_refuse(self, pending: Pending, refusal: Refusal) -> bool:
        """Whether the server could give this error in the place of this exchange."""

    @abstractmethod
    def refuse(self, pending: Pending, refusal: Refusal) -> Answer:
        """The answer that is an error, and leaves the server as such an error would."""

    @abstractmethod
    def release_upstream(self) -> bool:
        """Give the server's side back to its pool if it is clean, else close it.  True if it was clean."""

    @abstractmethod
    def overheard(self) -> bytes:
        """What the server has pushed without being asked, to be passed on."""
