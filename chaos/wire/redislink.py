"""A client's connection to the cache.

Rule 1  One exchange is one command; a transaction (MULTI … EXEC) is one exchange as a whole, since nothing of
        it happens before EXEC.
Rule 2  Connection set-up is answered with what the server said to the same words once.
Rule 3  Every reply is paired with the command that it answers; what answers none (messages, invalidations)
        is passed on in between, in the order in which it came.
Rule 4  A connection on which something lasting was said never goes back to the pool.
"""

from collections.abc import Callable, Mapping
from functools import partial
from socket import socket

from cacheproof.chaos.wire.cacheend import FIRST_NUMBER, CacheEnd
from cacheproof.chaos.wire.commands import (
    answered_by_clock,
    blocking_forever,
    blocking_timeout_s,
    changes_connection,
    is_setup,
    keys_in,
    subcommand,
    words,
)
from cacheproof.chaos.wire.link import Answer, Link, Pending, Request
from cacheproof.chaos.wire.refusals import REFUSED_VERBS, in_its_place, refusal
from cacheproof.chaos.wire.resp import (
    Command,
    CommandParser,
    Reply,
    ReplyParser,
    encode_bulk,
    encode_error,
    encode_simple,
    reply_to_json,
)
from cacheproof.chaos.wire.subscriptions import SUBSCRIBING_VERBS, Subscriptions
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.decision import ServerName
from cacheproof.models.refusal import Meets, Refusal

__all__ = ["CacheEnd", "RedisLink"]

_NO_DATA = {"AUTH", "CLIENT", "COMMAND", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT", "TIME"}
_SPECIAL = REFUSED_VERBS | _NO_DATA | {"MULTI"}  # whatever else there is, is held
_ANSWERED_CLIENT = {"SETINFO", "SETNAME", "GETNAME", "ID", "MAINT_NOTIFICATIONS", "NO-EVICT", "NO-TOUCH"}
_TRANSACTION = {"MULTI": True, "EXEC": False, "DISCARD": False}  # over when it is over
_ABORTED = "EXECABORT Transaction discarded because of"
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "FCALL"})  # which write if they are there for anything
_MET: Mapping[Meets, Callable[[str, frozenset[str]], bool]] = {
    Meets.WHILE_LOADING: lambda name, flags: "loading" not in flags,
    Meets.WHILE_BUSY: lambda name, flags: "allow_busy" not in flags,
    Meets.WRITES: lambda name, flags: "write" in flags or name in _SCRIPTS,
    Meets.GROWTH: lambda name, flags: "denyoom" in flags or name in _SCRIPTS,
    Meets.KEYS: lambda name, flags: "keys" in flags,
}
"""Whether an error can meet a command, from the command's name and flags."""


