"""A client's connection to the database.

One exchange is one query cycle, up to ReadyForQuery (or to the answers of a Flush).  Start-up and
authentication are answered with what the server once said; SSL and GSS encryption are refused; a cancel
request is passed on to the session that it means.  COPY data pass through, unheld.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import AF_UNIX, SOCK_STREAM, socket

from cacheproof.chaos.servers.server import Server
from cacheproof.chaos.wire.link import Answer, Link, Pending, Request
from cacheproof.chaos.wire.pgcycle import Cycle, CycleAssembler, ReplyTracker, is_copy, result_to_json
from cacheproof.chaos.wire.pgmessages import (
    CancelRequest,
    FrontendParser,
    Message,
    Startup,
    backend_key_data,
    cancel_request,
    ssl_refusal,
)
from cacheproof.chaos.wire.pgsql import keys_in, may_write, verbs, words
from cacheproof.chaos.wire.upstream import PgPool, PgUpstream
from cacheproof.models.decision import ServerName

__all__ = ["DatabaseEnd", "PgLink"]

_SECRET = b"\0\0\0\1"


@dataclass(slots=True)
class DatabaseEnd:
    """What all links to one database share: a pool for each set of start-up parameters, and who is who."""

    server: Server
    pools: dict[tuple[tuple[str, str], ...], PgPool] = field(default_factory=dict)
    sessions: dict[int, "PgLink"] = field(default_factory=dict)

    def pool(self, parameters: Mapping[str, str]) -> PgPool:
        name = tuple(sorted(parameters.items()))
        return self.pools.setdefault(name, PgPool(self.server, parameters))

    def clean(self) -> None:
        for pool in self.pools.values():
            pool.clean()

    def clear(self) -> None:
        for pool in self.pools.values():
            pool.clear()

    def cancel(self, request: CancelRequest) -> None:
        """Pass a cancel request on to the session behind the link that it names."""
        link = self.sessions.get(request.pid)
        if link is None or link.upstream is None:
            return
        address = self.server.address
        with socket(address.family, SOCK_STREAM) as line:
            line.connect(address.sockaddr)
            line.sendall(cancel_request(link.upstream.pid, link.upstream.secret))
            if address.family == AF_UNIX:
                line.recv(1)  # the server closes when it has passed the signal on


class PgLink(Link):
    """One connection that speaks PostgreSQL's protocol, version 3."""

    server = ServerName.DATABASE

    def __init__(
        self, client: socket, process: int, number: int, keys: tuple[str, ...], *, end: DatabaseEnd
    ) -> None:
        super().__init__(client, process, number, keys)
        self.upstream: PgUpstream | None = None
        self._end = end
        self._parser = FrontendParser()
        self._assembler = CycleAssembler()
        self._pool: PgPool | None = None
        self._tracker: ReplyTracker | None = None
        self._raw: list[bytes] = []
        self._wrote = False

    # -- requests ----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        for message in self._parser.feed(data):
            if isinstance(message, Message):
                self._take(message)
            elif isinstance(message, Startup):
                self._start(message)
            elif isinstance(message, CancelRequest):
                self._end.cancel(message)
            else:
                self.queue.append(Request(b"", answer=ssl_refusal()))

    def _start(self, message: Startup) -> None:
        self._pool = self._end.pool(message.parameters)
        number = self.process * 1000 + self.number
        self._end.sessions[number] = self
        said = [
            backend_key_data(number, _SECRET) if item.tag == b"K" else item.raw for item in self._pool.greeting()
        ]
        self.queue.append(Request(b"", answer=b"".join(said)))

    def _take(self, message: Message) -> None:
        if is_copy(message):
            self._copy(message)
            return
        cycle = self._assembler.feed(message)
        if cycle is None:
            return
        if cycle.ends_with == "terminate":
            return  # the client closes its end next
        if cycle.passes:
            self.queue.append(Request(cycle.raw, payload=cycle))
        else:
            self._hold(cycle)

    def _hold(self, cycle: Cycle) -> None:
        found = {key for item in cycle.statements for key in keys_in(item, self.keys)}
        told = tuple(word for item in cycle.statements for word in (*words(item), ";"))[:-1]
        writes = any(may_write(item.sql) for item in cycle.statements) or not cycle.statements
        self._wrote = self._wrote or writes
        pending = Pending(
            link=self,
            verb="; ".join(name for item in cycle.statements for name in verbs(item.sql)) or "CALL",
            request=told,
            keys=tuple(key for key in self.keys if key in found),
            raw=cycle.raw,
            may_write=writes,
            payload=cycle,
        )
        self.queue.append(pending)

    # -- at the server -----------------------------------------------------------------------------------

    def _connect(self) -> PgUpstream:
        if self.upstream is None:
            assert self._pool is not None
            self.upstream = self._pool.acquire()
        return self.upstream

    def _send(self, cycle: Cycle) -> None:
        upstream = self._connect()
        self._tracker, self._raw = self._assembler.tracker(cycle), []
        upstream.send(cycle.raw)

    def forward(self, request: Request) -> bytes:
        self._send(request.payload)
        while not self._read(None):
            pass
        return b"".join(self._raw)

    def transmit(self, pending: Pending) -> None:
        self._send(pending.payload)

    def collect(self, pending: Pending, wait_s: float | None) -> Answer | None:
        while not self._read(wait_s):
            assert self._tracker is not None
            if self._tracker.in_copy == "in":
                return Answer(self._take_raw(), {"tag": "COPY"})
            if wait_s is not None:
                return None
        assert self._tracker is not None
        result = self._tracker.result
        return Answer(self._take_raw(), result_to_json(result), failed=result.error is not None)

    def _take_raw(self) -> bytes:
        raw, self._raw = b"".join(self._raw), []
        return raw

    def _read(self, wait_s: float | None) -> bool:
        """Read what has come; True when the reply to the cycle is complete."""
        assert self.upstream is not None and self._tracker is not None
        if self._tracker.complete:
            return True
        done = False
        for message in self.upstream.messages(wait_s):
            self._raw.append(message.raw)
            done = self._tracker.feed(message)
        if done and self._tracker.result.status is not None:
            self.upstream.status = self._tracker.result.status
        return done

    def _copy(self, message: Message) -> None:
        if self.upstream is None or self._tracker is None:
            return
        self.upstream.send(message.raw)
        if message.tag != b"d":
            while not self._read(None):
                pass
            self.send(self._take_raw())

    @property
    def in_transaction(self) -> bool:
        return self.upstream is not None and self.upstream.status != "I"

    def release_upstream(self) -> bool:
        upstream, self.upstream = self.upstream, None
        if upstream is None or self._pool is None:
            return True
        busy = self._tracker is not None and not self._tracker.complete
        if busy or upstream.status != "I":
            upstream.close()
            return False
        self._pool.release(upstream)
        return True

    def overheard(self) -> bytes:
        return b""
