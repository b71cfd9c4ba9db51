"""What all links to one cache share: its pool, its time, and what it says to connection set-up.

Connections come from a pool, so what the server calls them means nothing to a client.  A link has a number of
its own instead, the same in every replay: the server's answers to CLIENT ID and HELLO are given with it, and
where a client names a connection (CLIENT TRACKING … REDIRECT, KILL, UNBLOCK) the server's number takes its
place again.

What a command is like (whether it writes, say) is asked of the server as well, once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.wire.commands import subcommand
from cacheproof.chaos.wire.resp import Command, RespValue, encode_integer
from cacheproof.chaos.wire.upstream import RedisPool

__all__ = ["FIRST_NUMBER", "CacheEnd"]

FIRST_NUMBER = 1_000_000
"""Numbers of links begin here, where no server's numbers are."""

_ID_IN_HELLO = re.compile(rb"(\r\nid\r\n):[0-9]+")
_NAMING = {"KILL": b"ID", "LIST": b"ID", "TRACKING": b"REDIRECT"}


def _flags(said: RespValue) -> frozenset[str]:
    """Flags from the reply to COMMAND INFO: one array of name, arity, flags, first key, …"""
    told = said[0] if isinstance(said, tuple) and said else None
    if not isinstance(told, tuple) or not isinstance(told[2], tuple):
        return frozenset()
    flags = {flag.decode() for flag in told[2] if isinstance(flag, bytes)}
    return frozenset(flags | {"keys"} if told[3] or "movablekeys" in flags else flags)


@dataclass(slots=True)
class CacheEnd:
    """What links to one cache share.  `numbers` gives the server's number of a link, by the link's own."""

    pool: RedisPool
    time: CacheClock
    numbers: dict[int, Callable[[], int]] = field(default_factory=dict)
    said: dict[tuple[int, tuple[bytes, ...]], bytes] = field(default_factory=dict)
    known: dict[str, frozenset[str]] = field(default_factory=dict)

    def setup_answer(self, command: Command, protocol: int, number: int) -> bytes:
        """What the server answers to `command`, asked once on a connection of its own."""
        if subcommand(command) == "ID":
            return encode_integer(number)
        question = (protocol, command.args)
        if question not in self.said:
            scratch = self.pool.acquire(protocol)
            try:
                self.said[question] = scratch.call(*command.args).raw
            finally:
                self.pool.discard(scratch)
        said = self.said[question]
        return _ID_IN_HELLO.sub(rb"\1:%d" % number, said, count=1) if command.name == "HELLO" else said

    def flags(self, name: str) -> frozenset[str]:
        """What the server says of a command: its flags ("write", "denyoom", …), and "keys" if it names keys.

        Nothing for a command that it does not know.
        """
        if name not in self.known:
            scratch = self.pool.acquire(2)
            try:
                said = scratch.call("COMMAND", "INFO", name).value
            finally:
                self.pool.discard(scratch)
            self.known[name] = _flags(said)
        return self.known[name]

    def with_server_numbers(self, command: Command) -> Command:
        """A CLIENT command with the server's numbers where it names links."""
        said, args = subcommand(command), list(command.args)
        if said == "UNBLOCK":
            places = [2]
        else:
            word = _NAMING.get(said)
            places = [at + 1 for at, argument in enumerate(args) if argument.upper() == word]
        for at in places:
            if at < len(args) and args[at].isdigit() and int(args[at]) in self.numbers:
                args[at] = b"%d" % self.numbers[int(args[at])]()
        return command if tuple(args) == command.args else Command.of(*args)
