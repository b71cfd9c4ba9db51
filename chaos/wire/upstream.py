"""Connections from the wire to the real servers, and the pools that keep them.

A client's connection is new in every run, but opening one at PostgreSQL costs milliseconds.  So only the
stretch from the wire to the server is kept, and it goes back to its pool clean: a Redis connection on which
something was said that lasts (MULTI, WATCH, SUBSCRIBE …) is closed instead, a PostgreSQL session runs DISCARD
ALL first.

Rule 1  Reads block: whoever asks has just sent something that the server has to answer.
Rule 2  A write never waits for a server that itself waits to be read: what it says meanwhile is kept.
Rule 3  A server that has gone is heard to the end: the loss shows when there is nothing more to read.
Rule 4  Whoever has to log in does so here (`Address.login`): clients are neither asked for passwords nor told.
"""

import secrets
import select
import socket
import struct
from collections.abc import Mapping

from cacheproof.chaos.servers.login import Login
from cacheproof.chaos.servers.server import Address, Server
from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgcycle import Cycle, CycleResult, ReplyTracker
from cacheproof.chaos.wire.pgmessages import BackendParser, Message, encode, query, startup
from cacheproof.chaos.wire.pgpassword import SCRAM, Scram, md5_answer
from cacheproof.chaos.wire.resp import Reply, ReplyParser, encode_command, reply_to_json
from cacheproof.models.errors import EnvironmentFault

__all__ = [
    "HANG_LIMIT_S",
    "PgPool",
    "PgUpstream",
    "RedisPool",
    "RedisUpstream",
    "SessionRefused",
    "Upstream",
]

HANG_LIMIT_S = 30.0
"""Real seconds after which a server that does not answer is taken for broken."""

# What the server's Authentication messages ask for.
_CLEAR, _MD5, _SASL, _SASL_CONTINUE, _SASL_FINAL = 3, 5, 10, 11, 12

_CHUNK = 1 << 16  # bytes read at once; of more, malloc asks the kernel anew each time: +30 µs an exchange


