"""The wire: the network between clients and servers, under control.

Every client has a port of its own for each server, so a connection says whose it is by where it arrives.
Ports stay the same for as long as the wire lives; links are new in every run.  While a server is down its
ports are closed, so that clients are refused as they would be.

    client A ──► port A/cache ────► link ──► pool ──► cache
             ──► port A/database ─► link ──► pool ──► database
"""

import re
import socket
from collections.abc import Iterator, Mapping
from functools import partial

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.link import Link, Pending
from cacheproof.chaos.wire.pglink import DatabaseEnd, PgLink
from cacheproof.chaos.wire.reactor import Reactor
from cacheproof.chaos.wire.redislink import CacheEnd, RedisLink
from cacheproof.chaos.wire.upstream import PgUpstream
from cacheproof.models.decision import Manner, ServerName
from cacheproof.models.errors import EnvironmentFault

__all__ = ["Wire"]

_HOST = "127.0.0.1"


class _Port:
    """A listening port of one client for one server; closed while the server is down."""

    def __init__(self, process: int, server: ServerName) -> None:
        self.process = process
        self.server = server
        self.number = 0
        self.listener: socket.socket | None = None

    def open(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, self.number))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise EnvironmentFault(
                f"cannot listen on {_HOST}:{self.number or 'any port'}: {error}; is the port taken?"
            ) from error
        listener.setblocking(False)
        self.number = listener.getsockname()[1]
        self.listener = listener
        return listener


