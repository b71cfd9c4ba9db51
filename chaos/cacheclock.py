"""The cache's time in a run: virtual, although the server's own clock is real.

Rule 1  Real time expires nothing: every connection is an import source (Valkey's import mode), which neither
        sees nor causes expiry.  A server without that mode is given times to live that outlast every run
        (reprieve.py), and its own counters tell afterwards whether it has expired or evicted anything.
Rule 2  The deadlines of keys are kept here in virtual milliseconds, from what each command said; where a
        command cannot be understood (a script), the server is asked for the remaining ttl.
Rule 3  What has come due is expired at the server by the director, as an expiry: subscribers see `expired`.
Rule 4  Absolute times in requests and remaining ttls in replies are translated between the two clocks.
Rule 5  Entries of streams get their ids from the virtual clock, each greater than all that the stream has seen.
Rule 6  What a transaction did is read from the reply to its EXEC, command by command.

Known limits: scripts read the real time and make real stream ids; within one transaction a key whose deadline
has passed is still there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cacheproof.chaos.clock import EPOCH_NS, RunClock
from cacheproof.chaos.expiry import VirtualExpiry
from cacheproof.chaos.reprieve import REPRIEVE_MS, asks_for_lifetimes, is_bare, lengthened, net_ms
from cacheproof.chaos.wire.commands import StreamIds, answered_by_clock, given_stream_id, to_virtual
from cacheproof.chaos.wire.resp import Command, Reply, ReplyParser
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.errors import HarnessError

__all__ = ["CacheClock", "Disturbance"]

_TIME_SCRIPT: Final = b"return {ARGV[1], ARGV[2]}"
"""What TIME becomes in a transaction, where the wire cannot answer it: the same reply, said by the server."""


# What the server counts that it does by itself, and what is wrong with a run in which it did.
_BY_ITSELF: Final[Mapping[str, str]] = {
    "expired_keys": "expired by the server's own clock",
    "expired_subkeys": "expired by the server's own clock",
    "expired_fields": "expired by the server's own clock",
    "evicted_keys": "evicted by the server for want of memory",
}
_NEEDS_IMPORT_MODE: Final = "use Valkey 8.1 or newer, whose import mode keeps real time away"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Why nothing can be said of a run: real time, or another thing beyond control, had a part in it.

    `again` tells whether the same schedule may do better when it is run once more.
    """

    reason: str
    again: bool


