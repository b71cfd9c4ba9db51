"""The cache's time in a run: virtual, although the server's own clock is real.

Rule 1  Real time expires nothing: every connection is an import source (Valkey's import mode), which neither
        sees nor causes expiry.
Rule 2  The deadlines of keys are kept here in virtual milliseconds, from what each command said; where a
        command cannot be understood (a script), the server is asked for the remaining ttl.
Rule 3  What has come due is expired at the server by the director, as an expiry: subscribers see `expired`.
Rule 4  Absolute times in requests and remaining ttls in replies are translated between the two clocks.
Rule 5  Entries of streams get their ids from the virtual clock, each greater than all that the stream has seen.
Rule 6  What a transaction did is read from the reply to its EXEC, command by command.

Known limits: scripts read the real time and make real stream ids; within one transaction a key whose deadline
has passed is still there.
"""

from collections.abc import Sequence
from typing import Final

from cacheproof.chaos.clock import EPOCH_NS, RunClock
from cacheproof.chaos.expiry import VirtualExpiry
from cacheproof.chaos.wire.commands import StreamIds, answered_by_clock, given_stream_id, to_virtual
from cacheproof.chaos.wire.resp import Command, Reply, ReplyParser
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.errors import HarnessError

__all__ = ["CacheClock"]

_TIME_SCRIPT: Final = b"return {ARGV[1], ARGV[2]}"
"""What TIME becomes in a transaction, where the wire cannot answer it: the same reply, said by the server."""


