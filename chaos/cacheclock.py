"""The cache's time in a run: virtual, although the server's own clock is real.

Rule 1  Real time expires nothing: every connection is an import source (Valkey's import mode), which neither
        sees nor causes expiry.
Rule 2  The deadlines of keys are kept here in virtual milliseconds, from what each command said; where a
        command cannot be understood (a script), the server is asked for the remaining ttl.
Rule 3  What has come due is expired at the server by the director, as an expiry: subscribers see `expired`.
Rule 4  Absolute times in requests and remaining ttls in replies are translated between the two clocks.
"""

from collections.abc import Sequence

from cacheproof.chaos.clock import EPOCH_NS, RunClock
from cacheproof.chaos.expiry import VirtualExpiry
from cacheproof.chaos.wire.commands import StreamIds, to_virtual
from cacheproof.chaos.wire.resp import Command, Reply
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.errors import HarnessError

__all__ = ["CacheClock"]


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
        return to_virtual(command, self.now_ms, self._next_stream_id)

    def _next_stream_id(self, key: bytes) -> bytes:
        return self._stream_ids.next(key, self.now_ms)

    def observe(self, command: Command, reply: Reply, *, resp3: bool) -> bytes:
        """Note what the command did to deadlines; returns the reply as the client has to see it."""
        rewritten = self._expiry.rewrite(command, reply, self.now_ms, resp3=resp3)
        resync = self._expiry.observe(command, reply, self.now_ms)
        if resync:
            self._resync(resync.keys)
        return reply.raw if rewritten is None else rewritten

    def _resync(self, keys: tuple[bytes, ...] | None) -> None:
        names = self._all_keys() if keys is None else keys
        replies = self.admin.call_many([("PTTL", name) for name in names])
        for name, reply in zip(names, replies, strict=True):
            assert isinstance(reply.value, int)
            self._expiry.resync(name, reply.value, self.now_ms)

    def _all_keys(self) -> tuple[bytes, ...]:
        found = self.admin.call("KEYS", "*").value
        names = [name for name in found if isinstance(name, bytes)] if isinstance(found, Sequence) else []
        return tuple(sorted({*names, *self._expiry.keys}))

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
