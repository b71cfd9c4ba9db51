"""A wire with real servers behind it, and clients made of raw sockets: what the director has, without a run.

Nothing here waits for a timer.  The wire counts the bytes of every link on both sides, so a client knows when
it has heard all that was sent to it, and the network when everything that was said has arrived.
"""

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.clock import RunClock
from cacheproof.chaos.servers.servers import Servers
from cacheproof.chaos.wire.link import Answer, Link, Pending
from cacheproof.chaos.wire.pgcycle import result_to_json
from cacheproof.chaos.wire.pglink import DatabaseEnd
from cacheproof.chaos.wire.pgmessages import BackendParser, Message, startup
from cacheproof.chaos.wire.reactor import Reactor
from cacheproof.chaos.wire.redislink import CacheEnd
from cacheproof.chaos.wire.resp import ReplyParser, encode_command, reply_to_json
from cacheproof.chaos.wire.upstream import PgUpstream, RedisPool, RedisUpstream
from cacheproof.chaos.wire.wire import Wire
from cacheproof.models.decision import ServerName

PATIENCE_S = 10.0
SESSION = {"user": "cacheproof", "database": "records"}


class Network:
    """A wire, its servers and its clock.  One thread uses it."""

    def __init__(
        self, servers: Servers, keys: tuple[str, ...] = ("a", "b"), *, import_mode: bool = True
    ) -> None:
        self.servers = servers
        self.import_mode = import_mode
        self.clock = RunClock.create()
        self.time = CacheClock(self.clock, import_mode=import_mode)
        self.reactor = Reactor()
        self.cache = CacheEnd(RedisPool(servers.cache, import_source=import_mode), self.time)
        self.database = DatabaseEnd(servers.database)
        self.wire = Wire(self.reactor, self.cache, self.database)
        self.direct = PgUpstream(servers.database.address, SESSION)
        self.clients: list[Client] = []
        self.begin_cache()
        self.admin.call("FLUSHALL")
        self.wire.begin(keys)

    def begin_cache(self) -> None:
        """A line of the director's own to a cache that has just started."""
        self.admin = RedisUpstream(self.servers.cache.address, 2, import_source=False)
        self.admin.call("CONFIG", "SET", "import-mode", "yes" if self.import_mode else "no")
        if self.import_mode:
            self.admin.call("CLIENT", "IMPORT-SOURCE", "ON")
        self.time.begin(self.admin)

    def close(self) -> None:
        for client in self.clients:
            client.socket.close()
        self.wire.close()
        self.admin.close()
        self.direct.close()
        self.reactor.close()
        self.clock.close()

    # clients

    def port(self, server: ServerName, process: int = 0) -> int:
        url = self.wire.addresses(process)[server is ServerName.DATABASE]
        port = urlsplit(url).port
        assert port is not None
        return port

    def url(self, server: ServerName, process: int = 0) -> str:
        return self.wire.addresses(process)[server is ServerName.DATABASE]

    def redis(self, process: int = 0, protocol: int = 2) -> "RedisClient":
        """A new connection to the cache."""
        client = RedisClient(self, ServerName.CACHE, process)
        if protocol == 3:
            client.call("HELLO", 3)
        return client

    def postgres(
        self, process: int = 0, parameters: Mapping[str, str] = SESSION, minor: int = 0
    ) -> "PgClient":
        """A new session at the database."""
        client = PgClient(self, ServerName.DATABASE, process)
        client.greeting = client.say(startup(parameters, minor))
        return client

    # what happens

    def until(self, condition: Callable[[], object]) -> None:
        """Poll until the condition holds."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            self.reactor.poll(0.01)
            assert time.monotonic() < give_up, "it never happened"

    def links(self, process: int = 0) -> list[Link]:
        return self.wire.links(process)

    def pending(self, process: int = 0) -> list[Pending]:
        return self.wire.pending(process)

    def words(self, process: int = 0) -> list[str]:
        """The pending exchanges, in words."""
        return [" ".join(pending.request) for pending in self.pending(process)]

    def deliver(self, process: int = 0, pick: int = 0) -> Any:
        """Deliver a pending exchange; returns the reply as a history has it."""
        pending = self.pending(process)[pick]
        answer = self.execute(pending)
        pending.link.send(answer.raw)
        self.wire.finish(pending)
        return answer.reply

    def execute(self, pending: Pending) -> Answer:
        """Have the server execute an exchange; the client hears nothing yet."""
        pending.link.transmit(pending)
        pending.delivered = True
        answer = pending.link.collect(pending, None)
        assert answer is not None
        return answer

    def direct_rows(self, sql: str) -> Any:
        return result_to_json(self.direct.query(sql)).get("rows", [])


class Client:
    """A connection to the wire."""

    def __init__(self, network: Network, server: ServerName, process: int) -> None:
        self.network = network
        network.clients.append(self)
        self.socket = socket.create_connection(("127.0.0.1", network.port(server, process)), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = self.socket.getsockname()
        self.sent = self.heard_bytes = 0
        network.until(lambda: any(link.peer == self.name for link in network.links(process)))
        self.link = next(link for link in network.links(process) if link.peer == self.name)

    def send(self, data: bytes) -> None:
        """Send, and have the wire receive it."""
        self.socket.sendall(data)
        self.sent += len(data)
        self.network.until(lambda: self.link.received == self.sent or not self.link.connected)

    def hear(self) -> bytes:
        """All that the wire has sent up to now."""
        heard = b""
        while self.heard_bytes < self.link.sent:
            data = self.socket.recv(1 << 18)
            assert data, "the connection ended before all was heard"
            heard += data
            self.heard_bytes += len(data)
        return heard

    def is_reset(self) -> bool:
        """True if the connection was broken, False if it was closed in order.  Fails if it is open."""
        try:
            assert self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        return False

    def is_open(self) -> bool:
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)


class RedisClient(Client):
    """Speaks RESP; replies are given as a history has them."""

    def __init__(self, network: Network, server: ServerName, process: int) -> None:
        super().__init__(network, server, process)
        self.parser = ReplyParser()

    def ask(self, *commands: str) -> None:
        """Send commands, in words, all at once."""
        self.send(b"".join(encode_command(*command.split()) for command in commands))

    def replies(self) -> list[Any]:
        return [reply_to_json(reply.value) for reply in self.parser.feed(self.hear())]

    def say(self, *commands: str) -> list[Any]:
        """Send commands; returns what is answered without a decision."""
        self.ask(*commands)
        return self.replies()

    def call(self, *args: bytes | str | int) -> Any:
        """One command, delivered if it is held; returns the last of what is heard."""
        self.send(encode_command(*args))
        if (pending := self.link.head) is not None:
            answer = self.network.execute(pending)
            self.link.send(answer.raw)
            self.network.wire.finish(pending)
        return self.replies()[-1]


class PgClient(Client):
    """Speaks PostgreSQL's protocol; `greeting` is all that was said to its startup packet."""

    def __init__(self, network: Network, server: ServerName, process: int) -> None:
        super().__init__(network, server, process)
        self.parser = BackendParser()
        self.greeting: list[Message] = []

    def messages(self) -> list[Message]:
        return self.parser.feed(self.hear())

    def tags(self) -> str:
        return "".join(message.tag.decode() for message in self.messages())

    def say(self, data: bytes) -> list[Message]:
        """Send; returns what is answered without a decision."""
        self.send(data)
        return self.messages()

    def run(self, data: bytes) -> list[Message]:
        """Send a cycle that is held, deliver it, and return the reply."""
        self.send(data)
        pending = self.link.head
        assert pending is not None
        answer = self.network.execute(pending)
        self.link.send(answer.raw)
        self.network.wire.finish(pending)
        return self.messages()


def values(messages: list[Message]) -> list[str]:
    """The first column of every row, as text."""
    return [item.payload[6:].decode() for item in messages if item.tag == b"D"]


def key_of(messages: list[Message]) -> tuple[int, bytes]:
    """Process id and secret that a session was told."""
    payload = next(item.payload for item in messages if item.tag == b"K")
    return int.from_bytes(payload[:4], "big"), payload[4:]