class CacheClock:
    """Virtual expiry of one cache server, kept beside it."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._expiry = VirtualExpiry()
        self._stream_ids = StreamIds()
        self._admin: RedisUpstream | None = None

    def begin(self, admin: RedisUpstream) -> None:
        """Start over, for a server that holds nothing."""
        self._admin = admin
        self._expiry = VirtualExpiry()
        self._stream_ids = StreamIds()

    @property
    def admin(self) -> RedisUpstream:
        if self._admin is None:
            raise HarnessError("the cache is down: nobody can be asked")
        return self._admin

    @property
    def now_ms(self) -> int:
        return (EPOCH_NS + self._clock.now_ns) // 1_000_000

    # -- on the way to the server and back ----------------------------------------------------------------

    def translate(self, command: Command) -> Command:
        """The command as the server has to see it."""
        if answered_by_clock(command):
            seconds, rest_ms = divmod(self.now_ms, 1000)
            return Command.of("EVAL", _TIME_SCRIPT, 0, seconds, rest_ms * 1000)
        seen = to_virtual(command, self.now_ms, self._next_stream_id)
        if seen is command and command.name == "XADD" and (given := given_stream_id(command)):
            self._stream_ids.observe(command.args[1], given)
        return seen

    def _next_stream_id(self, key: bytes) -> bytes:
        return self._stream_ids.next(key, self.now_ms)

    def observe(self, command: Command, reply: Reply, *, resp3: bool) -> bytes:
        """Note what the command did to deadlines; returns the reply as the client has to see it.

        That is `reply.raw` itself unless it is another one.  A key that was given a deadline in the past is
        expired here, as the server would have done at once.
        """
        said = self._note(command, reply, resp3)
        if self._expiry.overdue:
            self.expire_due()
        return said

    def observe_transaction(self, commands: Sequence[Command], reply: Reply, *, resp3: bool) -> bytes:
        """The same for EXEC, whose reply holds the replies to `commands`."""
        head, _, rest = reply.raw.partition(b"\r\n")
        parts = ReplyParser().feed(rest)
        if len(parts) != len(commands):  # not one of ours
            return self.observe(Command.of("EXEC"), reply, resp3=resp3)
        # Elements of an array are framed as replies are, so they can be noted, and rewritten, one by one.
        said = [self._note(command, part, resp3) for command, part in zip(commands, parts, strict=True)]
        if self._expiry.overdue:
            self.expire_due()
        if all(one is part.raw for one, part in zip(said, parts, strict=True)):
            return reply.raw
        return b"".join((head, b"\r\n", *said))

    def _note(self, command: Command, reply: Reply, resp3: bool) -> bytes:
        rewritten = self._expiry.rewrite(command, reply, self.now_ms, resp3=resp3)
        resync = self._expiry.observe(command, reply, self.now_ms)
        if resync:
            self._resync(resync.keys)
        if command.name == "XADD" and isinstance(reply.value, bytes):
            self._stream_ids.observe(command.args[1], reply.value)
        return reply.raw if rewritten is None else rewritten

    def _resync(self, keys: tuple[bytes, ...] | None) -> None:
        names = self._all_keys() if keys is None else keys
        replies = self.admin.call_many([("PTTL", name) for name in names])
        for name, reply in zip(names, replies, strict=True):
            assert isinstance(reply.value, int)
            self._expiry.resync(name, reply.value, self.now_ms)
        if keys is None:
            self._resync_streams(names)

    def _resync_streams(self, names: tuple[bytes, ...]) -> None:
        """Take up the ids that a script has made, so that later ones are greater."""
        kinds = self.admin.call_many([("TYPE", name) for name in names])
        for name, kind in zip(names, kinds, strict=True):
            if kind.value != b"stream":
                continue
            reply = self.admin.call("XINFO", "STREAM", name)
            told = reply.value if isinstance(reply.value, tuple) else ()
            last = dict(zip(told[::2], told[1::2], strict=True)).get(b"last-generated-id")
            if isinstance(last, bytes):
                self._stream_ids.observe(name, last)

    def _all_keys(self) -> tuple[bytes, ...]:
        found = self.admin.call("KEYS", "*").value
        names = [name for name in found if isinstance(name, bytes)] if isinstance(found, Sequence) else []
        return tuple(sorted({*names, *self._expiry.keys}))

    def catch_up(self) -> None:
        """Return when the server has sent every message that it owed to anybody.

        It writes to whoever published before it writes to those who listen, but to all of them before it
        reads another command.
        """
        self.admin.call("PING")

    # -- what decisions do --------------------------------------------------------------------------------

    @property
    def expirable(self) -> tuple[bytes, ...]:
        """The keys that have a ttl, sorted."""
        return self._expiry.keys

    def remaining_s(self, key: bytes) -> float | None:
        deadline = self._expiry.deadline_ms(key)
        return None if deadline is None else (deadline - self.now_ms) / 1000

    def next_deadline_ns(self) -> int | None:
        """The virtual time, in ns since the start of the run, at which the next key is due."""
        due = self._expiry.next_deadline_ms()
        return None if due is None else due * 1_000_000 - EPOCH_NS

    def realign(self) -> None:
        """After time has passed: give every key the time to live that it has left."""
        moved = self._expiry.realign(self.now_ms)
        if moved:
            self.admin.call_many([("PEXPIRE", key, left_ms) for key, left_ms in moved])

    def expire_due(self) -> tuple[bytes, ...]:
        """Expire every key that is due by now; returns them in order of their deadlines."""
        due = self._expiry.due(self.now_ms)
        for key in due:
            self.expire(key)
        return due

    def expire(self, key: bytes) -> None:
        """Expire `key` at the server, so that notifications say `expired`.

        Import mode holds expiry back on every connection, so it is off for the length of one transaction, in
        which no cycle of active expiry can run.
        """
        replies = self.admin.call_many(
            [
                ("MULTI",),
                ("CONFIG", "SET", "import-mode", "no"),
                ("PEXPIRE", key, -1),
                ("CONFIG", "SET", "import-mode", "yes"),
                ("EXEC",),
            ]
        )
        if any(reply.is_error for reply in replies):
            raise HarnessError(f"the cache refused to expire {key!r}: {[reply.value for reply in replies]}")
        self._expiry.forget(key)
