"""The work of the measured schedule without the harness: straight to the same servers over their unix sockets.

Two ways: with redis-py and psycopg, as any program does it, and as raw messages that were recorded at the wire
and are sent again on connections of our own, which costs nothing but two system calls and the server's work.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Self

import psycopg
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.wire.upstream import PgUpstream, RedisUpstream, Upstream

__all__ = ["KEY", "DirectClient", "RawClients", "Sent", "recorded"]

KEY = "user:1"
_SESSION = {"user": "cacheproof", "database": "records"}
_READY = b"Z\x00\x00\x00\x05I"

Sent = tuple[Upstream, bytes]
"""One message of the wire, and the connection on which it went to the server."""


class DirectClient:
    """One redis-py client and one psycopg connection of its own; `run` sends one command and waits for it."""

    def __init__(self, servers: EmbeddedServers) -> None:
        cache, database = servers.cache.address.sockaddr, servers.database.address.sockaddr
        assert isinstance(cache, str) and isinstance(database, str)
        folder, _, port = database.rpartition("/.s.PGSQL.")
        self.redis = redis.Redis.from_url(f"unix://{cache}", decode_responses=True)
        self.db = psycopg.connect(
            host=folder, port=port, autocommit=True, user="cacheproof", dbname="records"
        )

    def run(self, verb: str) -> Any:
        """One of the commands that cache-aside is made of."""
        return _COMMANDS[verb](self)

    def close(self) -> None:
        self.redis.close()
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_COMMANDS: Mapping[str, Callable[[DirectClient], Any]] = {
    "GET": lambda client: client.redis.get(KEY),
    "SET": lambda client: client.redis.set(KEY, "v1", ex=300),
    "DEL": lambda client: client.redis.delete(KEY),
    "SELECT": lambda client: client.db.execute("select value from records where key = %s", (KEY,)).fetchone(),
    "UPDATE": lambda client: client.db.execute("update records set value = %s where key = %s", ("v2", KEY)),
}


@contextmanager
def recorded() -> Iterator[list[Sent]]:
    """All messages that go to the servers in the block, on whatever connection."""
    sent: list[Sent] = []
    original = Upstream.send

    def send(self: Upstream, data: bytes) -> None:
        sent.append((self, data))
        original(self, data)

    Upstream.send = send  # type: ignore[method-assign]  # for the length of the block
    try:
        yield sent
    finally:
        Upstream.send = original  # type: ignore[method-assign]


class RawClients:
    """Connections of our own in place of those on which `sent` was recorded.  They play it once."""

    def __init__(self, servers: EmbeddedServers, sent: Sequence[Sent]) -> None:
        self._servers = servers
        self._stack = ExitStack()
        self._lines: dict[int, Upstream] = {}
        self._rest = iter([(self._line(upstream), data) for upstream, data in sent])

    def _line(self, like: Upstream) -> Upstream:
        if id(like) not in self._lines:
            line = self._open(like)
            self._stack.callback(line.close)
            self._lines[id(like)] = line
        return self._lines[id(like)]

    def _open(self, like: Upstream) -> Upstream:
        if isinstance(like, RedisUpstream):
            return RedisUpstream(self._servers.cache.address, like.protocol)
        return PgUpstream(self._servers.database.address, _SESSION)

    def play(self, count: int | None = None) -> None:
        """Send the next `count` messages (None: all that are left), each after the reply to the one before."""
        for line, data in islice(self._rest, count):
            ending = _READY if isinstance(line, PgUpstream) else b"\r\n"
            line.send(data)
            reply = line.receive() or b""
            while not reply.endswith(ending):
                reply += line.receive() or b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