class RedisLink(Link):
    """One connection that speaks RESP."""

    server = ServerName.CACHE

    def __init__(
        self, client: socket, process: int, number: int, keys: tuple[str, ...], *, end: CacheEnd
    ) -> None:
        super().__init__(client, process, number, keys)
        self.upstream: RedisUpstream | None = None
        self._end = end
        self._parser = CommandParser()
        # What the client has said so far, delivered or not.
        self._protocol = 2
        self._name: bytes | None = None
        self._selected = False
        self._multi: list[Command] | None = None
        self._unsent: list[Command] = []
        # What the server has heard so far.
        self._speaks = 2
        self._clean = True
        self._in_multi = False
        self._subscriptions = Subscriptions()
        # The exchange that the server has: its commands, what EXEC will execute, and what has come back.
        self._awaited: list[Command] = []
        self._queued: list[Command] = []
        self._confirmations = 0
        self._got: list[Reply] = []
        self._raw: list[bytes] = []
        self.id = FIRST_NUMBER + process * 1000 + number
        end.numbers[self.id] = lambda: self._connect().id

    # -- requests ----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        for command in self._parser.feed(data):
            if self._multi is not None:
                self._take_in_multi(self._multi, command)
            elif command.name in _SPECIAL:
                self._take_special(command)
            else:
                self._hold([command], [command], blocks_s=blocking_timeout_s(command))
        if self._unsent and not self._parser.pending:  # the client waits for QUEUED before it goes on
            self._pass(*self._unsent)
            self._unsent.clear()

    def _take_special(self, command: Command) -> None:
        refused = refusal(command)
        if refused is not None:
            self._answer(command, lambda: encode_error(refused))
        elif command.name == "MULTI":
            self._multi = [command]
            self._unsent.append(command)
        elif answered_by_clock(command):
            self._answer(command, self._time_reply)
        elif command.name in ("QUIT", "RESET"):
            self._end_session(command)
        elif is_setup(command):
            self._set_up(command)
        else:
            self._hold([command], [command], blocks_s=None)

    def _take_in_multi(self, multi: list[Command], command: Command) -> None:
        refused = refusal(command, in_multi=True)
        if refused is not None:
            command = in_its_place(refused)
        multi.append(command)
        if command.name == "EXEC":
            self._hold(multi, [*self._unsent, command], blocks_s=None)
        elif command.name == "DISCARD":
            self._pass(*self._unsent, command)
        elif is_setup(command, in_multi=True):  # QUIT and RESET end it at once
            self._pass(*self._unsent)
            self._end_session(command)
        else:
            self._unsent.append(command)
            return
        self._multi = None
        self._unsent.clear()

    def _set_up(self, command: Command) -> None:
        said = subcommand(command)
        match command.name:
            case "CLIENT" if said in _ANSWERED_CLIENT:
                self._name_it(command, said)
            case "HELLO":
                answer = self._end.setup_answer(command, self._protocol, self.id)
                if said in ("2", "3") and not answer.startswith(b"-"):
                    self._protocol = int(said)
                self._answer(command, partial(self._hello, self._protocol, answer))
            case "SELECT" if command.args[1:] == (b"0",) and not self._selected:
                self._answer(command, lambda: encode_simple("OK"))
            case name:
                self._selected = self._selected or name == "SELECT"
                self._pass(command)

    def _name_it(self, command: Command, said: str) -> None:
        answer = self._end.setup_answer(command, self._protocol, self.id)
        if said == "SETNAME" and not answer.startswith(b"-"):
            self._name = command.args[2] or None
        elif said == "GETNAME" and not answer.startswith(b"-"):
            answer = encode_bulk(self._name, self._protocol == 3)
        self._answer(command, lambda: answer)

    def _end_session(self, command: Command) -> None:
        if command.name == "QUIT":
            self._answer(command, self._quit)
            return
        self._protocol, self._name, self._selected = 2, None, False
        self._answer(command, self._reset)

    def _answer(self, command: Command, answer: Callable[[], bytes]) -> None:
        self.queue.append(Request(command.raw, answer=answer))

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
            payload=(to_send, inner),
        )
        self.queue.append(pending)

    # -- what the wire says itself, when its turn has come -------------------------------------------------

    def _time_reply(self) -> bytes:
        seconds, rest_ms = divmod(self._end.time.now_ms, 1000)
        parts = (str(seconds).encode(), str(rest_ms * 1000).encode())
        return b"*2\r\n" + b"".join(encode_bulk(part, False) for part in parts)

    def _hello(self, protocol: int, answer: bytes) -> bytes:
        if protocol != self._speaks:
            self.release_upstream()
            self._speaks = protocol
        return answer

    def _quit(self) -> bytes:
        self.closing = True
        return encode_simple("OK")

    def _reset(self) -> bytes:
        """A new connection is what RESET makes of an old one, except that it stays an import source."""
        self.release_upstream()
        self._speaks = 2
        return encode_simple("RESET")

    # -- at the server -----------------------------------------------------------------------------------

    def _connect(self) -> RedisUpstream:
        if self.upstream is None:
            self.upstream = self._end.pool.acquire(self._speaks)
        return self.upstream

    def _send(self, commands: list[Command], queued: list[Command]) -> None:
        upstream = self._connect()
        self._awaited, self._got, self._queued = commands, [], queued
        self._confirmations = 0
        self._raw.clear()
        out = b"".join([self._prepare(command).raw for command in commands])
        upstream.send(out)

    def _prepare(self, command: Command) -> Command:
        """Note what a command does to the connection; returns it as the server has to see it."""
        name = command.name
        if name in _TRANSACTION:
            self._in_multi = _TRANSACTION[name]
            return command
        if name == "CLIENT":
            self.listening = self.listening or subcommand(command) == "TRACKING"
            command = self._end.with_server_numbers(command)
        elif name in SUBSCRIBING_VERBS:
            self.listening = True
            self._confirmations = self._subscriptions.answers(command)
        if changes_connection(command):
            self._clean = False
        return self._end.time.translate(command)

    def forward(self, request: Request) -> bytes:
        self._send(request.payload, [])
        while len(self._got) < len(self._awaited):
            self._read(None)
        return self._take_raw()

    def transmit(self, pending: Pending) -> None:
        to_send, inner = pending.payload
        self._send([blocking_forever(to_send[0])] if pending.blocks_s is not None else to_send, inner)

    def collect(self, pending: Pending, wait_s: float | None) -> Answer | None:
        while len(self._got) < len(self._awaited):
            if not self._read(wait_s):
                return None
        last = self._got[-1]
        return Answer(self._take_raw(), reply_to_json(last.value), failed=last.is_error)

    def can_refuse(self, pending: Pending, refusal: Refusal) -> bool:
        _, inner = pending.payload
        return any(self._meets(command, refusal) for command in inner)

    def _meets(self, command: Command, refusal: Refusal) -> bool:
        met = _MET.get(refusal.meets)
        return met is not None and met(command.name, self._end.flags(command.name))

    def refuse(self, pending: Pending, refusal: Refusal) -> Answer:
        """Of a transaction, the commands that the error meets are refused one by one, and EXEC because of them."""
        to_send, inner = pending.payload
        if to_send[-1].name == "EXEC" and self.upstream is not None:
            self._end_transaction()
        error = f"{refusal.code} {refusal.words}"
        met = {id(command) for command in inner if self._meets(command, refusal)}
        told = any(id(command) in met for command in to_send)
        said = {
            "MULTI": encode_simple("OK"),
            "EXEC": encode_error(_ABORTED + (" previous errors." if told else f": {error}")),
        }
        raw = b"".join(
            encode_error(error) if id(command) in met else said.get(command.name, encode_simple("QUEUED"))
            for command in to_send
        )
        return Answer(raw, {"error": error}, failed=True)

    def _end_transaction(self) -> None:
        """What the server may have queued is gone with the transaction, and so is what the client watches."""
        self._send([Command.of("DISCARD" if self._in_multi else "UNWATCH")], [])
        while len(self._got) < len(self._awaited):
            self._read(None)
        self._take_raw()

    def _take_raw(self) -> bytes:
        raw = b"".join(self._raw)
        self._raw.clear()
        self._awaited, self._got = [], []
        return raw

    def _read(self, wait_s: float | None) -> bool:
        """Take what the server has said; False if it has said nothing within `wait_s`."""
        assert self.upstream is not None
        replies = self.upstream.replies(wait_s)
        for reply in replies or ():
            command = self._answered_by(reply)
            if command is None:
                self._raw.append(reply.raw)
            else:
                said = self._observe(command, reply)
                self._got.append(reply if said is reply.raw else ReplyParser().feed(said)[0])
                self._raw.append(said)
        return replies is not None

    def _answered_by(self, reply: Reply) -> Command | None:
        """The command that a reply answers to the end; None for all that comes in between."""
        if len(self._got) == len(self._awaited):
            return None
        command = self._awaited[len(self._got)]
        if not self.listening:
            return None if reply.is_push else command
        if self._confirmations and self._subscriptions.confirm(reply):
            self._confirmations -= 1
            return None if self._confirmations else command
        return None if self._subscriptions.is_message(reply) else command

    def _observe(self, command: Command, reply: Reply) -> bytes:
        time, resp3 = self._end.time, self._speaks == 3
        if command.name == "EXEC" and isinstance(reply.value, tuple):
            return time.observe_transaction(self._queued, reply, resp3=resp3)
        return time.observe(command, reply, resp3=resp3)

    def release_upstream(self) -> bool:
        upstream, self.upstream = self.upstream, None
        if upstream is None:
            return True
        clean = self._clean and not self._in_multi and len(self._got) == len(self._awaited)
        if clean:
            self._end.pool.release(upstream)
        else:
            self._end.pool.discard(upstream)
        self._forget()
        return clean

    def _forget(self) -> None:
        """Whatever was known of a connection that is this link's no more."""
        self._clean, self._in_multi, self.listening = True, False, False
        self._subscriptions = Subscriptions()
        self._awaited, self._got = [], []
        self._raw.clear()

    def overheard(self) -> bytes:
        if not self.listening or self.upstream is None:
            return b""
        while self._read(0.0):
            pass
        if self._awaited and len(self._got) == len(self._awaited):
            return b""  # the answer itself has come as well, and is handed on with it
        raw = b"".join(self._raw)
        self._raw.clear()
        return raw