class CacheClock:
    """Virtual expiry of one cache server, kept beside it.

    `import_mode` tells whether the server has Valkey's import mode.
    """

    def __init__(self, clock: RunClock, *, import_mode: bool = True) -> None:
        self._clock = clock
        self._import_mode = import_mode
        self._expiry = VirtualExpiry()
        self._stream_ids = StreamIds()
        self._admin: RedisUpstream | None = None
        self._counted: Mapping[str, int] = {}
        self._disturbance: Disturbance | None = None

    def begin(self, admin: RedisUpstream) -> None:
        """Start over, for a run, and for a server that holds nothing."""
        self._disturbance = None
        self._stream_ids = (
            StreamIds()
        )  # a server that starts again gives no id twice: time has passed meanwhile
        self.rejoin(admin)

    def rejoin(self, admin: RedisUpstream) -> None:
        """Go on with a server that holds nothing, since it has been started anew in the course of a run."""
        self._admin = admin
        self._expiry = VirtualExpiry()
        self._counted = self._count()

    def disturbance(self) -> Disturbance | None:
        """What has disturbed the run up to now; to be asked before the server is killed, and at the end."""
        if self._disturbance is None and not self._import_mode:
            counted = self._count()
            for name, words in _BY_ITSELF.items():
                if (by := counted.get(name, 0) - self._counted.get(name, 0)) > 0:
                    reason = f"{by} keys were {words} in the middle of a run; {_NEEDS_IMPORT_MODE}"
                    self._disturbance = Disturbance(reason, again=True)
        return self._disturbance

    def _count(self) -> Mapping[str, int]:
        """What the server has done by itself since its start."""
        if self._import_mode:
            return {}
        said = self.admin.call("INFO", "stats").value
        pairs = (line.partition(b":") for line in said.split(b"\r\n")) if isinstance(said, bytes) else ()
        return {name.decode(): int(value) for name, _, value in pairs if name.decode() in _BY_ITSELF}

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
        return seen if self._import_mode else lengthened(seen)

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
        if not self._import_mode and self._disturbance is None and asks_for_lifetimes(command):
            self._disturbance = Disturbance(
                "a script asks for a key's time to live, which on this server is not that of the run; "
                f"{_NEEDS_IMPORT_MODE}, or ask outside the script",
                again=False,
            )
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
        bare = []
        for name, reply in zip(names, replies, strict=True):
            assert isinstance(reply.value, int)
            if self._learn(name, reply.value):
                bare.append(name)
        if bare:
            self._reprieve(bare)
        if keys is None:
            self._resync_streams(names)

    def _learn(self, key: bytes, pttl_ms: int) -> bool:
        """Take the server's answer to PTTL; True if the key has yet to be given a reprieve."""
        if self._import_mode or pttl_ms < 0:
            self._expiry.resync(key, pttl_ms, self.now_ms)
            return False
        bare = is_bare(pttl_ms)
        # What has a reprieve was given it by the director, who knows its deadline, or is a copy.
        if bare or self._expiry.deadline_ms(key) is None:
            self._expiry.resync(key, net_ms(pttl_ms), self.now_ms)
        return bare

    def _reprieve(self, keys: Iterable[bytes]) -> None:
        """Let keys that were given a real time to live outlast the run; nobody is told of it."""
        given = [(key, self.real_ms(at_ms)) for key in keys if (at_ms := self._expiry.deadline_ms(key))]
        self._unheard([("PEXPIRE", key, left_ms) for key, left_ms in given])

    def real_ms(self, at_ms: int) -> int:
        """The time to live to give the server for a key that is due at `at_ms` (virtual unix ms)."""
        return max(1, at_ms - self.now_ms) + (0 if self._import_mode else REPRIEVE_MS)

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

    def deadline_ms(self, key: bytes) -> int | None:
        """When a key is due, in virtual unix ms; None: never."""
        return self._expiry.deadline_ms(key)

    def all_keys(self) -> tuple[bytes, ...]:
        """Every key that the cache holds, sorted."""
        found = self.admin.call("KEYS", "*").value
        names = found if isinstance(found, Sequence) else ()
        return tuple(sorted(name for name in names if isinstance(name, bytes)))

    def adopt(self, deadlines: Mapping[bytes, int | None]) -> None:
        """Keys have been put there by the director, each due at a virtual unix ms, or never (None)."""
        for key, at_ms in deadlines.items():
            if at_ms is not None:
                self._expiry.adopt(key, at_ms, self.now_ms)
        self._resync_streams(tuple(deadlines))

    def forget_all(self) -> None:
        """The cache holds nothing any more."""
        self._expiry = VirtualExpiry()

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
            extra_ms = 0 if self._import_mode else REPRIEVE_MS
            self.admin.call_many([("PEXPIRE", key, left_ms + extra_ms) for key, left_ms in moved])

    def expire_due(self) -> tuple[bytes, ...]:
        """Expire every key that is due by now; returns them in order of their deadlines."""
        due = self._expiry.due(self.now_ms)
        for key in due:
            self.expire(key)
        return due

    def expire(self, key: bytes) -> None:
        """Expire `key` at the server, so that notifications say `expired`.

        Import mode holds expiry back on every connection, so it is off for the length of one transaction, in
        which no cycle of active expiry can run.  Without that mode the key is taken away as by an eviction,
        since a server need not call it an expiry when it is told that a key's time is over (Redis says `del`).
        """
        if not self._import_mode:
            self._take_away(key, "expired", b"x")
            return
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

    def evict(self, key: bytes) -> None:
        """Take `key` away as memory pressure does: subscribers see `evicted`, and no `del`."""
        self._take_away(key, "evicted", b"e")

    def _take_away(self, key: bytes, event: str, flag: bytes) -> None:
        """Remove `key`; who listens to keys hears of `event`, if that is among what the server tells."""
        flags = self._notified()
        there = self.admin.call("EXISTS", key).value
        notices: list[tuple[bytes | str, ...]] = []
        if there and {flag[0], b"A"[0]} & set(flags):
            if b"K" in flags:
                notices.append(("PUBLISH", b"__keyspace@0__:" + key, event))
            if b"E" in flags:
                notices.append(("PUBLISH", f"__keyevent@0__:{event}", key))
        self._unheard([("UNLINK", key)], notices, flags)
        self._expiry.forget(key)

    def _notified(self) -> bytes:
        """Which happenings to keys the server tells of, in its own letters."""
        settings = self.admin.call("CONFIG", "GET", "notify-keyspace-events").value
        said = dict(zip(settings[::2], settings[1::2], strict=True)) if isinstance(settings, tuple) else {}
        flags = said.get(b"notify-keyspace-events", b"")
        return flags if isinstance(flags, bytes) else b""

    def _unheard(
        self,
        commands: Sequence[tuple[bytes | str | int, ...]],
        notices: Sequence[tuple[bytes | str | int, ...]] = (),
        flags: bytes | None = None,
    ) -> None:
        """Carry out commands at once, of which who listens to keys hears nothing but `notices`."""
        restored = self._notified() if flags is None else flags
        replies = self.admin.call_many(
            [
                ("MULTI",),
                ("CONFIG", "SET", "notify-keyspace-events", ""),
                *commands,
                ("CONFIG", "SET", "notify-keyspace-events", restored),
                *notices,
                ("EXEC",),
            ]
        )
        if any(reply.is_error for reply in replies):
            refused = [reply.value for reply in replies]
            raise HarnessError(f"the cache refused {[*commands, *notices]!r}: {refused}")
