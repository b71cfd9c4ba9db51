"""A client's connection to the database.

One exchange is one query cycle, up to ReadyForQuery (or to the answers of a Flush).  Start-up is answered with
what the server once said to the same parameters and version; SSL and GSS encryption are refused; a cancel
request is passed on to the session that it means.  The data of a COPY pass, but their end is an exchange,
since it makes them visible.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from socket import AF_UNIX, SOCK_STREAM, socket

from cacheproof.chaos.servers.server import Server
from cacheproof.chaos.wire.link import Answer, Link, Pending, Request
from cacheproof.chaos.wire.pgcycle import (
    Cycle,
    CycleAssembler,
    CycleResult,
    ReplyTracker,
    Statement,
    is_copy,
    result_to_json,
)
from cacheproof.chaos.wire.pgisolation import Isolation, Level
from cacheproof.chaos.wire.pgmessages import (
    CancelRequest,
    FrontendParser,
    Message,
    Startup,
    backend_key_data,
    cancel_request,
    encode,
    error_response,
    ssl_refusal,
)
from cacheproof.chaos.wire.pgsql import keys_in, may_write, verbs, words
from cacheproof.chaos.wire.upstream import PgPool, PgUpstream, SessionRefused
from cacheproof.models.decision import ServerName
from cacheproof.models.refusal import Meets, Refusal
from cacheproof.models.trace import REPLICA_MARK

__all__ = ["REPLICA_OPTIONS", "DatabaseEnd", "PgLink"]

REPLICA_OPTIONS = "-c search_path=cacheproof_replica,public -c default_transaction_read_only=on"
"""What makes a session one at the read replica: tables of the same names that it sees first, and no writes."""

_MOST_POOLS = 8
_FATAL = {b"VFATAL", b"VPANIC"}
_RAISE = "do $$ begin raise exception using errcode = '{code}', message = '{words}'; end $$"
_COMMITS = frozenset({"COMMIT", "END"})
_ENDS = _COMMITS | {"ABORT", "ROLLBACK", "SYNC"}
_LOCKING = re.compile(r"\bfor\s+(?:no\s+key\s+update|update|key\s+share|share)\b", re.IGNORECASE)


def _meets(meets: Meets, statement: Statement, level: Level) -> bool:
    """Whether an error can meet a statement; one that gives up a transaction always succeeds."""
    said = verbs(statement.sql)
    commits = not _COMMITS.isdisjoint(said)
    if not commits and not _ENDS.isdisjoint(said):
        return False
    locks = not commits and (may_write(statement.sql) or bool(_LOCKING.search(statement.sql)))
    match meets:
        case Meets.LOCKS:
            return locks
        case Meets.SNAPSHOTS:
            return level is Level.SERIALIZABLE or (level is Level.REPEATABLE_READ and locks)
        case Meets.STATEMENTS:
            return not commits
        case _:
            return True


@dataclass(slots=True)
class DatabaseEnd:
    """What all links to one database share: a pool for each set of start-up parameters, and who is who.

    `sessions` are the links by the process id that their clients were told.
    """

    server: Server
    pools: dict[tuple[object, ...], PgPool] = field(default_factory=dict)
    sessions: dict[int, "PgLink"] = field(default_factory=dict)

    def pool(self, parameters: Mapping[str, str], minor: int = 0) -> PgPool:
        """The pool for such sessions, which becomes the one last used."""
        name = (minor, *sorted(parameters.items()))
        pool = self.pools.pop(name, None) or PgPool(self.server, parameters, minor)
        self.pools[name] = pool
        return pool

    def clean(self) -> None:
        """Make every session usable again.  To be called between runs, when no link is left.

        A cache that gives each connection another name makes a pool each time, so the oldest are given up.
        """
        while len(self.pools) > _MOST_POOLS:
            self.pools.pop(next(iter(self.pools))).clear()
        for pool in self.pools.values():
            pool.clean()

    def clear(self) -> None:
        """Close all sessions."""
        for pool in self.pools.values():
            pool.clear()

    def cancel(self, request: CancelRequest) -> None:
        """Pass a cancel request on to the session behind the link that it names; a wrong one does nothing."""
        link = self.sessions.get(request.pid)
        if link is None or link.upstream is None or request.secret != link.secret:
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
        self.secret = b""
        self._end = end
        self._parser = FrontendParser()
        self._assembler = CycleAssembler()
        self._pool: PgPool | None = None
        self._replica = False
        self._isolation = Isolation()
        self._tracker: ReplyTracker | None = None
        self._raw: list[bytes] = []

    # -- requests ----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        for message in self._parser.feed(data):
            if isinstance(message, Message):
                self._take(message)
            elif isinstance(message, Startup):
                self._start(message)
            elif isinstance(message, CancelRequest):
                self.queue.append(Request(b"", answer=partial(self._cancel, message)))
            else:
                self.queue.append(Request(b"", answer=ssl_refusal))

    def _cancel(self, request: CancelRequest) -> bytes:
        """The server says nothing to a cancel request, it closes the connection."""
        self._end.cancel(request)
        self.closing = True
        return b""

    def _start(self, message: Startup) -> None:
        self._pool = self._end.pool(message.parameters, message.minor)
        self._replica = REPLICA_OPTIONS in message.parameters.get("options", "")
        self._isolation = Isolation(message.parameters)
        try:
            greeting = self._pool.greeting()
        except SessionRefused as refused:
            self.queue.append(Request(b"", answer=partial(self._refuse, refused.raw)))
            return
        pid = self.process * 1000 + self.number + 1
        self._end.sessions[pid] = self
        said = b"".join(self._key(pid, item) if item.tag == b"K" else item.raw for item in greeting)
        self.queue.append(Request(b"", answer=lambda: said))

    def _key(self, pid: int, key: Message) -> bytes:
        """The server's BackendKeyData with our own id and secret, which is as long as the server's."""
        self.secret = pid.to_bytes(len(key.payload) - 4, "big")
        return backend_key_data(pid, self.secret)

    def _refuse(self, said: bytes) -> bytes:
        self.closing = True
        return said

    def _take(self, message: Message) -> None:
        if is_copy(message):
            self._take_copy(message)
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
        if self._replica and told:
            told = (REPLICA_MARK + told[0], *told[1:])
        writes = any(may_write(item.sql) for item in cycle.statements) or not cycle.statements
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

    def _take_copy(self, message: Message) -> None:
        """Data pass.  The end of a simple COPY is held; that of an extended one takes effect at its Sync."""
        tracker = self._tracker
        if message.tag == b"d" or tracker is None or tracker.complete:
            self.queue.append(Request(message.raw, payload=message))
            return
        verb = "COPY DONE" if message.tag == b"c" else "COPY FAIL"
        self.queue.append(
            Pending(
                link=self,
                verb=verb,
                request=(verb,),
                keys=(),
                raw=message.raw,
                may_write=True,
                payload=message,
            )
        )

    # -- at the server -----------------------------------------------------------------------------------

    def _connect(self) -> PgUpstream:
        if self.upstream is None:
            assert self._pool is not None
            self.upstream = self._pool.acquire()
        return self.upstream

    def _send(self, sent: Cycle | Message) -> None:
        upstream = self._connect()
        if isinstance(sent, Cycle):  # what belongs to a COPY continues the cycle before it
            self._tracker = self._assembler.tracker(sent)
            self._isolation.hear(item.sql for item in sent.statements)
            self._raw.clear()
        upstream.send(sent.raw)

    def forward(self, request: Request) -> bytes:
        self._send(request.payload)
        if isinstance(request.payload, Message):
            return b""
        while not self._read(None):
            pass
        return self._take_raw()

    def transmit(self, pending: Pending) -> None:
        self._send(pending.payload)

    def collect(self, pending: Pending, wait_s: float | None) -> Answer | None:
        while not self._read(wait_s):
            assert self._tracker is not None
            if self._tracker.in_copy == "in" and isinstance(pending.payload, Cycle):
                return Answer(self._take_raw(), {"tag": "COPY"})
            if wait_s is not None:
                return None
        assert self._tracker is not None
        result = self._tracker.result
        return Answer(self._take_raw(), result_to_json(result), failed=result.error is not None)

    def can_refuse(self, pending: Pending, refusal: Refusal) -> bool:
        """Not where the server would give another error anyway, or give none: it has done part of the cycle."""
        cycle = pending.payload
        if not isinstance(cycle, Cycle) or cycle.ends_with not in ("query", "sync"):
            return False
        if self.upstream is not None and self.upstream.status == "E":
            return False
        named = [item for name, item in self._assembler.session.statements.items() if name]
        if any(tag == b"P" and any(item is one for one in named) for tag, item in cycle.steps):
            return False
        level = self._isolation.highest(item.sql for item in cycle.statements)
        return any(_meets(refusal.meets, item, level) for item in cycle.statements)

    def refuse(self, pending: Pending, refusal: Refusal) -> Answer:
        """The server raises the error itself, in the same session: so an open transaction has failed as well.

        A COMMIT that fails ends its transaction.
        """
        ends = any(not _COMMITS.isdisjoint(verbs(item.sql)) for item in pending.payload.statements)
        raising = _RAISE.format(code=refusal.code, words=refusal.words)
        result = self._run(raising)
        if ends:
            self._run("rollback")
        status = self._connect().status
        said = error_response("ERROR", refusal.code, refusal.words) + encode(b"Z", status.encode())
        return Answer(said, result_to_json(result), failed=True)

    def _run(self, sql: str) -> CycleResult:
        """A simple query of our own in the client's session."""
        upstream = self._connect()
        return upstream.finish(upstream.begin(sql))

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
            if message.tag == b"E" and not _FATAL.isdisjoint(message.payload.split(b"\0")):
                self.closing = True  # the server has ended the session: its connection closes next
        if done and self._tracker.result.status is not None:
            self.upstream.status = self._tracker.result.status
        return done

    def release_upstream(self) -> bool:
        upstream, self.upstream = self.upstream, None
        if upstream is None or self._pool is None:
            return True
        busy = self._tracker is not None and not self._tracker.complete
        if busy or self.closing or upstream.status != "I":
            upstream.close()
            return False
        self._pool.release(upstream)
        return True

    def overheard(self) -> bytes:
        return b""  # notifications come with the next reply
