"""A client's connection to the cache.

One exchange is one command; a transaction (MULTI … EXEC) is one exchange as a whole, since nothing of it
happens before EXEC.  Connection set-up is answered with what the server said to the same words once.
"""

from dataclasses import dataclass, field
from socket import socket

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.wire.commands import (
    answered_by_clock,
    blocking_forever,
    blocking_timeout_s,
    changes_connection,
    is_setup,
    keys_in,
    words,
)
from cacheproof.chaos.wire.link import Answer, Link, Pending, Request
from cacheproof.chaos.wire.resp import (
    Command,
    CommandParser,
    Reply,
    encode_bulk,
    reply_to_json,
)
from cacheproof.chaos.wire.upstream import RedisPool, RedisUpstream
from cacheproof.models.decision import ServerName

__all__ = ["CacheEnd", "RedisLink"]

_ANSWERED = {b"HELLO", b"CLIENT", b"SELECT"}
_ANSWERED_CLIENT = {b"SETINFO", b"SETNAME", b"GETNAME", b"ID", b"MAINT_NOTIFICATIONS", b"NO-EVICT", b"NO-TOUCH"}
_TRANSACTION = {"MULTI", "EXEC", "DISCARD"}  # over when it is over; WATCH outlives none of them
_LISTENS = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"}


@dataclass(slots=True)
class CacheEnd:
    """What all links to one cache share: its pool, its time, and what it says to connection set-up."""

    pool: RedisPool
    time: CacheClock
    said: dict[tuple[int, tuple[bytes, ...]], bytes] = field(default_factory=dict)

    def setup_answer(self, command: Command, protocol: int) -> bytes:
        """What the server answers to `command`, asked once on a connection of its own."""
        question = (protocol, command.args)
        if question not in self.said:
            scratch = self.pool.acquire(protocol)
            try:
                self.said[question] = scratch.call(*command.args).raw
            finally:
                self.pool.discard(scratch)
        return self.said[question]