class Upstream:
    """One connection to a real server: bytes out, bytes in.

    `patience_s` is how long, in whole real seconds, it waits for the server; HANG_LIMIT_S unless given.
    """

    def __init__(self, address: Address, *, patience_s: float | None = None) -> None:
        self._patience_s = HANG_LIMIT_S if patience_s is None else patience_s
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        # The kernel's own time-outs: Python's would cost a second system call for every read.  The one for
        # sending bounds connecting as well.
        limit = struct.pack("@ll", int(self._patience_s), 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
        try:
            self._socket.connect(address.sockaddr)
        except OSError as error:
            self._socket.close()
            raise EnvironmentFault(
                f"no answer from the server at {address.sockaddr!r}: {error}; is it running?"
            ) from error
        if address.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._early: list[bytes] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send all of `data`; whether the server is still there shows when its answer is read (rule 3)."""
        try:
            sent = self._send_now(data)
            if sent < len(data):
                self._send_rest(memoryview(data)[sent:])
        except ConnectionError:
            return

    def _send_now(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes at once; returns how many bytes that were."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            readable, writable, _ = select.select([self._socket], [self._socket], [], self._patience_s)
            if readable:
                self._early.append(self._receive())
            elif not writable:
                raise EnvironmentFault(
                    f"a server took none of {len(rest)} bytes for {self._patience_s:g} s; is it stopped?"
                )
            rest = rest[self._send_now(rest) :]

    def receive(self, wait_s: float | None = None) -> bytes | None:
        """The next bytes; None if there were none within `wait_s` (None: wait for as long as it takes).

        Raises ConnectionError when the server has closed the connection.
        """
        if self._early:
            return self._early.pop(0)
        if wait_s is not None and not self.readable(wait_s):
            return None
        return self._receive()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            raise EnvironmentFault(
                f"a server did not answer for {self._patience_s:g} s; is it stopped?"
            ) from None
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def readable(self, wait_s: float) -> bool:
        """True if the server has said something, or has closed the connection, within `wait_s`."""
        return bool(self._early) or bool(select.select([self._socket], [], [], wait_s)[0])

    def close(self) -> None:
        self._socket.close()


class RedisUpstream(Upstream):
    """A connection to the cache that speaks RESP2 or RESP3.

    `id` is the server's own number of it, as in CLIENT LIST.  With `import_source`, the connection neither
    sees nor causes expiry by real time (Valkey's import mode).  Raises EnvironmentFault if the server refuses.
    """

    def __init__(
        self,
        address: Address,
        protocol: int,
        *,
        import_source: bool = True,
        patience_s: float | None = None,
    ) -> None:
        super().__init__(address, patience_s=patience_s)
        self.protocol = protocol
        self._parser = ReplyParser()
        try:
            self.id = self._open(_opening(address, protocol, import_source=import_source))
        except BaseException:
            self.close()
            raise

    def _open(self, opening: list[tuple[bytes | str | int, ...]]) -> int:
        """Say what a connection begins with; returns its number at the server."""
        replies = self.call_many([*opening, ("CLIENT", "ID")])
        refused = next((reply for reply in replies if reply.is_error), None)
        if refused is not None:
            said = reply_to_json(refused.value)
            raise EnvironmentFault(f"the cache refused a connection: {said!r}")
        number = replies[-1].value
        if not isinstance(number, int):
            raise EnvironmentFault(f"the cache did not tell the number of a connection, but {number!r}")
        return number

    def replies(self, wait_s: float | None = None) -> list[Reply] | None:
        """Whole replies that have come, perhaps none; None if no byte came within `wait_s`."""
        data = self.receive(wait_s)
        return None if data is None else self._parser.feed(data)

    def call(self, *args: bytes | str | int) -> Reply:
        """Send one command and wait for its reply."""
        return self.call_many([args])[0]

    def call_many(self, commands: list[tuple[bytes | str | int, ...]]) -> list[Reply]:
        """Send several commands at once and wait for all their replies."""
        self.send(b"".join(encode_command(*command) for command in commands))
        found: list[Reply] = []
        while len(found) < len(commands):
            found += self.replies() or ()
        return found


def _opening(address: Address, protocol: int, *, import_source: bool) -> list[tuple[bytes | str | int, ...]]:
    login = address.login
    said: list[tuple[bytes | str | int, ...]] = []
    if login.password is not None:
        said.append(("AUTH", *([login.user] if login.user else []), login.password))
    if protocol == 3:
        said.append(("HELLO", 3))
    if import_source:
        said.append(("CLIENT", "IMPORT-SOURCE", "ON"))
    return said


class SessionRefused(EnvironmentFault):
    """The database refused a session; `raw` is what it said, for whoever asked for one."""

    def __init__(self, parameters: Mapping[str, str], said: list[Message]) -> None:
        words = [field[1:] for field in said[-1].payload.split(b"\0") if field[:1] == b"M"]
        text = b"".join(words).decode(errors="replace")
        super().__init__(f"the database refused a session for {dict(parameters)!r}: {text}")
        self.raw = b"".join(message.raw for message in said)


class PgUpstream(Upstream):
    """A session at the database.  `greeting` is all that the server said up to its first ReadyForQuery.

    `minor` is the version 3.`minor` of the protocol to ask for.  Raises SessionRefused.
    """

    def __init__(
        self,
        address: Address,
        parameters: Mapping[str, str],
        minor: int = 0,
        *,
        patience_s: float | None = None,
    ) -> None:
        super().__init__(address, patience_s=patience_s)
        self._parser = BackendParser()
        self._scram: Scram | None = None
        self.pid = 0
        self.secret = b""
        self.status = "I"
        self.greeting: tuple[Message, ...] = ()
        try:
            self._start(address.login, parameters, minor)
        except BaseException:
            self.close()
            raise

    def _start(self, login: Login, parameters: Mapping[str, str], minor: int) -> None:
        real = login.parameters(parameters)
        self.send(startup(real, minor))
        said: list[Message] = []
        while not said or said[-1].tag != b"Z":
            for message in self.messages():
                if message.tag == b"R" and message.payload != bytes(4):
                    self._authenticate(message.payload, real.get("user", ""), login.password)
                    continue  # between this connection and the server
                said.append(message)
                if message.tag == b"E":
                    raise SessionRefused(real, said)
                if message.tag == b"K":
                    self.pid = int.from_bytes(message.payload[:4], "big")
                    self.secret = message.payload[4:]
        self.greeting = tuple(said)

    def _authenticate(self, asked: bytes, user: str, password: str | None) -> None:
        """Answer one message of the server's that asks who we are.  Raises EnvironmentFault if that cannot be."""
        kind, rest = int.from_bytes(asked[:4], "big"), asked[4:]
        if password is None:
            raise EnvironmentFault(
                f"the database asks for a password of {user!r}; let it trust this machine, or give its URL one"
            )
        if kind == _CLEAR:
            self.send(encode(b"p", password.encode() + b"\0"))
        elif kind == _MD5:
            self.send(encode(b"p", md5_answer(user, password, rest) + b"\0"))
        elif kind == _SASL and SCRAM in rest.split(b"\0"):
            self._scram = Scram(password, secrets.token_urlsafe(18))
            first = self._scram.first()
            self.send(encode(b"p", SCRAM + b"\0" + len(first).to_bytes(4, "big") + first))
        elif kind == _SASL_CONTINUE and self._scram is not None:
            self.send(encode(b"p", self._scram.final(rest)))
        elif kind != _SASL_FINAL or self._scram is None or not self._scram.proves(rest):
            raise EnvironmentFault(
                f"the database asks {user!r} to log in in a way that is not supported ({kind}); "
                "let it take a password (scram-sha-256 or md5), or trust this machine"
            )

    def messages(self, wait_s: float | None = None) -> list[Message]:
        """Whole messages that have come; waits for bytes as `receive` does, and may return none."""
        data = self.receive(wait_s)
        return [] if data is None else self._parser.feed(data)

    def query(self, sql: str) -> CycleResult:
        """Run `sql` as one simple query and wait for its end.  Raises EnvironmentFault if it fails."""
        result = self.finish(self.begin(sql))
        if result.error is not None:
            raise EnvironmentFault(f"the database refused {sql!r}: {result.error}")
        return result

    def begin(self, sql: str) -> ReplyTracker:
        """Send `sql` without waiting; `finish` waits for its end."""
        raw = query(sql)
        self.send(raw)
        return ReplyTracker(Cycle(raw=raw, statements=(), passes=False, ends_with="query"))

    def finish(self, tracker: ReplyTracker) -> CycleResult:
        done = False
        while not done:
            for message in self.messages():
                done = tracker.feed(message)
        self.status = tracker.result.status or "I"
        return tracker.result


class RedisPool:
    """Idle connections to the cache, by protocol version, all to the server as it was last started.

    `import_source` tells whether they are to be that: the server has an import mode.
    """

    def __init__(self, server: Server, *, import_source: bool = True) -> None:
        self._server = server
        self._import_source = import_source
        self._lent: set[RedisUpstream] = set()
        self._idle: dict[int, list[RedisUpstream]] = {2: [], 3: []}

    def acquire(self, protocol: int) -> RedisUpstream:
        idle = self._idle[protocol]
        upstream = idle.pop() if idle else self._open(protocol)
        self._lent.add(upstream)
        return upstream

    def _open(self, protocol: int) -> RedisUpstream:
        return RedisUpstream(self._server.address, protocol, import_source=self._import_source)

    def release(self, upstream: RedisUpstream) -> None:
        """Take back a connection that has no reply outstanding and on which nothing lasting was said.

        One from before the last `clear` is closed: its server is gone.
        """
        if upstream in self._lent:
            self._lent.remove(upstream)
            self._idle[upstream.protocol].append(upstream)
        else:
            upstream.close()

    def discard(self, upstream: RedisUpstream) -> None:
        """Close a connection that was lent."""
        self._lent.discard(upstream)
        upstream.close()

    def clear(self) -> None:
        """Close all that are idle, and let none come back that is lent now."""
        self._lent.clear()
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


class PgPool:
    """Idle sessions at the database, all started with the same parameters and version of the protocol."""

    def __init__(self, server: Server, parameters: Mapping[str, str], minor: int = 0) -> None:
        self._server = server
        self.parameters = dict(parameters)
        self.minor = minor
        self._idle: list[PgUpstream] = []
        self._returned: list[PgUpstream] = []
        self._greeting: tuple[Message, ...] = ()

    def greeting(self) -> tuple[Message, ...]:
        """What the server says to such a session when it starts.  Raises SessionRefused."""
        if not self._greeting:
            self._idle.append(self.acquire())
            self._greeting = self._idle[-1].greeting
        return self._greeting

    def acquire(self) -> PgUpstream:
        """A session as it is after its start.  Raises SessionRefused."""
        if self._idle:
            return self._idle.pop()
        return PgUpstream(self._server.address, self.parameters, self.minor)

    def release(self, upstream: PgUpstream) -> None:
        """Take back an idle session that is outside any transaction; `clean` makes it usable again."""
        self._returned.append(upstream)

    def clean(self) -> None:
        """DISCARD ALL on every session that came back, all at the same time; those that fail are closed."""
        returned, self._returned = self._returned, []
        running = [(upstream, upstream.begin("DISCARD ALL")) for upstream in returned]
        for upstream, tracker in running:
            if _succeeds(upstream, tracker):
                self._idle.append(upstream)
            else:
                upstream.close()

    def clear(self) -> None:
        """Close all that are idle."""
        while self._idle or self._returned:
            (self._idle or self._returned).pop().close()


def _succeeds(upstream: PgUpstream, tracker: ReplyTracker) -> bool:
    try:
        return upstream.finish(tracker).error is None
    except (ConnectionError, FramingError):  # of whatever the server said before it left
        return False