class Wire:
    """All ports and links.  One thread uses it: the director's."""

    def __init__(self, reactor: Reactor, cache: CacheEnd, database: DatabaseEnd) -> None:
        self._reactor = reactor
        self._ends = {ServerName.CACHE: cache, ServerName.DATABASE: database}
        self._cache = cache
        self._database = database
        self._ports: dict[tuple[int, ServerName], _Port] = {}
        self._links: dict[int, list[Link]] = {}
        self.detached: list[Link] = []
        """Links that have lost their clients, and of which the servers do not know that."""
        self._cuts: dict[tuple[int, ServerName], Manner] = {}
        self._down: set[ServerName] = set()
        self._frozen: set[ServerName] = set()
        self._numbers: dict[int, int] = {}
        self._keys: tuple[str, ...] = ()
        self._user = "cacheproof"
        self._name = "records"
        self.heard = 0
        """How many connections have been accepted."""
        self.broken: list[str] = []
        """What clients sent that is not their server's protocol."""
        self.dropped: list[int] = []
        """Database sessions that were closed inside a transaction: it is rolled back, soon."""
        self.abandoned: list[int] = []
        """Database sessions that were closed while a statement ran: it goes on."""

    # -- ports ---------------------------------------------------------------------------------------------

    def addresses(self, process: int) -> tuple[str, str]:
        """The URLs of cache and database for one client; the same for as long as the wire lives."""
        for server in ServerName:
            if (process, server) not in self._ports:
                port = _Port(process, server)
                self._ports[process, server] = port
                self._listen(port)
        cache = self._ports[process, ServerName.CACHE].number
        database = self._ports[process, ServerName.DATABASE].number
        options = "sslmode=disable&gssencmode=disable"
        return (
            f"redis://{_HOST}:{cache}/0",
            f"postgresql://{self._user}@{_HOST}:{database}/{self._name}?{options}",
        )

    def without_ports(self, text: str) -> str:
        """The text of an error with our port numbers, which differ from run to run, put into words."""
        for port in self._ports.values():
            text = re.sub(rf"\b{port.number}\b", f"<{port.server.value} port>", text)
        return text

    def _listen(self, port: _Port) -> None:
        listener = port.open()
        self._reactor.register(listener, lambda: self._accept(port))

    def refuse(self, server: ServerName) -> None:
        """Close every port of a server: connections are refused from now on."""
        self._down.add(server)
        for port in self._ports.values():
            if port.server is server:
                self._close_port(port)

    def admit(self, server: ServerName) -> None:
        """Open every port of a server again, at the same number, unless a partition keeps it closed."""
        self._down.discard(server)
        for port in self._ports.values():
            if port.server is server and self._cuts.get((port.process, server)) is not Manner.REFUSE:
                self._open_port(port)

    def ports(self) -> set[int]:
        """The numbers of all ports, whether anybody listens there now or not."""
        return {port.number for port in self._ports.values()}

    def _close_port(self, port: _Port) -> None:
        if port.listener is not None:
            self._reactor.unregister(port.listener.fileno())
            port.listener.close()
            port.listener = None

    def _open_port(self, port: _Port) -> None:
        if port.listener is None:
            self._listen(port)

    # -- partitions and frozen servers ---------------------------------------------------------------------

    def cut(self, process: int, server: ServerName, manner: Manner) -> None:
        """The network between a client and a server fails.  Breaking the links of `refuse` is the caller's."""
        self._cuts[process, server] = manner
        if manner is Manner.REFUSE:
            self._close_port(self._ports[process, server])
        for link in self.links(process):
            self._tune(link)

    def is_cut(self, process: int, server: ServerName) -> Manner | None:
        """How the network between a client and a server fails now, if it does."""
        return self._cuts.get((process, server))

    def cuts(self) -> Mapping[tuple[int, ServerName], Manner]:
        """Every failure of the network now, by client and server."""
        return self._cuts

    def mend(self, process: int, server: ServerName) -> None:
        """It works again; what is held up on the links goes on when the caller lets it (`go_on`)."""
        manner = self._cuts.pop((process, server), None)
        if manner is Manner.REFUSE and server not in self._down:
            self._open_port(self._ports[process, server])
        for link in self.links(process):
            self._tune(link)

    def freeze(self, server: ServerName) -> None:
        """The server answers nothing any more."""
        self._frozen.add(server)
        for link in self.all_links():
            self._tune(link)

    def thaw(self, server: ServerName) -> None:
        """It answers again; what is held up on the links goes on when the caller lets it (`go_on`)."""
        self._frozen.discard(server)
        for link in self.all_links():
            self._tune(link)

    def is_frozen(self, server: ServerName) -> bool:
        return server in self._frozen

    def is_mute(self, process: int) -> bool:
        """True if a server would not answer a client that connects now, nor refuse it."""
        cut = [manner for server in ServerName if (manner := self._cuts.get((process, server)))]
        return bool(self._frozen) or any(manner is not Manner.REFUSE for manner in cut)

    @property
    def is_held_up(self) -> bool:
        """True while a partition or a frozen server keeps anything back from anybody."""
        return bool(self._cuts or self._frozen)

    def is_held_back(self, line: int) -> bool:
        """True if a fault keeps something back on this connection of a client (`Link.line`)."""
        return self.is_held_up and any(link.line == line and link.held_back for link in self.all_links())

    def _tune(self, link: Link) -> None:
        manner = self._cuts.get((link.process, link.server))
        link.mute = manner is not None or link.server in self._frozen
        link.deaf = manner in (Manner.SILENT, Manner.REQUESTS)
        link.hushed = manner in (Manner.SILENT, Manner.REPLIES) or link.server in self._frozen

    def go_on(self, link: Link) -> None:
        """Answer and pass on what a link was kept from."""
        try:
            link.advance()
        except ConnectionError:
            link.closing = True
        if link.closing:
            self._hang_up(link)
        elif not link.connected and not link.queue:
            self._release(link)

    def detach(self, link: Link) -> None:
        """Take a link from its client, which sees a reset; its server hears nothing of that."""
        self._close_client(link, reset=True)
        self._links[link.process].remove(link)
        self.detached.append(link)
        link.mute = link.deaf = link.hushed = False  # there is nobody left who could notice

    def let_go(self, link: Link) -> None:
        """The server hears that a detached link is at its end."""
        self.detached.remove(link)
        self._release(link)
        link.queue.clear()

    def _accept(self, port: _Port) -> None:
        assert port.listener is not None
        while True:
            try:
                client, _ = port.listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            self.heard += 1
            number = self._numbers.get(port.process, 0)
            self._numbers[port.process] = number + 1
            try:
                link = self._link(port, client, number)
            except OSError:  # it has been reset already
                client.close()
                continue
            self._tune(link)
            self._links.setdefault(port.process, []).append(link)
            self._reactor.register(link, partial(self._receive, link))

    def _link(self, port: _Port, client: socket.socket, number: int) -> Link:
        if port.server is ServerName.CACHE:
            return RedisLink(client, port.process, number, self._keys, end=self._cache)
        return PgLink(client, port.process, number, self._keys, end=self._database)

    # -- links ---------------------------------------------------------------------------------------------

    def begin(self, keys: tuple[str, ...]) -> None:
        """Start a run that is about these keys."""
        self._keys = keys
        self._numbers.clear()
        for book in (self.broken, self.dropped, self.abandoned):
            book.clear()

    def _receive(self, link: Link) -> None:
        try:
            alive = link.receive()
        except FramingError as error:
            self.broken.append(
                f"client {link.process} sent the {link.server} what is not its protocol: {error}"
            )
            self._hang_up(link)
            return
        except ConnectionError:
            self._hang_up(link)
            return
        if link.closing:
            self._hang_up(link)
        elif not alive:
            self._close_client(link, reset=False)
            if not link.queue:
                self._release(link)

    def _hang_up(self, link: Link) -> None:
        """End a link in order, as the server does that has said its last word."""
        self._close_client(link, reset=False)
        self._release(link)
        link.queue.clear()

    def _close_client(self, link: Link, *, reset: bool) -> None:
        if link.connected:
            self._reactor.unregister(link.fileno())
            link.drop_client(reset=reset)

    def _release(self, link: Link) -> None:
        """Let go of the server's side, and note which sessions the database has to end."""
        upstream, head = link.upstream, link.head
        busy = head is not None and head.delivered
        if not link.release_upstream() and isinstance(upstream, PgUpstream):
            (self.abandoned if busy else self.dropped).append(upstream.pid)

    def links(self, process: int) -> list[Link]:
        """The links of one client that are connected or still have something to deliver."""
        return [link for link in self._links.get(process, ()) if link.connected or link.queue]

    def all_links(self) -> Iterator[Link]:
        for process in sorted(self._links):
            yield from self.links(process)

    def pending(self, process: int) -> list[Pending]:
        """The exchanges of a client that a decision can release, in canonical order."""
        links = (link for link in self._links.get(process, ()) if not link.deaf)
        heads = [head for link in links if (head := link.head) and not head.delivered]
        return sorted(heads, key=lambda head: head.order) if len(heads) > 1 else heads

    def waiting(self) -> list[Pending]:
        """The exchanges that the servers have and have not answered, in order of client."""
        links = self.all_links()
        heads = (link.head for link in links if link.queue)
        return [head for head in heads if head and head.delivered and not head.parked]

    def reset(self, link: Link) -> None:
        """Break a link: the client sees a reset, the server an end of the connection."""
        self._close_client(link, reset=True)
        self._release(link)
        link.queue.clear()

    def finish(self, pending: Pending) -> None:
        """Take an exchange that has been answered or lost off its link, and pass on what came behind it."""
        link = pending.link
        link.queue.popleft()
        try:
            link.advance()
        except ConnectionError:
            link.closing = True
        if link.closing:
            self._hang_up(link)
        elif not link.connected and not link.queue:
            self._release(link)

    def pass_by(self, pending: Pending) -> None:
        """Take an exchange that nobody hears the answer to off its link, and pass on what came behind it."""
        link = pending.link
        link.queue.popleft()
        try:
            link.advance()
        except ConnectionError:
            link.queue.clear()

    def listening(self) -> list[Link]:
        """The links on which a server may say something unasked, in order of client."""
        if not any(link.listening for links in self._links.values() for link in links):
            return []  # nearly always, and it is asked after every exchange
        return [link for link in self.all_links() if link.listening]

    def overhear(self) -> bool:
        """Pass on what servers pushed without being asked; True if there was anything."""
        listening = [link for link in self.listening() if not link.hushed]
        if any(link.server is ServerName.CACHE and link.upstream for link in listening):
            self._cache.time.catch_up()
        heard = False
        for link in listening:
            heard = self._pass_on(link) or heard
        return heard

    def _pass_on(self, link: Link) -> bool:
        try:
            data = link.overheard()
        except ConnectionError:
            self._hang_up(link)
            return True
        link.send(data)
        return bool(data)

    def end(self) -> None:
        """Close every link of the run; clean connections go back to their pools."""
        for link in [*self.detached, *(link for links in self._links.values() for link in links)]:
            self._close_client(link, reset=False)
            link.queue.clear()
            link.release_upstream()
        self._links.clear()
        self.detached.clear()
        for process, server in list(self._cuts):
            self.mend(process, server)
        self._frozen.clear()
        self._cache.numbers.clear()
        self._database.sessions.clear()

    def close(self) -> None:
        """Close everything, for good."""
        self.end()
        for server in ServerName:
            self.refuse(server)
        self._cache.pool.clear()
        self._database.clear()