class RedisLink(Link):
    """One connection that speaks RESP."""

    server = ServerName.CACHE

    def __init__(
        self, client: socket, process: int, number: int, keys: tuple[str, ...], *, end: CacheEnd
    ) -> None:
        super().__init__(client, process, number, keys)
        self.upstream: RedisUpstream | None = None
        self.listening = False
        self._end = end
        self._parser = CommandParser()
        self._protocol = 2
        self._multi: list[Command] | None = None
        self._unsent: list[Command] = []
        self._clean = True
        self._awaited: list[Command] = []
        self._got: list[Reply] = []
        self._raw: list[bytes] = []

    # -- requests ----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        for command in self._parser.feed(data):
            self._take(command)
        if self._unsent and not self._parser.pending:  # the client waits for QUEUED before it goes on
            self._pass(*self._unsent)
            self._unsent.clear()

    def _take(self, command: Command) -> None:
        if self._multi is not None:
            self._take_in_multi(self._multi, command)
        elif command.name == "MULTI":
            self._multi = [command]
            self._unsent.append(command)
        elif answered_by_clock(command):
            self.queue.append(Request(command.raw, answer=self._time_reply()))
        elif is_setup(command):
            self._set_up(command)
        else:
            self._hold([command], [command], blocks_s=blocking_timeout_s(command))

    def _take_in_multi(self, multi: list[Command], command: Command) -> None:
        multi.append(command)
        if command.name == "EXEC":
            self._hold(multi, [*self._unsent, command], blocks_s=None)
        elif command.name == "DISCARD":
            self._pass(*self._unsent, command)
        else:
            self._unsent.append(command)
            return
        self._multi = None
        self._unsent.clear()

    def _set_up(self, command: Command) -> None:
        verb = command.args[0].upper()
        if verb == b"CLIENT" and len(command.args) > 1:
            answered = command.args[1].upper() in _ANSWERED_CLIENT
        else:
            answered = verb == b"HELLO" or command.args[1:] == (b"0",)
        if verb not in _ANSWERED or not answered:
            self._pass(command)
            return
        if verb == b"HELLO" and command.args[1:2] in ((b"2",), (b"3",)):
            self._switch(int(command.args[1]))
        self.queue.append(Request(command.raw, answer=self._end.setup_answer(command, self._protocol)))

    def _switch(self, protocol: int) -> None:
        if protocol != self._protocol and self.upstream is not None:
            self.release_upstream()
        self._protocol = protocol

    def _pass(self, *commands: Command) -> None:
        raw = b"".join(command.raw for command in commands)
        self.queue.append(Request(raw, payload=list(commands)))

    def _hold(self, commands: list[Command], to_send: list[Command], *, blocks_s: float | None) -> None:
        inner = commands[1:-1] if commands[0].name == "MULTI" else commands
        told = tuple(word for command in inner for word in (*words(command), ";"))[:-1]
        found = {key for command in inner for key in keys_in(command, self.keys)}
        pending = Pending(
            link=self,
            verb="; ".join(command.name for command in inner) or "EXEC",
            request=told,
            keys=tuple(key for key in self.keys if key in found),
            raw=b"".join(command.raw for command in to_send),
            may_write=False,
            blocks_s=blocks_s,
            payload=to_send,
        )
        self.queue.append(pending)

    def _time_reply(self) -> bytes:
        seconds, rest_ms = divmod(self._end.time.now_ms, 1000)
        parts = (str(seconds).encode(), str(rest_ms * 1000).encode())
        return b"*2\r\n" + b"".join(encode_bulk(part, self._protocol == 3) for part in parts)

    # -- at the server -----------------------------------------------------------------------------------

    def _connect(self) -> RedisUpstream:
        if self.upstream is None:
            self.upstream = self._end.pool.acquire(self._protocol)
        return self.upstream

    def _send(self, commands: list[Command]) -> None:
        upstream = self._connect()
        self._awaited, self._got, self._raw = list(commands), [], []
        for command in commands:
            if command.name not in _TRANSACTION and changes_connection(command):
                self._clean = False
            self.listening = self.listening or command.name in _LISTENS or command.args[1:2] == (b"TRACKING",)
        upstream.send(b"".join(self._end.time.translate(command).raw for command in commands))

    def forward(self, request: Request) -> bytes:
        self._send(request.payload)
        while len(self._got) < len(self._awaited):
            self._read(None)
        return b"".join(self._raw)

    def transmit(self, pending: Pending) -> None:
        commands: list[Command] = pending.payload
        self._send([blocking_forever(commands[0])] if pending.blocks_s is not None else commands)

    def collect(self, pending: Pending, wait_s: float | None) -> Answer | None:
        while len(self._got) < len(self._awaited):
            if not self._read(wait_s):
                return None
        last = self._got[-1]
        return Answer(b"".join(self._raw), reply_to_json(last.value), failed=last.is_error)

    def _read(self, wait_s: float | None) -> bool:
        assert self.upstream is not None
        replies = self.upstream.replies(wait_s)
        for reply in replies:
            if reply.is_push or len(self._got) == len(self._awaited):
                self._raw.append(reply.raw)
                continue
            command = self._awaited[len(self._got)]
            self._got.append(reply)
            self._raw.append(self._end.time.observe(command, reply, resp3=self._protocol == 3))
        return bool(replies)

    def release_upstream(self) -> bool:
        upstream, self.upstream = self.upstream, None
        if upstream is None:
            return True
        clean = self._clean and self._multi is None and len(self._got) == len(self._awaited)
        if clean:
            self._end.pool.release(upstream)
        else:
            self._end.pool.discard(upstream)
        self._clean = True
        return clean

    def overheard(self) -> bytes:
        if not self.listening or self.upstream is None:
            return b""
        self._raw = []
        self._read(0.0)
        return b"".join(self._raw)
